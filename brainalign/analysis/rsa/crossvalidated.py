"""Inference for models with free parameters: fitted on some conditions, scored on others, inside every bootstrap draw.

Fits and scores need only inner products of subjects and components, so a fold is one more row of weights of the same
matrix product that the bootstrap of fixed models uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.rsa.backend import as_like, namespace, to_numpy
from brainalign.analysis.rsa.bootstrap import Resamples
from brainalign.analysis.rsa.contrasts import ContrastTests
from brainalign.analysis.rsa.inference import check_rdms, check_subjects
from brainalign.analysis.rsa.models import KINDS, weights_from_products
from brainalign.analysis.rsa.rdm import n_conditions
from brainalign.analysis.rsa.result import RSAResult, make_result
from brainalign.analysis.rsa.weighted import Gram, weighted_gram
from brainalign.errors import DataError
from brainalign.scoring.ceilings import gram_ceilings

__all__ = ["Folds", "evaluate_fitted"]

_LINEAR = ("cosine", "pearson", "whitened_cosine", "whitened_pearson")


@dataclass(frozen=True)
class Folds:
    """How conditions and subjects are held out.

    Parameters
    ----------
    stimuli : int
        Folds over conditions: models are fitted on pairs *within* the others, scored on pairs within the fold.
    subjects : int
        Folds over subjects; 1 fits and scores the same subjects.
    partitions : int
        Random ways to cut the folds; scores are means over them. They are the same in every bootstrap draw (copies of
        a condition share a fold), so cutting adds nothing to the variance and needs no correction.
    """

    stimuli: int = 2
    subjects: int = 1
    partitions: int = 3


def evaluate_fitted(
    subject_rdms: Any,
    models: Mapping[str, Any],
    *,
    method: str = "cosine",
    folds: Folds | None = None,
    n_draws: int = 200,
    seed: int = 0,
) -> RSAResult:
    """Compare models with parameters (and fixed ones) on held-out conditions, generalising to new ones and subjects.

    Parameters
    ----------
    subject_rdms : array (n_subjects, n_pairs)
    models : mapping of name to array or (kind, array)
        (n_pairs,) is a fixed model; (n_components, n_pairs) a non-negative mixture; ("selected", components) the best
        component, ("interpolated", components) the best mixture of two neighbours.
    method : {"cosine", "pearson", "whitened_cosine", "whitened_pearson"}
    folds : Folds, optional
    n_draws, seed : int
        Draws of the two-factor bootstrap (over conditions alone for a single subject).

    Returns
    -------
    RSAResult
        Scores, intervals and tests as of `evaluate`; ceilings are those of the held-out conditions.

    Raises
    ------
    DataError
        When pairs do not match, an RDM holds NaN, or a fold would have fewer than three conditions.
    """
    subjects = check_subjects(subject_rdms)
    folds = folds or Folds()
    n = {"n_subjects": len(subjects), "n_stimuli": n_conditions(subjects.shape[1])}
    if method not in _LINEAR:
        raise DataError(
            f"models are not fitted by {method!r}", expected=_LINEAR, fix="rank measures: fixed models only"
        )
    if n["n_stimuli"] < 3 * folds.stimuli or folds.stimuli < 2 or not 1 <= folds.subjects <= len(subjects):
        raise DataError(
            "folds do not fit", expected="3 or more conditions in each of 2 or more folds", found=(folds, n)
        )
    spans, components = _components(models, subjects.shape[1])
    xp = namespace(subjects)
    gram = weighted_gram(xp.concatenate([subjects, as_like(components, subjects)]), method)
    cuts = _cuts(folds, seed, **n)
    whole = _scores(gram, spans, cuts, {"fixed": (np.ones((1, n["n_stimuli"])), np.ones((1, n["n_subjects"])))})[
        "fixed"
    ]
    resamples = Resamples.draw(n_draws, **n, seed=seed)
    each = {"stimuli": (resamples.stimuli, np.ones((1, n["n_subjects"])))}
    if n["n_subjects"] > 1:
        # In this order a Gram matrix serves two factors before the next one is made.
        each["both"] = (resamples.stimuli, resamples.subjects)
        each["subjects"] = (np.ones((1, n["n_stimuli"])), resamples.subjects)
    draws = {name: scores.mean_scores for name, scores in _scores(gram, spans, cuts, each).items()}
    tests = ContrastTests(whole.mean_scores[0], draws, **n)
    cut = f"fitted on {folds.stimuli} folds of conditions and {folds.subjects} of subjects, {folds.partitions} times"
    bootstrap = "both" if "both" in draws else "stimuli"
    return make_result(list(models), tests, whole.first_subjects, method=method, bootstrap=bootstrap, models=cut)


@dataclass
class _Scores:
    """Sums over folds: of mean scores with ceilings (n_draws, n_models + 2), and of the first draw's subjects."""

    total: NDArray[np.float64]
    count: NDArray[np.float64]
    subjects: NDArray[np.float64]
    subject_count: NDArray[np.float64]

    @property
    def mean_scores(self) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return self.total / self.count

    @property
    def first_subjects(self) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return self.subjects / self.subject_count

    def add(self, table: NDArray, mean_scores: NDArray) -> None:
        """A fold: scores of every subject (n_draws, n_subjects, n_models), and their means with ceilings."""
        for total, count, values in (
            (self.total, self.count, mean_scores),
            (self.subjects, self.subject_count, table[0]),
        ):
            total += np.nan_to_num(values)
            count += ~np.isnan(values)


