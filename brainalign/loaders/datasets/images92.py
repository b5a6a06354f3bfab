"""92 pictures and the fMRI dissimilarities of 15 people (Cichy et al.; Algonauts 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.containers import read_npz
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.datasets.shared import agree, choose
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
    """RDMs (1 - Pearson) of EVC and IT of every subject, or of one, with the pictures in the same order.

    The table of the pictures says what kind each is (human or animal, body or face, or inanimate).
    """
    known = [str(one) for one in spec.values("roi")]
    regions = choose(regions, known, what="region")
    files = {region: spec.path(root, "rdms", roi=region) for region in regions}
    n_subjects, n_stimuli = spec.fact("n_subjects"), spec.fact("n_stimuli")
    rdms = {}
    for region, file in files.items():
        matrices = read_npz(file, ["Net_RDM"])["Net_RDM"]
        agree("not the RDMs of the spec", path=file, expected=(n_subjects, n_stimuli, n_stimuli), found=matrices.shape)
        chosen = slice(None) if subject is None else [spec.subjects.index(subject)]
        rdms[region] = _condensed(matrices, file)[chosen]
    pictures = spec.paths(root, "image")
    agree("pictures and RDMs do not match", path=root, expected=n_stimuli, found=len(pictures))
    if missing := [file for file in pictures if not file.is_file()]:
        raise DataError(
            "a picture is absent", path=missing[0], expected=n_stimuli, found=n_stimuli - len(missing), fix=AGAIN
        )
    ids = tuple(file.stem for file in pictures)
    kinds = np.repeat(spec.fact("kinds"), spec.fact("kind_sizes"))
    agree("kinds and pictures do not match", path=root, expected=n_stimuli, found=len(kinds))
    table = pd.DataFrame({"kind": kinds, "animate": kinds != "inanimate"}, index=list(ids))
    stimuli = Stimuli(ids, images=dict(zip(ids, pictures, strict=True)), table=table)
    return SubjectRdms(rdms, ids, stimuli)


def _condensed(matrices: np.ndarray, file: Path) -> np.ndarray:
    matrices = np.asarray(matrices, dtype=np.float64)
    if not np.allclose(matrices, matrices.transpose(0, 2, 1), atol=1e-6):
        raise DataError("RDMs are not symmetric", path=file, expected="matrix = transpose", found="another", fix=AGAIN)
    rows, columns = np.triu_indices(matrices.shape[1], k=1)
    return matrices[:, rows, columns]
