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
carried by one extra column of ones in the design. Samples with weights are rows times the roots of their weights, the
column of ones included, and sums over samples are weighted.

A projection answers for a vector of penalties (n_alphas,), which all targets try, or for an array (1, n_targets), one
penalty per target; the second is what a line search asks for, and costs no product of matrices in "folds" and "gcv".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.arrays import row_blocks
from brainalign.voxelwise.backend import block_bytes, cast, half_product, namespace
from brainalign.voxelwise.factors import FoldFactor, LooFactor
from brainalign.voxelwise.factors import _norm_kernels as _norm_kernels
from brainalign.voxelwise.solvers import Decomposition, shrinkage

__all__ = [
    "FoldProjection",
    "GcvProjection",
    "LooProjection",
    "Moments",
    "fold_moments",
    "project_fold",
    "project_gcv",
    "project_loo",
]


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over held-out samples of predictions and targets, both about `offset`; numpy arrays or torch tensors.

    Parameters
    ----------
    weight : float
        Sum of the sample weights; the number of samples without.
    offset : array (n_targets,)
        Mean of the training targets (zero without intercept).
    pred_sum, pred_sq, cross : array (n_alphas, n_targets)
        Sums of predictions, their squares, and their products with the targets.
    y_sum, y_sq : array (n_targets,)
    """

    weight: float
    offset: Any
    pred_sum: Any
    pred_sq: Any
    cross: Any
    y_sum: Any
    y_sq: Any

    def score(self, scoring: str) -> Any:
        """R² or correlation, (n_alphas, n_targets); NaN where the held-out target (or prediction) is constant."""
        xp = namespace(self.y_sq)
        y_var = self.y_sq - self.y_sum**2 / self.weight
        y_var = xp.where(y_var > 1e-12 * self.y_sq, y_var, np.nan)
        if scoring == "r2":
            return 1.0 - (self.y_sq - 2.0 * self.cross + self.pred_sq) / y_var
        covariance = self.cross - self.pred_sum * self.y_sum / self.weight
        pred_var = self.pred_sq - self.pred_sum**2 / self.weight
        pred_var = xp.where(pred_var > 1e-12 * self.pred_sq, pred_var, np.nan)
        return covariance / xp.sqrt(pred_var * y_var)

    def prediction_sums(self) -> tuple[Any, Any]:
        """Sum and sum of squares of the predictions themselves, offset included."""
        shift = self.offset * self.weight
        return self.pred_sum + shift, self.pred_sq + self.offset * (2.0 * self.pred_sum + shift)


def _total(weights: Any, terms: Any, each: bool) -> Any:
    """``sum_j weights_j terms_j``: (n_alphas, n_targets), or (1, n_targets) where `each` target has its own weights."""
    if each:
        return namespace(terms).einsum("jt,jt->t", weights, terms)[None]
    return weights @ terms


@dataclass(frozen=True, eq=False)
class FoldProjection:
    """Targets of one fold in the eigenbasis of its training design.

    Parameters
    ----------
    fold : FoldFactor
    offset, y_sum, y_sq : array (n_targets,)
        As in `Moments`.
    b : array (rank, n_targets)
        ``V'X'Y`` of the training samples.
    cross : array (rank, n_targets), float64
        Its product with ``Z'Y`` of the test samples.
    far, near : array (rank, n_targets), float64, or None
        ``b N b`` and ``b M_near b`` by the first index; None where predictions are formed.
    """

    fold: FoldFactor
    offset: Any
    y_sum: Any
    y_sq: Any
    b: Any
    cross: Any
    far: Any
    near: Any

    def moments(self, alphas: Any) -> Moments:
        """Moments at every penalty (n_alphas,), or at one penalty per target (1, n_targets)."""
        weights, each = shrinkage(self.fold.eigenvalues, alphas), alphas.ndim == 2
        sums = self.fold.test_sum[:, None] if each else self.fold.test_sum
        pred_sum = _total(weights * sums, cast(self.b, "float64"), each)
        cross = _total(weights, self.cross, each) - self.offset * pred_sum
        norms, weight = self._norms(weights, each), self.fold.weight(self.fold.test)
        return Moments(weight, self.offset, pred_sum, norms, cross, self.y_sum, self.y_sq)

    def _norms(self, weights: Any, each: bool) -> Any:
        """Squared norm over the test samples of the prediction at each penalty."""
        if self.far is None:
            xp = namespace(self.b)
            dtype = str(self.b.dtype).rpartition(".")[2]
            shrunk = [weights] if each else [row[:, None] for row in weights]
            predictions = (self._predicted(cast(one, dtype) * self.b) for one in shrunk)
            return xp.stack([(one * one).sum(0, dtype=xp.float64) for one in predictions])
        # N is antisymmetric, so a constant may be taken from the weights: this one leaves least to cancel.
        centred = weights - (weights[-1:] if each else weights[:, -1:])
        return _total(centred, self.far, each) + _total(weights * weights, self.near, each)

    def _predicted(self, inner: Any) -> Any:
        if self.fold.test_half is not None:
            return half_product(self.fold.test_half, inner)
        return self.fold.test_design @ inner


def project_fold(fold: FoldFactor, Y: Any, held: Any, kept: Any) -> FoldProjection:
    """Project the targets of one fold.

    Parameters
    ----------
    fold : FoldFactor
    Y : array (n_samples, n_targets)
        Targets, about their mean over all samples where the model has an intercept, times the roots of the weights.
    held, kept : array (n_columns, n_targets)
        Products of the design (with its column of ones) and Y over the test and over the training samples; not read
        where the fold has a `train_design`.
    """
    tested, test_weight = cast(Y[fold.test], "float64"), fold.weight(fold.test)
    offset = -fold.sums(fold.excluded, cast(Y[fold.excluded], "float64")) / fold.weight(fold.train)
    offset = offset * float(fold.centred)
    if fold.rotation is None:
        b, product = fold.train_design.T @ Y[fold.train], fold.test_design.T @ Y[fold.test]
    else:
        b, product = fold.rotation @ kept, fold.rotation @ held
    b64 = cast(b, "float64")
    far = near = None
    if fold.far is not None:
        far = b64 * (fold.far @ b64)
        near = b64 * (fold.near[:, None] * b64 if fold.near.ndim == 1 else fold.near @ b64)
    y_sum, y_sq = fold.sums(fold.test, tested), (tested * tested).sum(0)
    y_sq = y_sq - offset * (2.0 * y_sum - test_weight * offset)
    cross = cast(product, "float64") * b64
    return FoldProjection(fold, offset, y_sum - test_weight * offset, y_sq, b, cross, far, near)


def fold_moments(fold: FoldFactor, Y: Any, held: Any, kept: Any, alphas: Any) -> Moments:
    """Moments of one fold at every penalty; see `project_fold`."""
    return project_fold(fold, Y, held, kept).moments(alphas)


@dataclass(frozen=True, eq=False)
class LooProjection:
    """Leave-one-out predictions in closed form, every sample predicted by the fit to all others.

    The held-out residual is ``(Y - HY)_i / (1 - H_ii)`` with H the hat matrix (and mean); numerator and denominator
    are both summed from ``alpha / (s + alpha)``, so that small penalties lose nothing to cancellation.

    Parameters
    ----------
    factor : LooFactor
    Y, products : array
        Centred targets, and left'Y.
    outside : array or None
        What of Y no penalty reaches.
    """

    factor: LooFactor
    Y: Any
    products: Any
    outside: Any

    def moments(self, alphas: Any) -> Moments:
        """Moments at every penalty (n_alphas,), or at one penalty per target (1, n_targets)."""
        factor, made = self.factor, self.factor.made
        Y, root, each = cast(self.Y, "float64"), made.root_weights, alphas.ndim == 2
        y_sum, y_sq = root @ Y, (Y**2).sum(0)
        kept = factor.kept(alphas)
        share, kept = factor.share(kept), cast(kept, made.dtype)
        pairs = [(share, kept)] if each else [(share[:, [i]], kept[:, [i]]) for i in range(len(alphas))]
        sums = [self._residual_sums(*pair) for pair in pairs]
        total, product, square = (namespace(Y).stack(one) for one in zip(*sums, strict=True))
        pred_sq, weight = y_sq - 2.0 * product + square, float((root**2).sum())
        return Moments(weight, y_sum * 0.0, y_sum - total, pred_sq, y_sq - product, y_sum, y_sq)

    def _residual_sums(self, share: Any, kept: Any) -> list[Any]:
        """Sums over samples of the residuals ``share * (outside + left inner)``, of them times Y, of their squares."""
        xp, Y, made = namespace(self.Y), self.Y, self.factor.made
        root, inner, half_left = cast(made.root_weights, made.dtype), kept * self.products, self.factor.left_half
        sums = [0.0, 0.0, 0.0]
        for rows in row_blocks(len(Y), 4 * Y.shape[1], budget=block_bytes(Y, 2**21)):  # blocks that stay in the cache
            residual = made.left[rows] @ inner if half_left is None else half_product(half_left[rows], inner)
            if self.outside is not None:
                residual += self.outside[rows]
            residual *= share[rows]
            parts = (
                root[rows] @ residual,
                xp.einsum("ij,ij->j", residual, Y[rows]),
                xp.einsum("ij,ij->j", residual, residual),
            )
            sums = [total + cast(part, "float64") for total, part in zip(sums, parts, strict=True)]
        return sums


def project_loo(factor: LooFactor, Y: Any, products: Any) -> LooProjection:
    """Project targets (about their mean, times the roots of the weights) for leave-one-out."""
    return LooProjection(factor, Y, products, None if factor.full else Y - factor.made.left @ products)


@dataclass(frozen=True, eq=False)
class GcvProjection:
    """Generalised cross-validation.

    Golub, Heath & Wahba 1979, Technometrics 21, eq. 2.3: ``n |Y - HY|^2 / trace(1 - H)^2``. Sample weights count as
    precisions: it is the formula for the rows times the roots of their weights, of which those not zero are counted.

    Parameters
    ----------
    made : Decomposition
    squares : array (rank, n_targets), float64
        Of left'Y.
    total : array (n_targets,), float64
        Sum of the squares of Y.
    """

    made: Decomposition
    squares: Any
    total: Any

    def scores(self, alphas: Any) -> Any:
        """One minus the error over the variance at every penalty, or at one penalty per target."""
        made, each = self.made, alphas.ndim == 2
        kept = shrinkage(made.eigenvalues, alphas) * (alphas if each else alphas[:, None])
        n_samples = int((made.root_weights > 0).sum())
        freedom = n_samples - int(made.centred) - made.left.shape[1]
        spare = freedom + (kept.sum(0)[None] if each else kept.sum(1)[:, None])
        # Where the design spans all that targets can be, what is left outside is rounding.
        outside = (self.total - self.squares.sum(0)) * float(freedom > 0)
        error = n_samples**2 * (outside.clip(0) + _total(kept * kept, self.squares, each)) / spare**2
        return 1.0 - error / namespace(error).where(self.total > 0, self.total, np.nan)


def project_gcv(made: Decomposition, Y: Any, products: Any) -> GcvProjection:
    """Project centred targets for generalised cross-validation."""
    return GcvProjection(made, cast(products, "float64") ** 2, (cast(Y, "float64") ** 2).sum(0))
