"""`PseudoOnline`: a pipeline judged as it would run, on windows of the continuous recording, idle time included.

Windows overlap, so that folds must be blocks of time with a gap: with shuffled folds nearly every test window has
its double in train, and recordings without any information score far above chance (see `PseudoOnline.protocol`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from brainalign.bci.filters import pass_band
from brainalign.bci.online_scores import online_scores
from brainalign.bci.windows import IDLE, label_samples, label_windows
from brainalign.errors import DataError
from brainalign.loaders.ephys.onsets import find_onsets
from brainalign.loaders.ephys.recording import Recording, open_recording
from brainalign.parallel import progress
from brainalign.scoring.score import Score
from brainalign.splits import Fold, contiguous_folds, split_hash

__all__ = ["PseudoOnline", "PseudoOnlineResult"]

PROTOCOLS = ("blocked", "shuffled")
SHUFFLED_LEAKS = (
    "shuffled folds leak: windows overlap, and noise alone scores far above chance. Folds of blocked time are the ones "
    "to report"
)


@dataclass(frozen=True)
class PseudoOnlineResult:
    """What a pipeline did on every window of a recording.

    Parameters
    ----------
    scores : dict of str to Score
    windows : DataFrame
        One row per window in the order of time: run, start, stop (seconds), label, purity, fold, predicted.
    """

    scores: dict[str, Score]
    windows: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Scores, one row each."""
        return pd.DataFrame([{"score": name} | one.to_row() for name, one in self.scores.items()])


