"""Refinement of band weights by gradient: every target descends its own cross-validation error.

With ``delta_b = log(weight_b / alpha)``, E the diagonal of ``exp(delta / 2)`` over the axes of the bands, G the Gram
matrix of the training samples and q their products with a target, ridge solves ``(E G E + 1) u = E q`` and predicts
``Z E u``. The gradient of the squared error of the test samples, with residuals r, needs one more such system,
``(E G E + 1) v = E Z'r``: it is ``2 v_b'u_b`` for band b (implicit differentiation, as in Dupré la Tour et al. 2022,
NeuroImage 264, 119728, here in the features instead of the samples). Both are solved by conjugate gradients for all
targets at once, one product with G an iteration, preconditioned by the diagonal, which inside a band is nearly all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainalign.voxelwise.backend import cast, namespace, to_like, to_numpy
from brainalign.voxelwise.banded_grams import BandedProblem
from brainalign.voxelwise.banded_primal import BandAxes

__all__ = ["GradientPlan", "plan_gradient"]

_START = 1e-2
"""Least weight to start from, beside the largest: a gradient in the logarithm cannot leave zero."""


@dataclass(frozen=True, eq=False)
class _Fold:
    """A fold in the axes of the bands, about its training mean."""

    train: np.ndarray
    test: np.ndarray
    train_design: Any
    test_design: Any
    gram: Any


@dataclass(frozen=True, eq=False)
class GradientPlan:
    """Axes of the bands and Gram matrices of folds; see `plan_gradient`.

    Parameters
    ----------
    axes : BandAxes
    folds : tuple of _Fold
    centred : bool
    """

    axes: BandAxes
    folds: tuple[_Fold, ...]
    centred: bool

    def refine(
        self, block: Any, weights: np.ndarray, alphas: np.ndarray, *, n_steps: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Descend from the given weights, with steps that grow where they helped and shrink where not.

        Parameters
        ----------
        block : array (n_samples, n_targets)
            About their mean where the model has an intercept.
        weights : array (n_bands, n_targets)
        alphas : array (n_targets,)
        n_steps : int

        Returns
        -------
        weights, alphas : array (n_bands, n_targets), array (n_targets,)
        scores : array (n_targets,)
            Mean R² over folds.
        """
        delta = np.log(np.maximum(weights, _START * weights.max(axis=0)) / alphas)
        loss, gradient = self.loss_and_gradient(block, delta)
        length = np.full(len(alphas), 1.0)
        for _ in range(n_steps):
            norm = np.linalg.norm(gradient, axis=0)
            trial = delta - gradient * (length / np.where(norm > 0, norm, 1.0))
            trial_loss, trial_gradient = self.loss_and_gradient(block, trial)
            better = trial_loss < loss
            delta[:, better], loss[better] = trial[:, better], trial_loss[better]
            gradient[:, better] = trial_gradient[:, better]
            length = np.where(better, 1.5 * length, 0.3 * length)
        ratio = np.exp(delta)
        alphas = 1.0 / ratio.sum(axis=0)
        return ratio * alphas, alphas, 1.0 - loss

    def loss_and_gradient(self, block: Any, delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One minus the mean R² over folds, (n_targets,), and its gradient, (n_bands, n_targets).

        Constant targets have neither loss nor gradient: zero.
        """
        n_bands, n_targets = delta.shape
        loss, gradient = np.zeros(n_targets), np.zeros((n_bands, n_targets))
        scale = self._scale(delta, block)
        for fold in self.folds:
            known, true = block[fold.train], block[fold.test]
            ones, tested = (cast(self.axes.ones, self.axes.dtype)[rows][:, None] for rows in (fold.train, fold.test))
            offset = (ones * known).sum(0) / (ones * ones).sum() * float(self.centred)
            u = _solve(fold.gram, scale, scale * (fold.train_design.T @ (known - ones * offset)))
            residual = fold.test_design @ (scale * u) + tested * offset - true
            variance = ((true - tested * ((tested * true).sum(0) / (tested * tested).sum())) ** 2).sum(0)
            share = 1.0 / namespace(true).where(variance > 0, variance, np.inf) / len(self.folds)
            v = _solve(fold.gram, scale, scale * (fold.test_design.T @ (residual * share)))
            loss += to_numpy(cast((residual**2).sum(0) * share, "float64"))
            product = to_numpy(cast(u * v, "float64"))
            for band in range(n_bands):
                gradient[band] += 2.0 * product[self.axes.band == band].sum(axis=0)
        return loss, gradient

    def refit(self, block: Any, weights: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        """Coefficients (n_features, n_targets) on all samples, in float64 until they are lifted to the features."""
        design = cast(self.axes.left, "float64") * self.axes.root
        with np.errstate(divide="ignore"):
            scale = cast(self._scale(np.log(weights / alphas), block), "float64")
        u = _solve(design.T @ design, scale, scale * (design.T @ cast(block, "float64")), tolerance=1e-10)
        return self.axes.lift(scale * u)

    def _scale(self, delta: np.ndarray, block: Any) -> Any:
        return cast(to_like(np.exp(delta[self.axes.band] / 2.0), block), self.axes.dtype)


def plan_gradient(problem: BandedProblem) -> GradientPlan:
    """Turn the bands to their axes, and take the Gram matrix of each fold."""
    axes, dtype = BandAxes.of(problem), problem.dtype
    design, ones = cast(axes.left, "float64") * axes.root, axes.ones
    made = []
    for train, test in problem.folds:
        mean = ones[train] @ design[train] / (ones[train] ** 2).sum() * float(problem.centred)
        known = design[train] - ones[train][:, None] * mean
        tested = design[test] - ones[test][:, None] * mean
        made.append(_Fold(train, test, cast(known, dtype), cast(tested, dtype), cast(known.T @ known, dtype)))
    return GradientPlan(axes, tuple(made), problem.centred)


def _solve(gram: Any, scale: Any, wanted: Any, *, tolerance: float = 1e-5, n_iter: int = 200) -> Any:
    """``(E G E + 1)^-1 wanted`` of every target by conjugate gradients, until the worst residual is small."""
    diagonal = scale**2 * gram.diagonal()[:, None] + 1.0

    def product(x: Any) -> Any:
        return scale * (gram @ (scale * x)) + x

    x = wanted / diagonal
    residual = wanted - product(x)
    return _conjugate_gradients(product, diagonal, x, residual, tolerance * _norm(wanted), n_iter)


def _conjugate_gradients(
    product: Callable[[Any], Any], diagonal: Any, x: Any, residual: Any, goal: Any, n_iter: int
) -> Any:
    direction = step = residual / diagonal
    power = (residual * step).sum(0)
    tiny = np.finfo(np.float32).tiny
    for _ in range(n_iter):
        if bool((_norm(residual) <= goal).all()):
            break
        image = product(direction)
        length = power / ((direction * image).sum(0) + tiny)
        x = x + length * direction
        residual = residual - length * image
        step = residual / diagonal
        power, before = (residual * step).sum(0), power
        direction = step + power / (before + tiny) * direction

    return x


def _norm(x: Any) -> Any:
    return (x * x).sum(0) ** 0.5
