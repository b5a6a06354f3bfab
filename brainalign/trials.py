"""`Trials`: responses with the two tables that explain them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from brainalign.arrays import check_finite, row_blocks
from brainalign.cache import read_artefact, write_artefact
from brainalign.errors import DataError
from brainalign.scoring import ceilings
from brainalign.spaces import SensorSpace, Space, VolumeSpace, space_from_dict
from brainalign.stimuli import Stimuli
from brainalign.tables import frame_from_json, frame_to_json, select_rows, trial_table, unit_table

if TYPE_CHECKING:
    import xarray

__all__ = ["Trials", "join"]


class Trials:
    """Responses of one or several subjects, trial by unit or trial by channel by time.

    Parameters
    ----------
    responses : ndarray, shape (n_trials, n_units) or (n_trials, n_channels, n_times)
        A memory map stays on disk.
    trials : DataFrame
        One row a trial; `stimulus_id` is needed, `subject`, `session`, `run` default to 1; sessions and runs that
        are numbers are kept as integers; `repetition` is counted when absent; any further column (split, onset,
        label, ...) is kept.
    units : DataFrame, optional
        One row a voxel or channel: `name`, and roi or region, x, y, z, ...
    times : array, shape (n_times,), optional
        Seconds from stimulus onset; needed for three-dimensional responses.
    stimuli : Stimuli, optional
        The pictures shown.
    space : VolumeSpace, SurfaceSpace or SensorSpace, optional
        The way back to the brain.
    history : sequence of mapping
        What was done to the responses so far.
    info : mapping, optional
        Dataset, modality, split hash and the like.

    Raises
    ------
    DataError
        When tables and responses differ in length, an id is missing, or unit names repeat.

    Examples
    --------
    >>> table = pd.DataFrame({"stimulus_id": ["a", "b", "a"], "run": [1, 1, 2]})
    >>> trials = Trials(np.arange(6.0).reshape(3, 2), table, pd.DataFrame({"roi": ["V1", "V2"]}))
    >>> trials.select(units="roi == 'V1'").responses[:, 0]
    array([0., 2., 4.])
    >>> trials.average("stimulus_id").responses
    array([[2., 3.],
           [2., 3.]])
    """

    def __init__(
        self,
        responses: np.ndarray,
        trials: pd.DataFrame,
        units: pd.DataFrame | None = None,
        *,
        times: np.ndarray | Sequence[float] | None = None,
        stimuli: Stimuli | None = None,
        space: Space | None = None,
        history: Iterable[Mapping[str, Any]] = (),
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.responses = responses if isinstance(responses, np.ndarray) else np.asarray(responses)
        self.times = None if times is None else np.asarray(times, dtype=np.float64)
        _check_shape(self.responses, self.times)
        self.trials = trial_table(trials, len(self.responses))
        self.units = unit_table(units, self.responses.shape[1])
        self.stimuli, self.space = stimuli, space
        self.history: tuple[dict[str, Any], ...] = tuple(dict(step) for step in history)
        self.info: dict[str, Any] = dict(info or {})

    # -- what is there ------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the responses."""
        return self.responses.shape

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return self.responses.shape[0]

    @property
    def n_units(self) -> int:
        """Number of voxels or channels."""
        return self.responses.shape[1]

    @property
    def stimulus_ids(self) -> np.ndarray:
        """The stimulus of each trial, (n_trials,) of str."""
        return self.trials["stimulus_id"].to_numpy(dtype=object)

    def __len__(self) -> int:
        return self.n_trials

    def __repr__(self) -> str:
        return f"Trials({self.describe()})"

    def describe(self) -> str:
        """One readable line: subjects, sessions, trials, stimuli, units by region, ceiling."""
        table = self.trials
        n_stimuli = table["stimulus_id"].nunique()
        parts = [
            f"{table['subject'].nunique()} subject(s)",
            f"{table[['subject', 'session']].drop_duplicates().shape[0]} session(s)",
            f"{self.n_trials} trials of {n_stimuli} stimuli",
        ]
        kind = "channels" if isinstance(self.space, SensorSpace) or self.times is not None else "units"
        column = next((name for name in ("roi", "region") if name in self.units), None)
        regions: Any = self.units[column].value_counts().head(6) if column else {}
        names = ", ".join(f"{name} {count}" for name, count in regions.items())
        parts.append(f"{self.n_units} {kind}" + (f" ({names})" if names else ""))
        if self.times is not None:
            parts.append(f"{len(self.times)} times from {self.times[0]:.3f} to {self.times[-1]:.3f} s")
        if n_stimuli < self.n_trials and self.times is None and self.responses.size < 2e7:
            ceiling = np.nanmedian(self.noise_ceiling())
            parts.append(f"median noise ceiling {ceiling:.2f} of variance (single trial)")
        return "; ".join(parts)

    def matrix(self) -> np.ndarray:
        """Responses as (n_trials, n_features); channels × times are flattened."""
        return self.responses.reshape(self.n_trials, -1)

    # -- choosing and changing ----------------------------------------------------------------------------------

    def select(self, trials: Any = None, *, units: Any = None, times: tuple[float, float] | None = None) -> Trials:
        """Keep some trials, units and times.

        Parameters
        ----------
        trials, units : str, boolean mask or row numbers, optional
            A string is a query on the table: ``units="roi == 'V1'"``, ``trials="session <= 3"``.
        times : (float, float), optional
            First and last time kept, in seconds, both included.

        Raises
        ------
        DataError
            When a query names something unknown, or nothing is left.
        """
        rows = select_rows(self.trials, trials, what="trials")
        columns = select_rows(self.units, units, what="units")
        responses, kept_times = self.responses[_as_slice(rows)][:, _as_slice(columns)], self.times
        if times is not None:
            keep = self._times_between(*times)
            responses, kept_times = responses[:, :, keep], self.times[keep]  # type: ignore[index]
        return self._like(responses, self.trials.iloc[rows], self.units.iloc[columns], times=kept_times)

    def _times_between(self, first: float, last: float) -> slice:
        if self.times is None:
            raise DataError("these trials are not time-resolved", fix="leave times out")
        inside = np.flatnonzero((self.times >= first - 1e-9) & (self.times <= last + 1e-9))
        if not inside.size:
            span = (float(self.times[0]), float(self.times[-1]))
            raise DataError("no sample in this time window", expected=f"within {span} s", found=(first, last))
        return slice(int(inside[0]), int(inside[-1]) + 1)

    def average(self, by: str | Sequence[str] = "stimulus_id") -> Trials:
        """Mean over the trials that share `by` (and the subject), in order of first appearance.

        Columns that are constant within each group are kept (session and run become "mixed" otherwise);
        `n_averaged` counts the trials in each mean.
        """
        keys = [by] if isinstance(by, str) else list(by)
        self._need_columns(keys)
        if self.trials["subject"].nunique() > 1 and "subject" not in keys:
            keys.append("subject")
        groups = self.trials.groupby(keys, sort=False, dropna=False)
        codes = groups.ngroup().to_numpy()
        counts = np.bincount(codes)
        means = np.empty((len(counts), *self.shape[1:]), dtype=_float_dtype(self.responses.dtype))
        order = np.argsort(codes, kind="stable")
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        row_bytes = 8 * self.n_trials * int(np.prod(self.shape[2:], dtype=np.int64))
        for block in row_blocks(self.n_units, row_bytes):
            sums = np.add.reduceat(self.responses[:, block][order].astype(np.float64), starts, axis=0)
            means[:, block] = sums / counts.reshape(-1, *[1] * (sums.ndim - 1))
        constant = [name for name in self.trials if name in keys or groups[name].nunique(dropna=False).max() == 1]
        mixed = {name: "mixed" for name in ("session", "run") if name not in constant}
        table = self.trials.iloc[order[starts]][constant].assign(n_averaged=counts, **mixed)
        return self._like(means, table, self.units, step={"step": "average", "by": keys})

    def zscore(self, by: str | Sequence[str] = "session", *, fit: str = "all") -> Trials:
        """Centre and scale each unit (and time) within each session or run.

        Parameters
        ----------
        by : str or sequence of str
            Columns whose groups are scaled on their own; ``()`` scales over everything.
        fit : str
            "all" uses every trial of a group: no label is used, but test trials share in the mean and SD.
            A query (``"split == 'train'"``) fits on those trials alone and applies to all.
            The choice is recorded in `history`.

        Raises
        ------
        DataError
            When a group has no trial to fit on. Units that do not vary become zero.
        """
        keys = [by] if isinstance(by, str) else list(by)
        self._need_columns(keys)
        fitted = np.zeros(self.n_trials, dtype=bool)
        fitted[select_rows(self.trials, None if fit == "all" else fit, what="fit scope")] = True
        codes = self.trials.groupby(["subject", *keys], sort=False).ngroup().to_numpy()
        scaled = np.empty(self.shape, dtype=_float_dtype(self.responses.dtype))
        for code in range(codes.max() + 1):
            rows = np.flatnonzero(codes == code)
            fit_rows = rows[fitted[rows]]
            if not fit_rows.size:
                group = self.trials.iloc[rows[0]][["subject", *keys]].to_dict()
                raise DataError(f"no trial to fit the z-score of {group} on", expected=fit, fix="fit='all'")
            data = np.asarray(self.responses[fit_rows], dtype=np.float64)
            mean, spread = data.mean(axis=0), data.std(axis=0)
            flat = spread <= 1e-12 * np.maximum(1.0, np.abs(mean))
            scaled[rows] = np.where(flat, 0.0, (self.responses[rows] - mean) / np.where(flat, 1.0, spread))
        step = {"step": "zscore", "by": keys, "fit": fit}
        return self._like(scaled, self.trials, self.units, step=step)

    def with_trials(self, **columns: Any) -> Trials:
        """A copy with columns of the trials table added or replaced; responses are shared."""
        return self._like(self.responses, self.trials.assign(**columns), self.units)

    def with_responses(
        self, responses: np.ndarray, units: pd.DataFrame | None = None, *, step: Mapping[str, Any] | None = None
    ) -> Trials:
        """A copy with other responses of the same trials and times, of other units where these are given."""
        return self._like(responses, self.trials, self.units if units is None else units, step=step)

    def with_stimuli(self, stimuli: Stimuli) -> Trials:
        """A copy that knows the pictures; every `stimulus_id` must be among them."""
        stimuli.select(pd.unique(self.stimulus_ids))
        copy = self._like(self.responses, self.trials, self.units)
        copy.stimuli = stimuli
        return copy

    def _like(
        self,
        responses: np.ndarray,
        trials: pd.DataFrame,
        units: pd.DataFrame,
        *,
        times: np.ndarray | None = None,
        step: Mapping[str, Any] | None = None,
    ) -> Trials:
        return Trials(
            responses,
            trials,
            units,
            times=self.times if times is None else times,
            stimuli=self.stimuli,
            space=self.space,
            history=(*self.history, step) if step else self.history,
            info=self.info,
        )

    def _need_columns(self, names: Sequence[str]) -> None:
        missing = [name for name in names if name not in self.trials]
        if missing:
            raise DataError(f"trials have no column {missing}", expected=list(self.trials.columns), found=missing)

    # -- how good it can get ------------------------------------------------------------------------------------

    def ncsnr(self) -> np.ndarray:
        """Noise-ceiling signal-to-noise ratio of each unit (and time), from repeated stimuli."""
        self._one_subject("ncsnr")
        return ceilings.ncsnr(self.responses, self.stimulus_ids)

    def noise_ceiling(self, n_repetitions: int | Sequence[int] | None = 1) -> np.ndarray:
        """Share of variance that a perfect model could explain, per unit (and time).

        Parameters
        ----------
        n_repetitions : int, sequence of int or None
            Repetitions behind each averaged test response: one number, one a stimulus, or None to take the
            repetitions that these trials have.
        """
        counts = self.trials["stimulus_id"].value_counts() if n_repetitions is None else n_repetitions
        return ceilings.noise_ceiling(self.ncsnr(), np.atleast_1d(np.asarray(counts)))

    def _one_subject(self, what: str) -> None:
        if self.trials["subject"].nunique() > 1:
            raise DataError(
                f"{what} is defined within a subject",
                expected="trials of one subject",
                found=self.trials["subject"].unique()[:5].tolist(),
                fix="select one subject first: trials.select(\"subject == '1'\")",
            )

    def check_finite(self) -> None:
        """Raise `DataError` when any response is NaN or infinite."""
        check_finite(self.responses, name="responses")

    # -- back to the brain --------------------------------------------------------------------------------------

    def to_nifti(self, values: Any, *, fill: float = 0.0) -> Any:
        """NIfTI image of one value per unit, (n_units,) or (n_maps, n_units)."""
        if not isinstance(self.space, VolumeSpace):
            raise DataError("these trials do not come from a volume", expected="VolumeSpace", found=self.space)
        return self.space.to_nifti(values, self.units, fill=fill)

    def to_evoked(self, values: Any = None) -> Any:
        """MNE Evoked of values (n_channels, n_times); by default the mean response."""
        if not isinstance(self.space, SensorSpace):
            raise DataError("these trials do not come from sensors", expected="SensorSpace", found=self.space)
        n_averages = 1 if values is not None else self.n_trials
        values = self.responses.mean(axis=0) if values is None else values
        times = np.zeros(1) if self.times is None else self.times
        return self.space.to_evoked(values, self.units, times, n_averages=n_averages)

    def to_xarray(self) -> xarray.DataArray:
        """An `xarray.DataArray` with dims trial, unit (and time); table columns become coordinates."""
        import xarray

        dims = ("trial", "unit", "time")[: self.responses.ndim]
        coords: dict[str, Any] = {name: ("trial", self.trials[name].to_numpy()) for name in self.trials}
        coords |= {f"unit_{name}": ("unit", self.units[name].to_numpy()) for name in self.units}
        if self.times is not None:
            coords["time"] = self.times
        return xarray.DataArray(self.responses, dims=dims, coords=coords, name="responses")

    # -- disk ---------------------------------------------------------------------------------------------------

    def save(self, folder: str | PathLike[str]) -> None:
        """Write responses, tables, space and history as one checked artefact; pictures are not copied."""
        meta = {
            "kind": "trials",
            "trials": frame_to_json(self.trials),
            "units": frame_to_json(self.units),
            "space": self.space.to_dict() if self.space is not None else None,
            "history": list(self.history),
            "info": self.info,
        }
        arrays = {"responses": self.responses}
        if self.times is not None:
            arrays["times"] = self.times
        write_artefact(folder, arrays, meta)

    @classmethod
    def open(cls, folder: str | PathLike[str], *, mmap: bool = True, stimuli: Stimuli | None = None) -> Trials:
        """Open what `save` wrote; responses stay on disk as a memory map.

        Raises
        ------
        DataError
            When the folder is missing, damaged or of another kind.
        """
        arrays, meta = read_artefact(folder, mmap=mmap)
        if meta.get("kind") != "trials":
            raise DataError("this artefact holds no trials", path=folder, expected="trials", found=meta.get("kind"))
        return cls(
            arrays["responses"],
            frame_from_json(meta["trials"]),
            frame_from_json(meta["units"]),
            times=arrays.get("times"),
            stimuli=stimuli,
            space=space_from_dict(meta["space"]),
            history=meta["history"],
            info=meta["info"],
        )