@dataclass(frozen=True)
class PseudoOnline:
    """Evaluate a pipeline on sliding windows, with folds that respect time.

    Parameters
    ----------
    window, step : float
        Seconds that a window lasts, and between two.
    idle : bool
        Keep what lies outside the tasks as a class of its own; False drops these windows.
    task : float, optional
        Seconds that a task lasts from its event; by default what the events say in ``duration``, which must then be
        the same for all.
    n_splits : int
        Blocks of time that each run is cut into; block k of every run is tested together.
    gap : float, optional
        Seconds between the last train and the first test sample, on both sides; as long as a window by default.
    train_purity : float
        Train only on windows of which at least this share carries their label; all windows are tested.
    band : (float, float), optional
        Pass band in hertz, applied to the whole run.
    causal : bool
        Filter with a Butterworth filter of order 4 that runs forward only, as it would online; False takes MNE's
        zero-phase filter, which looks into the future.
    protocol : {"blocked", "shuffled"}
        "shuffled" is the stratified shuffled folding of the published code, for comparison with its numbers only: it
        leaks, and warns.
    seed : int
        Of shuffled folds and of the bootstrap.

    References
    ----------
    Carrara & Papadopoulo (2024), Pseudo-online framework for BCI evaluation: a MOABB perspective using various MI and
    SSVEP datasets, J. Neural Eng. 21.

    Examples
    --------
    >>> import mne
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> rng, sfreq = np.random.default_rng(0), 50.0
    >>> onsets = np.arange(4.0, 200.0, 8.0)
    >>> amplitude = np.ones((2, 10200))
    >>> for number, onset in enumerate(onsets):
    ...     amplitude[number % 2, int(onset * sfreq) : int((onset + 4) * sfreq)] = 3.0
    >>> data = rng.standard_normal((2, 10200)) * amplitude * 1e-6
    >>> raw = mne.io.RawArray(data, mne.create_info(["C3", "C4"], sfreq, "eeg"), verbose="error")
    >>> events = pd.DataFrame({"onset": onsets, "duration": 4.0, "trial_type": ["left", "right"] * 12 + ["left"]})
    >>> power = FunctionTransformer(lambda X: np.log(X.var(axis=2)))
    >>> result = PseudoOnline(window=2.0, step=0.5).evaluate(raw, events, make_pipeline(power, LogisticRegression()))
    >>> result.scores["nmcc"].value > 0.8, result.windows["predicted"].nunique()
    (True, 3)
    """

    window: float = 2.0
    step: float = 0.25
    idle: bool = True
    task: float | None = None
    n_splits: int = 5
    gap: float | None = None
    train_purity: float = 0.0
    band: tuple[float, float] | None = None
    causal: bool = True
    protocol: str = "blocked"
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.step < np.inf and 0 < self.window < np.inf and 0 <= self.train_purity <= 1):
            raise DataError("a duration or share is out of range", expected="window > 0, step > 0, 0 <= purity <= 1")
        if self.protocol not in PROTOCOLS:
            raise DataError(f"no protocol {self.protocol!r}", expected=PROTOCOLS)

    def evaluate(self, raw: Any, events: Any, pipeline: Any, *, event_id: Any = None) -> PseudoOnlineResult:
        """Cut, fold, fit and judge.

        Parameters
        ----------
        raw : path, mne.io.Raw, or a list of either
            One per run, all with the same channels and sampling rate.
        events : table, path, MNE event array, "annotations", "stim" or None; a list of them for several runs
            As `brainalign.load_ephys` takes them; tables name the class in ``trial_type`` (or ``stimulus_id``).
        pipeline : scikit-learn estimator
            Takes (n_windows, n_channels, n_samples) in volts and labels of text; cloned for each fold.
        event_id : mapping or sequence of str, optional
            Names of integer events, or the events to keep.

        Returns
        -------
        PseudoOnlineResult

        Raises
        ------
        DataError
            When runs do not match, events lie outside them, a window is longer than a run or than nothing of a
            class, or a fold would train on one class only.
        """
        runs, tables = _paired(raw, events)
        cut = [self._cut(open_recording(one), table, event_id) for one, table in zip(runs, tables, strict=True)]
        _same_montage([one[0] for one in cut])
        windows = pd.concat([table.assign(run=number) for number, (_, _, table) in enumerate(cut)], ignore_index=True)
        if not self.idle:
            windows = windows[windows["label"] != IDLE].reset_index(drop=True)
        folds = self._folds(windows, cut[0][0].sfreq)
        _check_classes(windows, folds)
        windows["predicted"], windows["fold"] = "", -1
        for number, fold in enumerate(progress(folds, description="pseudo-online", total=len(folds))):
            train = fold.train[windows["purity"].to_numpy()[fold.train] >= self.train_purity]
            model = clone(pipeline).fit(_stack(cut, windows, train), windows["label"].to_numpy(dtype=str)[train])
            windows.loc[fold.test, "predicted"] = model.predict(_stack(cut, windows, fold.test))
            windows.loc[fold.test, "fold"] = number
        sfreq = cut[0][0].sfreq
        scores = online_scores(
            windows, sfreq=sfreq, step=self.step, seed=self.seed, split=split_hash(folds), protocol=self._described()
        )
        seconds = windows.assign(start=windows["start"] / sfreq, stop=windows["stop"] / sfreq)
        return PseudoOnlineResult(scores, seconds.drop(columns=["code", "segment", "onset_sample"]))

    # -- parts --------------------------------------------------------------------------------------------------

    def _cut(self, recording: Recording, events: Any, event_id: Any) -> tuple[Recording, NDArray, pd.DataFrame]:
        """The filtered samples of a run and its labelled windows."""
        table = find_onsets(recording, events, event_id)
        names = table["trial_type"] if "trial_type" in table else table["stimulus_id"]
        sfreq = recording.sfreq
        codes, classes = label_samples(
            np.round(table["onset"].to_numpy() * sfreq).astype(int),
            names.astype(str).to_numpy(),
            recording.data.n_times,
            round(self._task_seconds(table) * sfreq),
        )
        windows = label_windows(codes, width=round(self.window * sfreq), step=max(1, round(self.step * sfreq)))
        windows["label"] = np.array(classes)[windows["code"]]
        starts = np.flatnonzero(np.diff(codes, prepend=-1) != 0)
        # Segments (a task, or the idle time between two) are what is independent: they are drawn whole.
        middle = (windows["start"] + windows["stop"]) // 2
        windows["segment"] = np.searchsorted(starts, middle, side="right") - 1
        windows["onset_sample"] = starts[windows["segment"]]
        return recording, self._signal(recording), windows

    def _task_seconds(self, table: pd.DataFrame) -> float:
        if self.task is not None:
            return self.task
        given = table["duration"].dropna().unique() if "duration" in table else np.array([])
        if len(given) != 1 or given[0] <= 0:
            raise DataError(
                "how long tasks last is not known", expected="one duration for all events", found=given[:5], fix="task="
            )
        return float(given[0])

    def _signal(self, recording: Recording) -> NDArray[np.float64]:
        import mne

        picks = mne.pick_types(recording.data.info, eeg=True, meg=True, seeg=True, ecog=True, exclude="bads")
        if not len(picks):
            raise DataError("no EEG, MEG, sEEG or ECoG channel", found=recording.data.get_channel_types(unique=True))
        return pass_band(recording.data.get_data(picks=picks), recording.sfreq, self.band, causal=self.causal)

    def _folds(self, windows: pd.DataFrame, sfreq: float) -> list[Fold]:
        if self.protocol == "shuffled":
            warnings.warn(SHUFFLED_LEAKS, stacklevel=3)
            folder = StratifiedKFold(self.n_splits, shuffle=True, random_state=self.seed)
            parts = folder.split(windows, windows["label"])
            return [Fold(train, test, "shuffled windows", f"shuffled-{i}") for i, (train, test) in enumerate(parts)]
        gap = self.window if self.gap is None else self.gap
        # Starts of two windows must lie a window and the gap apart.
        between = ceil((round(self.window * sfreq) + round(gap * sfreq)) / max(1, round(self.step * sfreq))) - 1
        per_run = [
            (rows, contiguous_folds(len(rows), n_splits=self.n_splits, gap=between)) for rows in _grid_rows(windows)
        ]
        made = []
        for number in range(self.n_splits):
            kept = []
            for side in ("train", "test"):
                kept.append(np.concatenate([_at(rows, getattr(parts[number], side)) for rows, parts in per_run]))
            digest = "-".join(parts[number].hash for _, parts in per_run)
            made.append(Fold(kept[0], kept[1], "blocks of time", digest))
        return made

    def _described(self) -> str:
        gap = self.window if self.gap is None else self.gap
        how = f"{self.n_splits} blocks of time, {gap:g} s gap" if self.protocol == "blocked" else "shuffled (leaks)"
        return f"pseudo-online, {self.window:g} s windows every {self.step:g} s, {how}"


