"""A language model that reads an embedding as the beginning of a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainalign.arrays import sha256_file
from brainalign.cache import atomic_folder, to_json
from brainalign.encoders.weights import read_weights, write_weights
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.latents.network import fill, weights_sha256
from brainalign.learning.options import TrainOptions
from brainalign.learning.randomness import seeded
from brainalign.learning.trainer import train

__all__ = ["PrefixCaptioner"]

FORMAT, CONFIG, WEIGHTS = 1, "config.json", "model.safetensors"
_PARAMS = ("n_prefix", "train_language", "n_beams", "max_tokens", "training")


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

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write ``config.json`` and ``model.safetensors``, whole or not at all.

        The map is kept, and the language model where it was trained; one that was not is known by its hash.

        Raises
        ------
        DataError
            When it is not fitted.
        """
        network = self._fitted()
        kept = network if self.train_language else network.map
        with atomic_folder(folder) as draft:
            write_weights(draft / WEIGHTS, {name: one.cpu().numpy() for name, one in kept.state_dict().items()})
            config = {
                "format": FORMAT,
                "params": {name: getattr(self, name) for name in _PARAMS},
                "n_features": network.n_features,
                "space": self.space,
                "language_sha256": None if self.train_language else weights_sha256(self.model),
                "sha256": sha256_file(draft / WEIGHTS),
            }
            (draft / CONFIG).write_text(to_json(config, indent=1))
        return Path(folder)

    @classmethod
    def load(cls, folder: str | PathLike[str], model: Any, tokenizer: Any) -> PrefixCaptioner:
        """Open what `save` wrote, before the language model that it was fitted with.

        Parameters
        ----------
        folder : path-like
        model, tokenizer : as in the class
            ``load_language_model(...)``; where the language model was trained too, `model` takes its weights.

        Raises
        ------
        DataError
            When a file is missing, damaged, altered or foreign, or `model` is another language model.
        """
        root = Path(folder)
        try:
            config = json.loads((root / CONFIG).read_text())
            if config["format"] != FORMAT:
                raise DataError("another format of captioner", path=root, expected=FORMAT, found=config["format"])
            made = cls(model, tokenizer, **config["params"])
            digest, known = config["sha256"], config["language_sha256"]
            network = _Prefixed(model, int(config["n_features"]), made.n_prefix)
            made.space = config["space"]
        except FileNotFoundError as error:
            raise DataError("no captioner here", path=root, expected=f"{CONFIG} and {WEIGHTS}") from error
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError("not the config of a captioner", path=root / CONFIG, found=str(error)) from error
        if known is not None and (found := weights_sha256(model)) != known:
            raise DataError("the captioner was fitted with another language model", path=root, found=found[:12],
                            expected=f"sha256 {known[:12]}", fix="load the one it was fitted with")  # fmt: skip
        weights = {name: torch.tensor(one) for name, one in read_weights(root / WEIGHTS, digest).items()}
        fill(network if made.train_language else network.map, weights, path=root / WEIGHTS)
        made.network_ = network
        return made

    def _fitted(self) -> _Prefixed:
        if not hasattr(self, "network_"):
            raise DataError("this captioner is not fitted", fix="PrefixCaptioner(...).fit(embeddings, texts)")
        return self.network_

    def __call__(self, embeddings: np.ndarray) -> list[str]:
        network, told = self._fitted(), torch.from_numpy(_unit(np.asarray(embeddings)))
        if told.shape[1] != network.n_features:
            raise DataError("the captioner reads embeddings of another width", expected=network.n_features,
                            found=told.shape[1], fix="embed by the network that it was fitted on")  # fmt: skip
        with torch.inference_mode():
            prefix = network.prefix(told)
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
        self.language, self.n_prefix, self.n_features = language, n_prefix, n_features

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
