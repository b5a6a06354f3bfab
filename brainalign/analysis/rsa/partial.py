"""What a model explains beyond others: partial correlation and variance partitioning of RDMs, for any number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import ranks
from brainalign.analysis.rsa.compare import compare, matching_rdms
from brainalign.arrays import check_finite
from brainalign.errors import DataError

__all__ = ["VariancePartition", "partial_correlation", "variance_partition"]

_MAX_MODELS = 12
_ROUNDING = 1e-14


def partial_correlation(
    d: ArrayLike, model_rdms: ArrayLike, *, given: ArrayLike | None = None, method: str = "pearson"
) -> NDArray[np.float64]:
    """Correlation of RDMs with each model that is left when the other models are held constant.

    Parameters
    ----------
    d : array (..., n_pairs)
    model_rdms : array (n_models, n_pairs)
    given : array (n_controls, n_pairs) or (n_pairs,), optional
        Hold these constant instead of the other models.
    method : {"pearson", "spearman"}
        Spearman takes the partial correlation of the ranks.

    Returns
    -------
    array (..., n_models)

    Raises
    ------
    DataError
        When a model is a linear combination of what is held constant.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.random((2, 190))
    >>> partial_correlation(a + b, [a, a + b]).round(6) + 0.0
    array([0., 1.])
    """
    rows, models = _vectors(d, model_rdms, method)
    if given is not None:
        controls = _vectors(d, given, method)[1]
        basis = np.linalg.svd(controls, full_matrices=False)
        basis = basis[2][basis[1] > 1e-10 * basis[1][0]]
        left, left_models = (side - side @ basis.T @ basis for side in (rows, models))
        _refuse_collinear(np.sum(left_models**2, axis=1) / np.sum(models**2, axis=1))
        table = left @ left_models.T / np.outer(np.linalg.norm(left, axis=1), np.linalg.norm(left_models, axis=1))
    else:
        unit, unit_models = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (rows, models))
        among = unit_models @ unit_models.T
        values, vectors = np.linalg.eigh(among)
        inverse = (vectors / np.maximum(values, 1e-300)) @ vectors.T
        _refuse_collinear(1 / np.diag(inverse))
        with_models = unit @ unit_models.T
        coefficients = with_models @ inverse
        semipartial = coefficients / np.sqrt(np.diag(inverse))
        explained = np.sum(with_models * coefficients, axis=1, keepdims=True)
        # Where the models explain all, what is left is rounding: it must not pass for a correlation of 1.
        table = semipartial / np.sqrt(np.maximum(1 - explained, _ROUNDING) + semipartial**2)
    return np.clip(table, -1, 1).reshape(*np.shape(d)[:-1], len(models))


def _vectors(d: ArrayLike, model_rdms: ArrayLike, method: str) -> tuple[NDArray, NDArray]:
    """Centred distances or ranks, as matrices."""
    if method not in ("pearson", "spearman"):
        raise DataError(f"method={method!r}", expected="'pearson' or 'spearman'")
    sides = []
    for name, side in zip(("RDMs", "model RDMs"), matching_rdms(d, model_rdms)):
        side = np.atleast_2d(np.asarray(side)).reshape(-1, np.shape(side)[-1])
        check_finite(side, name=name)
        side = ranks(side) if method == "spearman" else side
        if np.any(np.ptp(side, axis=1) == 0):
            raise DataError(f"constant {name} have no correlation", found=np.flatnonzero(np.ptp(side, axis=1) == 0))
        sides.append(side - side.mean(axis=1, keepdims=True))
    return sides[0], sides[1]


def _refuse_collinear(share_left: NDArray) -> None:
    if np.any(share_left < 1e-10):
        raise DataError(
            f"models {np.flatnonzero(share_left < 1e-10).tolist()} are combinations of what is held constant",
            fix="leave one of them out",
        )


@dataclass(frozen=True)
class VariancePartition:
    """Explained variance of every set of models, split into what is unique to a set and what is shared by exactly it.

    Attributes
    ----------
    total : dict of tuple of names to array (...)
        R² of the regression on these models together.
    shared : dict of tuple of names to array (...)
        The part that exactly these models can explain, each on its own: unique for one model, common for several.
        They add up to the R² of all models. Shared parts may be negative (suppression).
    """

    total: dict[tuple[str, ...], NDArray[np.float64]]
    shared: dict[tuple[str, ...], NDArray[np.float64]]

    @property
    def unique(self) -> dict[str, NDArray[np.float64]]:
        """What each model explains that no other does."""
        return {names[0]: part for names, part in self.shared.items() if len(names) == 1}


def variance_partition(
    d: ArrayLike, model_rdms: Mapping[str, ArrayLike], *, method: str = "pearson"
) -> VariancePartition:
    """Split the variance of RDMs that models explain over all sets of models (commonality analysis).

    Parameters
    ----------
    d : array (..., n_pairs)
    model_rdms : mapping of name to array (n_pairs,)
        Up to 12: there are 2**n - 1 sets. Regressions follow from the correlations alone.
    method : {"pearson", "spearman"}

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b, c = rng.normal(size=(3, 4950))
    >>> parts = variance_partition(a + b, {"a": a, "b": b, "c": c})
    >>> {name: round(float(part), 1) + 0.0 for name, part in parts.unique.items()}
    {'a': 0.5, 'b': 0.5, 'c': 0.0}
    """
    names = list(model_rdms)
    if not 1 <= len(names) <= _MAX_MODELS:
        raise DataError("models to partition the variance over", expected=f"1 to {_MAX_MODELS}", found=len(names))
    models = np.stack([np.asarray(one, dtype=np.float64) for one in model_rdms.values()])
    rows, columns = _vectors(d, models, method)
    with_models, among = compare(rows, columns, method="pearson"), compare(columns, columns, method="pearson")
    shape = np.shape(d)[:-1]
    r2 = np.zeros((2,) * len(names) + (len(rows),))
    for chosen in product((0, 1), repeat=len(names)):
        if any(chosen):
            use = np.flatnonzero(chosen)
            r = with_models[:, use]
            r2[chosen] = np.sum((r @ np.linalg.pinv(among[np.ix_(use, use)], hermitian=True)) * r, axis=1)
    parts = r2
    for axis in range(len(names)):
        without, within = np.take(parts, 0, axis=axis), np.take(parts, 1, axis=axis)
        parts = np.stack([within, within - without], axis=axis)
    total, shared = {}, {}
    for chosen in sorted(product((0, 1), repeat=len(names)), key=lambda one: (sum(one), [-i for i in one])):
        if any(chosen):
            key = tuple(name for name, there in zip(names, chosen) if there)
            total[key] = r2[chosen].reshape(shape)
            shared[key] = (-1) ** (sum(chosen) + 1) * parts[chosen].reshape(shape)
    return VariancePartition(total, shared)
