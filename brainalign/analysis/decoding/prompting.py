"""What a listener attends to, told to a language model: one prompt for any callable that takes text."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

from brainalign.analysis.decoding.speaker_decoder import Intention
from brainalign.errors import DataError

__all__ = ["TEMPLATE", "attention_prompt"]

TEMPLATE = """Several people talk at once. In the background:
{others}
The listener attends to {attended}, as brain signals tell ({certainty} % certain of the kind of voice), who says:
{heard}
Answer in a few words, only from what {attended} says.
Question: {question}
Answer:"""
"""The default prompt; others may leave fields out, or take ``{cluster}`` in."""

_FIELDS = ("others", "attended", "heard", "certainty", "cluster", "question")


def attention_prompt(
    question: str,
    transcripts: Sequence[str],
    intention: Intention,
    *,
    names: Sequence[str] | None = None,
    template: str = TEMPLATE,
) -> str:
    """A question about what several people say, put the way the listener means it.

    The result is plain text: it goes to whatever takes a prompt and gives an answer, such as
    `brainalign.analysis.captions.ChatModel`.

    Parameters
    ----------
    question : str
    transcripts : sequence of str
        What each talker says, in the order of the voices given to `SpeakerDecoder.intend`.
    intention : Intention
    names : sequence of str, optional
        Of the talkers; by default "Speaker A", "Speaker B", ...
    template : str
        With some of the fields {attended} and {heard} (name and words of the talker attended to), {others} (a line
        each), {certainty} (per cent), {cluster} and {question}.

    Raises
    ------
    DataError
        When there are fewer than two talkers, names do not pair or repeat, the attended talker is not among them, or
        the template has another field.

    Examples
    --------
    >>> told = attention_prompt("Where?", ["to the sea", "to the hills"], Intention(2, 0.8, 1))
    >>> print(told.splitlines()[1], told.splitlines()[3], sep="|")
    Speaker A: to the sea|to the hills
    """
    told = [f"Speaker {chr(ord('A') + number)}" for number in range(len(transcripts))] if names is None else list(names)
    if len(transcripts) < 2 or len(told) != len(transcripts) or len(set(told)) < len(told):
        raise DataError(
            "talkers and their names do not pair",
            expected="two talkers or more, each with a name of its own",
            found=f"{len(transcripts)} transcripts, names {told}",
        )
    if not 0 <= intention.attended < len(told):
        raise DataError(
            "the attended talker is not among these",
            expected=f"0 to {len(told) - 1}",
            found=intention.attended,
            fix="give the transcripts of the talkers whose voices were given to SpeakerDecoder.intend",
        )
    try:
        fields = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise DataError("the template is no format", expected="{question} and so on", found=str(error)) from error
    if strange := sorted(fields - set(_FIELDS)):
        raise DataError("the template has unknown fields", expected=_FIELDS, found=strange)
    others = [f"{name}: {text}" for name, text in zip(told, transcripts, strict=True)]
    others.pop(intention.attended)
    return template.format(
        others="\n".join(others),
        attended=told[intention.attended],
        heard=transcripts[intention.attended],
        certainty=round(100 * intention.probability),
        cluster=intention.cluster,
        question=question,
    )
