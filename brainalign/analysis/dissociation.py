"""What each region adds to decoding, told apart by what is decoded: losses by task, and double dissociations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.analysis.ablation import MODES, N_DRAWS, N_REPEATS, silence, unit_groups
from brainalign.errors import DataError, unknown
from brainalign.parallel import spawn_seeds
from brainalign.scoring.identification import rank_percentiles
from brainalign.scoring.resampling import bootstrap_weights, fdr, interval
from brainalign.splits import check_disjoint
from brainalign.tables import select_rows
from brainalign.trials import Trials

__all__ = ["DecodingTasks", "RegionLosses", "ablate_regions"]

_PENALTY = 1e-2  # of read-outs from true latents, which hold no noise


class DecodingTasks:
    """Scores of predicted latents, one a stimulus, with chance 0.5 in the mean: identification, and attributes.

    Parameters
    ----------
    train : Trials
        What the encoder was fitted on; its trials table holds the attributes.
    latents : Latents, or a dict of them
        Targets of the encoder. Each is a task by its own name ("latents" for a single one): rank percentile of the
        right stimulus.
    attributes : mapping of name to column or query, optional
        What else is decoded, ``{"category": "category", "red": "colour == 'red'"}``. A ridge read-out of each label
        is fitted on the true latents of the training stimuli, all targets side by side, and applied to predicted
        ones. The mean score is the area under the curve of a label against the others, whatever the labels' shares;
        each stimulus stands for it with its influence on that area (DeLong et al. 1988, Biometrics 44).

    Raises
    ------
    DataError
        When a column or query is unknown, a label differs between trials of one stimulus, or all have one label.
    """

    def __init__(self, train: Trials, latents: Any, attributes: Mapping[str, str] | None = None) -> None:
        self.train, self.latents = train, latents
        self._targets = dict(latents) if isinstance(latents, Mapping) else {"latents": latents}
        self._attributes = dict(attributes or {})
        if taken := sorted(set(self._targets) & set(self._attributes)):
            raise DataError("attributes and latents share a name", found=taken, fix="rename the attribute")
        once = train.average("stimulus_id")
        features = self._side_by_side({name: one.at(once.stimulus_ids) for name, one in self._targets.items()})
        self._centre = features.mean(0)
        self._scale = np.maximum(features.std(0), 1e-12)
        scaled = (features - self._centre) / self._scale
        kernel = scaled @ scaled.T
        kernel[np.diag_indices_from(kernel)] += _PENALTY * np.trace(kernel) / len(kernel)
        self._readouts: dict[str, tuple[NDArray, NDArray]] = {}
        for name in self._attributes:
            classes, codes = np.unique(self._labels(name, once), return_inverse=True)
            if len(classes) < 2:
                raise DataError(f"attribute '{name}' has one label in training", found=classes.tolist())
            one_hot = np.eye(len(classes))[codes]
            self._readouts[name] = classes, scaled.T @ np.linalg.solve(kernel, one_hot - one_hot.mean(0))

    @property
    def names(self) -> list[str]:
        """Tasks, in the order of the scores."""
        return [*self._targets, *self._attributes]

    def scores(self, predicted: Any, test: Trials) -> NDArray[np.float64]:
        """Score of each stimulus in each task, (n_stimuli, n_tasks), for predictions of averaged `test` trials."""
        made = dict(predicted) if isinstance(predicted, Mapping) else {"latents": predicted}
        if set(made) != set(self._targets):
            raise DataError("predictions are of other latents", expected=list(self._targets), found=list(made))
        ids = test.stimulus_ids
        guesses = {name: made[name].at(ids).reshape(len(ids), -1) for name in self._targets}
        columns = [
            rank_percentiles(guess, self._targets[name].at(ids).reshape(len(ids), -1))
            for name, guess in guesses.items()
        ]
        scaled = (self._side_by_side(guesses) - self._centre) / self._scale
        for name, (classes, weights) in self._readouts.items():
            columns.append(_ordered_right(scaled @ weights, self._labels(name, test), classes, name))
        return np.stack(columns, axis=1)

    def _labels(self, name: str, trials: Trials) -> NDArray:
        asked, table = self._attributes[name], trials.trials
        if asked in table:
            values = table[asked]
        elif asked.isidentifier():
            raise unknown(f"column for attribute '{name}'", asked, list(table.columns))
        else:
            rows = select_rows(table, asked, what=f"attribute '{name}'")
            values = pd.Series(np.isin(np.arange(len(table)), rows))
        if values.isna().any():
            raise DataError(f"attribute '{name}' is missing for some stimuli", found=int(values.isna().sum()))
        return values.astype(str).to_numpy()

    @staticmethod
    def _side_by_side(parts: Mapping[str, NDArray]) -> NDArray:
        return np.concatenate([np.asarray(one, np.float64).reshape(len(one), -1) for one in parts.values()], axis=1)


@dataclass(frozen=True)
class RegionLosses:
    """Decoding with and without each region, by task.

    Attributes
    ----------
    full : array (n_stimuli, n_tasks)
        Scores with all units.
    without : array (n_regions, n_stimuli, n_tasks)
    regions, tasks : tuple of str
    n_units : tuple of int
    mode : str
    seed : int
        Of the bootstrap over stimuli, whose draws all tables share.
    """

    full: NDArray[np.float64]
    without: NDArray[np.float64]
    regions: tuple[str, ...]
    tasks: tuple[str, ...]
    n_units: tuple[int, ...]
    mode: str
    seed: int = 0

    def values(self) -> pd.DataFrame:
        """Score with all units, by task: ``value``, ``low``, ``high``."""
        low, high = interval(self._weights() @ self.full)
        return pd.DataFrame(
            {"value": self.full.mean(0), "low": low, "high": high}, index=pd.Index(self.tasks, name="task")
        )

    def table(self) -> pd.DataFrame:
        """One row a region and task: ``n_units``, ``without``, ``loss`` with ``low``, ``high``; ``p`` and ``q`` (FDR).

        ``p`` is that of no loss, one-sided, from the bootstrap over stimuli.
        """
        draws, rows = self._draws(), []
        low, high = interval(draws)
        p = _share_not_above(draws)
        for at, region in enumerate(self.regions):
            for task, name in enumerate(self.tasks):
                scores = self.without[at, :, task]
                facts = {"region": region, "task": name, "n_units": self.n_units[at], "without": scores.mean()}
                facts |= {"loss": float((self.full[:, task] - scores).mean())}
                rows.append(facts | {"low": low[at, task], "high": high[at, task], "p": p[at, task]})
        table = pd.DataFrame(rows)
        return table.assign(q=fdr(table["p"].to_numpy()))

    def dissociations(self) -> pd.DataFrame:
        """Double dissociations: one region matters more for one task, the other region for another task.

        Both differences compare two regions within one task, so that no scale of one task is held against another's:
        ``first`` is the loss of ``task`` without ``region`` less that without ``other_region``; ``second`` is the loss
        of ``other_task`` without ``other_region`` less that without ``region``. Of each pair of regions and of tasks
        the orientation is shown in which the smaller difference is larger. ``p`` is the larger of the two one-sided
        ones (both must hold), doubled for the choice of orientation; ``q`` its FDR over all rows.

        Returns
        -------
        DataFrame
            Strongest first; empty with fewer than two regions or two tasks.
        """
        draws, loss, rows = self._draws(), self.full.mean(0) - self.without.mean(1), []
        for a, b in combinations(range(len(self.regions)), 2):
            for s, t in combinations(range(len(self.tasks)), 2):
                gap = loss[a] - loss[b]
                if min(gap[s], -gap[t]) < min(gap[t], -gap[s]):
                    s, t = t, s
                drawn = draws[:, a] - draws[:, b]
                ends = interval(np.stack([drawn[:, s], -drawn[:, t]], axis=1))
                p = float(_share_not_above(np.stack([drawn[:, s], -drawn[:, t]], axis=1)).max())
                rows.append(
                    {
                        **{"region": self.regions[a], "task": self.tasks[s]},
                        **{"other_region": self.regions[b], "other_task": self.tasks[t]},
                        **{"first": gap[s], "first_low": ends[0][0], "first_high": ends[1][0]},
                        **{"second": -gap[t], "second_low": ends[0][1], "second_high": ends[1][1]},
                        "p": min(1.0, 2 * p),
                    }
                )
        if not rows:
            return pd.DataFrame()
        table = pd.DataFrame(rows)
        table = table.assign(q=fdr(table["p"].to_numpy()), weaker=table[["first", "second"]].min(axis=1))
        return table.sort_values("weaker", ascending=False).drop(columns="weaker").reset_index(drop=True)

    def _weights(self) -> NDArray:
        n = len(self.full)
        return np.concatenate(list(bootstrap_weights(N_DRAWS, n, seed=self.seed))) / n

    def _draws(self) -> NDArray[np.float64]:
        """Losses of each bootstrap draw, (n_draws, n_regions, n_tasks)."""
        return np.stack([self._weights() @ (self.full - one) for one in self.without], axis=1)


def ablate_regions(
    encoder: Any, test: Trials, tasks: DecodingTasks, *, by: Any = "roi", mode: str = "permute", seed: int = 0
) -> RegionLosses:
    """Silence each region in turn, decode again, and score every task with and without it.

    Parameters
    ----------
    encoder : fitted encoder
        From the responses of ``tasks.train`` to ``tasks.latents``.
    test : Trials
        Held-out ones; repetitions are averaged first.
    tasks : DecodingTasks
    by : str, array (n_units,) or mapping of region to query
        Column of the units table, labels, or the units of each region: ``{"face areas": "roi in ['FFA', 'OFA']"}``.
    mode : {"zero", "mean", "permute", "retrain"}
        As in `silence`, where "mean" gives each unit its mean over the training trials; "retrain" trains a clone of
        `encoder` without the region: what the others cannot make up for.
    seed : int
        Of permutations and of the bootstrap over stimuli.

    Returns
    -------
    RegionLosses

    Raises
    ------
    DataError
        When a region or mode is unknown, a region has no unit, or nothing is left to train on.
    LeakageError
        When a test stimulus was trained on.

    Examples
    --------
    >>> import brainalign as ba
    >>> latents = ba.Latents(np.random.default_rng(0).standard_normal((90, 6)), range(90), space="toy")
    >>> trials, _ = ba.simulate_subject(latents, rois={"FFA": 20, "PPA": 20}, n_repetitions=2, seed=1)
    >>> train, test = ba.split(trials, by="stimulus_id", seed=0)
    >>> tasks = DecodingTasks(train, latents)
    >>> losses = ablate_regions(ba.encoders.LinearEncoder().fit(train, latents), test, tasks)
    >>> losses.table()["region"].tolist()
    ['FFA', 'PPA']
    """
    check_disjoint(tasks.train.stimulus_ids, test.stimulus_ids)
    check_disjoint(getattr(getattr(encoder, "provenance_", None), "stimulus_ids", ()), test.stimulus_ids)
    if mode not in (*MODES, "retrain"):
        raise unknown("mode of silencing", mode, (*MODES, "retrain"))
    given = test.average("stimulus_id")
    regions = unit_groups(given, by)
    if mode == "retrain" and any(units.all() for units in regions.values()):
        raise DataError("nothing is left to train on", expected="two or more regions", found=list(regions))
    full = tasks.scores(encoder.predict(given), given)
    seeds = spawn_seeds(seed, len(regions))
    without = [
        _without(encoder, given, tasks, units=units, mode=mode, seed=one)
        for units, one in zip(regions.values(), seeds, strict=True)
    ]
    sizes = tuple(int(units.sum()) for units in regions.values())
    return RegionLosses(full, np.stack(without), tuple(regions), tuple(tasks.names), sizes, mode, seed)


def _without(
    encoder: Any, given: Trials, tasks: DecodingTasks, *, units: NDArray, mode: str, seed: np.random.SeedSequence
) -> NDArray:
    if mode == "retrain":
        from sklearn.base import clone

        fitted = clone(encoder).fit(tasks.train.select(units=~units), tasks.latents)
        return tasks.scores(fitted.predict(given.select(units=~units)), given)
    mean = tasks.train.responses.mean(axis=0, dtype=np.float64) if mode == "mean" else None
    repeats = seed.spawn(N_REPEATS if mode == "permute" else 1)
    made = [silence(given.responses, units, mode=mode, seed=one, mean=mean) for one in repeats]
    return np.mean([tasks.scores(encoder.predict(given.with_responses(one)), given) for one in made], axis=0)


def _ordered_right(speak: NDArray, labels: NDArray, classes: NDArray, name: str) -> NDArray[np.float64]:
    """Area under the curve of each label against all others (weighted by frequency), as one score a stimulus.

    Scores are the area plus the influence of the stimulus on it, as one of its label and as one of the others (DeLong
    et al. 1988): their mean is the area, and the spread of that mean counts how few stimuli a label may have.
    """
    known, shown = set(classes.tolist()), set(labels.tolist())
    if new := sorted(shown - known):
        raise DataError(f"attribute '{name}' has labels that training never showed", expected=sorted(known), found=new)
    if len(shown) < 2:
        raise DataError(f"attribute '{name}' has one label in the test", expected="two or more", found=labels[0])
    scores = np.zeros(len(labels))
    for at, label in enumerate(classes):
        own = labels == label
        if own.any():
            inside, outside = speak[own, at][:, None], speak[~own, at][None]
            wins = (inside > outside) + 0.5 * (inside == outside)
            share, area = own.mean(), wins.mean()
            scores += share * area
            scores[own] += wins.mean(1) - area
            scores[~own] += share / (1 - share) * (wins.mean(0) - area)
    return scores


def _share_not_above(draws: NDArray) -> NDArray[np.float64]:
    return (1 + (draws <= 0).sum(0)) / (1 + len(draws))
