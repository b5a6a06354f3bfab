"""Scores on plain arrays: correlation, ceilings, identification, classification, resampling."""

from brainalign.scoring.ceilings import correlation_ceiling, ncsnr, noise_ceiling, rdm_ceilings, split_half
from brainalign.scoring.classification import (
    accuracy,
    auc,
    balanced_accuracy,
    classification_score,
    confusion_matrix,
)
from brainalign.scoring.correlation import mean_over_targets, pearson, r2, spearman
from brainalign.scoring.cosine import similarity
from brainalign.scoring.identification import rank_percentiles, retrieval, two_way_identification
from brainalign.scoring.images import correlation_distance, lpips, pixel_correlation, ssim
from brainalign.scoring.resampling import fdr, max_statistic_p, mean_ci, permutation_p
from brainalign.scoring.score import Score

__all__ = [
    "Score",
    "accuracy",
    "auc",
    "balanced_accuracy",
    "classification_score",
    "confusion_matrix",
    "correlation_ceiling",
    "correlation_distance",
    "fdr",
    "lpips",
    "max_statistic_p",
    "mean_ci",
    "mean_over_targets",
    "ncsnr",
    "noise_ceiling",
    "pearson",
    "permutation_p",
    "pixel_correlation",
    "r2",
    "rank_percentiles",
    "rdm_ceilings",
    "retrieval",
    "similarity",
    "spearman",
    "split_half",
    "ssim",
    "two_way_identification",
]
