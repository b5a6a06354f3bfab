"""What a representation is made of: its dimension, its alignment with labels, and its concepts.

Concepts are non-negative amounts of directions in activation space, so that concepts, not only layers, can be compared
with regions (`rsa.rdm` of the amounts). Signed activations are factorised by semi-NMF.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.cka import cka, same_samples
from brainalign.arrays import as_matrix
from brainalign.errors import DataError

__all__ = ["Concepts", "concept_importance", "find_concepts", "label_alignment", "participation_ratio", "sobol_total"]


def participation_ratio(X: Any) -> Any:
    """Effective number of dimensions, ``(sum l)**2 / sum l**2`` over the eigenvalues l of the covariance.

    Parameters
    ----------
    X : array or tensor (..., n_samples, n_features), or Latents

    Returns
    -------
    float, or array (...) with leading axes
        Between 1 and the rank, from two traces, without an eigendecomposition. NaN for constant data.

    References
    ----------
    Gao et al. 2017, bioRxiv 214262.

    Examples
    --------
    >>> round(participation_ratio(np.random.default_rng(0).normal(size=(5000, 10))), 1)
    10.0
    """
    x, _ = same_samples(X, X, min_samples=2)
    gram = x.swapaxes(-1, -2) @ x if x.shape[-1] <= x.shape[-2] else x @ x.swapaxes(-1, -2)
    trace, squares = (x * x).sum((-1, -2)), (gram * gram).sum((-1, -2))
    value = trace**2 / (squares + (squares == 0) * float("nan")) if bool((squares == 0).any()) else trace**2 / squares
    return float(value) if value.ndim == 0 else value


def label_alignment(X: Any, labels: ArrayLike, *, debiased: bool = True) -> Any:
    """Alignment of the kernel of a representation with that of a task.

    Parameters
    ----------
    X : array or tensor (..., n_samples, n_features), or Latents
    labels : array (n_samples,) of classes, or (n_samples, n_targets) of numbers
    debiased : bool
        So that many features do not look aligned with any labels.

    Returns
    -------
    float, or array (...) with leading axes
        Centred kernel alignment (Cortes et al. 2012, J. Mach. Learn. Res. 13): 1 when distances are all and only
        about the task.

    Examples
    --------
    >>> round(label_alignment(np.repeat(np.eye(3), 10, axis=0), np.repeat(list("abc"), 10)), 6)
    1.0
    """
    target = np.asarray(labels)
    if target.ndim == 1:
        classes, codes = np.unique(target, return_inverse=True)
        if len(classes) < 2:
            raise DataError("labels of one class align with nothing", found=classes.tolist())
        target = np.eye(len(classes))[codes]
    return cka(X, target, debiased=debiased)


@dataclass(frozen=True)
class Concepts:
    """Directions in activation space and how much of each a sample has: ``X ≈ amounts @ directions``.

    Attributes
    ----------
    amounts : array (n_samples, n_concepts)
        Non-negative.
    directions : array (n_concepts, n_features)
        Of unit norm; non-negative if so asked.
    explained : float
        Share of the sum of squares.
    """

    amounts: NDArray[np.float64]
    directions: NDArray[np.float64]
    explained: float

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Amounts (n_samples, n_concepts) in other activations, by non-negative least squares."""
        from scipy.optimize import nnls

        values = as_matrix(X, name="X", dtype=np.float64)
        if values.shape[1] != self.directions.shape[1]:
            raise DataError("other features than the concepts", expected=self.directions.shape[1], found=values.shape)
        return np.stack([nnls(self.directions.T, row)[0] for row in values])


def find_concepts(
    X: ArrayLike, n_concepts: int, *, signed: bool = True, n_iter: int = 300, tolerance: float = 1e-7, seed: int = 0
) -> Concepts:
    """Factorise activations into non-negative amounts of a few directions.

    Parameters
    ----------
    X : array (n_samples, n_features)
        Activations of images or of crops of images.
    n_concepts : int
    signed : bool
        Directions of any sign (semi-NMF, Ding, Li & Jordan 2010, IEEE TPAMI 32); else non-negative ones of
        non-negative activations, as CRAFT has them (Fel et al. 2023, CVPR).
    n_iter, tolerance
        Stop after so many sweeps, or when one lowers the error by less than this share of the sum of squares.
    seed : int
        Of the k-means start.

    Returns
    -------
    Concepts

    Notes
    -----
    Each sweep solves for the directions in closed form (by coordinate when non-negative), then for the amounts of one
    concept after the other; no step raises the error. Directions of any sign span the right space, but are unique only
    as far as samples lie on the edges of their cone.
    """
    x = as_matrix(X, name="X", dtype=np.float64, min_rows=2)
    if not 1 <= n_concepts <= min(x.shape):
        raise DataError("number of concepts", expected=f"1 to {min(x.shape)}", found=n_concepts)
    if not signed and (x < 0).any():
        raise DataError("non-negative concepts need non-negative activations", fix="signed=True")
    amounts, total = _start(x, n_concepts, seed), float(np.sum(x**2))
    if total == 0:
        raise DataError("activations are all zero", expected="something to factorise")
    directions = np.maximum(_least_squares(amounts, x), 0.0) if not signed else _least_squares(amounts, x)
    error = np.inf
    for _ in range(n_iter):
        _coordinate_sweep(amounts, x @ directions.T, directions @ directions.T)
        if signed:
            directions = _least_squares(amounts, x)
        else:
            _coordinate_sweep(directions.T, x.T @ amounts, amounts.T @ amounts)
        last, error = error, float(np.sum((x - amounts @ directions) ** 2))
        if last - error <= tolerance * total:
            break
    norm = np.linalg.norm(directions, axis=1)
    unit = directions / np.where(norm > 0, norm, 1.0)[:, None]
    order = np.argsort(-np.sum((amounts * norm) ** 2, axis=0), kind="stable")
    return Concepts((amounts * norm)[:, order], unit[order], 1 - error / total)


