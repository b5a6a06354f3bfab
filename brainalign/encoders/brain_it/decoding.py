"""What `BrainIT` predicts from responses that were checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from brainalign.arrays import resolve_device, row_blocks
from brainalign.encoders.subjects import split_subjects
from brainalign.errors import DataError

__all__ = ["decode", "subject_of"]


def decode(encoder: Any, name: str, X: np.ndarray, *, subject: str, device: str) -> np.ndarray:
    """Latents (n, \\*shape) of one space from responses (n, n_voxels) of a subject, in their precision, in blocks."""
    number, target = encoder.subjects_.index(subject), encoder.targets_[name]
    network = encoder.network_
    branch, clusters = network.branch(name), network.clusters(number)
    mean, scale = encoder.voxels_.scales_[subject]
    n_tokens, n_channels = target.size
    made = np.empty((len(X), n_tokens, n_channels), dtype=X.dtype)
    place = resolve_device(device)
    network.to(place).eval()
    try:
        with torch.inference_mode():
            for rows in row_blocks(len(X), 16 * n_tokens * max(encoder.width, n_channels)):
                scaled = torch.from_numpy(((X[rows] - mean) / scale).astype(np.float32)).to(place)
                tokens = branch.tokens_from(branch.clusters_of(scaled, number, clusters.to(place)))
                made[rows] = (tokens * branch.spread + branch.mean).cpu().numpy()
    finally:
        network.to("cpu")
    return target.from_tokens(made)


def subject_of(encoder: Any, trials: Any) -> str:
    """Whose trials these are; `DataError` where they are of several, of none that is known, or of other voxels."""
    (subject, *others) = split_subjects(trials)
    if others:
        raise DataError("predict one subject at a time", fix="trials.select(\"subject == '1'\")")
    if encoder.provenance_.units and subject not in encoder.provenances_:
        raise DataError(
            f"this encoder was not fitted on subject ['{subject}']",
            expected=f"subjects among {list(encoder.subjects_)}",
            found=subject,
            fix="transfer(trials, latents) lets a new subject join",
        )
    subject = subject if subject in encoder.provenances_ else encoder.subjects_[0]
    encoder.provenances_[subject].check_same_brain(trials)
    return subject
