"""The door of ridge models: what users hand over, checked and joined by stimulus id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.model_selection import KFold
from sklearn.utils.validation import validate_data

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.splits import check_disjoint, folds
from brainalign.voxelwise.backend import is_tensor, namespace, to_numpy

__all__ = [
    "as_features",
    "as_targets",
    "check_new_stimuli",
    "is_latents",
    "is_trials",
    "resolve_folds",
    "stimulus_rows",
    "subjects",
    "unit_names",
]


def is_trials(x: Any) -> bool:
    """Whether `x` holds responses with their tables."""
    return hasattr(x, "matrix") and hasattr(x, "stimulus_ids")


def is_latents(x: Any) -> bool:
    """Whether `x` holds latents by stimulus id."""
    return hasattr(x, "at") and hasattr(x, "ids")


def stimulus_rows(latents: Any, ids: Iterable[Any]) -> np.ndarray:
    """Latents of the given stimuli as vectors, (n, n_features)."""
    rows = latents.at(ids)
    return rows.reshape(len(rows), -1)


def unit_names(trials: Any) -> tuple[str, ...]:
    """What each target is: the unit, and its time where responses are resolved in time."""
    names = trials.units["name"].tolist()
    if trials.times is None:
        return tuple(names)
    return tuple(f"{name} at {time:.6g} s" for name in names for time in trials.times)


def subjects(trials: Any) -> tuple[str, ...]:
    """Whose trials these are."""
    return tuple(sorted(set(trials.trials["subject"].astype(str))))


def check_new_stimuli(
    trials: Any, seen: Iterable[str] | None, units: tuple[str, ...], fitted_subjects: tuple[str, ...] | None
) -> None:
    """Refuse test trials that show a stimulus fitted on, or are of another subject or of other units.

    Parameters
    ----------
    trials : Trials
    seen : iterable of str or None
        Stimuli fitted on; None where a model was fitted on arrays.
    units : tuple of str
        `unit_names` fitted on.
    fitted_subjects : tuple of str or None
        `subjects` fitted on; None where they are not known.

    Raises
    ------
    LeakageError
        When a stimulus was fitted on.
    DataError
        When trials differ, or the model was fitted on arrays.
    """
    if seen is None:
        raise DataError(
            "this model was fitted on arrays, so seen stimuli cannot be told from new ones",
            fix="fit(latents, trials), or use score(X, Y) on samples you have kept apart",
        )
    check_disjoint(seen, trials.stimulus_ids)
    found, whose = unit_names(trials), subjects(trials)
    if found != units or fitted_subjects not in (None, whose):
        raise DataError(
            "test trials do not match the trials fitted on",
            expected=f"subject {fitted_subjects}, {len(units)} units: {list(units[:3])} ...",
            found=f"subject {whose}, {len(found)} units: {list(found[:3])} ...",
            fix="score a model on its own subject and units, in the same order",
        )


def as_features(estimator: Any, X: Any, *, reset: bool) -> Any:
    """scikit-learn's checks of X (shape, names, number of features), and that all is finite.

    Parameters
    ----------
    estimator : BaseEstimator
        Learns (``reset=True``) or compares ``n_features_in_`` and ``feature_names_in_``.
    X : array-like, shape (n_samples, n_features)

    Returns
    -------
    ndarray, or Tensor where X is one
        float32 stays, all else becomes float64; a memory map is not copied, a tensor stays on its device.

    Raises
    ------
    DataError
    """
    if is_tensor(X):
        return _tensor_features(estimator, X, reset=reset)
    if getattr(X, "dtype", None) == np.float16:
        X = X.astype(np.float32)
    try:
        X = validate_data(estimator, X, dtype=[np.float64, np.float32], ensure_all_finite=False, reset=reset)
    except ValueError as error:
        raise _refused(estimator, X, error) from error
    check_finite(X, name="X")
    return X


def _refused(estimator: Any, X: Any, error: ValueError) -> DataError:
    """scikit-learn's refusal in our form."""
    known = getattr(estimator, "n_features_in_", None)
    return DataError(
        str(error),
        expected=f"(n_samples, {'n_features' if known is None else known}) of numbers",
        found=getattr(X, "shape", type(X).__name__),
        fix="give an array of a row a sample" if known is None else "give the features fitted on, in the same order",
    )