def _components(models: Mapping[str, Any], n_pairs: int) -> tuple[list[tuple[str, slice]], NDArray]:
    """Kind and rows of each model, and all component RDMs."""
    spans: list[tuple[str, slice]] = []
    rows: list[NDArray] = []
    start = 0
    for name, model in models.items():
        kind, given = model if isinstance(model, tuple) else ("weighted", model)
        d = np.asarray(to_numpy(given), dtype=np.float64)
        kind = "fixed" if d.ndim == 1 else kind
        if d.ndim not in (1, 2) or d.shape[-1] != n_pairs or kind not in ("fixed", *KINDS):
            raise DataError(
                f"model {name!r} does not fit",
                expected=f"({n_pairs},) or (n_components, {n_pairs}), or one of {KINDS} and that",
                found=(kind, d.shape),
            )
        rows.append(check_rdms(np.atleast_2d(d), name=f"model {name!r}"))
        spans.append((kind, slice(start, start + len(rows[-1]))))
        start += len(rows[-1])
    if not rows:
        raise DataError("there are no models", expected="a mapping of name to RDMs")
    return spans, np.concatenate(rows)


def _cuts(folds: Folds, seed: int, *, n_subjects: int, n_stimuli: int) -> list[tuple[NDArray, NDArray]]:
    """For every partition and fold, which conditions and which subjects are tested (masks)."""
    cuts = []
    for child in np.random.SeedSequence([seed, 1]).spawn(folds.partitions):
        rng = np.random.default_rng(child)
        stimulus_fold = rng.permutation(np.arange(n_stimuli) % folds.stimuli)
        subject_fold = rng.permutation(np.arange(n_subjects) % folds.subjects)
        for stimuli in range(folds.stimuli):
            tested = stimulus_fold == stimuli
            cuts += [(tested, subject_fold == who) for who in range(folds.subjects)]
    return cuts


def _scores(
    gram: Gram, spans: list[tuple[str, slice]], cuts: list[tuple[NDArray, NDArray]], each: Mapping[str, Any]
) -> dict[str, _Scores]:
    """Scores of every resampled factor; Gram matrices are shared by factors that resample the same conditions."""
    found: dict[str, _Scores] = {}
    kept: tuple[Any, NDArray, NDArray] | None = None
    for tested, who in cuts:
        for name, (stimuli, people) in each.items():
            if kept is None or kept[0] is not stimuli or kept[1] is not tested:
                kept = (stimuli, tested, np.stack([gram(stimuli * ~tested), gram(stimuli * tested)]))
            train, test = kept[2]
            thin = np.minimum(np.sum(stimuli * tested > 0, axis=1), np.sum(stimuli * ~tested > 0, axis=1)) < 3
            n_draws = max(len(stimuli), len(people))
            together = who.all()
            learners = people * (who if together else ~who)
            table = _subject_scores(train, test, np.broadcast_to(learners, (n_draws, len(who))), spans)
            table[np.broadcast_to(thin, n_draws)] = np.nan
            scores = _with_ceilings(table, test[:, : len(who), : len(who)], people, who)
            scores[np.broadcast_to(thin, n_draws)] = np.nan
            if name not in found:
                zeros = [np.zeros(shape) for shape in (scores.shape, scores.shape, table.shape[1:], table.shape[1:])]
                found[name] = _Scores(*zeros)
            table[:, ~who] = np.nan
            found[name].add(table, scores)
    return found


def _subject_scores(
    train: NDArray, test: NDArray, learners: NDArray, spans: list[tuple[str, slice]]
) -> NDArray[np.float64]:
    """Similarity (n_draws, n_subjects, n_models) of fitted models with every subject on the tested conditions."""
    n_draws, n_subjects = learners.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        norm = np.sqrt(np.diagonal(train, axis1=1, axis2=2)[:, :n_subjects])
        target = np.matmul((learners / norm)[:, None, :], train[:, :n_subjects, n_subjects:])[:, 0]
        norm = np.sqrt(np.diagonal(test, axis1=1, axis2=2)[:, :n_subjects])
        table = np.empty((n_draws, n_subjects, len(spans)))
        for model, (kind, span) in enumerate(spans):
            rows = slice(n_subjects + span.start, n_subjects + span.stop)
            weights = _fit(train[:, rows, rows], target[:, span], kind)
            products = np.matmul(test[:, :n_subjects, rows], weights[:, :, None])[:, :, 0]
            size = np.sqrt(np.matmul(weights[:, None], np.matmul(test[:, rows, rows], weights[:, :, None])))[:, :, 0]
            table[:, :, model] = products / (norm * size)
    return table


def _fit(gram: NDArray, target: NDArray, kind: str) -> NDArray[np.float64]:
    """Weights (n_draws, n_components); NaN where the resample leaves nothing to fit."""
    weights = np.full(target.shape, np.nan)
    if kind == "fixed":
        return np.ones_like(weights)
    grams = np.broadcast_to(gram, (len(target), *gram.shape[1:]))
    for draw in np.flatnonzero(np.isfinite(target).all(axis=1) & np.isfinite(grams).all(axis=(1, 2))):
        weights[draw] = weights_from_products(grams[draw], target[draw], kind)
    return weights


def _with_ceilings(table: NDArray, grams: NDArray, people: NDArray, who: NDArray) -> NDArray[np.float64]:
    """Means over the tested subjects, and the ceilings of all subjects on the tested conditions."""
    tested = people * who
    with np.errstate(invalid="ignore", divide="ignore"):
        share = tested / tested.sum(axis=1, keepdims=True)
        scores = np.sum(share[:, :, None] * np.where(share[:, :, None] > 0, table, 0.0), axis=1)
        scores[np.broadcast_to(tested.sum(axis=1) == 0, len(scores))] = np.nan
        lower, upper = gram_ceilings(grams, weights=people)
    lower = np.where(np.sum(people > 0, axis=1) == 1, np.nan, lower)
    return np.c_[scores, np.broadcast_to(lower, len(scores)), np.broadcast_to(upper, len(scores))]
