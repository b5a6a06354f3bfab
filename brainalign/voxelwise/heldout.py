"""How well each penalty predicts what was held out, for all penalties at once, without refitting.

Every score used here is a function of six sums over the held-out samples (`Moments`), and those follow from
projected quantities. With the training design of a fold decomposed (eigenvalues s), Z the rotated test design and
``b = V'X'Y`` of the training samples, the prediction at penalty alpha is ``Z w b`` with ``w_j = 1 / (s_j + alpha)``:

* its product with the targets is ``sum_j w_j (Z'y)_j b_j``: no prediction is formed;
* its norm is ``sum_jk M_jk b_j b_k w_j w_k`` with ``M = Z'Z``. As ``w_j w_k = (w_j - w_k) / (s_k - s_j)``, this is
  ``sum_j w_j b_j (N b)_j`` with ``N_jk = 2 M_jk / (s_k - s_j)``: one product N b serves every penalty. Pairs of
  (nearly) equal eigenvalues, where the difference quotient would cancel, keep their own term
  ``sum_j w_j^2 b_j (M_near b)_j``; with the cut at a relative gap of 1e-6 both parts are good to about 1e-10.

The training products are the total minus the held-out part; centring inside the fold is a rank-one correction,
carried by one extra column of ones in the design.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.arrays import row_blocks
from brainalign.voxelwise.backend import cast, namespace, to_numpy
from brainalign.voxelwise.solvers import Decomposition, eigh_without_null, shrinkage

__all__ = ["FoldFactor", "Moments", "factor_fold", "fold_moments", "gcv_scores", "loo_moments"]

_CLOSE = 1e-6
"""Relative gap under which two eigenvalues count as equal."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over held-out samples of predictions and targets, both about `offset`.

    Parameters
    ----------
    n_samples : int
    offset : array (n_targets,)
        Mean of the training targets (zero without intercept).
    pred_sum, pred_sq, cross : array (n_alphas, n_targets)
        Sums of predictions, their squares, and their products with the targets.
    y_sum, y_sq : array (n_targets,)
    """

    n_samples: int
    offset: np.ndarray
    pred_sum: np.ndarray
    pred_sq: np.ndarray
    cross: np.ndarray
    y_sum: np.ndarray
    y_sq: np.ndarray

    def score(self, scoring: str) -> np.ndarray:
        """R² or correlation, (n_alphas, n_targets); NaN where the held-out target (or prediction) is constant."""
        y_var = self.y_sq - self.y_sum**2 / self.n_samples
        y_var = np.where(y_var > 1e-12 * self.y_sq, y_var, np.nan)
        if scoring == "r2":
            return 1.0 - (self.y_sq - 2.0 * self.cross + self.pred_sq) / y_var
        covariance = self.cross - self.pred_sum * self.y_sum / self.n_samples
        pred_var = self.pred_sq - self.pred_sum**2 / self.n_samples
        pred_var = np.where(pred_var > 1e-12 * self.pred_sq, pred_var, np.nan)
        return covariance / np.sqrt(pred_var * y_var)

    def prediction_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Sum and sum of squares of the predictions themselves, offset included."""
        shift = self.offset * self.n_samples
        return self.pred_sum + shift, self.pred_sq + self.offset * (2.0 * self.pred_sum + shift)


@dataclass(frozen=True, eq=False)
class FoldFactor:
    """The decomposed training design of one fold, ready for any number of targets.

    Parameters
    ----------
    train, test, excluded : array of int
        Rows; `excluded` are those not in train (more than test where a gap is left).
    eigenvalues : array (rank,), float64
    rotation : array (rank, n_columns) or None
        Takes products of the design (with its column of ones) to V'X'Y of the centred training samples.
    train_design : array (n_train, rank) or None
        The rotated training design itself, where that is the smaller (fewer samples than directions).
    test_design : array (n_test, rank)
        Rotated, about the training mean.
    test_sum : array (rank,), float64
        Its column sums.
    far, near : array or None
        The matrices N and M_near of the module's equations (M_near as its diagonal where that is all).
    """

    train: np.ndarray
    test: np.ndarray
    excluded: np.ndarray
    eigenvalues: Any
    rotation: Any
    train_design: Any
    test_design: Any
    test_sum: Any
    centred: bool
    far: Any = None
    near: Any = None