def _tensor_features(estimator: Any, X: Any, *, reset: bool) -> Any:
    """The same for a torch tensor, which stays on its device."""
    X = X.detach()
    try:
        validate_data(estimator, np.broadcast_to(np.float32(0), tuple(X.shape)), reset=reset)
    except ValueError as error:
        raise _refused(estimator, X, error) from error
    torch = namespace(X)
    if X.dtype not in (torch.float32, torch.float64):
        X = X.to(torch.float32 if X.dtype in (torch.float16, torch.bfloat16) else torch.float64)
    if not bool(torch.isfinite(X).all()):
        check_finite(to_numpy(X), name="X")
    return X


def as_targets(Y: Any, *, n_samples: int) -> Any:
    """Targets as numbers (n_samples, n_targets), float16 and integers kept as they are; finiteness is checked later.
    A torch tensor stays on its device.

    Raises
    ------
    DataError
        When Y is missing, not numeric, or has another number of samples than X.
    """
    if Y is None:
        raise DataError("requires y to be passed, but the target y is None")
    array = Y.detach() if is_tensor(Y) else np.asarray(Y)
    if not is_tensor(Y) and array.dtype.kind not in "fiub":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"Y is not numeric: {error}", expected="numbers", found=array.dtype) from error
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n_samples or not array.shape[1]:
        raise DataError(
            "X and Y differ in samples",
            expected=f"Y of shape ({n_samples}, n_targets)",
            found=f"shape {tuple(array.shape)}",
            fix="pair them by stimulus: fit(latents, trials) joins by stimulus_id",
        )
    return array


def resolve_folds(cv: Any, n_samples: int, groups: Any = None) -> Any:
    """Turn ``cv`` into folds that keep groups whole.

    Parameters
    ----------
    cv : int, splitter, iterable of (train, test), "loo", "gcv" or None
        A number makes that many folds: contiguous ones, or, with groups, folds that keep each group together.
    n_samples : int
    groups : array-like (n_samples,), optional
        Stimulus of each row.

    Returns
    -------
    list of (train, test), "loo", "gcv" or None

    Raises
    ------
    DataError
        When there are too few samples or groups, or a closed form would predict a repetition from its twin.
    LeakageError
        When a given fold has a group on both sides.

    Examples
    --------
    >>> [test.tolist() for _, test in resolve_folds(2, 4, groups=["a", "b", "a", "b"])]
    [[0, 2], [1, 3]]
    """
    groups = None if groups is None else np.asarray(groups)
    if groups is not None and len(groups) != n_samples:
        raise DataError("groups must label every sample", expected=n_samples, found=len(groups))
    if cv is None:
        return None
    if isinstance(cv, str):
        if groups is not None and len(np.unique(groups.astype(str))) < n_samples:
            raise DataError(
                f"cv='{cv}' would predict a repetition of a stimulus from the other repetitions",
                expected="each stimulus once",
                found=f"{len(np.unique(groups.astype(str)))} stimuli in {n_samples} trials",
                fix="average first, trials.average('stimulus_id'), or take cv=5, which keeps repetitions together",
            )
        return cv
    if isinstance(cv, (int, np.integer)):
        if groups is not None:
            return [(fold.train, fold.test) for fold in folds(groups, n_splits=int(cv))]
        if not 2 <= cv <= n_samples:
            raise DataError("cannot make these folds", expected=f"2 <= cv <= n_samples={n_samples}", found=f"cv={cv}")
        return list(KFold(int(cv)).split(np.empty(n_samples)))
    pairs = cv.split(np.empty((n_samples, 1)), None, groups) if hasattr(cv, "split") else cv
    made = [(np.asarray(train), np.asarray(test)) for train, test in pairs]
    for train, test in made:
        overlap = groups if groups is not None else np.arange(n_samples)
        check_disjoint(overlap[train], overlap[test], what="group" if groups is not None else "sample")
    return made
