"""How `BrainIT` trains unless told otherwise, and the configuration of the paper."""

from __future__ import annotations

from typing import Any

__all__ = ["DIFFUSION", "PUBLISHED", "TRAINING", "TRANSFER"]

TRAINING = {"n_epochs": 40, "batch_size": 64, "learning_rate": 2e-3, "schedule": "cosine", "weight_decay": 0.01}
TRANSFER = {"n_epochs": 100}
DIFFUSION = {"n_epochs": 10, "batch_size": 32, "learning_rate": 1e-3}
PUBLISHED: dict[str, Any] = {
    "n_clusters": 128,
    "width": 512,
    "n_self": 5,
    "n_cross": 6,
    "n_heads": 8,
    "embedding": 256,
    "covariance": "full",
    "n_voxels": 15000,
    "n_tokens": [512, 512, 128, 64, 16],
    "voxel_training": {"n_epochs": 30, "batch_size": 32, "learning_rate": 1e-3, "device": "auto"},
    "training": {
        **{"n_epochs": 75, "batch_size": 64, "learning_rate": 5e-4, "warmup": 0.2},
        **{"precision": "bf16", "device": "auto"},
    },
    "diffusion_training": {"n_epochs": 10, "batch_size": 32, "accumulate": 4, "learning_rate": 1e-5},
}
