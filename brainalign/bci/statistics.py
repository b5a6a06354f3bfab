"""Are two pipelines different? Paired permutation tests, effect sizes, evidence over datasets, critical differences.

Beside MOABB's own statistics (one-sided, on the same table by `moabb_results`), these are two-sided and say the size of
a difference with its interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from brainalign.errors import DataError
from brainalign.scoring.resampling import mean_ci

__all__ = [
    "CriticalDifference",
    "compare_pipelines",
    "critical_difference",
    "paired_permutation",
    "standardised_difference",
    "stouffer",
]

_MOST_EXACT = 13
"""So many subjects at most have all of their 2^n sign changes counted."""


def paired_permutation(
    differences: ArrayLike, *, tail: str = "two-sided", n_draws: int = 10000, seed: int = 0
) -> float:
    """P-value of a mean difference by changing the signs of paired differences; exact up to 13 pairs.

    Parameters
    ----------
    differences : array (n_pairs,)
    tail : {"two-sided", "greater"}

    Examples
    --------
    >>> paired_permutation([0.1, 0.2, 0.3], tail="greater"), paired_permutation([0.1, 0.2, 0.3])
    (0.125, 0.25)
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or tail not in ("two-sided", "greater"):
        raise DataError("paired differences must be a line of numbers", expected="two-sided or greater", found=tail)
    n = len(values)
    if n <= _MOST_EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], size=(n_draws, n))
        signs[0] = 1  # what was observed is one of the draws
    sums, observed = signs @ values, values.sum()
    if tail == "two-sided":
        sums, observed = np.abs(sums), abs(observed)
    # Sums of the same numbers in another order differ by rounding.
    return float((sums >= observed - 1e-12 * np.abs(values).sum()).mean())


def standardised_difference(differences: ArrayLike) -> float:
    """Mean over SD of paired differences, corrected for few pairs (Hedges 1981); NaN where they do not vary.

    Examples
    --------
    >>> round(standardised_difference([1.0, 2.0, 3.0, 4.0]), 3)
    1.408
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    spread = values.std(ddof=1) if n > 1 else 0.0
    return (
        float(values.mean() / spread * (1 - 3 / (4 * (n - 1) - 1)))
        if n > 2 and spread > 1e-12 * abs(values).max()
        else float("nan")
    )


def stouffer(p_values: ArrayLike, n_subjects: ArrayLike) -> float:
    """One-sided p-values of several datasets as one, weighed by the root of their subjects (Stouffer; Lipták 1958).

    Examples
    --------
    >>> round(stouffer([0.05, 0.05], [10, 10]), 4), stouffer([0.5, 0.5], [3, 30])
    (0.01, 0.5)
    """
    p = np.clip(np.asarray(p_values, dtype=np.float64), 1e-300, 1 - 1e-16)
    weights = np.sqrt(np.asarray(n_subjects, dtype=np.float64))
    return float(stats.norm.sf(weights @ stats.norm.isf(p) / np.sqrt((weights**2).sum())))


def compare_pipelines(table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Every pair of pipelines in every dataset, and over all datasets that have both.

    Parameters
    ----------
    table : DataFrame
        With dataset, subject, pipeline, score; sessions and folds of a subject are averaged.

    Returns
    -------
    DataFrame
        ``dataset`` ("all" for the evidence over several), the ``better`` and ``worse`` pipeline by their mean, ``n``
        subjects, mean ``difference`` with its 95 % interval by bootstrap over subjects, standardised ``effect``, and
        two-sided ``p``: by paired permutation, over datasets by Stouffer. With n subjects no p is below 2 / 2^n.
    """
    scores = subject_scores(table)
    rows = []
    for one, other in combinations(sorted(scores.columns), 2):
        pairs = scores[[one, other]].dropna()
        if pairs.empty:
            continue
        parts = {name: part[one] - part[other] for name, part in pairs.groupby(level="dataset", sort=True)}
        rows += [_row(str(name), (one, other), part.to_numpy(), seed) for name, part in parts.items()]
        if len(parts) > 1:
            rows.append(_over_datasets((one, other), [part.to_numpy() for part in parts.values()], seed))
    return pd.DataFrame(rows)


