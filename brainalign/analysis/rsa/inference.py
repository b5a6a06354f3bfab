"""Which model explains the brains' geometry, how sure that is, and how much is left to explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.bootstrap import GRAM_METHODS, bootstrap_scores, two_factor_variance
from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.rdm import n_conditions
from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.scoring.ceilings import rdm_ceilings
from brainalign.scoring.resampling import fdr
from brainalign.scoring.score import Score

__all__ = ["RSAResult", "evaluate"]


@dataclass(frozen=True)
class RSAResult:
    """Scores of model RDMs against subjects' RDMs.

    Attributes
    ----------
    scores : dict of Score
        By model name; the ceiling of each is the lower noise ceiling.
    subject_scores : array (n_subjects, n_models)
    ceiling : (float, float)
        Lower and upper noise ceiling; NaN with a single subject.
    standard_error : array (n_models,)
    p_zero : array (n_models,)
        One-sided: the score is not above zero.
    p_ceiling : array (n_models,)
        One-sided: the score is not below the lower noise ceiling.
    p_pairs : array (n_models, n_models)
        Two-sided: two models score the same; NaN on the diagonal.
    method, bootstrap : str
    """

    scores: dict[str, Score]
    subject_scores: NDArray[np.float64]
    ceiling: tuple[float, float]
    standard_error: NDArray[np.float64]
    p_zero: NDArray[np.float64]
    p_ceiling: NDArray[np.float64]
    p_pairs: NDArray[np.float64]
    method: str
    bootstrap: str

    def table(self) -> pd.DataFrame:
        """One row per model, best first: value, interval, ceilings and p-values (q_zero: FDR over models)."""
        rows = {
            name: {"value": score.value, "low": score.low, "high": score.high} for name, score in self.scores.items()
        }
        table = pd.DataFrame.from_dict(rows, orient="index", dtype=np.float64).rename_axis("model")
        table["lower_ceiling"], table["upper_ceiling"] = self.ceiling
        table["p_zero"], table["q_zero"], table["p_ceiling"] = self.p_zero, fdr(self.p_zero), self.p_ceiling
        return table.sort_values("value", ascending=False)

    def plot(self, ax: Any = None) -> Any:
        """Bars with 95 % intervals, a dot per subject, the noise ceiling as a band. Returns the matplotlib Axes."""
        from matplotlib.figure import Figure

        if ax is None:
            ax = Figure(figsize=(1.5 + 0.8 * len(self.scores), 3.2), layout="constrained").subplots()
        table = self.table()
        position = np.arange(len(table))
        if np.isfinite(self.ceiling).all():
            ax.axhspan(*self.ceiling, color="0.85", label="noise ceiling", zorder=0)
        ax.bar(position, table["value"], width=0.7, color="#4c72b0")
        spread = [table["value"] - table["low"], table["high"] - table["value"]]
        ax.errorbar(position, table["value"], yerr=spread, fmt="none", ecolor="black", capsize=3)
        columns = [list(self.scores).index(name) for name in table.index]
        for subject in self.subject_scores[:, columns]:
            ax.plot(position, subject, ".", color="0.3", markersize=3, alpha=0.6)
        ax.axhline(0.0, color="black", linewidth=0.8)
        ax.set_xticks(position, [str(name) for name in table.index], rotation=30, ha="right")
        ax.set_ylabel(f"RDM similarity ({self.method})")
        return ax


def evaluate(
    subject_rdms: ArrayLike,
    model_rdms: Mapping[str, ArrayLike] | ArrayLike,
    *,
    method: str = "spearman",
    bootstrap: str | None = "both",
    n_draws: int = 1000,
    seed: int = 0,
) -> RSAResult:
    """Compare model RDMs with the RDMs of subjects, and generalise to new subjects, new stimuli, or both.

    Parameters
    ----------
    subject_rdms : array (n_subjects, n_pairs)
    model_rdms : mapping of name to array (n_pairs,), or array (n_models, n_pairs)
    method : {"spearman", "pearson", "cosine", "rho_a"}
    bootstrap : {"both", "stimuli", "subjects", None}
        What the interval and tests generalise to. "both" corrects the variance for counting noise twice.
    n_draws, seed : int

    Returns
    -------
    RSAResult
        Intervals and p-values from Student's t with the bootstrap standard error, and as degrees of freedom the
        number of subjects (or conditions, or the smaller of the two) less one.

    Raises
    ------
    DataError
        When pairs do not match, an RDM holds NaN, or there is nothing to resample.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(45)
    >>> result = evaluate(truth + 0.2 * rng.random((5, 45)), {"truth": truth, "other": rng.random(45)})
    >>> result.table().index.tolist()
    ['truth', 'other']
    """
    subjects, models, names = _inputs(subject_rdms, model_rdms)
    if method not in GRAM_METHODS:
        raise DataError(f"no bootstrap for method {method!r}", expected=GRAM_METHODS, fix="rsa.compare takes it")
    n = {"subjects": len(subjects), "stimuli": n_conditions(subjects.shape[1])}
    _check_factors(bootstrap, n)
    subject_scores = compare(subjects, models, method=method)
    if np.isnan(subject_scores).any():
        constant = [name for name, column in zip(names, subject_scores.T) if np.isnan(column).all()]
        raise DataError("a constant RDM cannot be compared", found=f"constant models: {constant or 'none (a subject)'}")
    ceiling = rdm_ceilings(subjects, method=method) if len(subjects) > 1 else (np.nan, np.nan)
    tests = _Tests(np.r_[subject_scores.mean(axis=0), ceiling[0]], bootstrap, n)
    if bootstrap is not None:
        tests.draws = bootstrap_scores(subjects, models, method=method, factors=bootstrap, n_draws=n_draws, seed=seed)
    error = tests.standard_error(np.eye(len(names), len(names) + 1))
    return RSAResult(
        scores={name: _score(name, tests, i, error[i], method) for i, name in enumerate(names)},
        subject_scores=subject_scores,
        ceiling=ceiling,
        standard_error=error,
        p_zero=tests.p_values(np.eye(len(names), len(names) + 1)),
        p_ceiling=tests.p_values(_against_ceiling(len(names))),
        p_pairs=_pairwise(tests, len(names)),
        method=method,
        bootstrap=str(bootstrap),
    )


class _Tests:
    """Student t tests of contrasts of the model scores and (last) the lower ceiling, from bootstrap draws."""

    def __init__(self, values: NDArray, bootstrap: str | None, n: Mapping[str, int]) -> None:
        self.values, self.bootstrap, self.n = values, bootstrap, n
        self.draws: dict[str, NDArray] = {}

    @property
    def dof(self) -> int:
        return (min(self.n.values()) if self.bootstrap == "both" else self.n[str(self.bootstrap)]) - 1

    def standard_error(self, contrasts: NDArray) -> NDArray[np.float64]:
        """Of each contrast (n_contrasts, n_models + 1); NaN without draws."""
        if not self.draws:
            return np.full(len(contrasts), np.nan)
        variance = {name: _variance(draws, contrasts) for name, draws in self.draws.items()}
        if self.bootstrap == "both":
            total = two_factor_variance(
                variance["subjects"],
                variance["stimuli"],
                variance["both"],
                n_subjects=self.n["subjects"],
                n_stimuli=self.n["stimuli"],
            )
        else:
            n = self.n[str(self.bootstrap)]
            total = variance[str(self.bootstrap)] * n / (n - 1)
        return np.sqrt(total)

    def p_values(self, contrasts: NDArray, *, two_sided: bool = False) -> NDArray[np.float64]:
        """Probability of a contrast this large (or this far from zero) if it were zero."""
        from scipy.special import stdtr

        error = self.standard_error(contrasts)
        if not self.draws:
            return error
        with np.errstate(divide="ignore", invalid="ignore"):
            t = _contrast(self.values[None], contrasts)[0] / error
        return 2 * stdtr(self.dof, -np.abs(t)) if two_sided else stdtr(self.dof, -t)


def _contrast(values: NDArray, contrasts: NDArray) -> NDArray:
    """Contrasts of rows of values; a missing value only spoils the contrasts that use it."""
    used = contrasts != 0
    return np.stack([values[:, u] @ c[u] for c, u in zip(contrasts, used)], axis=1)


def _variance(draws: NDArray, contrasts: NDArray) -> NDArray[np.float64]:
    """Variance of each contrast over the draws in which it is defined."""
    values = _contrast(draws, contrasts)
    defined = ~np.isnan(values)
    count = defined.sum(axis=0)
    filled = np.where(defined, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.where(defined, values - filled.sum(axis=0) / count, 0.0)
        return np.where(count > 1, np.sum(deviation**2, axis=0) / (count - 1), np.nan)


def _against_ceiling(n_models: int) -> NDArray:
    """Lower ceiling less each model."""
    return np.c_[-np.eye(n_models), np.ones(n_models)]


def _pairwise(tests: _Tests, n_models: int) -> NDArray[np.float64]:
    first, second = np.triu_indices(n_models, 1)
    table = np.full((n_models, n_models), np.nan)
    if len(first):
        identity = np.eye(n_models, n_models + 1)
        p = tests.p_values(identity[first] - identity[second], two_sided=True)
        table[first, second], table[second, first] = p, p
    return table


def _score(name: str, tests: _Tests, index: int, error: float, method: str) -> Score:
    value, ceiling = tests.values[index], tests.values[-1]
    if tests.draws:
        from scipy.special import stdtrit

        half_width = float(stdtrit(tests.dof, 0.975)) * error
    else:
        half_width = np.nan
    n_subjects, n_stimuli = tests.n["subjects"], tests.n["stimuli"]
    return Score(
        f"RSA {method}: {name}",
        value,
        ceiling=ceiling,
        chance=0.0,
        low=value - half_width,
        high=value + half_width,
        n=n_subjects if tests.bootstrap == "subjects" else n_stimuli,
        split=None,
        protocol=f"{n_subjects} subjects, {n_stimuli} conditions, fixed model",
        how=f"mean over subjects; t interval, bootstrap over {tests.bootstrap}",
        why={
            "split": "a fixed model has nothing to train",
            "ceiling": "needs two subjects",
            "low": "no bootstrap was asked for",
            "high": "no bootstrap was asked for",
        },
    )


def _inputs(subject_rdms: ArrayLike, model_rdms: Any) -> tuple[NDArray, NDArray, list[str]]:
    if not isinstance(model_rdms, Mapping):
        model_rdms = {f"model{i}": d for i, d in enumerate(np.atleast_2d(np.asarray(model_rdms)))}
    subjects = np.atleast_2d(np.asarray(subject_rdms, dtype=np.float64))
    shapes = {str(name): np.shape(d) for name, d in model_rdms.items()}
    if subjects.ndim != 2 or any(shape != subjects.shape[1:] for shape in shapes.values()):
        raise DataError(
            "subjects and models need condensed RDMs of the same pairs",
            expected="(n_subjects, n_pairs), and (n_pairs,) for each model",
            found=f"{subjects.shape}, and models {shapes}",
            fix="rsa.from_square turns matrices into condensed RDMs",
        )
    models = np.stack([np.asarray(d, dtype=np.float64) for d in model_rdms.values()])
    for name, rdms in (("subject_rdms", subjects), ("model_rdms", models)):
        try:
            check_finite(rdms, name=name)
        except DataError as error:
            raise DataError(error.what, found=error.found, fix="keep = rsa.complete_conditions(...)") from error
    return subjects, models, list(shapes)


def _check_factors(bootstrap: str | None, n: Mapping[str, int]) -> None:
    if bootstrap not in ("both", "stimuli", "subjects", None):
        raise DataError(f"bootstrap={bootstrap!r}", expected="'both', 'stimuli', 'subjects' or None")
    if bootstrap in ("both", "subjects") and n["subjects"] < 2:
        raise DataError("one subject cannot be resampled", expected="2 or more subjects", fix="bootstrap='stimuli'")
    if bootstrap in ("both", "stimuli") and n["stimuli"] < 4:
        raise DataError("too few conditions to resample", expected="4 or more", fix="bootstrap='subjects'")
