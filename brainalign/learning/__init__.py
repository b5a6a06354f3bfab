"""Learning: the one trainer of all networks, with checkpoints that survive a kill. torch is imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from brainalign.learning.options import TrainOptions

_HOMES = {
    "Batch": "batches",
    "NeuralClassifier": "classifier",
    "Rows": "batches",
    "TrainResult": "trainer",
    "WholeBatchLoss": "whole_batch",
    "seeded": "randomness",
    "train": "trainer",
}

__all__ = ["Batch", "NeuralClassifier", "Rows", "TrainOptions", "TrainResult", "WholeBatchLoss", "seeded", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"brainalign.learning.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'brainalign.learning' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
