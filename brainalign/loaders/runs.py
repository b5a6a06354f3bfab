"""From runs to `Trials`: a matrix of volumes and a table of events per run, whatever files they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from brainalign.errors import DataError, unknown
from brainalign.loaders.events import read_events, read_table, stimulus_ids
from brainalign.loaders.faults import POLICIES, FaultyUnits
from brainalign.loaders.glm import MODELS, GLMOptions, respond, run_weights
from brainalign.spaces import Space
from brainalign.stimuli import Stimuli
from brainalign.tables import select_rows
from brainalign.trials import Trials

__all__ = ["FmriOptions", "Run", "trials_from_runs"]

_LOST_VOLUMES = 20.0
"""Seconds before the first volume in which an event may lie: steady-state volumes are often cut off."""


@dataclass(frozen=True, kw_only=True)
class FmriOptions(GLMOptions):
    """Options of the fMRI loaders besides those of the GLM.

    Attributes
    ----------
    tr : float, optional
        Seconds per volume. Header, sidecar and this must agree where they speak.
    confounds : table, array or path, or one per run; optional
        Columns (n_volumes, n_confounds) fitted along with the trials.
    select : str, optional
        Query on the events table that says which are trials (``"trial_type != 'fixation'"``). The GLM models the others
        per trial type as nuisance.
    labels : optional
        Names of the atlas codes: ``{code: name}``, a ``dseg.tsv``, a FreeSurfer colour table, ...
    roi : str or sequence of str, optional
        Keep these regions alone.
    resample : bool
        Bring mask and atlas onto the grid of the data instead of refusing another grid.
    nan : {"raise", "drop", "impute"}
        What to do about units with NaN or infinity and constant units: refuse; leave them out of all runs; or put the
        mean of the unit's other volumes, and zero responses where it is constant. History says which and how many.
    subject : str
    session, run : str, or one per run; optional
    stimuli : Stimuli, optional
        The pictures; every `stimulus_id` must be among them.
    max_bytes : int, optional
        The most that one image may take; half of the memory by default.
    """

    tr: float | None = None
    confounds: Any = None
    select: str | None = None
    labels: Any = None
    roi: str | Sequence[str] | None = None
    resample: bool = False
    nan: str = "raise"
    subject: str | int = "1"
    session: str | int | Sequence[str | int] | None = None
    run: str | int | Sequence[str | int] | None = None
    stimuli: Stimuli | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nan not in POLICIES:
            raise unknown("nan policy", self.nan, POLICIES)

    def by_run(self, events: Any, n_runs: int) -> list[dict[str, Any]]:
        """Events, confounds and entities of each run; `DataError` where there are more or fewer than runs."""
        columns = {"events": _one_each(events, n_runs, "events")}
        columns["confounds"] = _one_each(self.confounds, n_runs, "confounds")
        sessions = [self.session] * n_runs if isinstance(self.session, str | int) else self.session
        names = {
            "session": sessions or ["1"] * n_runs,
            "run": list(range(1, n_runs + 1)) if self.run is None else self.run,
        }
        entities = {key: _one_each(values, n_runs, key) for key, values in names.items()}
        return [
            {key: values[number] for key, values in columns.items()}
            | {"entities": {"subject": str(self.subject)} | {key: str(one[number]) for key, one in entities.items()}}
            for number in range(n_runs)
        ]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of recordings.

    Attributes
    ----------
    read : callable
        Gives the data, float32 (n_volumes, n_units), to keep; called once, when the run's turn comes.
    n_volumes : int
    events : path or DataFrame
    tr : float
        Seconds per volume; NaN for betas.
    start : float, optional
        Seconds from the beginning of a volume to the moment that its slices were interpolated to.
    confounds : ndarray, optional
        (n_volumes, n_confounds), finite.
    entities : mapping
        Subject, session and run for the trials table.
    path : path, optional
        To name in errors.
    """

    read: Callable[[], np.ndarray]
    n_volumes: int
    events: str | PathLike[str] | pd.DataFrame
    tr: float = float("nan")
    start: float | None = None
    confounds: np.ndarray | None = None
    entities: Mapping[str, str] = field(default_factory=dict)
    path: str | PathLike[str] | None = None