class _ById(Protocol):
    def at(self, ids: Iterable[Any]) -> np.ndarray: ...


def join(trials: Trials, latents: _ById) -> tuple[np.ndarray, np.ndarray]:
    """Pair every trial with its stimulus' latents, by id and never by position.

    Parameters
    ----------
    trials : Trials
    latents : Latents
        Or anything with ``at(ids)``.

    Returns
    -------
    responses : ndarray, shape (n_trials, n_features)
    targets : ndarray, shape (n_trials, \\*space)

    Raises
    ------
    DataError
        Listing the first stimulus ids that have no latents.
    """
    return trials.matrix(), latents.at(trials.stimulus_ids)


def _check_shape(responses: np.ndarray, times: np.ndarray | None) -> None:
    if responses.dtype.kind not in "fiu" or responses.ndim not in (2, 3) or 0 in responses.shape:
        raise DataError(
            "responses have the wrong form",
            expected="numbers, (n_trials, n_units) or (n_trials, n_channels, n_times), none of them zero",
            found=f"{responses.dtype} {responses.shape}",
        )
    n_times = responses.shape[2] if responses.ndim == 3 else None
    if (n_times is None) != (times is None) or (times is not None and times.shape != (n_times,)):
        raise DataError(
            "responses and times do not match",
            expected="times of shape (n_times,) for 3-D responses, none for 2-D",
            found=f"responses {responses.shape}, times {None if times is None else times.shape}",
        )


def _as_slice(rows: np.ndarray) -> np.ndarray | slice:
    """A contiguous run as a slice, so that a memory map is viewed and not copied."""
    if rows.size and np.array_equal(rows, np.arange(rows[0], rows[0] + rows.size)):
        return slice(int(rows[0]), int(rows[0]) + rows.size)
    return rows


def _float_dtype(dtype: np.dtype) -> type[np.floating]:
    return np.float64 if dtype == np.float64 else np.float32