def _grid_rows(windows: pd.DataFrame) -> list[NDArray[np.int64]]:
    """For each run, positions of its windows on the grid of steps (dropped windows leave holes)."""
    made = []
    for _, part in windows.groupby("run", sort=True):
        step = int(np.gcd.reduce(np.diff(part["start"].to_numpy()))) if len(part) > 1 else 1
        places = (part["start"].to_numpy() - part["start"].iloc[0]) // max(step, 1)
        rows = np.full(int(places[-1]) + 1, -1)
        rows[places] = part.index.to_numpy()
        made.append(rows)
    return made


def _at(rows: NDArray, places: NDArray) -> NDArray[np.int64]:
    found = rows[places]
    return found[found >= 0]


def _paired(raw: Any, events: Any) -> tuple[list[Any], list[Any]]:
    if not isinstance(raw, list | tuple):
        return [raw], [events]
    several = isinstance(events, Sequence) and not isinstance(events, str)
    tables = list(events) if several else [events] * len(raw)
    if not raw or len(raw) != len(tables):
        raise DataError("runs and events do not match", expected=f"{len(raw)} events", found=len(tables))
    return list(raw), tables


def _same_montage(recordings: list[Recording]) -> None:
    first = recordings[0]
    for number, one in enumerate(recordings):
        if one.sfreq != first.sfreq or one.data.ch_names != first.data.ch_names:
            raise DataError(
                f"run {number} has other channels or another sampling rate",
                expected=f"{len(first.data.ch_names)} channels at {first.sfreq:g} Hz",
                found=f"{len(one.data.ch_names)} channels at {one.sfreq:g} Hz",
            )


def _check_classes(windows: pd.DataFrame, folds: list[Fold]) -> None:
    labels = windows["label"].to_numpy(dtype=str)
    for number, fold in enumerate(folds):
        if len(np.unique(labels[fold.train])) < 2:
            raise DataError(
                f"fold {number} would train on one class",
                found=np.unique(labels[fold.train]).tolist(),
                fix="fewer folds, a smaller gap, or idle=True",
            )


def _stack(cut: list[Any], windows: pd.DataFrame, rows: NDArray) -> NDArray[np.float64]:
    chosen = windows.iloc[rows]
    return np.stack([cut[run][1][:, start:stop] for run, start, stop in chosen[["run", "start", "stop"]].to_numpy()])
