"""Sentence encoders: mean-pooled transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as unit_length

from brainalign.latents.network import Network, hub_errors

__all__ = ["SentenceEncoder", "load_sentence"]


class SentenceEncoder(Network):
    """A transformer whose token outputs are averaged over the words of a sentence (padding left out)."""

    libraries = ("torch", "transformers")
    reads_text = True

    def __init__(self, name: str, module: nn.Module, tokenizer: Any, *, info: dict[str, Any], device: str) -> None:
        words = f"tokenised, cut at {info['max_length']} tokens, mean over tokens"
        super().__init__(name, module, preprocessing=words, info=info, device=device)
        self.tokenizer = tokenizer

    @property
    def dimension(self) -> int:
        """Width of an embedding."""
        return int(self.module.config.hidden_size)

    def _encode_text(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.info["max_length"], return_tensors="pt"
        ).to(self.device)
        states = self.module(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return unit_length(mean, dim=-1) if self.info["normalize"] else mean


def load_sentence(rest: str, *, device: str, normalize: bool | None = None) -> SentenceEncoder:
    """A hub id or a local folder; ``normalize`` defaults to what the model's own ``modules.json`` does."""
    return sentence_encoder(f"sentence:{rest}", rest, device=device, normalize=normalize)


def sentence_encoder(name: str, source: str, *, device: str, normalize: bool | None = None) -> SentenceEncoder:
    """Load model and tokenizer from a hub id or folder under the name given."""
    from transformers import AutoModel, AutoTokenizer

    folder = Path(source).expanduser()
    place = {"local_files_only": folder.is_dir()}
    where = str(folder) if folder.is_dir() else source
    form = "sentence:/folder with config.json, model.safetensors and the tokenizer's files"
    with _no_bars(), hub_errors(name, local=form):
        tokenizer = AutoTokenizer.from_pretrained(where, **place)
        module = AutoModel.from_pretrained(where, dtype=torch.float32, **place)
    if normalize is None:
        modules = _read_json(folder / "modules.json") or []
        normalize = any(str(one.get("type", "")).endswith("Normalize") for one in modules)
    limits = (
        (_read_json(folder / "sentence_bert_config.json") or {}).get("max_seq_length"),
        getattr(module.config, "max_position_embeddings", None),
        tokenizer.model_max_length,
    )
    info = {"normalize": normalize, "max_length": min(int(limit) for limit in limits if limit)}
    return SentenceEncoder(name, module, tokenizer, info=info, device=device)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Silence the bar that transformers draws for every load, terminal or not."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None
