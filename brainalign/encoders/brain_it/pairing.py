"""Responses of several subjects, and the latents of what they saw, row by row without copying latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.arrays import as_matrix
from brainalign.encoders.provenance import Provenance, pair
from brainalign.errors import DataError
from brainalign.learning import Rows
from brainalign.voxelwise.samples import as_targets, is_trials
from brainalign.voxelwise.universal import latent_rows

__all__ = ["SubjectRows", "by_subject", "check_same_latents", "features_of", "is_mapping", "pair_subjects"]


@dataclass(frozen=True, eq=False)
class SubjectRows:
    """One subject: sample i, of picture ``pictures[i]`` with latents ``targets[name][i]``, gave ``responses[i]``."""

    responses: np.ndarray
    targets: dict[str, Any]
    pictures: np.ndarray
    provenance: Provenance
    trials: Any = None


def is_mapping(X: Any) -> bool:
    """Whether X names subjects; some sparse matrices are mappings too."""
    return isinstance(X, Mapping) and not hasattr(X, "shape")


def by_subject(X: Any) -> dict[str, Any]:
    """Trials by subject: a mapping as it is, Trials of several subjects apart; a lone array is subject "1"."""
    if is_mapping(X):
        if not X or not all(is_trials(one) for one in X.values()):
            raise DataError(
                "several subjects are given as a mapping of subject to Trials",
                expected="{'1': trials, '2': trials}",
                found={name: type(one).__name__ for name, one in X.items()} or "nothing",
                fix="wrap arrays: Trials(responses, table)",
            )
        return {str(name): one.with_trials(subject=str(name)) for name, one in X.items()}
    if not is_trials(X):
        return {"1": X}
    subjects = X.trials["subject"].astype(str)
    if subjects.nunique() == 1:
        return {str(subjects.iloc[0]): X}
    return {name: X.select(trials=(subjects == name).to_numpy()) for name in sorted(subjects.unique())}


def pair_subjects(X: Any, y: Any, groups: Any = None) -> dict[str, SubjectRows]:
    """Join every subject's Trials with Latents by stimulus, or an array with arrays by row.

    Raises
    ------
    DataError
        As `brainalign.encoders.provenance.pair`, and where subjects differ in latents.
    """
    named = by_subject(X)
    targets = dict(y) if isinstance(y, Mapping) else {"latents": y}
    if not all(is_trials(one) for one in named.values()) or not all(hasattr(one, "at") for one in targets.values()):
        responses, arrays, groups, provenance = pair(X, y, groups)  # refuses one with ids and one without
        arrays = {name: _numbers(values, len(responses)) for name, values in arrays.items()}
        pictures = (
            np.arange(len(responses)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        )
        return {"1": SubjectRows(responses, arrays, pictures, provenance)}
    shown = sorted({one for trials in named.values() for one in trials.stimulus_ids})
    made = {}
    for name, trials in named.items():
        ids = trials.stimulus_ids
        rows = {target: Rows(one.values, latent_rows(one, ids)) for target, one in targets.items()}
        provenance = Provenance.of(trials, targets)
        responses = as_matrix(trials.matrix(), name=f"X of subject '{name}'")
        made[name] = SubjectRows(responses, rows, np.searchsorted(shown, ids), provenance, trials)
    return made


def _numbers(values: Any, n_samples: int) -> np.ndarray:
    """Targets as an array of numbers with a row a sample."""
    if values is None:
        return as_targets(values, n_samples=n_samples)
    array = np.asarray(values)
    flat = as_targets(array.reshape(len(array), -1) if array.ndim > 2 else array, n_samples=n_samples)
    return flat.reshape(array.shape)


def features_of(subjects: Mapping[str, SubjectRows], y: Any, features: Any) -> tuple[Any, Any]:
    """What the universal encoder is fitted on: features (by default the first latents), and responses."""
    first = next(iter(subjects.values()))
    if first.trials is not None:
        if features is None:
            features = next(iter(y.values())) if isinstance(y, Mapping) else y
        return features, {name: one.trials for name, one in subjects.items()}
    features = np.asarray(next(iter(first.targets.values())) if features is None else features)
    return features[:, None] if features.ndim == 1 else features, first.responses


def check_same_latents(provenance: Provenance, shapes: Mapping[str, tuple[int, ...]], rows: SubjectRows) -> None:
    """Raise `DataError` where latents have other names, shapes, spaces, models or weights than those fitted on."""
    found = {name: tuple(values.shape[1:]) for name, values in rows.targets.items()}
    if found != dict(shapes):
        raise DataError("other latents than those fitted on", expected=dict(shapes), found=found)
    for name, space in provenance.spaces.items():
        old, new = ({"space": one["space"], **one["meta"]} for one in (space, rows.provenance.spaces[name]))
        for key in ("space", "model", "weights_sha256", "layers"):
            if old.get(key) != new.get(key):
                raise DataError(
                    f"latents '{name}' have another {key} than those fitted on",
                    expected=old.get(key),
                    found=new.get(key),
                    fix="extract them with the model fitted on",
                )
