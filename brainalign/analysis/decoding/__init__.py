"""Decoding: what class a trial belongs to, when that can be read out, and classes never trained on."""

from brainalign.analysis.decoding.classify import ESTIMATORS, DecodingResult, decode
from brainalign.analysis.decoding.imagery import ImageryResult, decode_imagery
from brainalign.analysis.decoding.over_time import TimeDecodingResult, decode_over_time
from brainalign.analysis.decoding.zero_shot import zero_shot_decode

__all__ = [
    "ESTIMATORS",
    "DecodingResult",
    "ImageryResult",
    "TimeDecodingResult",
    "decode",
    "decode_imagery",
    "decode_over_time",
    "zero_shot_decode",
]
