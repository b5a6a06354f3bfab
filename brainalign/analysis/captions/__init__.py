"""What a voxel likes, in words.

`caption` says it for every unit of a linear voxelwise model; `score_captions` judges it on held-out pictures;
`category_scores`, `region_profiles` and `word_counts` bring it back to the brain.
"""

from brainalign.analysis.captions.bank import nearest
from brainalign.analysis.captions.caption import Captioner, Captions, TextBank, caption, voxel_weights
from brainalign.analysis.captions.manifold import project_to_manifold
from brainalign.analysis.captions.regions import (
    category_names,
    category_scores,
    content_words,
    region_profiles,
    word_counts,
)
from brainalign.analysis.captions.scores import CaptionScores, score_captions

__all__ = [
    "CaptionScores",
    "Captioner",
    "Captions",
    "TextBank",
    "caption",
    "category_names",
    "category_scores",
    "content_words",
    "nearest",
    "project_to_manifold",
    "region_profiles",
    "score_captions",
    "voxel_weights",
    "word_counts",
]
