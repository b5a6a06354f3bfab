"""Predictions at large penalties as mixtures of those at smaller ones.

A fold's prediction is a function of its training kernel, ``K_ET f(K_TT) y`` with ``f(s) = 1 / (s + alpha)``. Above the
largest eigenvalue these functions are nearly polynomials of low degree, and a few of them span the rest: what a
mixture misses is bounded by the largest miss of ``sqrt(largest s) f(s)`` over the spectrum, times the norm of y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    n_solved, shares = len(alphas), np.empty((0, len(alphas)))
    last = [len(alphas) - 1] if centred else []
    for n_small in range(len(alphas) - 1 - len(last), 0, -1):
        solved = [*range(n_small), *last]
        others = np.setdiff1d(np.arange(len(alphas)), solved)
        found = np.linalg.lstsq(shapes[:, solved], shapes[:, others], rcond=1e-12)[0]
        found[np.abs(found) * shapes[:, solved].max(axis=0)[:, None] < TOLERANCE / 20] = 0.0
        if np.abs(shapes[:, solved] @ found - shapes[:, others]).max() > TOLERANCE:
            break
        n_solved, shares = n_small, found.T
    solved = [*range(n_solved), *last] if len(shares) else list(range(len(alphas)))
    others = np.setdiff1d(np.arange(len(alphas)), solved)
    return Mixture(order[solved], order[others], shares)