def _start(x: NDArray, n_concepts: int, seed: int) -> NDArray[np.float64]:
    """Cluster membership, with a little of every concept so that none starts at zero for good."""
    from sklearn.cluster import KMeans

    labels = KMeans(n_concepts, n_init=1, random_state=seed).fit_predict(x)
    return np.eye(n_concepts)[labels] + 0.2


def _least_squares(amounts: NDArray, x: NDArray) -> NDArray[np.float64]:
    return np.linalg.pinv(amounts.T @ amounts, hermitian=True) @ (amounts.T @ x)


def _coordinate_sweep(amounts: NDArray, cross: NDArray, gram: NDArray) -> None:
    """In place: the best non-negative amounts of one concept after the other, given those of all others."""
    for one in range(gram.shape[0]):
        if gram[one, one] > 0:
            step = (cross[:, one] - amounts @ gram[:, one]) / gram[one, one]
            amounts[:, one] = np.maximum(amounts[:, one] + step, 0.0)


def concept_importance(
    concepts: Concepts, score: Callable[[NDArray], ArrayLike], *, n_draws: int = 64, seed: int = 0
) -> NDArray[np.float64]:
    """How much of a score's variation each concept is involved in, alone and with others.

    Parameters
    ----------
    concepts : Concepts
    score : callable
        Takes activations (n, n_features), returns a number for each: a class logit, the predicted response of a
        voxel.
    n_draws : int
        A power of 2.
    seed : int

    Returns
    -------
    array (n_concepts,)
        Total Sobol indices when the amounts of each sample are scaled by independent factors from 0 to 1, averaged
        over samples (Fel et al. 2023). Samples whose score does not change count as 0.
    """
    importance = np.zeros(len(concepts.directions))
    for amounts in concepts.amounts:

        def masked(masks: NDArray, amounts: NDArray = amounts) -> NDArray:
            return np.asarray(score((masks * amounts) @ concepts.directions), dtype=np.float64)

        importance += np.nan_to_num(sobol_total(masked, len(importance), n_draws=n_draws, seed=seed))
    return importance / len(concepts.amounts)


def sobol_total(
    function: Callable[[NDArray], ArrayLike], n_inputs: int, *, n_draws: int = 1024, seed: int = 0
) -> NDArray[np.float64]:
    """Total Sobol indices of a function of independent inputs that are uniform on [0, 1].

    Parameters
    ----------
    function : callable
        Takes (n, n_inputs), returns (n,).
    n_inputs : int
    n_draws : int
        A power of 2; the function sees ``n_draws (n_inputs + 2)`` points, of a scrambled Sobol sequence.
    seed : int

    Returns
    -------
    array (n_inputs,)
        Jansen's (1999) estimate; NaN for a constant function.

    Examples
    --------
    >>> sobol_total(lambda x: 2 * x[:, 0] + x[:, 1], 3).round(2)
    array([0.8, 0.2, 0. ])
    """
    from scipy.stats.qmc import Sobol

    if n_draws < 2 or n_draws & (n_draws - 1):
        raise DataError("draws of a Sobol sequence", expected="a power of 2", found=n_draws)
    points = Sobol(2 * n_inputs, seed=np.random.default_rng(seed)).random(n_draws)
    first, second = points[:, :n_inputs], points[:, n_inputs:]
    designs = [first, second]
    for one in range(n_inputs):
        swapped = first.copy()
        swapped[:, one] = second[:, one]
        designs.append(swapped)
    values = np.asarray(function(np.concatenate(designs)), dtype=np.float64)
    if values.shape != (n_draws * (n_inputs + 2),):
        raise DataError("the function returns a number for each point", expected=n_draws, found=values.shape)
    values = values.reshape(n_inputs + 2, n_draws)
    variance = values[:2].var()
    if variance <= 1e-24 * np.mean(values[:2] ** 2):
        return np.full(n_inputs, np.nan)
    return np.mean((values[2:] - values[0]) ** 2, axis=1) / (2 * variance)
