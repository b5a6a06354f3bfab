"""The training part of each fold, decomposed once for all targets: what `brainalign.voxelwise.heldout` projects with.

The Gram matrix of a training set is the whole less the held-out part, so no fold reads its training rows; with
fewer training samples than directions they are decomposed themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.voxelwise.backend import cast, half, namespace
from brainalign.voxelwise.solvers import Decomposition, eigh_without_null, shrinkage

__all__ = ["FoldFactor", "LooFactor", "factor_fold", "factor_loo"]

_CLOSE = 1e-6
"""Relative gap under which two eigenvalues count as equal."""


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
        Its column sums, weighted.
    far, near : array or None
        The matrices N and M_near of `brainalign.voxelwise.heldout` (M_near as its diagonal where that is all).
    test_half : torch.Tensor or None
        `test_design` in bfloat16, where predictions are formed in that.
    root_weights : array (n_samples,), float64, or None
        Square roots of the sample weights; None where all are one.
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
    test_half: Any = None
    root_weights: Any = None

    def weight(self, rows: np.ndarray) -> float:
        """Sum of the weights of some samples."""
        return float(len(rows)) if self.root_weights is None else float((self.root_weights[rows] ** 2).sum())

    def sums(self, rows: np.ndarray, values: Any) -> Any:
        """Weighted column sums of rows that are already times the roots of their weights."""
        return values.sum(0) if self.root_weights is None else self.root_weights[rows] @ values


def factor_fold(
    made: Decomposition, train: np.ndarray, test: np.ndarray, *, n_alphas: int, in_half: bool = False
) -> FoldFactor:
    """Decompose the training part of ``left diag(eigenvalues)^(1/2)`` by taking the held-out part from the whole.

    Parameters
    ----------
    made : Decomposition
        Of the whole design.
    train, test : array of int
    n_alphas : int
        How many penalties will be scored; decides how the norms of predictions are computed.
    in_half : bool
        Form the predictions whose norms are taken, in bfloat16.
    """
    excluded = np.setdiff1d(np.arange(len(made.left)), train)
    train_weight = float((made.root_weights[train] ** 2).sum())
    # The columns of `left` have a weighted sum of zero where the design is centred: the excluded rows give the mean.
    mean = -(made.root_weights[excluded] @ cast(made.left[excluded], "float64")) / train_weight * float(made.centred)
    if len(train) >= made.left.shape[1]:
        values, vectors, rotation = _train_by_subtraction(made, excluded, mean, train_weight)
        train_design = None
    else:
        values, vectors, train_design = _train_directly(made, train, mean)
        rotation = None
    tested = _about(made, test, mean) @ vectors
    del vectors
    unit = 1 if made.dtype == "float32" else 2
    formed = in_half or n_alphas * len(test) * unit <= 2 * len(values)
    far, near = (None, None) if formed else _norm_kernels(values, tested.T @ tested)
    return FoldFactor(
        train,
        test,
        excluded,
        values,
        rotation,
        train_design,
        cast(tested, made.dtype) if rotation is None or (formed and not in_half) else None,
        made.root_weights[test] @ tested,
        made.centred,
        far,
        near,
        half(tested) if in_half else None,
        made.root_weights if made.weighted else None,
    )


def _about(made: Decomposition, rows: np.ndarray, mean: Any) -> Any:
    """Rows of ``left diag(eigenvalues)^(1/2)`` about the training mean, in float64."""
    centred = cast(made.left[rows], "float64") - made.root_weights[rows, None] * mean
    centred *= namespace(mean).sqrt(made.eigenvalues)
    return centred


def _train_by_subtraction(
    made: Decomposition, excluded: np.ndarray, mean: Any, train_weight: float
) -> tuple[Any, Any, Any]:
    """Eigenvalues and vectors of the training Gram matrix, the whole (which is 1 in `left`) less what is excluded; and
    the rotation to them of products with the design."""
    xp, root = namespace(made.left), namespace(made.left).sqrt(made.eigenvalues)
    gone = cast(made.left[excluded], "float64")
    inner = -(gone.T @ gone)
    inner -= (train_weight * mean)[:, None] * mean[None, :]
    diagonal = np.arange(len(inner))
    inner[diagonal, diagonal] += 1.0
    inner *= root[:, None]
    inner *= root
    values, vectors = eigh_without_null(inner, len(made.left) - len(excluded))
    turned = (root[:, None] * vectors).T
    columns = [turned, -(turned @ mean)[:, None]] if made.centred else [turned]
    return values, vectors, cast(xp.concatenate(columns, axis=1), made.dtype)


def _train_directly(made: Decomposition, train: np.ndarray, mean: Any) -> tuple[Any, Any, Any]:
    """Eigenvalues, right vectors and rotated design of fewer training samples than directions."""
    design = _about(made, train, mean)
    values, outer = eigh_without_null(design @ design.T, len(design))
    scale = namespace(design).sqrt(values)
    return values, design.T @ (outer / scale), cast(outer * scale, made.dtype)


def _norm_kernels(eigenvalues: Any, gram: Any) -> tuple[Any, Any]:
    """N and M_near of `brainalign.voxelwise.heldout`; M_near as a vector where only the diagonal is near."""
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


@dataclass(frozen=True, eq=False)
class LooFactor:
    """How much each sample pulls its own prediction, at any penalty.

    Parameters
    ----------
    made : Decomposition
    squares : array (n_samples, rank)
        Of the entries of `left`.
    spare : array (n_samples,) or 0
        The part of one minus the leverage that no penalty reaches.
    full : bool
        Whether `left` spans all that targets can be.
    left_half : torch.Tensor or None
        `left` in bfloat16, where residuals are formed in that.
    """

    made: Decomposition
    squares: Any
    spare: Any
    full: bool
    left_half: Any = None

    def kept(self, alphas: Any) -> Any:
        """``alpha / (eigenvalue + alpha)``: (rank, n_alphas), or (rank, n_targets) of one penalty per target."""
        weights = shrinkage(self.made.eigenvalues, alphas)
        return weights * alphas if alphas.ndim == 2 else (weights * alphas[:, None]).T

    def share(self, kept: Any) -> Any:
        """One over one minus the leverage, (n_samples, n_columns of `kept`)."""
        spare = self.spare if self.full else self.spare[:, None]
        return cast(1.0 / (spare + self.squares @ cast(kept, self.made.dtype)), self.made.dtype)


def factor_loo(made: Decomposition, *, in_half: bool = False) -> LooFactor:
    """Prepare leave-one-out from the decomposed design; `in_half` forms residuals in bfloat16."""
    n_samples, rank = made.left.shape
    full = rank >= n_samples - int(made.centred)
    squares = cast(made.left, "float64") ** 2
    weights = made.root_weights**2
    spare = 0.0 if full else 1.0 - float(made.centred) * weights / weights.sum() - squares.sum(1)
    return LooFactor(made, cast(squares, made.dtype), spare, full, half(made.left) if in_half else None)
