"""Representational dissimilarity matrices, condensed, for any number of leading batch axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import as_floats, as_like, check_numbers, finite, namespace, to_numpy
from brainalign.analysis.rsa.condensed import (
    complete_conditions,
    from_square,
    n_conditions,
    select_conditions,
    to_square,
    triangle,
)
from brainalign.analysis.rsa.distances import crossvalidated, distances, means_by_code, pair_distances
from brainalign.analysis.rsa.missing import available_means, crossvalidated_available, pairwise_distances
from brainalign.arrays import check_finite
from brainalign.errors import DataError, closest

__all__ = [
    "METRICS",
    "complete_conditions",
    "from_square",
    "n_conditions",
    "prepare_patterns",
    "rdm",
    "select_conditions",
    "to_square",
    "triangle",
    "whiten",
]

METRICS = (
    "correlation",
    "euclidean",
    "sqeuclidean",
    "cosine",
    "mahalanobis",
    "crossnobis",
    "poisson",
    "poisson_cv",
)
CROSSVALIDATED = ("crossnobis", "poisson_cv")


def rdm(
    X: Any,
    *,
    metric: str = "correlation",
    labels: ArrayLike | str | None = None,
    groups: ArrayLike | str | None = None,
    noise_precision: ArrayLike | None = None,
    nan: str = "raise",
) -> Any:
    """Distances between all pairs of patterns.

    Parameters
    ----------
    X : array or tensor (..., n_patterns, n_features), Trials or Latents
        Time-resolved Trials give one RDM per time point. A tensor gives a tensor on its device.
    metric : str
        - "correlation", "cosine", "euclidean", "sqeuclidean": as `scipy.spatial.distance.pdist` has them.
        - "mahalanobis": squared Mahalanobis distance per feature, ``(a - b)' P (a - b) / n_features``.
        - "crossnobis": the same, cross-validated over `groups`; unbiased, so zero on average and negative half of
          the time where patterns do not differ (Walther et al. 2016, NeuroImage 137). All pairs of groups come in
          closed form, ``K = (S S' - sum_f X_f X_f') / (F (F - 1))`` with ``S = sum_f X_f``.
        - "poisson": symmetrised Kullback-Leibler divergence of Poisson rates per feature,
          ``(a - b) (log a - log b)``, under a gamma prior of rate 1 with the weight of 0.1 observations.
        - "poisson_cv": the same with rates and log rates from different groups, averaged over all ordered pairs of
          groups. rsatoolbox 0.3.2 returns the last of its folds instead of their mean.
    labels : array (n_patterns,) or column of Trials, optional
        Condition of each pattern: patterns of a condition are averaged first. Conditions are in the order of
        ``np.unique(labels)``.
    groups : array (n_patterns,) or column of Trials, optional
        Independent partitions (runs) for the cross-validated metrics, each of which holds every condition.
    noise_precision : array (..., n_features, n_features) or (n_features,), optional
        Inverse noise covariance P, or its diagonal, for "mahalanobis" and "crossnobis"; identity by default. Leading
        axes match those of X (one matrix per time point, say). See `noise_precision` of this room. For "crossnobis"
        it should not come from residuals of the patterns themselves: see `whitened_crossnobis`.
    nan : {"raise", "pairwise"}
        "pairwise" compares every two conditions over the channels, and the pairs of groups, in which both are there;
        sums are scaled up to all channels, as scikit-learn's ``nan_euclidean_distances`` has it. Then a group may
        lack a condition. Pairs with nothing in common are NaN.

    Returns
    -------
    array or tensor (..., n_pairs)
        Upper triangle, row by row; float32 for float32 patterns. Pairs with a pattern that has no direction
        (constant, for a correlation) are NaN.

    Raises
    ------
    DataError
        For an unknown metric, an option the metric does not take, NaN, or an empty cell of condition and group.

    Examples
    --------
    >>> rdm([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]], metric="euclidean")
    array([5., 8., 5.])
    """
    _check_options(metric, groups is not None, noise_precision is not None, nan)
    patterns, labels, groups = prepare_patterns(X, labels, groups, nan=nan)
    complete = nan == "raise" or finite(patterns)
    full = None
    if noise_precision is not None and metric == "mahalanobis" and complete:
        full = _full_precision(patterns, noise_precision)
    if noise_precision is not None and full is None:
        patterns = whiten(patterns, noise_precision)
    if metric in CROSSVALIDATED:
        if labels is None or groups is None:
            raise DataError(f"{metric} needs labels and groups", fix="pass the condition and run of every pattern")
        return _over_groups(patterns, labels, groups, metric, nan)
    if labels is not None:
        names, codes = np.unique(labels, return_inverse=True)
        patterns = means_by_code(patterns, codes) if complete else available_means(patterns, codes, len(names))
        if len(names) < 2:
            raise DataError("an RDM compares conditions", expected="at least 2", found=names.tolist())
    if full is not None:
        return _mahalanobis(patterns, full)
    return distances(patterns, metric) if complete else pairwise_distances(patterns, metric)


def _check_options(metric: str, has_groups: bool, has_noise: bool, nan: str) -> None:
    if metric not in METRICS:
        raise DataError(f"no RDM metric {metric!r}.{closest(metric, METRICS)}", expected=METRICS)
    if has_noise and metric not in ("mahalanobis", "crossnobis"):
        raise DataError(f"metric {metric!r} takes no noise_precision", fix="metric='mahalanobis' or 'crossnobis'")
    if has_groups and metric not in CROSSVALIDATED:
        raise DataError(f"metric {metric!r} takes no groups", fix="metric='crossnobis', or leave groups out")
    if nan not in ("raise", "pairwise"):
        raise DataError(f"nan={nan!r}", expected="'raise' or 'pairwise'")


def prepare_patterns(
    X: Any, labels: Any = None, groups: Any = None, *, nan: str = "raise"
) -> tuple[Any, NDArray | None, NDArray | None]:
    """Floating-point patterns (..., n_patterns, n_features), and labels and groups as arrays.

    `X` is an array or tensor, Trials (time first when time-resolved) or Latents; keys are arrays or columns of Trials.
    """
    table = getattr(X, "trials", None)
    if hasattr(X, "matrix") and table is not None:
        values = np.moveaxis(X.responses, -1, 0) if X.responses.ndim == 3 else X.responses
    else:
        values = X.flat() if hasattr(X, "flat") and callable(X.flat) else X
    values = as_floats(values)
    if values.ndim < 2 or values.shape[-2] < 2 or values.shape[-1] < 1:
        raise DataError(
            "an RDM compares patterns", expected="(..., n_patterns >= 2, n_features)", found=tuple(values.shape)
        )
    if nan == "raise" and not finite(values):
        check_finite(to_numpy(values), name="patterns")
    if nan == "pairwise" and bool(namespace(values).isinf(values).any()):
        raise DataError("patterns contain infinity", fix="set what is missing to NaN")
    keys = [_key(name, key, table, values.shape[-2]) for name, key in (("labels", labels), ("groups", groups))]
    return values, keys[0], keys[1]


def _key(name: str, key: Any, table: Any, n_patterns: int) -> NDArray | None:
    if isinstance(key, str):
        if table is None or key not in table:
            raise DataError(f"no column {key!r} for {name}", fix=f"pass {name} as an array, or X as Trials")
        key = table[key]
    if key is None:
        return None
    key = to_numpy(key)
    if key.shape != (n_patterns,):
        raise DataError(f"{name} must label every pattern", expected=(n_patterns,), found=key.shape)
    return key


def _full_precision(patterns: Any, precision: Any) -> Any:
    """The noise precision as floats like the patterns if it is a full matrix, else None."""
    precision = as_like(precision, patterns)
    if precision.ndim < 2 or tuple(precision.shape[-2:]) != (patterns.shape[-1],) * 2:
        return None
    check_numbers(precision, name="noise_precision")
    return precision


def _mahalanobis(patterns: Any, precision: Any) -> Any:
    """``(a - b)' P (a - b) / n_features`` by one product with P, without the Cholesky factor that whitening takes."""
    xp = namespace(patterns)
    centred = patterns - patterns.mean(-2)[..., None, :]
    kernel = (centred @ precision) @ centred.swapaxes(-1, -2)
    squared = pair_distances(kernel)
    rounding = 1e3 * xp.finfo(kernel.dtype).eps * float(xp.abs(kernel).max())
    if bool((squared < -rounding).any()):
        raise DataError("noise_precision is not positive definite", fix="shrink the covariance")
    return xp.clip(squared, 0, None) / patterns.shape[-1]


