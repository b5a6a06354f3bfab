"""Responses of one or several subjects and the latents of what they saw, sample by sample, as networks take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from brainalign.arrays import as_matrix, check_finite, row_blocks
from brainalign.encoders.provenance import Provenance, pair
from brainalign.errors import DataError
from brainalign.learning import Rows
from brainalign.learning.stacked import Scaled, Stacked
from brainalign.voxelwise.samples import as_targets, is_latents, is_trials

__all__ = [
    "Samples",
    "centre_and_spread",
    "check_same_latents",
    "pair_samples",
    "several",
    "split_subjects",
    "stacked",
    "with_views",
]

ALONE = "1"
"""Name of the subject of a bare array."""


@dataclass(frozen=True, eq=False)
class Samples:
    """One subject: sample i shows the stimulus numbered ``stimulus[i]``; its latents are row i of every target.

    `responses` may be anything with a length, a shape and rows by integer array. `views` are targets once more, each
    of another rendering of the same stimuli.
    """

    responses: Any
    targets: dict[str, Any]
    stimulus: np.ndarray
    provenance: Provenance
    trials: Any = None
    views: tuple[dict[str, Any], ...] = ()


def several(X: Any) -> bool:
    """Whether `X` is a mapping of subjects (sparse matrices can be mappings too)."""
    return isinstance(X, Mapping) and not hasattr(X, "shape")


def split_subjects(X: Any) -> dict[str, Any]:
    """Trials by subject; a mapping is renamed by its keys, and a bare array is a subject named "1".

    Raises
    ------
    DataError
        When a mapping holds anything but Trials.
    """
    if several(X):
        if not X or not all(is_trials(one) for one in X.values()):
            raise DataError(
                "several subjects are given as a mapping of subject to Trials",
                expected="{'1': trials, '2': trials}",
                found={name: type(one).__name__ for name, one in X.items()} or "nothing",
                fix="wrap arrays: Trials(responses, table)",
            )
        return {str(name): one.with_trials(subject=str(name)) for name, one in X.items()}
    if not is_trials(X):
        return {ALONE: X}
    subjects = X.trials["subject"].astype(str)
    if subjects.nunique() == 1:
        return {str(subjects.iloc[0]): X}
    return {name: X.select((subjects == name).to_numpy()) for name in sorted(subjects.unique())}


def pair_samples(X: Any, y: Any, groups: Any = None, *, flat: bool = True) -> dict[str, Samples]:
    """Join every subject's Trials with Latents by stimulus, or one array with arrays by row.

    Parameters
    ----------
    X : Trials, mapping of subject to Trials, or array (n_samples, n_features)
    y : Latents, array (n_samples, ...), or a dict of either
    groups : array (n_samples,), optional
        Which samples of a single subject show the same stimulus; known for Trials.
    flat : bool
        Targets as (n_samples, n_flat); in the shape of the latents otherwise.

    Returns
    -------
    dict of str to Samples
        Targets are read when asked for.

    Raises
    ------
    DataError
    """
    named = split_subjects(X)
    targets = dict(y) if isinstance(y, Mapping) else {"latents": y}
    by_id = all(is_trials(one) for one in named.values()) and targets and all(map(is_latents, targets.values()))
    if not by_id:
        responses, arrays, groups, provenance = pair(X, y, groups)  # refuses one with ids and one without
        made = {name: _numbers(values, len(responses), flat) for name, values in arrays.items()}
        labels = np.arange(len(responses)) if groups is None else np.asarray(groups)
        return {ALONE: Samples(responses, made, _numbered(labels, len(responses)), provenance)}
    if groups is not None and len(named) > 1:
        raise DataError("groups are for a single subject", found=f"{len(named)} subjects", fix="leave groups out")
    shown = sorted({one for trials in named.values() for one in trials.stimulus_ids})
    number = {one: row for row, one in enumerate(shown)}
    paired = {}
    for name, trials in named.items():
        ids = trials.stimulus_ids
        rows = {
            target: Rows(one.values.reshape(len(one), -1) if flat else one.values, one.rows(ids))
            for target, one in targets.items()
        }
        stimulus = np.array([number[one] for one in ids])
        if groups is not None:
            stimulus = _numbered(np.asarray(groups), len(ids))
        responses = trials.matrix()
        if len(named) > 1:  # a single one is checked by scikit-learn's rules
            responses = as_matrix(responses, name=f"X of subject '{name}'", min_rows=2)
        paired[name] = Samples(responses, rows, stimulus, Provenance.of(trials, targets), trials)
    return paired


def with_views(
    samples: Mapping[str, Samples], X: Any, views: Sequence[Any], groups: Any, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Samples]:
    """Samples with further renderings of what was seen.

    Parameters
    ----------
    samples : mapping of str to Samples
        Of `X`.
    X, groups : as in `pair_samples`
    views : sequence of Latents, or of dicts of them
        As the targets, of augmented pictures under the ids of the plain ones.
    shapes : mapping of str to tuple
        Of the targets fitted on.

    Raises
    ------
    DataError
        When a view is of another space, or lacks a stimulus.
    """
    one = next(iter(samples.values()))
    if views and not one.provenance.spaces:
        raise DataError("views are paired by id", expected="Trials, and Latents of every view")
    for view in views:
        check_same_latents(one.provenance, shapes, view)
    paired = [pair_samples(X, view, groups) for view in views]
    return {name: replace(one, views=tuple(view[name].targets for view in paired)) for name, one in samples.items()}


def _numbered(labels: np.ndarray, n_samples: int) -> np.ndarray:
    if len(labels) != n_samples:
        raise DataError("groups must label every sample", expected=n_samples, found=len(labels))
    return np.unique(labels.astype(str), return_inverse=True)[1]


def _numbers(values: Any, n_samples: int, flat: bool) -> np.ndarray:
    """Targets as finite numbers with a row a sample."""
    shape: tuple[int, ...] = (n_samples, -1)
    if values is not None:
        values = np.asarray(values)
        shape = shape if flat else values.shape
        values = values.reshape(len(values), -1) if values.ndim > 2 else values
    made = as_targets(values, n_samples=n_samples)
    check_finite(made, name="Y")
    return made.reshape(shape)


def centre_and_spread(rows: Any, name: str) -> tuple[np.ndarray, float]:
    """Mean of each column, (n_flat,), and one SD for all, so that directions stay as they are.

    Raises
    ------
    DataError
        When a value is not finite.
    """
    blocks = list(row_blocks(len(rows), 8 * rows.shape[1]))
    mean = sum(np.asarray(rows[one], dtype=np.float64).sum(axis=0) for one in blocks) / len(rows)
    if not np.isfinite(mean).all():
        raise DataError(f"target '{name}' contains NaN or infinity", expected="finite numbers")
    square = sum(np.square(np.asarray(rows[one], dtype=np.float64) - mean).sum() for one in blocks)
    spread = float(np.sqrt(square / (len(rows) * rows.shape[1])))
    return mean, spread if spread > 1e-9 * float(np.abs(mean).max()) and spread > 0 else 1.0


def check_same_latents(fitted: Provenance, shapes: Mapping[str, tuple[int, ...]], y: Any) -> None:
    """Raise `DataError` where latents have other names, shapes, spaces, models or weights than those fitted on."""
    targets = dict(y) if isinstance(y, Mapping) else {"latents": y}
    found = {name: tuple(one.shape[1:]) for name, one in targets.items()}
    if found != dict(shapes):
        raise DataError("other latents than those fitted on", expected=dict(shapes), found=found)
    fitted.check_same_space(targets)


def stacked(
    samples: Mapping[str, Samples],
    numbers: Mapping[str, int],
    scales: Mapping[str, tuple[np.ndarray, np.ndarray]],
    target_scales: Mapping[str, tuple[np.ndarray, float]],
) -> dict[str, Any]:
    """All samples as the trainer takes them: x, subject, stimulus, and scaled target/NAME and view0/NAME, view1/..."""
    parts = list(samples.items())
    made: dict[str, Any] = {"x": Stacked([Scaled(one.responses, *scales[name]) for name, one in parts])}
    made["subject"] = np.concatenate([np.full(len(one.responses), numbers[name]) for name, one in parts])
    made["stimulus"] = np.concatenate([one.stimulus for _, one in parts])
    for target, scale in target_scales.items():
        made[f"target/{target}"] = Scaled(Stacked([one.targets[target] for _, one in parts]), *scale)
        for number in range(len(parts[0][1].views)):
            made[f"view{number}/{target}"] = Scaled(Stacked([one.views[number][target] for _, one in parts]), *scale)
    return made
