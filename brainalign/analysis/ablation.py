"""What each network of the brain adds to decoding: silence its units, or train without them, and decode again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import DataError, unknown
from brainalign.parallel import spawn_seeds
from brainalign.scoring.identification import rank_percentiles
from brainalign.scoring.resampling import bootstrap_weights, interval
from brainalign.splits import check_disjoint
from brainalign.tables import select_rows
from brainalign.trials import Trials

__all__ = ["AblationResult", "ablate", "retrain_without", "silence", "unit_groups"]

MODES = ("zero", "mean", "permute")
N_REPEATS, N_DRAWS = 20, 1000
CHANCE = 0.5


@dataclass(frozen=True)
class AblationResult:
    """Decoding with and without each group of units.

    Attributes
    ----------
    table : DataFrame
        One row a group: ``n_units``; ``without``, the accuracy without it; ``loss``, what that costs, with ``low``
        and ``high``; ``share`` of what decoding gains over chance, with ``share_low`` and ``share_high``. Shares need
        not add up to 1: what two groups both tell is lost with neither. They are NaN where decoding with all units
        is not above chance.
    value, low, high : float
        Accuracy with all units: mean rank percentile of the right stimulus, chance 0.5.
    mode : str
    n : int
        Stimuli.
    """

    table: pd.DataFrame
    value: float
    low: float
    high: float
    mode: str
    n: int


def silence(
    responses: ArrayLike,
    units: ArrayLike,
    *,
    mode: str = "permute",
    seed: int | np.random.SeedSequence = 0,
    mean: ArrayLike | None = None,
) -> NDArray:
    """A copy of responses in which some units say nothing about the stimulus.

    Parameters
    ----------
    responses : array (n_trials, n_units) or (n_trials, n_units, n_times)
    units : array of bool (n_units,)
        The units to silence.
    mode : {"zero", "mean", "permute"}
        "zero" is for responses whose units are centred; elsewhere it is far from anything an encoder has met. "mean"
        gives every trial the mean response. "permute" gives each trial the response of another one, all units
        together, so that their distribution and correlations stay.
    seed : int or SeedSequence
        Of the permutation.
    mean : array (n_units[, n_times]), optional
        What "mean" gives, such as the mean over training trials; that of `responses` by default.

    Raises
    ------
    DataError
        When the mode is unknown, or units do not fit.

    Examples
    --------
    >>> silence([[1.0, 2.0], [3.0, 4.0]], [True, False], mode="mean").tolist()
    [[2.0, 2.0], [2.0, 4.0]]
    """
    made, chosen = np.array(responses), np.asarray(units)
    if mode not in MODES:
        raise unknown("mode of silencing", mode, MODES)
    if made.ndim < 2 or chosen.shape != made.shape[1:2] or chosen.dtype != bool:
        raise DataError(
            "units to silence are a mask over the columns of responses",
            expected=f"bool {made.shape[1:2]}",
            found=f"{chosen.dtype} {chosen.shape}",
        )
    if mode == "zero":
        made[:, chosen] = 0
    elif mode == "mean":
        made[:, chosen] = made[:, chosen].mean(axis=0) if mean is None else np.asarray(mean)[chosen]
    else:
        made[:, chosen] = made[np.random.default_rng(seed).permutation(len(made))][:, chosen]
    return made


def ablate(
    encoder: Any, trials: Any, latents: Any, *, by: Any = "network", mode: str = "permute", seed: int = 0
) -> AblationResult:
    """Decode with each group of units silenced in turn.

    Parameters
    ----------
    encoder : fitted encoder, or callable
        Anything with ``predict(trials)``, or a function of `trials` with responses silenced.
    trials : Trials or array (n_trials, n_units[, n_times])
        Held-out ones. Repetitions in Trials are averaged before anything is silenced.
    latents : Latents, array (n_trials, ...), or a dict of either
        As `encoder` predicts them; the accuracies of several are averaged.
    by : str or array (n_units,)
        Column of the units table (or labels) that puts units into groups; missing or empty labels are no group.
    mode : {"zero", "mean", "permute"}
        See `silence`; permutations are repeated 20 times.
    seed : int
        Of permutations and of the bootstrap over stimuli.

    Returns
    -------
    AblationResult

    Raises
    ------
    DataError
        When there is no group, or predictions and latents do not pair.
    LeakageError
        When the encoder saw a stimulus.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((60, 20))
    >>> result = ablate(lambda x: x[:, :10], X, X[:, :10], by=["seen"] * 10 + ["not"] * 10)
    >>> result.table["loss"].round(1).to_dict()
    {'not': 0.0, 'seen': 0.5}
    """
    given = _averaged(trials)
    _check_unseen(encoder, given)
    predict = encoder if callable(encoder) else encoder.predict
    responses = given.responses if isinstance(given, Trials) else np.asarray(given)
    groups = unit_groups(given, by)
    full = _accuracies(predict(given), latents, given)
    n_repeats = N_REPEATS if mode == "permute" else 1
    seeds = iter(spawn_seeds(seed, len(groups) * n_repeats))
    without = {}
    for name, units in groups.items():
        made = [silence(responses, units, mode=mode, seed=next(seeds)) for _ in range(n_repeats)]
        scores = [_accuracies(predict(_with_responses(given, one)), latents, given) for one in made]
        without[name] = np.mean(scores, axis=0)
    return _summarise(full, without, groups, mode=mode, seed=seed)


def retrain_without(
    encoder: Any, train: Trials, test: Trials, latents: Any, *, by: Any = "network", seed: int = 0
) -> AblationResult:
    """Train once with all units and once without each group: what the other groups cannot make up for.

    Parameters
    ----------
    encoder : encoder
        Cloned for each training; stays as it is.
    train, test : Trials
        No stimulus in both.
    latents : Latents, or a dict of them
        Of the stimuli of both.
    by, seed : as in `ablate`

    Returns
    -------
    AblationResult
        With mode "retrain".

    Raises
    ------
    DataError
        When a single group holds all units.
    LeakageError
        When a stimulus is in both.
    """
    from sklearn.base import clone

    check_disjoint(train.stimulus_ids, test.stimulus_ids)
    given, groups = _averaged(test), unit_groups(train, by)
    if any(units.all() for units in groups.values()):
        raise DataError("nothing is left to train on", expected="two or more groups", found=list(groups))

    def scored(kept: NDArray) -> NDArray:
        fitted = clone(encoder).fit(train.select(units=kept), latents)
        return _accuracies(fitted.predict(given.select(units=kept)), latents, given)

    full = scored(np.ones(train.n_units, dtype=bool))
    without = {name: scored(~units) for name, units in groups.items()}
    return _summarise(full, without, groups, mode="retrain", seed=seed)


def unit_groups(trials: Any, by: Any) -> dict[str, NDArray[np.bool_]]:
    """Mask of the units of each group, by name, sorted.

    Parameters
    ----------
    trials : Trials or array (n_trials, n_units, ...)
    by : str, array (n_units,) or mapping of name to query
        A column of the units table, labels, or the units of each group, ``{"face areas": "roi in ['FFA', 'OFA']"}``.

    Raises
    ------
    DataError
        When there is no such column, labels do not fit, none is there, or a query is unknown or selects no unit.
    """
    if isinstance(by, Mapping):
        rows = {str(name): select_rows(trials.units, query, what=f"region '{name}'") for name, query in by.items()}
        return {name: np.isin(np.arange(trials.n_units), chosen) for name, chosen in rows.items()}
    if isinstance(by, str):
        if not isinstance(trials, Trials) or by not in trials.units:
            known = list(trials.units.columns) if isinstance(trials, Trials) else []
            raise unknown("column of units", by, known, fix="by='roi', or an array with a label for each unit")
        by = trials.units[by]
    labels, n_units = pd.Series(np.asarray(by, dtype=object)), trials.shape[1]
    if len(labels) != n_units:
        raise DataError("one label per unit is needed", expected=n_units, found=len(labels))
    there = (labels.notna() & (labels.astype(str).str.strip() != "")).to_numpy()
    names = labels.astype(str).to_numpy()
    made = {str(name): there & (names == name) for name in np.unique(names[there])}
    if not made:
        raise DataError("no unit has a label", found=f"{n_units} units", fix="attach an atlas with networks")
    return made


def _averaged(trials: Any) -> Any:
    return trials.average("stimulus_id") if isinstance(trials, Trials) else np.asarray(trials)


def _check_unseen(encoder: Any, trials: Any) -> None:
    seen = getattr(getattr(encoder, "provenance_", None), "stimulus_ids", ())
    if isinstance(trials, Trials) and seen:
        check_disjoint(seen, trials.stimulus_ids)


def _with_responses(trials: Any, responses: NDArray) -> Any:
    if not isinstance(trials, Trials):
        return responses
    return Trials(responses, trials.trials, trials.units, times=trials.times, space=trials.space, info=trials.info)


def _accuracies(predicted: Any, latents: Any, trials: Any) -> NDArray[np.float64]:
    """Rank percentile of each stimulus, in the order of the trials, mean over latent spaces."""
    if isinstance(predicted, Mapping) != isinstance(latents, Mapping):
        raise DataError("latents are not those predicted", expected=type(predicted).__name__, fix="give both as dicts")
    pairs = [(predicted[name], latents[name]) for name in predicted] if isinstance(latents, Mapping) else None
    scores = []
    for guess, truth in pairs or [(predicted, latents)]:
        if isinstance(trials, Trials):
            truth, guess = truth.at(trials.stimulus_ids), guess.at(trials.stimulus_ids)
        scores.append(rank_percentiles(_flat(guess), _flat(truth)))
    return np.mean(scores, axis=0)


def _flat(values: ArrayLike) -> NDArray:
    array = np.asarray(values)
    return array.reshape(len(array), -1)


def _summarise(
    full: NDArray, without: Mapping[str, NDArray], groups: Mapping[str, NDArray], *, mode: str, seed: int
) -> AblationResult:
    weights = np.concatenate(list(bootstrap_weights(N_DRAWS, len(full), seed=seed))) / len(full)
    draws = weights @ full
    low, high = (float(one) for one in interval(draws))
    gain = full.mean() - CHANCE
    above = low > CHANCE  # where it is not, a share of nothing would be told
    rows = []
    for name, scores in without.items():
        lost = weights @ (full - scores)
        ends = interval(lost)
        shares: Any = interval(lost / (draws - CHANCE)) if above else (np.nan, np.nan)
        loss = float((full - scores).mean())
        rows.append(
            {
                **{"group": name, "n_units": int(groups[name].sum()), "without": float(scores.mean()), "loss": loss},
                **{"low": float(ends[0]), "high": float(ends[1]), "share": loss / gain if above else np.nan},
                **{"share_low": float(shares[0]), "share_high": float(shares[1])},
            }
        )
    return AblationResult(pd.DataFrame(rows).set_index("group"), float(full.mean()), low, high, mode, len(full))