def whiten(patterns: Any, precision: Any) -> Any:
    """Patterns in a basis in which the noise is white: squared distances become Mahalanobis distances."""
    xp, n_features = namespace(patterns), patterns.shape[-1]
    precision = as_like(precision, patterns)
    check_numbers(precision, name="noise_precision")
    if tuple(precision.shape) == (n_features,) and bool((precision >= 0).all()):
        return patterns * xp.sqrt(precision)
    if precision.ndim < 2 or tuple(precision.shape[-2:]) != (n_features, n_features):
        raise DataError("noise_precision does not fit", expected=(n_features, n_features), found=tuple(precision.shape))
    if not finite(patterns):
        raise DataError(
            "a full noise_precision mixes channels, some of which are missing",
            fix="pass its diagonal, or drop the incomplete channels",
        )
    try:
        return patterns @ xp.linalg.cholesky(precision)
    except (np.linalg.LinAlgError, RuntimeError) as error:  # torch's own LinAlgError is a RuntimeError
        raise DataError("noise_precision is not positive definite", fix="shrink the covariance") from error


def _over_groups(patterns: Any, labels: NDArray, groups: NDArray, metric: str, nan: str) -> Any:
    names, condition = np.unique(labels, return_inverse=True)
    group_names, group = np.unique(groups, return_inverse=True)
    n_groups = len(group_names)
    if n_groups < 2:
        raise DataError(f"{metric} cross-validates over groups", expected="at least 2 groups", found=n_groups)
    if len(names) < 2:
        raise DataError("an RDM compares conditions", expected="at least 2", found=names.tolist())
    counts = np.zeros((n_groups, len(names)), dtype=int)
    np.add.at(counts, (group, condition), 1)
    rows = [np.flatnonzero(group == one) for one in range(n_groups)]
    if nan == "pairwise" and not (counts.all() and finite(patterns)):
        available = [available_means(patterns[..., r, :], condition[r], len(names)) for r in rows]
        return crossvalidated_available(available, metric)
    if not counts.all():
        empty = [(str(names[c]), str(group_names[g])) for g, c in np.argwhere(counts == 0)]
        raise DataError(
            f"{len(empty)} empty cells of (condition, group): {empty[:5]}",
            expected="every condition in every group",
            fix="drop these conditions or groups, merge groups, or compare what is there: rdm(..., nan='pairwise')",
        )
    return crossvalidated(
        lambda one: means_by_code(patterns[..., rows[one], :], condition[rows[one]]), n_groups, metric
    )
