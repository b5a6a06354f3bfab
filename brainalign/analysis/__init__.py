"""Analyses of aligned data: decoding, geometries (`rsa`), relative representations and concepts (`factorisation`)."""

from brainalign.analysis import factorisation, relative, rsa
from brainalign.analysis.decoding import (
    DecodingResult,
    TimeDecodingResult,
    decode,
    decode_over_time,
    zero_shot_decode,
)

__all__ = [
    "DecodingResult",
    "TimeDecodingResult",
    "decode",
    "decode_over_time",
    "factorisation",
    "relative",
    "rsa",
    "zero_shot_decode",
]