def trials_from_runs(
    runs: Sequence[Run], units: pd.DataFrame, *, space: Space | None, model: str, options: FmriOptions
) -> Trials:
    """Single-trial responses of all runs, with faulty units dealt with as `options.nan` says.

    Parameters
    ----------
    runs : sequence of Run
    units : DataFrame, n_units rows
    space : Space, optional
    model : {"lss", "lsa", "block", "beta"}
        "beta" takes each volume as the response to the row of the events table in the same place.
    options : FmriOptions

    Raises
    ------
    DataError
        When events and data do not fit, or units are faulty and `options.nan` is "raise".
    """
    if model not in (*MODELS, "beta"):
        raise unknown("model", model, [*MODELS, "beta"])
    make = _betas if model == "beta" else _responses
    faults = FaultyUnits(units["name"].to_numpy(object), options.nan)
    responses, tables = [], []
    for run in tqdm(runs, desc="runs", disable=None if len(runs) > 1 else True, leave=False):
        values, table = make(run, model, options, faults)
        responses.append(values)
        # `run` of the caller wins over a column of that name in the events.
        tables.append(table.assign(**run.entities))
    joined = np.concatenate(responses)
    if model == "beta":
        joined = faults.settle(joined, path=runs[0].path)
    keep = faults.kept()
    step = {"step": "single_trials", "model": model} | _glm_settings(model, options, runs)
    trials = Trials(
        joined[:, keep] if not keep.all() else joined,
        pd.concat(tables, ignore_index=True),
        units[keep],
        space=space,
        history=(step, *faults.history()),
        info={"modality": "fmri"},
    )
    return trials if options.stimuli is None else trials.with_stimuli(options.stimuli)


def _one_each(value: Any, n_runs: int, what: str) -> list[Any]:
    """One value per run: from a sequence, from a single value of a single run, or None for all."""
    values = list(value) if isinstance(value, list | tuple) else [value] * (n_runs if value is None else 1)
    if len(values) != n_runs:
        raise DataError(
            f"{what} and runs differ in number",
            expected=f"{n_runs}, one per run",
            found=len(values),
            fix=f"give a list of {what}, in the order of the images",
        )
    return values


def _responses(run: Run, model: str, options: FmriOptions, faults: FaultyUnits) -> tuple[np.ndarray, pd.DataFrame]:
    events = read_events(run.events, duration=run.n_volumes * run.tr, earliest=-_LOST_VOLUMES)
    chosen = select_rows(events, options.select, what="events")
    events["is_trial"] = np.isin(np.arange(len(events)), chosen)
    if options.slice_time_ref is None and run.start is not None:
        options = replace(options, slice_time_ref=run.start / run.tr)
    with _naming(run.path):
        weights = run_weights(
            events, n_volumes=run.n_volumes, tr=run.tr, model=model, options=options, nuisance=run.confounds
        )
        data = faults.settle(run.read(), path=run.path)
        # Faulty units are kept as a harmless constant until all runs are known; then they are dropped, or answer zero.
        data[:, faults.now] = 1.0
        responses = respond(weights, data, scale=options.scale)
    return responses, events[events["is_trial"]].drop(columns="is_trial")


@contextmanager
def _naming(path: Any) -> Iterator[None]:
    """Add the run's file to an error that was raised where only arrays are known."""
    try:
        yield
    except DataError as error:
        if error.path is not None or path is None:
            raise
        raise DataError(error.what, path=path, expected=error.expected, found=error.found, fix=error.fix) from error


def _betas(run: Run, model: str, options: FmriOptions, faults: FaultyUnits) -> tuple[np.ndarray, pd.DataFrame]:
    path = run.events if isinstance(run.events, str | PathLike) else None
    table = read_table(run.events)
    if len(table) != run.n_volumes:
        raise DataError(
            "beta volumes and trials differ in number",
            path=path or run.path,
            expected=f"{run.n_volumes} rows, one per volume",
            found=f"{len(table)} rows",
            fix="give one row per volume, in the order of the volumes",
        )
    table["stimulus_id"] = stimulus_ids(table, path=path)
    rows = select_rows(table, options.select, what="trials")
    return run.read()[rows], table.iloc[rows]


def _glm_settings(model: str, options: FmriOptions, runs: Sequence[Run]) -> dict[str, Any]:
    if model == "beta":
        return {}
    settings = {one.name: getattr(options, one.name) for one in fields(GLMOptions)}
    n_confounds = [0 if run.confounds is None else run.confounds.shape[1] for run in runs]
    return settings | {
        "tr": sorted({run.tr for run in runs}),
        "n_confounds": n_confounds,
        "select": options.select,
    }
