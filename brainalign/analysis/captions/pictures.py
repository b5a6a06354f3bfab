"""What was seen, in words: sentences from the embeddings that an encoder predicts of pictures."""

from __future__ import annotations

from typing import Any

from brainalign.analysis.captions.units import Captioner
from brainalign.errors import DataError
from brainalign.latents.base import Latents

__all__ = ["caption_pictures"]


def caption_pictures(predicted: Latents, captioner: Captioner) -> dict[str, str]:
    """One sentence for each stimulus, from its predicted embedding: the caption branch of a decoder.

    Parameters
    ----------
    predicted : Latents
        As ``encoder.predict(test)`` gives them, in the joint space of pictures and texts; of several targets, the one
        in that space.
    captioner : Captioner
        `TextBank` (the nearest caption of a bank, which needs no language model) or a fitted `PrefixCaptioner`.

    Returns
    -------
    dict of str to str
        By stimulus id.

    Raises
    ------
    DataError
        When embeddings are of another space than the captioner reads, or it gives another number of sentences.

    Examples
    --------
    >>> import numpy as np
    >>> from brainalign.analysis.captions import TextBank
    >>> bank = TextBank(Latents(np.eye(2), ["a face", "a house"], space="joint"))
    >>> caption_pictures(Latents([[0.2, 0.9]], ["seen"], space="joint"), bank)
    {'seen': 'a house'}
    """
    space: Any = getattr(captioner, "space", None)
    if not isinstance(predicted, Latents):
        raise DataError(
            "captions are made of one kind of latents",
            expected=f"Latents in {space or 'the space of the captioner'}",
            found=sorted(predicted) if isinstance(predicted, dict) else type(predicted).__name__,
            fix="caption_pictures(encoder.predict(test)['clip'], captioner)",
        )
    if space is not None and predicted.space != space:
        raise DataError(
            "the captioner reads another space than was predicted",
            expected=space,
            found=predicted.space,
            fix="embed the texts by the model whose pictures the encoder was fitted on: ba.extract_text(texts, model)",
        )
    texts = list(captioner(predicted.flat()))
    if len(texts) != len(predicted):
        raise DataError("a captioner says one sentence an embedding", expected=len(predicted), found=len(texts))
    return dict(zip(predicted.ids, map(str, texts), strict=True))
