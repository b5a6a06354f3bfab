"""`RSAResult`: scores of models with intervals, ceilings and tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.analysis.rsa.contrasts import ContrastTests, adjust
from brainalign.scoring.score import Score

__all__ = ["RSAResult", "make_result"]


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
    tests : ContrastTests
        Bootstrap draws of scores and ceilings, and tests of any contrast of them.
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
    tests: ContrastTests = field(repr=False)

    def table(self, *, correct: str = "fdr") -> pd.DataFrame:
        """One row per model, best first: value, interval, ceilings and p-values (q_zero: corrected over models)."""
        rows = {
            name: {"value": score.value, "low": score.low, "high": score.high} for name, score in self.scores.items()
        }
        table = pd.DataFrame.from_dict(rows, orient="index", dtype=np.float64).rename_axis("model")
        table["lower_ceiling"], table["upper_ceiling"] = self.ceiling
        table["p_zero"], table["q_zero"] = self.p_zero, adjust(self.p_zero, how=correct)
        table["p_ceiling"] = self.p_ceiling
        return table.sort_values("value", ascending=False)

    def pairs(self, *, test: str = "t", correct: str | None = "fdr") -> pd.DataFrame:
        """One row per pair of models: difference of their scores, its p-value, and that corrected over pairs.

        Parameters
        ----------
        test : {"t", "bootstrap"}
            Student's t with the bootstrap standard error, or the share of draws beyond zero (for "both" that is
            conservative: draws of two factors count the noise more than once).
        correct : {"fdr", "holm", None}
        """
        names, values = list(self.scores), self.tests.values
        first, second = np.triu_indices(len(names), 1)
        p = self.tests.pairwise(test)[first, second]
        return pd.DataFrame(
            {
                "first": [names[i] for i in first],
                "second": [names[i] for i in second],
                "difference": values[first] - values[second],
                "p": p,
                "q": adjust(p, how=correct),
            }
        )

    def plot(self, ax: Any = None) -> Any:
        """A first look: bars with 95 % intervals, a dot per subject, the noise ceiling as a band.

        An asterisk at the foot of a bar: above zero; "v": below the lower ceiling (q < 0.05).
        `brainalign.report.plots.model_bars` draws for print, with the pairs that differ. Returns the matplotlib Axes.
        """
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
        marks = [
            ("*" if zero else "") + ("v" if below else "")
            for zero, below in zip(table["q_zero"] < 0.05, adjust(table["p_ceiling"]) < 0.05)
        ]
        for at, mark in zip(position, marks):
            ax.annotate(mark, (at, 0.01), xycoords=ax.get_xaxis_transform(), ha="center", va="bottom")
        ax.set_xticks(position, [str(name) for name in table.index], rotation=30, ha="right")
        ax.set_ylabel(f"RDM similarity ({self.method})")
        return ax


def make_result(
    names: list[str], tests: ContrastTests, subject_scores: NDArray, *, method: str, bootstrap: str, models: str
) -> RSAResult:
    """Put together the result from values, draws and a phrase for what the models are."""
    half_width = tests.half_width()
    return RSAResult(
        scores={
            name: _score(name, tests, i, half_width[i], (method, bootstrap, models)) for i, name in enumerate(names)
        },
        subject_scores=subject_scores,
        ceiling=(float(tests.values[-2]), float(tests.values[-1])),
        standard_error=tests.standard_error(tests.against_zero()),
        p_zero=tests.p_t(tests.against_zero()),
        p_ceiling=tests.p_t(tests.against_ceiling()),
        p_pairs=tests.pairwise(),
        method=method,
        bootstrap=bootstrap,
        tests=tests,
    )


def _score(name: str, tests: ContrastTests, index: int, half_width: float, made: tuple[str, str, str]) -> Score:
    method, bootstrap, models = made
    value = tests.values[index]
    return Score(
        f"RSA {method}: {name}",
        value,
        ceiling=tests.values[-2],
        chance=0.0,
        low=value - half_width,
        high=value + half_width,
        n=tests.n_subjects if bootstrap == "subjects" else tests.n_stimuli,
        split=None,
        protocol=f"{tests.n_subjects} subjects, {tests.n_stimuli} conditions, {models}",
        how=f"mean over subjects; t interval, bootstrap over {bootstrap}",
        why={
            "split": "RDMs are compared pair by pair; folds, where models are fitted, are drawn inside",
            "ceiling": "needs two subjects",
            "low": "no bootstrap was asked for",
            "high": "no bootstrap was asked for",
        },
    )