def factor_fold(
    left: Any, eigenvalues: Any, train: np.ndarray, test: np.ndarray, *, centred: bool, n_alphas: int
) -> FoldFactor:
    """Decompose the training part of ``left diag(eigenvalues)^(1/2)`` by taking the held-out part from the whole.

    Parameters
    ----------
    left : array (n_samples, rank)
    eigenvalues : array (rank,)
        Of the whole design, as `brainalign.voxelwise.solvers.decompose` returns them.
    train, test : array of int
    centred : bool
        Centre inside the fold.
    n_alphas : int
        How many penalties will be scored; decides how the norms of predictions are computed.
    """
    dtype = str(left.dtype).rpartition(".")[2]
    excluded = np.setdiff1d(np.arange(len(left)), train)
    root = namespace(left).sqrt(eigenvalues)
    # The columns of `left` sum to zero where the design is centred, so the excluded rows give the training mean.
    mean = -cast(left[excluded], "float64").sum(0) / len(train) * float(centred)
    rotation = train_design = None
    if len(train) >= left.shape[1]:
        values, vectors = _train_by_subtraction(left[excluded], mean, root, len(train))
        turned = (root[:, None] * vectors).T
        columns = [turned, -(turned @ mean)[:, None]] if centred else [turned]
        rotation = cast(namespace(left).concatenate(columns, axis=1), dtype)
        del turned, columns
    else:
        values, vectors, train_design = _train_directly(left[train], mean, root)
    tested = ((cast(left[test], "float64") - mean) * root) @ vectors
    del vectors
    unit = 1 if dtype == "float32" else 2
    formed = n_alphas * len(test) * unit <= 2 * len(values)
    test_design = cast(tested, dtype) if formed or rotation is None else None
    far, near = (None, None) if formed else _norm_kernels(values, tested.T @ tested)
    return FoldFactor(
        train,
        test,
        excluded,
        values,
        rotation,
        train_design,
        test_design,
        tested.sum(0),
        centred,
        far,
        near,
    )


def _train_by_subtraction(gone: Any, mean: Any, root: Any, n_train: int) -> tuple[Any, Any]:
    """Eigenvalues and vectors of the training Gram matrix: the whole, which is 1 in `left`, less what is excluded."""
    gone = cast(gone, "float64")
    inner = -(gone.T @ gone)
    inner -= (n_train * mean)[:, None] * mean[None, :]
    diagonal = np.arange(len(inner))
    inner[diagonal, diagonal] += 1.0
    inner *= root[:, None]
    inner *= root
    return eigh_without_null(inner, n_train)


def _train_directly(kept: Any, mean: Any, root: Any) -> tuple[Any, Any, Any]:
    """Eigenvalues, right vectors and rotated design of fewer training samples than directions."""
    design = (cast(kept, "float64") - mean) * root
    values, outer = eigh_without_null(design @ design.T, len(design))
    scale = namespace(kept).sqrt(values)
    return values, design.T @ (outer / scale), cast(outer * scale, str(kept.dtype).rpartition(".")[2])


def _norm_kernels(eigenvalues: Any, gram: Any) -> tuple[Any, Any]:
    """N and M_near of the module's equations; M_near as a vector where only the diagonal is near."""
    gram = (gram + gram.T) / 2  # exact symmetry makes N exactly antisymmetric
    gap = eigenvalues[None, :] - eigenvalues[:, None]
    near = abs(gap) <= _CLOSE * (eigenvalues[None, :] + eigenvalues[:, None])
    diagonal = np.arange(len(eigenvalues))
    only_diagonal = int(near.sum()) == len(eigenvalues)
    kept = gram[diagonal, diagonal] if only_diagonal else namespace(gram).where(near, gram, 0.0)
    gap[near] = np.inf
    gram *= 2.0
    gram /= gap
    return gram, kept


def _norms(fold: FoldFactor, weights: Any, b: Any, b64: Any) -> Any:
    """Squared norm over the test samples of the prediction at each penalty, (n_alphas, n_targets)."""
    xp = namespace(b)
    if fold.far is None:
        dtype = str(b.dtype).rpartition(".")[2]
        predictions = (fold.test_design @ (cast(row, dtype)[:, None] * b) for row in weights)
        return xp.stack([(one * one).sum(0, dtype=xp.float64) for one in predictions])
    # N is antisymmetric, so a constant may be taken from the weights: this one leaves least to cancel.
    centred = weights - weights[:, -1:]
    near = fold.near[:, None] * b64 if fold.near.ndim == 1 else fold.near @ b64
    return centred @ (b64 * (fold.far @ b64)) + (weights * weights) @ (b64 * near)


