"""What a voxel likes, in words.

`caption` says it for every unit of a linear voxelwise model; `score_captions` judges it on held-out pictures;
`category_scores`, `region_profiles` and `word_counts` bring it back to the brain; `subdivide` parts a region by it.
"""

from importlib import import_module
from typing import Any

from brainalign.analysis.captions.bank import nearest
from brainalign.analysis.captions.manifold import project_to_manifold
from brainalign.analysis.captions.pictures import caption_pictures
from brainalign.analysis.captions.regions import (
    category_names,
    category_scores,
    content_words,
    region_profiles,
    word_counts,
)
from brainalign.analysis.captions.scores import CaptionScores, score_captions
from brainalign.analysis.captions.subdivisions import Subdivisions, caption_clusters, subdivide
from brainalign.analysis.captions.units import Captioner, Captions, TextBank, caption, voxel_weights
from brainalign.analysis.captions.words import keyword_captions, keywords

__all__ = [
    "CaptionScores",
    "Captioner",
    "Captions",
    "ChatModel",
    "KeywordComposer",
    "PrefixCaptioner",
    "Subdivisions",
    "TextBank",
    "caption",
    "caption_clusters",
    "caption_pictures",
    "category_names",
    "category_scores",
    "content_words",
    "keyword_captions",
    "keywords",
    "load_language_model",
    "nearest",
    "project_to_manifold",
    "region_profiles",
    "score_captions",
    "subdivide",
    "voxel_weights",
    "word_counts",
]

_LANGUAGE = {"PrefixCaptioner": "prefix"}
_LANGUAGE |= dict.fromkeys(("ChatModel", "KeywordComposer", "load_language_model"), "language")


def __getattr__(name: str) -> Any:
    if name in _LANGUAGE:  # needs torch, which takes seconds to import
        return getattr(import_module(f"brainalign.analysis.captions.{_LANGUAGE[name]}"), name)
    raise AttributeError(f"module 'brainalign.analysis.captions' has no attribute '{name}'")
