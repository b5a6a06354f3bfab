"""Crossnobis distances whitened by noise that no pair of runs has a part in.

A noise covariance from what conditions leave over in *all* runs knows the very differences that the runs are to agree
on. With Gaussian noise the distance of two equal conditions is then not zero on average, but
``2 / n_groups * E[tr(P (S - R))] / n_features``, where S is the noise covariance, R that of the residuals and P the
inverse of the shrunk R: the fewer the residuals for the features, the larger.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import to_numpy
from brainalign.analysis.rsa.condensed import triangle
from brainalign.analysis.rsa.noise import condition_residuals, noise_precision
from brainalign.analysis.rsa.rdm import prepare_patterns
from brainalign.errors import DataError

__all__ = ["whitened_crossnobis"]

# Below this share of a feature's variance, what shrinkage adds is lost to rounding.
_TINY = 1e-6


def whitened_crossnobis(
    X: ArrayLike, *, labels: ArrayLike | str, groups: ArrayLike | str, shrinkage: str | float | None = "diagonal"
) -> NDArray[np.float64]:
    """Crossnobis distances with a noise covariance that is independent of the patterns compared.

    Where every condition has two trials or more in every group, noise is what trials differ by within condition and
    group, which says nothing about the means. Otherwise every pair of groups is whitened by the residuals about the
    condition means of the *other* groups. Distances of equal conditions are zero on average either way.

    Parameters
    ----------
    X : array (n_trials, n_features), or Trials without time
    labels, groups : array (n_trials,), or columns of Trials
        Condition and independent partition (run) of every trial.
    shrinkage : {"diagonal", "identity"}, float or None
        As `noise_covariance` takes it.

    Returns
    -------
    array (n_pairs,)
        Conditions in the order of ``np.unique(labels)``; per feature, as ``rdm(metric="crossnobis")``.

    Raises
    ------
    DataError
        For an empty cell of condition and group, a singular covariance, or fewer than 4 groups without trials
        repeated within a group.

    Notes
    -----
    A shrunk covariance is a diagonal and the product of few residuals, so that its inverse is applied to the patterns
    by the Woodbury identity: no matrix of features by features is made.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(24, 30)) + np.tile(np.repeat([[0.0], [0.0], [3.0]], 30, axis=1), (8, 1))
    >>> whitened_crossnobis(X, labels=np.tile([0, 1, 2], 8), groups=np.repeat(np.arange(8), 3)) > 1
    array([False,  True,  True])
    """
    patterns, given_labels, given_groups = prepare_patterns(X, labels, groups)
    x = np.asarray(to_numpy(patterns), dtype=np.float64)
    if x.ndim != 2 or given_labels is None or given_groups is None:
        raise DataError("crossnobis compares labelled patterns", expected="(n_trials, n_features)", found=x.shape)
    conditions, condition = np.unique(given_labels, return_inverse=True)
    names, group = np.unique(given_groups, return_inverse=True)
    n, n_groups = len(conditions), len(names)
    counts = np.bincount(group * n + condition, minlength=n_groups * n).reshape(n_groups, n)
    within = bool((counts > 1).all())
    if n < 2 or not counts.all() or n_groups < (2 if within else 4):
        empty = [(str(conditions[c]), str(names[g])) for g, c in np.argwhere(counts == 0)][:5]
        raise DataError(
            "noise cannot be told apart from the patterns of two groups",
            expected="every condition in each of 4 or more groups, or twice in each of 2 or more",
            found=f"{n} conditions, {n_groups} groups, empty cells {empty}",
            fix="leave the noise covariance out, or pass one from elsewhere: rdm(..., noise_precision=...)",
        )
    means = np.stack([_means(x[group == one], condition[group == one], n) for one in range(n_groups)])
    everywhere = condition_residuals(x, group * n + condition) if within else None
    total = np.zeros(n * (n - 1) // 2)
    for first, second in combinations(range(n_groups), 2):
        others = (group != first) & (group != second)
        residuals, n_parameters = everywhere or condition_residuals(x[others], condition[others])
        kernel = _through_precision(means[first], means[second], residuals, n_parameters, shrinkage)
        norms = np.diagonal(kernel)
        total += triangle(norms[:, None] + norms[None] - kernel - kernel.T)
    return total / (n_groups * (n_groups - 1) / 2 * x.shape[1])


def _means(x: NDArray, condition: NDArray, n: int) -> NDArray:
    """Mean pattern of every condition, less what all share: it cancels in every distance."""
    member = np.eye(n)[condition]
    means = member.T @ x / member.sum(axis=0)[:, None]
    return means - means.mean(axis=0)


def _through_precision(
    a: NDArray, b: NDArray, residuals: NDArray, n_parameters: int, shrinkage: str | float | None
) -> NDArray:
    """``a P b'`` with P the inverse of the shrunk covariance of the residuals."""
    x = residuals - residuals.mean(axis=0)
    dof = len(x) - n_parameters
    own = np.square(x).sum(axis=0) / max(dof, 1)
    kept = _kept(x, own, dof, shrinkage) if dof > 0 and (own > 0).all() else None
    if kept is not None:
        target = own if shrinkage != "identity" else np.full_like(own, own.mean())
        diagonal, share = (1 - kept) * target, kept / dof
        if (diagonal > _TINY * own).all():
            scaled = x / diagonal
            inner = np.eye(len(x)) + share * scaled @ x.T
            return a / diagonal @ b.T - a @ scaled.T @ np.linalg.solve(inner, share * scaled @ b.T)
    # Little or no shrinkage, or residuals to refuse.
    return a @ noise_precision(residuals, shrinkage=shrinkage, n_parameters=n_parameters) @ b.T


def _kept(x: NDArray, own: NDArray, dof: int, shrinkage: str | float | None) -> float | None:
    """Weight of the sample covariance beside its target, as `noise_covariance` has it, from products of samples."""
    n_samples, n_features = x.shape
    if shrinkage == "diagonal":
        z = x / np.sqrt(own)
        square = np.square(z)
        total = np.square(z @ z.T).sum() / dof**2 - n_features
        fourth = (np.square(square.sum(axis=1)).sum() - np.square(square).sum()) / dof
        strength = n_samples / dof**2 * (fourth - total)
        return 1.0 - float(np.clip(strength / max(total, np.finfo(float).tiny), 0.0, 1.0))
    if shrinkage == "identity":
        squares = np.square(x @ x.T).sum() / n_samples**2
        mean = np.square(x).sum() / n_samples / n_features
        distance = squares - n_features * mean**2
        error = (np.square(np.square(x).sum(axis=1)).sum() / n_samples - squares) / n_samples
        return 1.0 - float(min(error, distance) / distance) if distance > 0 else 0.0
    if isinstance(shrinkage, (int, float)) and 0 <= shrinkage <= 1:
        return 1.0 - float(shrinkage)
    return None
