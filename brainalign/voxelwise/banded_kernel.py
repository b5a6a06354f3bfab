"""Banded ridge with fewer samples than features: weighted sums of one Gram matrix per band.

With ``K = sum_b weight_b X_b X_b'`` (centred) and ``G = (K + alpha)^-1``, the residuals of the whole fit are ``B y``
with ``B = alpha G - 11'/n``, and those of a fold E that was left out follow without refitting: ``B_EE^-1 (B y)_E``. So
one inverse of all samples serves every fold, and the prediction of E from the other samples T is
``-B_EE^-1 B_ET y_T``. A Cholesky inverse for each penalty is cheaper than an eigendecomposition for all of them (below
some 30 penalties).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from brainalign.arrays import BLOCK_BYTES, row_blocks
from brainalign.voxelwise.backend import cast, namespace, to_like, to_numpy
from brainalign.voxelwise.banded_scores import FoldTargets, exact_scores, screened_scores
from brainalign.voxelwise.plan import Folds
from brainalign.voxelwise.solvers import column_means, eigh_without_null

__all__ = ["KernelForm", "same_columns"]

_SINGLE = 3e3
"""Largest eigenvalue over penalty up to which float32 inverts well enough: scores are good to about 1e-5."""
_INVERTIBLE = 1e10
"""Above this, folds are decomposed one by one, which needs no inverse."""

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]


@dataclass(frozen=True, eq=False)
class KernelForm:
    """Gram matrices of the bands, ready for any weights.

    Parameters
    ----------
    design : array (n_samples, n_features)
        Centred where the model has an intercept, in the precision of the products.
    mean : array (n_features,), float64
    bands : tuple of slice
        Columns of each band.
    grams : list of array (n_samples, n_samples), float64
    largest : array (n_bands,)
        Their largest eigenvalues, roughly.
    folds : tuple of (train, test, excluded, tested)
        Rows; `excluded` are those not in train, and ``excluded[tested]`` are the test rows (None: just these).
    centred : bool
    in_half : bool
        Form predictions in bfloat16 first, see `brainalign.voxelwise.banded_scores`.
    """

    design: Any
    mean: Any
    bands: tuple[slice, ...]
    grams: list[Any]
    largest: np.ndarray
    folds: tuple[Rows, ...]
    centred: bool
    in_half: bool = False

    @classmethod
    def of(cls, X: Any, bands: tuple[slice, ...], folds: Folds, *, centred: bool, dtype: str) -> KernelForm:
        """Take the Gram matrix of each band."""
        xp = namespace(X)
        mean = column_means(X) * float(centred)
        design = xp.empty_like(X, dtype=getattr(xp, dtype))
        grams = []
        for band in bands:
            gram = 0.0
            for part in row_blocks(band.stop - band.start, len(X) * 8, budget=BLOCK_BYTES // 8):
                columns = slice(band.start + part.start, band.start + part.stop)
                block = cast(X[:, columns], "float64") - mean[columns]
                gram = gram + block @ block.T
                design[:, columns] = cast(block, dtype)
            grams.append(gram)
        rows = tuple(_rows(len(X), train, test) for train, test in folds)
        return cls(design, mean, bands, grams, np.array([_largest(gram) for gram in grams]), rows, centred)

    @property
    def dtype(self) -> str:
        """Precision of the products."""
        return str(self.design.dtype).rpartition(".")[2]

    @property
    def bytes_per_target(self) -> int:
        """Of the work arrays."""
        return 8 * ((len(self.folds) + 4) * len(self.design) + self.design.shape[1])

    def eigenvalues(self) -> np.ndarray:
        """Non-zero ones of the equally weighted whole."""
        gram = self.weighted(np.full(len(self.bands), 1.0 / len(self.bands)))
        return to_numpy(eigh_without_null(gram, max(self.design.shape))[0])

    def weighted(self, weights: np.ndarray) -> Any:
        """The weighted sum of Gram matrices, float64; always a new array."""
        total = self.grams[0] * float(weights[0])
        for weight, gram in zip(weights[1:], self.grams[1:], strict=True):
            if weight > 0:
                total += float(weight) * gram
        return total

    def at_once(self) -> int:
        """How many penalties to factor together: their predictors are kept until all targets have passed."""
        item = 4 if self.dtype == "float32" else 8
        return max(1, 2 * BLOCK_BYTES // (item * len(self.design) ** 2))

    def prepare(self, block: Any) -> KernelTargets:
        """Targets, whose folds are taken when they are first asked for."""
        return KernelTargets(block, self)

    def factor(self, weights: np.ndarray, alphas: np.ndarray) -> list[list[Any]]:
        """Matrices that predict the test samples of each fold from its training samples, [fold][alpha]."""
        gram, largest = self.weighted(weights), float(weights @ self.largest)
        regular = largest <= _INVERTIBLE * alphas
        found: list[list[Any]] = [[None] * len(alphas) for _ in self.folds]
        for column in np.flatnonzero(regular):
            for fold, predictor in enumerate(self._predictors(gram, float(alphas[column]), largest)):
                found[fold][column] = predictor
        if not regular.all():
            hard = np.flatnonzero(~regular)
            for fold, (train, test, _, _) in enumerate(self.folds):
                made = _decomposed(gram, train, test, alphas[hard], centred=self.centred)
                for column, predictor in zip(hard, made, strict=True):
                    found[fold][column] = cast(predictor, self.dtype)
        return found

    def _predictors(self, gram: Any, alpha: float, largest: float) -> Iterator[Any]:
        residual = _spd_inverse(_shifted(gram, alpha, self.dtype if largest <= _SINGLE * alpha else "float64"))
        residual *= alpha
        if self.centred:
            residual -= 1.0 / len(gram)
        for train, _, excluded, tested in self.folds:
            rows = residual[excluded]
            solved = _spd_solve(rows[:, excluded], -rows[:, train])
            yield cast(solved if tested is None else solved[tested], self.dtype)

    def scores(
        self, factor: list[list[Any]], prepared: KernelTargets, alphas: np.ndarray, *, scoring: str, to_beat: np.ndarray
    ) -> np.ndarray:
        """Mean score over folds, (n_alphas, n_targets); with `in_half` rough where it is below `to_beat` or another."""
        if self.in_half:
            return screened_scores(factor, prepared.folds, to_beat=to_beat)
        return exact_scores(factor, prepared.folds, scoring=scoring)

    def refit(self, prepared: KernelTargets, weights: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        """Coefficients (n_features, n_targets) at the weights (n_bands, n_targets) and penalty of each target."""
        block, dual = cast(prepared.block, "float64"), prepared.block * 0.0
        for columns in same_columns(weights):
            weight = weights[:, columns[0]]
            gram, largest = self.weighted(weight), float(weight @ self.largest)
            for own in same_columns(alphas[None, columns]):
                solved = _solved(gram, float(alphas[columns[own[0]]]), largest, block[:, columns[own]])
                dual[:, columns[own]] = cast(solved, self.dtype)
        parts = [
            self.design[:, band].T @ (dual * cast(to_like(weights[number], dual), self.dtype))
            for number, band in enumerate(self.bands)
        ]
        return np.concatenate([to_numpy(part) for part in parts])


class KernelTargets:
    """A block of targets about their mean, and its rows of each fold."""

    def __init__(self, block: Any, form: KernelForm) -> None:
        self.block, self._form = block, form

    @cached_property
    def folds(self) -> list[FoldTargets]:
        """What predictions are made from and compared with."""
        in_half = self._form.in_half
        return [FoldTargets.of(self.block, train, test, in_half=in_half) for train, test, _, _ in self._form.folds]


def _rows(n_samples: int, train: np.ndarray, test: np.ndarray) -> Rows:
    excluded = np.setdiff1d(np.arange(n_samples), train)
    return train, test, excluded, None if np.array_equal(excluded, test) else np.searchsorted(excluded, test)


def same_columns(table: np.ndarray) -> Iterator[np.ndarray]:
    """Column numbers of `table`, those of equal columns together."""
    group = np.unique(table, axis=1, return_inverse=True)[1].ravel()
    order = np.argsort(group, kind="stable")
    return iter(np.split(order, np.flatnonzero(np.diff(group[order])) + 1))


def _largest(gram: Any) -> float:
    """Largest eigenvalue by a few power iterations: enough to choose a precision."""
    vector = gram[:, 0] + gram[:, -1] * 0.5
    norm = 0.0
    for _ in range(20):
        length = float((vector * vector).sum()) ** 0.5
        if length == 0.0:
            return norm
        vector = gram @ (vector / length)
        norm = float((vector * vector).sum()) ** 0.5
    return norm


def _shifted(gram: Any, alpha: float, dtype: str) -> Any:
    """A new array ``gram + alpha``, for others to overwrite."""
    made = gram.astype(dtype, copy=True) if isinstance(gram, np.ndarray) else cast(gram.clone(), dtype)
    diagonal = np.arange(len(made))
    made[diagonal, diagonal] += alpha
    return made


def _spd_inverse(a: Any) -> Any:
    """Inverse of a symmetric positive definite matrix, which may be overwritten."""
    if not isinstance(a, np.ndarray):
        linalg = namespace(a).linalg
        return namespace(a).cholesky_inverse(linalg.cholesky(a))
    from scipy.linalg import get_lapack_funcs

    potrf, potri = get_lapack_funcs(("potrf", "potri"), (a,))
    factor, failed = potrf(a.T, lower=1, overwrite_a=1, clean=0)
    inverse, _ = potri(factor, lower=1, overwrite_c=1)
    if failed:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return _mirrored(inverse.T)


def _mirrored(upper: np.ndarray) -> np.ndarray:
    """Fill the lower triangle from the upper one, in place and by blocks that stay in the cache."""
    for rows in row_blocks(len(upper), 1, budget=128):
        corner = np.triu(upper[rows, rows])
        upper[rows, rows] = corner + np.triu(corner, 1).T
        for columns in row_blocks(len(upper) - rows.stop, 1, budget=128):
            part = slice(rows.stop + columns.start, rows.stop + columns.stop)
            upper[part, rows] = upper[rows, part].T
    return upper


def _spd_solve(a: Any, b: Any) -> Any:
    """``a^-1 b`` for a symmetric positive definite matrix; both may be overwritten."""
    if not isinstance(a, np.ndarray):
        return namespace(a).cholesky_solve(b, namespace(a).linalg.cholesky(a))
    from scipy.linalg import get_blas_funcs, get_lapack_funcs

    (potrf,), (trsm,) = get_lapack_funcs(("potrf",), (a,)), get_blas_funcs(("trsm",), (a,))
    factor, failed = potrf(np.ascontiguousarray(a).T, lower=1, overwrite_a=1, clean=0)
    if failed:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    # Rows in C order are columns in Fortran's: solving from the right needs no copy of b.
    turned = np.ascontiguousarray(b).T
    for transposed in (1, 0):
        turned = trsm(1.0, factor, turned, side=1, lower=1, trans_a=transposed, overwrite_b=1)
    return turned.T


def _solved(gram: Any, alpha: float, largest: float, Y: Any) -> Any:
    """``(gram + alpha)^-1 Y``, on the column space of the Gram matrix where that is all there is."""
    if largest <= _INVERTIBLE * alpha:
        return _spd_solve(_shifted(gram, alpha, "float64"), Y)
    values, vectors = eigh_without_null(gram, len(gram))
    return (vectors / (values + alpha)) @ (vectors.T @ Y)


def _decomposed(gram: Any, train: np.ndarray, test: np.ndarray, alphas: np.ndarray, *, centred: bool) -> Iterator[Any]:
    """Predictors of one fold from the eigenvectors of its own training samples, null space left out."""
    inner, across = gram[train][:, train], gram[test][:, train]
    if centred:
        mean = inner.mean(0)
        across = across - mean - across.mean(1)[:, None] + mean.mean()
        inner = inner - mean - mean[:, None] + mean.mean()
    values, vectors = eigh_without_null(inner, len(gram))
    rotated = across @ vectors
    for alpha in alphas:
        yield (rotated / (values + alpha)) @ vectors.T + float(centred) / len(train)
