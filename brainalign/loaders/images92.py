"""92 pictures and the fMRI dissimilarities of 15 people (Cichy et al.; Algonauts 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.errors import DataError, closest
from brainalign.loaders.containers import read_npz
from brainalign.specs import DatasetSpec
from brainalign.stimuli import Stimuli

__all__ = ["SubjectRdms", "load_images92"]


@dataclass(frozen=True)
class SubjectRdms:
    """Dissimilarities that come with a data set in place of responses.

    Parameters
    ----------
    rdms : dict of str to ndarray, shape (n_subjects, n_pairs)
        By region, condensed as `scipy.spatial.distance.squareform` orders them.
    stimulus_ids : tuple of str
        Order of the conditions.
    stimuli : Stimuli
    info : dict
    """

    rdms: dict[str, np.ndarray]
    stimulus_ids: tuple[str, ...]
    stimuli: Stimuli
    info: dict[str, Any] = field(default_factory=dict)


def load_images92(
    spec: DatasetSpec, root: Path, *, subject: Any = None, regions: Sequence[str] | None = None
) -> SubjectRdms:
    """RDMs (1 - Pearson) of EVC and IT of every subject, with the pictures in the same order."""
    known = [str(one) for one in spec.values("roi")]
    unknown = [one for one in regions or [] if one not in known]
    if unknown:
        raise DataError(f"no region {unknown[0]!r}.{closest(unknown[0], known)}", expected=known, found=unknown)
    files = {region: spec.path(root, "rdms", roi=region) for region in regions or known}
    rdms = {region: _condensed(read_npz(file, ["Net_RDM"])["Net_RDM"], file) for region, file in files.items()}
    pictures = spec.paths(root, "image")
    n_pairs = {region: one.shape[1] for region, one in rdms.items()}
    expected = len(pictures) * (len(pictures) - 1) // 2
    if set(n_pairs.values()) != {expected}:
        raise DataError("pictures and RDMs do not match", path=root, expected=f"{expected} pairs", found=n_pairs)
    ids = tuple(file.stem for file in pictures)
    stimuli = Stimuli(ids, images=dict(zip(ids, pictures, strict=True)))
    return SubjectRdms(rdms, ids, stimuli, {"dataset": spec.id, "modality": spec.modality})


def _condensed(matrices: np.ndarray, file: Path) -> np.ndarray:
    matrices = np.asarray(matrices, dtype=np.float64)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise DataError("not RDMs", path=file, expected="(n_subjects, n, n)", found=matrices.shape)
    if not np.allclose(matrices, matrices.transpose(0, 2, 1), atol=1e-6):
        raise DataError("RDMs are not symmetric", path=file)
    rows, columns = np.triu_indices(matrices.shape[1], k=1)
    return matrices[:, rows, columns]
