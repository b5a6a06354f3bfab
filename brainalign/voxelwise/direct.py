"""Many targets at one penalty in a wide design: one product for the fit and its leave-one-out predictions together.

With more features than samples the weights of the samples are ``(XX' + alpha)^-1 Y``. Formed once, the inverse serves
every target with a single product, where going through the eigenbasis takes two and leave-one-out a third; and the
residual of a sample that was left out is its weight over the diagonal of the inverse (the kernel form of Allen 1974,
Technometrics 16), so that held-out predictions cost nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brainalign.arrays import row_blocks
from brainalign.voxelwise.backend import cast, namespace
from brainalign.voxelwise.heldout import Moments

if TYPE_CHECKING:
    from brainalign.voxelwise.solvers import Decomposition

__all__ = ["SharedPenalty", "shared_penalty"]


@dataclass(frozen=True, eq=False)
class SharedPenalty:
    """``(XX' + alpha)^-1`` on the directions in which X varies.

    Parameters
    ----------
    inverse : array (n_samples, n_samples)
        In the precision of the products.
    diagonal : array (n_samples,), float64
    """

    inverse: Any
    diagonal: Any

    def weights(self, Y: Any) -> Any:
        """Weights of the samples for targets about their mean, (n_samples, n_targets)."""
        return self.inverse @ Y

    def moments(self, Y: Any, weights: Any) -> Moments:
        """Sums over leave-one-out predictions, exact where no direction of the targets is out of reach."""
        xp = namespace(Y)
        sums: list[Any] = [0.0] * 5
        for rows in row_blocks(len(Y), 8 * Y.shape[1], budget=2**22):  # blocks that stay in the cache
            residual = weights[rows] / cast(self.diagonal[rows, None], str(weights.dtype).rpartition(".")[2])
            y = Y[rows]
            parts = (
                y.sum(0),
                xp.einsum("ij,ij->j", y, y),
                residual.sum(0),
                xp.einsum("ij,ij->j", residual, y),
                xp.einsum("ij,ij->j", residual, residual),
            )
            sums = [total + cast(part, "float64") for total, part in zip(sums, parts, strict=True)]
        y_sum, y_sq, total, product, square = sums
        about = y_sq - 2.0 * product + square
        one = (y_sum * 0.0, (y_sum - total)[None], about[None], (y_sq - product)[None], y_sum, y_sq)
        return Moments(float(len(Y)), *one)


def shared_penalty(made: Decomposition, alpha: float) -> SharedPenalty:
    """Form the inverse from the decomposition: half a product of n_samples^3.

    Examples
    --------
    >>> import numpy as np
    >>> from brainalign.voxelwise.solvers import decompose
    >>> X = np.array([[2.0, 0, 0], [0, 1.0, 0]])
    >>> shared_penalty(decompose(X, centre=False), 1.0).inverse.round(3)
    array([[0.2, 0. ],
           [0. , 0.5]])
    """
    root = namespace(made.left).sqrt(made.eigenvalues + alpha)
    scaled = made.left / cast(root, made.dtype)
    return SharedPenalty(scaled @ scaled.T, (cast(scaled, "float64") ** 2).sum(1))
