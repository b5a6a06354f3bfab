"""Pictures that nobody saw, with the responses that a voxelwise encoder predicts to them: more pairs to train on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from brainalign.encoders.brain_it.fitting import default_features
from brainalign.encoders.provenance import Provenance
from brainalign.encoders.subjects import Samples, check_same_latents
from brainalign.errors import DataError
from brainalign.learning import Rows
from brainalign.voxelwise.samples import is_latents
from brainalign.voxelwise.universal import UniversalEncoder

__all__ = ["PredictedResponses", "knowing", "unseen_pairs"]


class PredictedResponses:
    """Responses (n_pictures, n_voxels) of one subject as the encoder predicts them, for the rows that are asked for."""

    dtype = np.dtype(np.float32)

    def __init__(self, voxels: UniversalEncoder, features: Any, subject: str) -> None:
        self.voxels, self.features, self.subject = voxels, features, subject
        self.shape = (len(features), len(voxels.scales_[subject][0]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.voxels.predict(np.asarray(self.features[rows]), self.subject)


def unseen_pairs(
    subjects: Mapping[str, Samples], voxels: UniversalEncoder, unseen: Any, features: Any = None, *, whole: bool = False
) -> dict[str, Samples]:
    """Every subject with predicted responses to pictures that none of them saw.

    Parameters
    ----------
    subjects : mapping of str to Samples
        What the encoder was fitted on.
    voxels : UniversalEncoder
        Fitted on the same.
    unseen : Latents, or dict of them
        Of the spaces fitted on.
    features : Latents, optional
        What `voxels` predicts from, for these pictures too; made of `unseen` by default.
    whole : bool
        As in `brainalign.encoders.BrainIT`.

    Returns
    -------
    dict of str to Samples
        Stimuli are numbered from behind those seen.

    Raises
    ------
    DataError
        When latents are of another space, or a picture was seen.
    """
    targets = dict(unseen) if isinstance(unseen, Mapping) else {"latents": unseen}
    first, one = next(iter(targets.values())), next(iter(subjects.values()))
    if not all(map(is_latents, targets.values())) or not one.provenance.spaces:
        raise DataError("unseen pictures are paired by id", expected="Trials, and Latents of both", found=type(first))
    shapes = {name: tuple(values.shape[1:]) for name, values in one.targets.items()}
    check_same_latents(one.provenance, shapes, unseen)
    ids = first.ids
    seen = {each for some in subjects.values() for each in some.provenance.stimulus_ids}
    if both := [each for each in ids if each in seen]:
        raise DataError(f"{len(both)} unseen pictures were seen: {both[:5]}", fix="leave them out of unseen")
    given = default_features(unseen, whole=whole) if features is None else features
    rows, start = given.rows(ids), 1 + max(int(some.stimulus.max()) for some in subjects.values())
    number = np.arange(start, start + len(ids))
    made = {name: Rows(latents.values, latents.rows(ids)) for name, latents in targets.items()}
    return {
        name: replace(
            some,
            responses=PredictedResponses(voxels, Rows(given.values, rows), name),  # type: ignore[arg-type]
            targets=made,
            stimulus=number,
            provenance=replace(some.provenance, stimulus_ids=tuple(sorted(ids))),
            trials=None,
        )
        for name, some in subjects.items()
    }


def knowing(provenance: Provenance, more: Samples) -> Provenance:
    """Of an encoder that has also learnt from unseen pictures."""
    ids = {*provenance.stimulus_ids, *more.provenance.stimulus_ids}
    return replace(provenance, stimulus_ids=tuple(sorted(ids)))
