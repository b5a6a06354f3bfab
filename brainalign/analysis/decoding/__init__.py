"""Decoding: what class a trial belongs to, when that can be read out, and classes never trained on."""

from brainalign.analysis.decoding.attention import AttentionResult, decode_attention, reconstruct_stimulus
from brainalign.analysis.decoding.chosen import ChosenClassifier
from brainalign.analysis.decoding.classify import ESTIMATORS, DecodingResult, decode
from brainalign.analysis.decoding.contributions import (
    as_evoked,
    decode_latents_over_time,
    haufe_patterns,
    occlusion,
)
from brainalign.analysis.decoding.gallery import concept_centres, score_subjects, zero_shot_pictures
from brainalign.analysis.decoding.imagery import ImageryResult, decode_imagery
from brainalign.analysis.decoding.over_time import TimeDecodingResult, decode_over_time
from brainalign.analysis.decoding.prompting import attention_prompt
from brainalign.analysis.decoding.speaker_decoder import Intention, SpeakerDecoder
from brainalign.analysis.decoding.speakers import SpeakerResult, decode_speakers
from brainalign.analysis.decoding.voices import voice_features
from brainalign.analysis.decoding.zero_shot import zero_shot_decode

__all__ = [
    "ESTIMATORS",
    "AttentionResult",
    "ChosenClassifier",
    "DecodingResult",
    "ImageryResult",
    "Intention",
    "SpeakerDecoder",
    "SpeakerResult",
    "TimeDecodingResult",
    "as_evoked",
    "attention_prompt",
    "concept_centres",
    "decode",
    "decode_attention",
    "decode_imagery",
    "decode_latents_over_time",
    "decode_over_time",
    "decode_speakers",
    "haufe_patterns",
    "occlusion",
    "reconstruct_stimulus",
    "score_subjects",
    "voice_features",
    "zero_shot_decode",
    "zero_shot_pictures",
]
