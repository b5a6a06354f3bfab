"""Analyses of aligned data: decoding, geometries (`rsa`), relative representations and concepts (`factorisation`)."""

from brainalign.analysis import factorisation, relative, rsa
from brainalign.analysis.ablation import AblationResult, ablate, retrain_without, silence
from brainalign.analysis.decoding import (
    DecodingResult,
    ImageryResult,
    TimeDecodingResult,
    decode,
    decode_imagery,
    decode_over_time,
    zero_shot_decode,
)

__all__ = [
    "AblationResult",
    "DecodingResult",
    "ImageryResult",
    "TimeDecodingResult",
    "ablate",
    "decode",
    "decode_imagery",
    "decode_over_time",
    "factorisation",
    "relative",
    "retrain_without",
    "rsa",
    "silence",
    "zero_shot_decode",
]
