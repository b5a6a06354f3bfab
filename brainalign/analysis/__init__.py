"""Analyses of aligned data: decoding, geometries (`rsa`), relative representations, concepts (`factorisation`), and
what a voxel likes, in words (`captions`)."""

from brainalign.analysis import captions, factorisation, relative, rsa
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

__all__ = [
    "AblationResult",
    "DecodingResult",
    "ImageryResult",
    "TimeDecodingResult",
    "ablate",
    "caption",
    "captions",
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
