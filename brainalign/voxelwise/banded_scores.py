"""Scores of the samples that folds hold out, from the matrices that predict them from the other samples.

Most of the time of a search goes into these products. `screened_scores` forms them in bfloat16 (torch; several times
faster where the processor knows it) and again in full precision only for the targets and penalties that could still
win: the choice and its score are those of full precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from brainalign.errors import DataError
from brainalign.voxelwise.backend import add_product, cast, half, namespace, to_like, to_numpy
from brainalign.voxelwise.banded_mix import Mixture
from brainalign.voxelwise.heldout import Moments
from brainalign.voxelwise.plan import _nan_mean

__all__ = ["FoldTargets", "exact_scores", "is_screened", "row_runs", "screened_scores"]

_REACH = 0.01
"""How far a score from bfloat16 may be off where predictions vary as much as targets: some ten times what is seen."""


_WORTH = 3e11
"""Operations from which screening pays for the import of torch: some seconds in float32."""


def is_screened(scoring_dtype: str | None, like: Any, n_operations: float) -> bool:
    """Whether to form predictions in bfloat16 first.

    Parameters
    ----------
    scoring_dtype : {"auto", "bfloat16", None}
        "auto" does where the arrays are float32, there is enough to do, and the processor multiplies tiles (AMX;
        its AVX-512 instructions alone are no faster than float32). A GPU would wait for the choice.
    like : array
        Of the kind and precision of the products.
    n_operations : float
        Of all products.
    """
    if scoring_dtype not in ("auto", "bfloat16", None):
        raise DataError(f"no scoring_dtype {scoring_dtype!r}", expected="'auto', 'bfloat16' or None")
    if scoring_dtype != "auto":
        return scoring_dtype is not None
    if n_operations < _WORTH or str(like.dtype) != "float32":  # a tensor's dtype is named otherwise
        return False
    import torch

    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def row_runs(rows: np.ndarray) -> list[Any]:
    """Ascending rows as slices where these are few, so that taking them copies nothing; otherwise the rows as they are.

    Examples
    --------
    >>> row_runs(np.array([0, 1, 4, 5]))
    [slice(0, 2, None), slice(4, 6, None)]
    """
    steps = np.diff(rows)
    breaks = np.flatnonzero(steps != 1) + 1
    if not len(rows) or len(breaks) > 2 or (steps < 1).any():
        return [rows]
    return [slice(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, breaks)]


@dataclass(frozen=True, eq=False)
class FoldTargets:
    """Training and test targets of one fold, taken when they are needed.

    Parameters
    ----------
    block : array (n_samples, n_targets)
    train : list of slice or array
        Runs of training rows.
    true : array (n_test, n_targets)
    half : torch.Tensor or None
        The training targets in bfloat16, where predictions are formed in that first.
    root_weights : array (n_test,) or None
    """

    block: Any
    train: list[Any]
    true: Any
    half: Any = None
    root_weights: Any = None

    @classmethod
    def of(
        cls, block: Any, train: np.ndarray, test: np.ndarray, *, root_weights: np.ndarray | None, in_half: bool
    ) -> FoldTargets:
        """Take the rows of a fold."""
        runs, tested = row_runs(train), row_runs(test)
        root = None if root_weights is None else to_like(root_weights[test], block)
        true = block[tested[0] if len(tested) == 1 else test]
        return cls(block, runs, true, half(block[train]) if in_half else None, root)

    @cached_property
    def sums(self) -> tuple[float, Any, Any]:
        """Weight of the test samples, and the sums of their targets and of the squares of these, in float64."""
        true = cast(self.true, "float64")
        if self.root_weights is None:
            return float(len(true)), true.sum(0), (true * true).sum(0)
        root = cast(self.root_weights, "float64")
        return float((root * root).sum()), root @ true, (true * true).sum(0)

    def some(self, columns: np.ndarray) -> FoldTargets:
        """Some of the targets, in full precision."""
        return FoldTargets(self.block[:, columns], self.train, self.true[:, columns], None, self.root_weights)

    def predictions(self, predictors: Iterable[Any]) -> Iterable[Any]:
        """What each matrix makes of the training targets, in full precision, run by run of their rows."""
        known = [self.block[run] for run in self.train]
        for predictor in predictors:
            done = len(known[0])
            made = predictor[:, :done] @ known[0]
            for part in known[1:]:
                made = add_product(made, predictor[:, done : done + len(part)], part)
                done += len(part)
            yield made


def exact_scores(
    predictors: list[list[Any]], folds: list[FoldTargets], *, scoring: str, mixture: Mixture | None = None
) -> np.ndarray:
    """Mean score over folds, (n_alphas, n_targets), of the penalties solved and then of those mixed.

    Parameters
    ----------
    predictors : list of list of array (n_test, n_train)
        [fold][alpha].
    folds : list of FoldTargets
    scoring : {"r2", "correlation"}
    mixture : Mixture, optional
        How predictions follow for penalties that have no predictor.
    """
    products = [
        _moments(fold.predictions(own) if mixture is None else _mixed(fold.predictions(own), mixture), fold)
        for own, fold in zip(predictors, folds, strict=True)
    ]
    return to_numpy(_nan_mean([one.score(scoring) for one in products]))


def _mixed(predictions: Iterable[Any], mixture: Mixture) -> Iterator[Any]:
    """Predictions at the penalties solved, then those mixed from them."""
    totals: list[Any] = [None] * len(mixture.shares)
    for number, made in enumerate(predictions):
        for row, share in enumerate(mixture.shares[:, number].tolist()):
            if totals[row] is None:
                totals[row] = made * share
            elif share:
                totals[row] += made * share
        yield made
    yield from totals


def screened_scores(predictors: list[list[Any]], folds: list[FoldTargets], *, to_beat: np.ndarray) -> np.ndarray:
    """Mean R² over folds, rough where that is enough to know that a penalty wins neither here nor over `to_beat`.

    Correlations are not screened: where predictions hardly vary, rounding is all that does.

    Parameters
    ----------
    to_beat : array (n_targets,)
        The best score of each target so far.
    """
    moments = [_moments(_roughly(own, fold), fold) for own, fold in zip(predictors, folds, strict=True)]
    scores = to_numpy(_nan_mean([one.score("r2") for one in moments]))
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.sqrt(np.max([to_numpy(one.pred_sq / one.y_sq) for one in moments], axis=0))
    reach = _REACH * np.minimum(size, 1.0) + 1e-6
    with np.errstate(invalid="ignore"):
        hopeful = scores + reach >= np.maximum((scores - reach).max(axis=0), to_beat)
    for row, columns in enumerate(map(np.flatnonzero, hopeful)):
        if len(columns):
            chosen = [fold.some(columns) for fold in folds]
            scores[row, columns] = exact_scores([[own[row]] for own in predictors], chosen, scoring="r2")[0]
    return scores


def _roughly(predictors: list[Any], fold: FoldTargets) -> Iterable[Any]:
    for predictor in predictors:
        made = (half(predictor) @ fold.half).float()
        yield made.numpy() if isinstance(fold.true, np.ndarray) else made.to(fold.true.dtype)


def _moments(predictions: Iterable[Any], fold: FoldTargets) -> Moments:
    """Sums over the test samples of predictions, one after the other: one of them is in memory at a time."""
    xp, root = namespace(fold.true), fold.root_weights
    root = None if root is None else cast(root, str(fold.true.dtype).rpartition(".")[2])
    sums: list[list[Any]] = [[], [], []]
    for made in predictions:
        sums[0].append(made.sum(0) if root is None else root @ made)
        sums[1].append(xp.einsum("ij,ij->j", made, made))
        sums[2].append(xp.einsum("ij,ij->j", made, fold.true))
    pred_sum, pred_sq, cross = (cast(xp.stack(one), "float64") for one in sums)
    weight, y_sum, y_sq = fold.sums
    return Moments(weight, y_sum * 0.0, pred_sum, pred_sq, cross, y_sum, y_sq)
