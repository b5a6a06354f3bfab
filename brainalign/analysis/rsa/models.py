"""Models with free parameters: mixtures of RDMs whose weights are fitted, and scored on what was held out.

All fits need only inner products, so they cost nothing per pair: the direction of the largest cosine under
non-negative weights is that of non-negative least squares.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import as_like, check_numbers, namespace, to_numpy
from brainalign.analysis.rsa.compare import compare, matching_rdms
from brainalign.analysis.rsa.condensed import n_conditions, select_conditions
from brainalign.analysis.rsa.whitened import whitened_inner
from brainalign.errors import DataError

__all__ = ["KINDS", "crossvalidated_fit", "fit_weights", "weights_from_products"]

KINDS = ("weighted", "selected", "interpolated")
_FITTED_AS = {"spearman": "pearson", "rho_a": "pearson", "kendall_a": "pearson", "kendall_b": "pearson"}
_LINEAR = ("cosine", "pearson", "whitened_cosine", "whitened_pearson")


def fit_weights(
    d: Any,
    components: Any,
    *,
    kind: str = "weighted",
    method: str = "cosine",
    noise_covariance: ArrayLike | None = None,
) -> Any:
    """Weights of component RDMs whose mixture is most similar to the RDMs of all subjects.

    Parameters
    ----------
    d : array or tensor (n_subjects, n_pairs) or (n_pairs,)
        Every subject counts the same: RDMs are brought to unit norm.
    components : array or tensor (n_components, n_pairs)
    kind : {"weighted", "selected", "interpolated"}
        Any non-negative mixture; the best component; the best mixture of two neighbours in the order given (layers of
        a network, widths of a kernel).
    method : {"cosine", "pearson", "whitened_cosine", "whitened_pearson"}
        What is made as large as possible. The ordinal measures are fitted as "pearson".
    noise_covariance : array, optional
        As in `compare`.

    Returns
    -------
    array or tensor (n_components,)
        Non-negative; they sum to 1, or are all 0 when no component resembles the data.

    Examples
    --------
    >>> components = np.random.default_rng(0).random((3, 45))
    >>> fit_weights(0.2 * components[0] + 0.6 * components[2], components).round(6)
    array([0.25, 0.  , 0.75])
    """
    rows, columns = (side[None] if side.ndim == 1 else side for side in matching_rdms(d, components))
    check_numbers(rows, name="RDMs")
    check_numbers(columns, name="components")
    method = _FITTED_AS.get(method, method)
    if method not in _LINEAR:
        raise DataError(f"no fit for method {method!r}", expected=_LINEAR)
    if method.endswith("pearson"):
        rows, columns = (side - side.mean(1)[:, None] for side in (rows, columns))
    if method.startswith("whitened"):
        cross, norms, _ = whitened_inner(rows, columns, noise_covariance)
        gram = whitened_inner(columns, columns, noise_covariance)[0]
    else:
        norms = namespace(rows).sqrt((rows * rows).sum(1))
        cross, gram = rows @ columns.T, columns @ columns.T
    if not bool((norms > 0).all()):
        raise DataError("a constant RDM cannot be fitted", found=np.flatnonzero(~(to_numpy(norms) > 0)).tolist())
    gram, cross = (np.asarray(to_numpy(x), dtype=np.float64) for x in (gram, (cross / norms[:, None]).sum(0)))
    return as_like(weights_from_products(gram, cross, kind), rows)


def weights_from_products(gram: NDArray, cross: NDArray, kind: str = "weighted") -> NDArray[np.float64]:
    """The same from inner products: of the components (n, n), and of the components with the target (n,)."""
    if kind not in KINDS:
        raise DataError(f"no kind of model {kind!r}", expected=KINDS)
    n = len(gram)
    if kind == "weighted":
        return _normalised(_nonnegative(gram, cross))
    pairs = [(i,) for i in range(n)] if kind == "selected" or n == 1 else [(i, i + 1) for i in range(n - 1)]
    best, best_score = np.zeros(n), 0.0
    for pair in pairs:
        use = np.array(pair)
        own = gram[np.ix_(use, use)]
        weights = _nonnegative(own, cross[use])
        size = np.sqrt(max(float(weights @ own @ weights), 0.0))
        score = float(weights @ cross[use]) / size if size > 0 else 0.0
        if score > best_score * (1 + 1e-12):
            best, best_score = np.zeros(n), score
            best[use] = weights
    return _normalised(best)


def _nonnegative(gram: NDArray, cross: NDArray) -> NDArray[np.float64]:
    """Minimise ``w' G w - 2 w' c`` over ``w >= 0``, by way of a root of G."""
    from scipy.optimize import nnls

    scale = np.sqrt(np.maximum(np.diag(gram), 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    there = values > 1e-12 * max(float(values[-1]), 1e-300)
    root = np.sqrt(values[there])
    weights, _ = nnls(root[:, None] * vectors[:, there].T, (vectors[:, there].T @ (cross / scale)) / root)
    return weights / scale


def _normalised(weights: NDArray) -> NDArray[np.float64]:
    total = weights.sum()
    return weights / total if total > 0 else weights


def crossvalidated_fit(
    subject_rdms: Any,
    components: Any,
    *,
    kind: str = "weighted",
    method: str = "pearson",
    n_splits: int = 3,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Score a fitted model on subjects *and* conditions that its weights never saw.

    Parameters
    ----------
    subject_rdms : array (n_subjects, n_pairs)
        Each subject is scored with weights from the others; a single subject with its own weights from other
        conditions.
    components : array (n_components, n_pairs)
    kind : {"weighted", "selected", "interpolated"}
    method : str
        Of `compare`; ordinal measures are fitted as "pearson" and scored as themselves.
    n_splits : int
        Folds of conditions. Pairs within the held-out conditions are scored, pairs within the others fitted; pairs
        of one and the other are not used.
    seed : int
        Of the assignment of conditions to folds.

    Returns
    -------
    scores : array (n_subjects,)
        Mean over folds; a fold in which no component resembles the data scores 0.
    weights : array (n_splits, n_subjects, n_components)

    Raises
    ------
    DataError
        When a fold holds fewer than 3 conditions.
    """
    rows, columns = (side[None] if side.ndim == 1 else side for side in matching_rdms(subject_rdms, components))
    xp = namespace(rows)
    n = n_conditions(rows.shape[1])
    if n_splits < 2 or n // n_splits < 3:
        raise DataError(
            "too few conditions to hold some out", expected="2 folds or more of 3 conditions", found=f"{n} / {n_splits}"
        )
    folds = np.array_split(np.random.default_rng(seed).permutation(n), n_splits)
    scores, weights = [], []
    for held_out in folds:
        train = np.setdiff1d(np.arange(n), held_out)
        fitted = _fit_others(select_conditions(rows, train), select_conditions(columns, train), kind, method)
        test, parts = (select_conditions(side, np.sort(held_out)) for side in (rows, columns))
        predicted = fitted @ parts
        similar = xp.stack([compare(one, model, method=method) for one, model in zip(test, predicted)])
        # All weights zero predict nothing, which is not undefined but wrong.
        scores.append(xp.where((fitted != 0).any(1), similar, xp.zeros_like(similar)))
        weights.append(fitted)
    return xp.stack(scores).mean(0), xp.stack(weights)


def _fit_others(rows: Any, columns: Any, kind: str, method: str) -> Any:
    """Weights for each subject from all others."""
    if len(rows) == 1:
        return fit_weights(rows, columns, kind=kind, method=method)[None]
    others = [[other for other in range(len(rows)) if other != one] for one in range(len(rows))]
    fitted = [fit_weights(rows[keep], columns, kind=kind, method=method) for keep in others]
    return namespace(rows).stack(fitted)
