"""What a model explains beyond others: partial correlation and variance partitioning of RDMs, for any number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.rsa.backend import as_like, check_numbers, namespace, ranks, to_numpy
from brainalign.analysis.rsa.compare import compare, matching_rdms
from brainalign.errors import DataError

__all__ = ["VariancePartition", "partial_correlation", "variance_partition"]

_MAX_MODELS = 12
_RANK = {4: 1e-5, 8: 1e-10}  # singular values of controls below this share are rounding, by bytes of a float
_ROUNDING = 1e-14


def partial_correlation(d: Any, model_rdms: Any, *, given: Any = None, method: str = "pearson") -> Any:
    """Correlation of RDMs with each model that is left when the other models are held constant.

    Parameters
    ----------
    d : array or tensor (..., n_pairs)
    model_rdms : array or tensor (n_models, n_pairs)
    given : array or tensor (n_controls, n_pairs) or (n_pairs,), optional
        Hold these constant instead of the other models.
    method : {"pearson", "spearman"}
        Spearman takes the partial correlation of the ranks.

    Returns
    -------
    array or tensor (..., n_models)

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
    xp = namespace(rows)
    if given is not None:
        controls = _vectors(d, given, method)[1]
        _, singular, basis = xp.linalg.svd(controls, full_matrices=False)
        basis = basis[singular > _RANK[basis.dtype.itemsize] * singular[0]]
        left, left_models = (side - side @ basis.T @ basis for side in (rows, models))
        _refuse_collinear(to_numpy((left_models**2).sum(1) / (models**2).sum(1)))
        table = _unit(left) @ _unit(left_models).T
    else:
        unit, unit_models = _unit(rows), _unit(models)
        among = np.asarray(to_numpy(unit_models @ unit_models.T), dtype=np.float64)
        values, vectors = np.linalg.eigh(among)
        inverse = (vectors / np.maximum(values, 1e-300)) @ vectors.T
        _refuse_collinear(1 / np.diag(inverse))
        with_models = np.asarray(to_numpy(unit @ unit_models.T), dtype=np.float64)
        coefficients = with_models @ inverse
        semipartial = coefficients / np.sqrt(np.diag(inverse))
        explained = np.sum(with_models * coefficients, axis=1, keepdims=True)
        # Where the models explain all, what is left is rounding: it must not pass for a correlation of 1.
        table = semipartial / np.sqrt(np.maximum(1 - explained, _ROUNDING) + semipartial**2)
        table = as_like(table, rows)
    return xp.clip(table, -1, 1).reshape(*np.shape(d)[:-1], len(models))


def _unit(rows: Any) -> Any:
    return rows / namespace(rows).sqrt((rows * rows).sum(1))[:, None]


def _vectors(d: Any, model_rdms: Any, method: str) -> tuple[Any, Any]:
    """Centred distances or ranks, as matrices."""
    if method not in ("pearson", "spearman"):
        raise DataError(f"method={method!r}", expected="'pearson' or 'spearman'")
    sides = []
    for name, side in zip(("RDMs", "model RDMs"), matching_rdms(d, model_rdms)):
        side = side.reshape(-1, side.shape[-1])
        check_numbers(side, name=name)
        side = ranks(side) if method == "spearman" else side
        constant = to_numpy((side == side[:, :1]).all(1))
        if constant.any():
            raise DataError(f"constant {name} have no correlation", found=np.flatnonzero(constant))
        sides.append(side - side.mean(1)[:, None])
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


def variance_partition(d: Any, model_rdms: Mapping[str, Any], *, method: str = "pearson") -> VariancePartition:
    """Split the variance of RDMs that models explain over all sets of models (commonality analysis).

    Parameters
    ----------
    d : array or tensor (..., n_pairs)
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
    models = np.stack([np.asarray(to_numpy(one), dtype=np.float64) for one in model_rdms.values()])
    rows, columns = _vectors(d, models, method)
    # Tables of the models are small: they are arrays from here on, wherever the RDMs are.
    with_models, among = (to_numpy(compare(side, columns, method="pearson")) for side in (rows, columns))
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
