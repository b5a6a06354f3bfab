"""Analyses of aligned data: decoding, geometries (`rsa`), relative representations, concepts (`factorisation`), and
what a voxel likes, in words (`captions`) and pictures (`synthesis`)."""

from typing import Any

from brainalign.analysis import captions, factorisation, relative, rsa, synthesis
from brainalign.analysis.ablation import AblationResult, ablate, retrain_without, silence
from brainalign.analysis.captions import caption
from brainalign.analysis.decoding import (
    DecodingResult,
    ImageryResult,
    TimeDecodingResult,
    decode,
    decode_imagery,
    decode_over_time,
    zero_shot_decode,
)
from brainalign.analysis.dissociation import DecodingTasks, RegionLosses, ablate_regions
from brainalign.analysis.shared_axes import SharedAxes, shared_axes

__all__ = [
    "AblationResult",
    "DecodingResult",
    "DecodingTasks",
    "ImageryResult",
    "RegionLosses",
    "SharedAxes",
    "TimeDecodingResult",
    "ablate",
    "ablate_regions",
    "caption",
    "captions",
    "decode",
    "decode_imagery",
    "decode_over_time",
    "factorisation",
    "relative",
    "retrain_without",
    "rsa",
    "shared_axes",
    "silence",
    "synthesis",
    "synthesize",
    "zero_shot_decode",
]


def __getattr__(name: str) -> Any:
    if name == "synthesize":  # needs torch, which takes seconds to import
        return synthesis.synthesize
    raise AttributeError(f"module 'brainalign.analysis' has no attribute '{name}'")
