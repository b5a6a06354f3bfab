"""Tests of contrasts of model scores and noise ceilings, from bootstrap draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.bootstrap import contrast_variance
from brainalign.errors import DataError
from brainalign.scoring.resampling import fdr

__all__ = ["ContrastTests", "adjust"]


@dataclass(frozen=True)
class ContrastTests:
    """Values of models and, last, of the lower and the upper ceiling, with their bootstrap draws.

    Parameters
    ----------
    values : array (n_models + 2,)
    draws : mapping of array (n_draws, n_models + 2)
        As `bootstrap_scores` returns them; empty without a bootstrap.
    n_subjects, n_stimuli : int
    """

    values: NDArray[np.float64]
    draws: Mapping[str, NDArray[np.float64]]
    n_subjects: int
    n_stimuli: int

    @property
    def n_models(self) -> int:
        """Number of models, ceilings not counted."""
        return len(self.values) - 2

    @property
    def dof(self) -> int:
        """Number of subjects, or of stimuli, or the smaller of the two, less one."""
        n = {"subjects": self.n_subjects, "stimuli": self.n_stimuli}
        return (min(n.values()) if "both" in self.draws else n[next(iter(self.draws))]) - 1

    def against_zero(self) -> NDArray[np.float64]:
        """Contrasts (n_models, n_models + 2) that are the models' scores."""
        return np.eye(self.n_models, len(self.values))

    def against_ceiling(self) -> NDArray[np.float64]:
        """Lower ceiling less each model."""
        below = -np.eye(self.n_models, len(self.values))
        below[:, -2] = 1.0
        return below

    def standard_error(self, contrasts: NDArray) -> NDArray[np.float64]:
        """Of each contrast (n_contrasts, n_models + 2); NaN without draws."""
        if not self.draws:
            return np.full(len(contrasts), np.nan)
        return np.sqrt(contrast_variance(self.draws, contrasts, n_subjects=self.n_subjects, n_stimuli=self.n_stimuli))

    def half_width(self, level: float = 0.95, *, contrasts: NDArray | None = None) -> NDArray[np.float64]:
        """Half of the confidence interval of each contrast (of every model's score), by Student's t."""
        wanted = self.against_zero() if contrasts is None else contrasts
        if not self.draws:
            return np.full(len(wanted), np.nan)
        from scipy.special import stdtrit

        return float(stdtrit(self.dof, (1 + level) / 2)) * self.standard_error(wanted)

    def p_t(self, contrasts: NDArray, *, two_sided: bool = False) -> NDArray[np.float64]:
        """Student's t: probability of a contrast this large (or this far from zero) if it were zero."""
        from scipy.special import stdtr

        if not self.draws:
            return np.full(len(contrasts), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = _contrast(self.values[None], contrasts)[:, 0] / self.standard_error(contrasts)
        return 2 * stdtr(self.dof, -np.abs(t)) if two_sided else stdtr(self.dof, -t)

    def p_bootstrap(self, contrasts: NDArray, *, two_sided: bool = False) -> NDArray[np.float64]:
        """Share of draws in which a contrast is not above zero (doubled for the rarer side when two-sided)."""
        if not self.draws:
            return np.full(len(contrasts), np.nan)
        drawn = _contrast(self.draws.get("both", next(iter(self.draws.values()))), contrasts)
        count = np.sum(~np.isnan(drawn), axis=1)
        below, above = ((np.sum(side, axis=1) + 1) / (count + 1) for side in (drawn <= 0, drawn >= 0))
        p = np.minimum(2 * np.minimum(below, above), 1.0) if two_sided else below
        return np.where(count > 0, p, np.nan)

    def pairwise(self, kind: str = "t") -> NDArray[np.float64]:
        """Two-sided p-values (n_models, n_models) of equal scores; NaN on the diagonal."""
        test = {"t": self.p_t, "bootstrap": self.p_bootstrap}[kind]
        first, second = np.triu_indices(self.n_models, 1)
        table = np.full((self.n_models, self.n_models), np.nan)
        if len(first):
            identity = self.against_zero()
            p = test(identity[first] - identity[second], two_sided=True)
            table[first, second], table[second, first] = p, p
        return table


def _contrast(values: NDArray, contrasts: NDArray) -> NDArray:
    """Contrasts (n_contrasts, n_draws) of rows of values; a missing value only spoils those that use it."""
    used = contrasts != 0
    return np.stack([values[:, u] @ c[u] for c, u in zip(contrasts, used)])


def adjust(p_values: ArrayLike, *, how: str | None = "fdr") -> NDArray[np.float64]:
    """P-values corrected for the number of tests.

    Parameters
    ----------
    p_values : array
        NaN stay NaN and do not count as tests.
    how : {"fdr", "holm", None}
        Benjamini-Hochberg (share of false discoveries), or Holm (any error in the family).

    Examples
    --------
    >>> adjust([0.01, 0.03, 0.04], how="holm")
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, dtype=np.float64)
    if how is None:
        return p
    if how == "fdr":
        return fdr(p)
    if how != "holm":
        raise DataError(f"no correction {how!r}", expected="'fdr', 'holm' or None")
    tested = ~np.isnan(p)
    values = p[tested]
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    out = np.full(p.shape, np.nan)
    out[tested] = np.minimum(adjusted, 1.0)
    return out
