"""Scores on plain arrays: correlation, ceilings, identification, classification, resampling."""

from brainalign.scoring.ceilings import correlation_ceiling, ncsnr, noise_ceiling, rdm_ceilings, split_half
from brainalign.scoring.correlation import mean_over_targets, pearson, r2, spearman
from brainalign.scoring.score import Score

__all__ = [
    "Score",
    "correlation_ceiling",
    "mean_over_targets",
    "ncsnr",
    "noise_ceiling",
    "pearson",
    "r2",
    "rdm_ceilings",
    "spearman",
    "split_half",
]
