"""Predictions at large penalties as mixtures of those at smaller ones.

A fold's prediction is a function of its training kernel, ``K_ET f(K_TT) y`` with ``f(s) = 1 / (s + alpha)``. Above the
largest eigenvalue these functions are nearly polynomials of low degree, and a few of them span the rest: what a
mixture misses is bounded by the largest miss of ``sqrt(largest s) f(s)`` over the spectrum, times the norm of y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainalign.arrays import row_blocks

__all__ = ["Mixture", "spanning"]

TOLERANCE = 2e-6
"""Largest miss, in units of the norm of the training targets; R² is good to some five times that."""
_MARGIN = 1.05
"""The largest eigenvalue is known by a few power iterations only."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Which penalties to solve, and how the others follow.

    Parameters
    ----------
    solved, mixed : array of int
        Positions in the grid.
    shares : array (n_mixed, n_solved)
    """

    solved: np.ndarray
    mixed: np.ndarray
    shares: np.ndarray

    @classmethod
    def of_itself(cls, solved: np.ndarray) -> Mixture:
        """Penalties that are all solved."""
        return cls(solved, np.arange(0), np.empty((0, len(solved))))

    @property
    def order(self) -> np.ndarray:
        """Positions in the grid of those solved, then of those mixed."""
        return np.concatenate([self.solved, self.mixed])

    def parts(self, n_together: int) -> list[Mixture]:
        """The same in steps: a few penalties at a time that no other follows from, then those with a share and all
        that follow from them."""
        shared = (self.shares != 0).any(axis=0)
        alone = self.solved[~shared]
        steps = [Mixture.of_itself(alone[some]) for some in row_blocks(len(alone), 1, budget=n_together)]
        return [*steps, Mixture(self.solved[shared], self.mixed, self.shares[:, shared])] if shared.any() else steps


def spanning(alphas: np.ndarray, largest: float, *, centred: bool) -> Mixture:
    """The fewest penalties of a grid whose predictions span those of the others to `TOLERANCE`.

    Parameters
    ----------
    alphas : array (n_alphas,)
    largest : float
        About the largest eigenvalue of the kernel.
    centred : bool
        Predictions hold the mean of the training targets: shares then sum to one.

    Examples
    --------
    >>> made = spanning(np.array([1.0, 10.0, 100.0, 1e6, 1e7]), 10.0, centred=False)
    >>> made.solved.tolist(), made.mixed.tolist()
    ([0, 1, 2], [3, 4])
    """
    order = np.argsort(alphas)
    bound = _MARGIN * largest
    spectrum = np.concatenate([[0.0], bound * np.geomspace(1e-6, 1.0, 120)])
    shapes = np.sqrt(bound * spectrum)[:, None] / (spectrum[:, None] + alphas[order])
    if centred:
        shapes = np.vstack([shapes, np.ones(len(alphas))])
    n_alphas = len(alphas)
    last = [n_alphas - 1] if centred else []
    made = Mixture.of_itself(np.arange(n_alphas))
    for n_small in range(n_alphas - 1 - len(last), 0, -1):
        solved = np.array([*range(n_small), *last])
        others = np.setdiff1d(np.arange(n_alphas), solved)
        found = _shares(shapes[:, solved], shapes[:, others])
        if found is None:
            break
        made = Mixture(solved, others, found.T)
    for n_without in range(1, len(made.solved) if len(made.mixed) else 0):  # as few as span have a share
        found = _shares(shapes[:, made.solved[n_without:]], shapes[:, made.mixed])
        if found is None:
            break
        made.shares[:, :n_without], made.shares[:, n_without:] = 0.0, found.T
    return Mixture(order[made.solved], order[made.mixed], made.shares)


def _shares(those: np.ndarray, others: np.ndarray) -> np.ndarray | None:
    """Of those shapes in each of the others, where no more than `TOLERANCE` is missed."""
    found = np.linalg.lstsq(those, others, rcond=1e-12)[0]
    return found if np.abs(those @ found - others).max() <= TOLERANCE else None