def fold_moments(fold: FoldFactor, Y: Any, held: Any, kept: Any, alphas: Any) -> Moments:
    """Moments of one fold at every penalty.

    Parameters
    ----------
    fold : FoldFactor
    Y : array (n_samples, n_targets)
        Targets, about their mean over all samples where the model has an intercept.
    held, kept : array (n_columns, n_targets)
        Products of the design (with its column of ones) and Y over the test and over the training samples; not read
        where the fold has a `train_design`.
    alphas : array (n_alphas,)
    """
    tested = cast(Y[fold.test], "float64")
    offset = -cast(Y[fold.excluded], "float64").sum(0) / len(fold.train) * float(fold.centred)
    if fold.rotation is None:
        b, product = fold.train_design.T @ Y[fold.train], fold.test_design.T @ Y[fold.test]
    else:
        b, product = fold.rotation @ kept, fold.rotation @ held
    b64, weights = cast(b, "float64"), shrinkage(fold.eigenvalues, alphas)
    pred_sum = (weights * fold.test_sum) @ b64
    cross = weights @ (cast(product, "float64") * b64) - offset * pred_sum
    y_sum, y_sq = tested.sum(0), (tested * tested).sum(0)
    n_samples = len(fold.test)
    y_sq = y_sq - offset * (2.0 * y_sum - n_samples * offset)
    sums = (offset, pred_sum, _norms(fold, weights, b, b64), cross, y_sum - n_samples * offset, y_sq)
    return Moments(n_samples, *(to_numpy(one) for one in sums))


def loo_moments(made: Decomposition, Y: Any, products: Any, alphas: Any) -> Moments:
    """Moments of leave-one-out predictions in closed form, every sample predicted by the fit to all others.

    The held-out residual is ``(Y - HY)_i / (1 - H_ii)`` with H the hat matrix (and mean); numerator and denominator
    are both summed from ``alpha / (s + alpha)``, so that small penalties lose nothing to cancellation.

    Parameters
    ----------
    made : Decomposition
    Y, products, alphas
        Centred targets, left'Y, and penalties.
    """
    n_samples, rank = made.left.shape
    full = rank >= n_samples - int(made.centred)
    # What no penalty reaches: the part of Y, and of every sample's leverage, outside the column space.
    outside = None if full else Y - made.left @ products
    squares = cast(made.left, "float64") ** 2
    spare = 0.0 if full else 1.0 - float(made.centred) / n_samples - squares.sum(1)
    y_sum, y_sq = cast(Y, "float64").sum(0), (cast(Y, "float64") ** 2).sum(0)
    pred_sum, pred_sq, cross = (np.empty((len(alphas), Y.shape[1])) for _ in range(3))
    for row, alpha in enumerate(alphas):
        kept = alpha / (made.eigenvalues + alpha)
        share = cast(1.0 / (spare + squares @ kept), made.dtype)[:, None]
        sums = _residual_sums(made.left, cast(kept, made.dtype)[:, None] * products, outside, share, Y)
        pred_sum[row] = to_numpy(y_sum - sums[0])
        pred_sq[row] = to_numpy(y_sq - 2.0 * sums[1] + sums[2])
        cross[row] = to_numpy(y_sq - sums[1])
    y_sum, y_sq = to_numpy(y_sum), to_numpy(y_sq)
    return Moments(n_samples, y_sum * 0.0, pred_sum, pred_sq, cross, y_sum, y_sq)


def _residual_sums(left: Any, inner: Any, outside: Any, share: Any, Y: Any) -> Any:
    """Sums over samples of the residuals ``share * (outside + left inner)``, of them times Y, and of their squares."""
    xp = namespace(Y)
    sums = [0.0, 0.0, 0.0]
    for rows in row_blocks(len(Y), 4 * Y.shape[1], budget=2**21):  # blocks that stay in the cache, summed in float64
        residual = left[rows] @ inner
        if outside is not None:
            residual += outside[rows]
        residual *= share[rows]
        parts = (
            residual.sum(0),
            xp.einsum("ij,ij->j", residual, Y[rows]),
            xp.einsum("ij,ij->j", residual, residual),
        )
        sums = [total + cast(part, "float64") for total, part in zip(sums, parts, strict=True)]
    return sums


def gcv_scores(made: Decomposition, Y: Any, products: Any, alphas: Any) -> np.ndarray:
    """One minus the generalised cross-validation error over the variance, (n_alphas, n_targets).

    Golub, Heath & Wahba 1979, Technometrics 21, eq. 2.3: ``n |Y - HY|^2 / trace(1 - H)^2``.
    """
    n_samples = len(Y)
    squares = cast(products, "float64") ** 2
    total = (cast(Y, "float64") ** 2).sum(0)
    kept = alphas[:, None] * shrinkage(made.eigenvalues, alphas)
    outside = total - squares.sum(0)
    spare = n_samples - int(made.centred) - made.left.shape[1] + kept.sum(1)
    error = n_samples**2 * (outside.clip(0) + (kept * kept) @ squares) / spare[:, None] ** 2
    total, error = to_numpy(total), to_numpy(error)
    return 1.0 - error / np.where(total > 0, total, np.nan)
