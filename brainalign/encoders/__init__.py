"""Encoders: brain responses to latents. Each lives in its own file and is imported on first use."""

from __future__ import annotations

from typing import Any

from brainalign.encoders.base import Encoder, load_encoder
from brainalign.encoders.registry import ENCODERS, encoder_class, register_encoder

__all__ = [
    "ATM",
    "WAVE",
    "BrainIT",
    "BrainMAE",
    "DuIN",
    "EEGNet",
    "Encoder",
    "LinearEncoder",
    "MindEye",
    "MindEye2",
    "NeuroBOLT",
    "Neuroformer",
    "ShallowConvNet",
    "TSConv",
    "UnifiedEncoder",
    "load_encoder",
    "register_encoder",
    "roi_optimal",
]


def __getattr__(name: str) -> Any:
    if name == "roi_optimal":
        from brainalign.encoders.optimal import roi_optimal

        return roi_optimal
    if name in ENCODERS:
        return encoder_class(name)
    raise AttributeError(f"module 'brainalign.encoders' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *ENCODERS})