def subject_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Mean score of each pipeline (columns) for each subject of each dataset (rows)."""
    needed = ["dataset", "subject", "pipeline", "score"]
    if missing := [name for name in needed if name not in table]:
        raise DataError("not a table of results", expected=needed, found=f"without {missing}")
    # Folds first, then sessions, so that each session weighs the same.
    by_session = table.groupby([name for name in (*needed[:3], "session") if name in table], observed=True)["score"]
    return by_session.mean().groupby(level=needed[:3], observed=True).mean().unstack("pipeline")


def _row(name: str, pair: tuple[str, str], differences: NDArray, seed: int) -> dict[str, object]:
    if differences.mean() < 0:
        pair, differences = pair[::-1], -differences
    low, high = mean_ci(differences, seed=seed) if len(differences) > 1 else (np.nan, np.nan)
    return {
        "dataset": name,
        "better": pair[0],
        "worse": pair[1],
        "n": len(differences),
        "difference": float(differences.mean()),
        "low": float(low),
        "high": float(high),
        "effect": standardised_difference(differences),
        "p": paired_permutation(differences, seed=seed),
    }


def _over_datasets(pair: tuple[str, str], parts: list[NDArray], seed: int) -> dict[str, object]:
    counts = np.array([len(part) for part in parts])
    pooled = np.concatenate(parts)
    row = _row("all", pair, pooled, seed)
    sign = 1 if row["better"] == pair[0] else -1
    one_sided = [paired_permutation(sign * part, tail="greater", seed=seed) for part in parts]
    p = stouffer(one_sided, counts)
    weights = np.sqrt(counts) / np.sqrt(counts).sum()
    effect = float(weights @ [standardised_difference(sign * part) for part in parts])
    return row | {"p": 2 * min(p, 1 - p), "effect": effect}


@dataclass(frozen=True)
class CriticalDifference:
    """Mean ranks of pipelines and how far two must lie apart (Demšar 2006, JMLR 7).

    Parameters
    ----------
    ranks : Series
        Mean rank of each pipeline, 1 the best, ascending.
    difference : float
        Critical difference of Nemenyi's test at `alpha`.
    p : float
        Of Friedman's test that all are alike.
    n_blocks : int
        What was ranked within: subjects of datasets.
    groups : list of list of str
        Pipelines that the test does not tell apart, largest sets only.
    """

    ranks: pd.Series
    difference: float
    p: float
    n_blocks: int
    groups: list[list[str]]


def critical_difference(table: pd.DataFrame, *, alpha: float = 0.05) -> CriticalDifference:
    """Rank pipelines within each subject of each dataset and tell which mean ranks differ.

    Subjects of one dataset are taken as independent. Only subjects with every pipeline count.

    Examples
    --------
    >>> rows = [("d", s, p, v + 0.01 * s) for s in range(12) for p, v in [("a", 0.9), ("b", 0.7), ("c", 0.5)]]
    >>> found = critical_difference(pd.DataFrame(rows, columns=["dataset", "subject", "pipeline", "score"]))
    >>> found.ranks.to_dict(), round(found.difference, 3), found.groups
    ({'a': 1.0, 'b': 2.0, 'c': 3.0}, 0.957, [])
    """
    scores = subject_scores(table).dropna()
    n_blocks, n_pipelines = scores.shape
    if n_blocks < 2 or n_pipelines < 2:
        raise DataError("ranks need two pipelines on two subjects", expected=">= 2 and >= 2", found=scores.shape[::-1])
    ranks = scores.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    ranks.index = [str(name) for name in ranks.index]
    q = stats.studentized_range.ppf(1 - alpha, n_pipelines, np.inf) / np.sqrt(2)
    difference = float(q * np.sqrt(n_pipelines * (n_pipelines + 1) / (6 * n_blocks)))
    values = [scores[name].to_numpy() for name in scores]
    alike = bool(np.ptp(scores.to_numpy(), axis=1).max() == 0)
    p = 1.0 if alike else stats.friedmanchisquare(*values).pvalue if n_pipelines > 2 else stats.wilcoxon(*values).pvalue
    return CriticalDifference(ranks, difference, float(p), n_blocks, _groups(ranks, difference))


def _groups(ranks: pd.Series, difference: float) -> list[list[str]]:
    """Runs of neighbouring ranks no farther apart than the critical difference, without those inside another."""
    values, found, reached = ranks.to_numpy(), [], 0
    for first in range(len(values)):
        last = int(np.searchsorted(values, values[first] + difference, side="right"))
        if last - first > 1 and last > reached:
            found.append([str(name) for name in ranks.index[first:last]])
            reached = last
    return found
