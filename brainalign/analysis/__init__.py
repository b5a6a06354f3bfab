"""Analyses of aligned data: decoding, and the geometry of representations (`rsa`)."""

from brainalign.analysis import rsa
from brainalign.analysis.decoding import (
    DecodingResult,
    TimeDecodingResult,
    decode,
    decode_over_time,
    zero_shot_decode,
)

__all__ = ["DecodingResult", "TimeDecodingResult", "decode", "decode_over_time", "rsa", "zero_shot_decode"]
