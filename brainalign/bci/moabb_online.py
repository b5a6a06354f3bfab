"""Pseudo-online evaluation inside MOABB: paradigm and evaluation, through MOABB's public hooks only.

MOABB's own overlapping windows have no idle class and no onsets, and its default folds are shuffled, which leaks:
neighbouring windows share samples. Here windows of the whole run keep their onsets, and folds are blocks of time.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from moabb.datasets import utils as moabb_utils
from moabb.datasets.base import BaseDataset
from moabb.datasets.bids_interface import StepType
from moabb.datasets.preprocessing import FixedPipeline, FixedTransformer, SetRawAnnotations
from moabb.evaluations import WithinSessionEvaluation
from moabb.paradigms.base import BaseParadigm
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import make_scorer
from sklearn.model_selection import StratifiedKFold

from brainalign.bci.blocks import BlockedWindows, window_groups
from brainalign.bci.filters import pass_band
from brainalign.bci.metrics import normalised_mcc
from brainalign.bci.pseudo_online import PROTOCOLS, SHUFFLED_LEAKS
from brainalign.bci.results import described, result_key, versions
from brainalign.bci.windows import IDLE, label_samples, label_windows
from brainalign.errors import DataError
from brainalign.loaders.ephys.onsets import bad_stretches
from brainalign.loaders.ephys.recording import Recording

__all__ = ["PseudoOnlineEvaluation", "PseudoOnlineParadigm"]


class PseudoOnlineParadigm(BaseParadigm):
    """Sliding windows over whole runs, idle time included, as a MOABB paradigm.

    Parameters
    ----------
    fmin, fmax : float
        Pass band in hertz.
    window, step : float
        Seconds that a window lasts, and between the starts of two.
    events : sequence of str, optional
        The classes; by default all of the dataset.
    kind : str
        Which datasets are fit: "imagery", "ssvep", ... as MOABB tags them.
    **options
        ``idle`` (True): keep what lies outside the tasks as a class; ``causal`` (True): filter forward only, where
        MOABB's filters look into the future; ``channels``; ``scorer``: by default normalised MCC and balanced
        accuracy, and with `events` false decisions per minute of idle; ``reject_by_annotation`` (True): leave out
        windows that touch a stretch annotated ``BAD``.

    Notes
    -----
    Metadata have, beside subject, session and run, ``onset`` and ``stop`` of each window (seconds from the start of
    the run) and its ``purity``. Arrays cached by MOABB hold no onsets: leave ``save_array`` off.

    Raises
    ------
    DataError
        For durations that are none, and when data are asked for as epochs or raws.
    """

    def __init__(
        self,
        fmin: float = 8.0,
        fmax: float = 30.0,
        *,
        window: float = 2.0,
        step: float = 0.25,
        events: Sequence[str] | None = None,
        kind: str = "imagery",
        **options: Any,
    ) -> None:
        known = {"idle": True, "causal": True, "channels": None, "scorer": None, "reject_by_annotation": True}
        if not (0 < step < np.inf and 0 < window < np.inf) or not set(options) <= set(known):
            raise DataError("a window is not what it should be", expected=["window > 0", "step > 0", *known])
        self.window, self.step, self.kind = window, step, kind
        options = known | options
        self.idle, self.causal = options.pop("idle"), options.pop("causal")
        super().__init__(filters=[[fmin, fmax]], events=None if events is None else list(events), **options)

    def is_valid(self, dataset: BaseDataset) -> bool:
        """Whether a dataset has the tag and the classes."""
        return dataset.paradigm == self.kind and set(self.events or ()) <= set(dataset.event_id)

    @property
    def datasets(self) -> list[BaseDataset]:
        """Every dataset that MOABB knows and that fits."""
        return moabb_utils.dataset_search(paradigm=self.kind, events=self.events, has_all_events=True)

    def used_events(self, dataset: BaseDataset) -> dict[str, int]:
        """The classes with their codes, idle with one of its own."""
        used = {name: code for name, code in dataset.event_id.items() if name in (self.events or dataset.event_id)}
        return used | ({IDLE: max(used.values()) + 1} if self.idle else {})

    @property
    def scoring(self) -> Any:
        """What the evaluations score by; the first is their ``score``."""
        if self.scorer is not None:
            return self.scorer
        scores: dict[str, Any] = {"nmcc": make_scorer(normalised_mcc), "balanced_accuracy": "balanced_accuracy"}
        if self.events and self.idle:
            place = sorted([*self.events, IDLE]).index(IDLE)
            scores["idle_false_per_minute"] = make_scorer(
                false_per_minute, greater_is_better=True, idle=place, step=self.step
            )
        return scores

    def make_process_pipelines(
        self, dataset: BaseDataset, return_epochs: bool = False, return_raws: bool = False, **_: Any
    ) -> list[FixedPipeline]:
        """Annotate, filter and cut; the steps say all their settings, which MOABB keys its results by."""
        if return_epochs or return_raws:
            raise DataError("windows come as arrays", expected="return_epochs=False", fix="a pipeline of arrays")
        fmin, fmax = self.filters[0]
        events = {name: code for name, code in self.used_events(dataset).items() if name != IDLE}
        cut = _Windows(events, (self.window, self.step), self.idle, self.channels, self.reject_by_annotation)
        cut.modalities, cut.unit_factor = dataset.return_all_modalities, dataset.unit_factor
        cut.task = dataset.interval[1] - dataset.interval[0]
        return [
            FixedPipeline(
                [
                    (StepType.RAW, SetRawAnnotations(dataset.event_id, interval=dataset.interval)),
                    (StepType.RAW, _PassBand(fmin, fmax, self.causal)),
                    (StepType.ARRAY, cut),
                ]
            )
        ]

    def get_data(
        self,
        dataset: BaseDataset,
        subjects: Any = None,
        return_epochs: bool = False,
        return_raws: bool = False,
        cache_config: Any = None,
        process_pipelines: Any = None,
        **options: Any,
    ) -> tuple[NDArray, NDArray, pd.DataFrame]:
        """Windows (n_windows, n_channels, n_samples) in microvolts, their labels, and where they lie."""
        if not self.is_valid(dataset):
            raise DataError(f"dataset {dataset.code} does not fit", expected=self.events or self.kind)
        (pipeline,) = process_pipelines or self.make_process_pipelines(dataset, return_epochs, return_raws)
        loaded = dataset.get_data(
            subjects=subjects, cache_config=cache_config, process_pipeline=pipeline, n_jobs=options.get("n_jobs", 1)
        )
        arrays, tables = [], []
        for subject, sessions in loaded.items():
            for session, runs in sessions.items():
                for run, cut in runs.items():
                    if "windows" not in cut:
                        raise DataError("cached arrays hold no onsets", fix="CacheConfig(save_array=False)")
                    arrays.append(cut["X"])
                    tables.append(cut["windows"].assign(subject=subject, session=session, run=run))
        table = pd.concat(tables, ignore_index=True)
        return np.concatenate(arrays), table.pop("label").to_numpy(dtype=str), table


def false_per_minute(y_true: ArrayLike, y_pred: ArrayLike, *, idle: int, step: float) -> float:
    """Decisions for a task during idle time, per minute of it, one decision every `step` seconds.

    Examples
    --------
    >>> false_per_minute([0, 0, 0, 0, 1], [0, 1, 0, 0, 1], idle=0, step=0.5)
    30.0
    """
    at_rest = np.asarray(y_true) == idle
    return float(60 * (np.asarray(y_pred)[at_rest] != idle).mean() / step) if at_rest.any() else 0.0


class _PassBand(FixedTransformer):
    """Filter a Raw."""

    def __init__(self, fmin: float, fmax: float, causal: bool) -> None:
        super().__init__()
        self.fmin, self.fmax, self.causal = fmin, fmax, causal

    def transform(self, raw: Any, y: Any = None) -> Any:
        band, sfreq = (self.fmin, self.fmax), raw.info["sfreq"]
        return raw.load_data().apply_function(
            lambda data: pass_band(data, sfreq, band, causal=self.causal), channel_wise=False, verbose="error"
        )


class _Windows(FixedTransformer):
    """Cut a Raw into labelled windows."""

    def __init__(
        self, events: dict[str, int], window: tuple[float, float], idle: bool, channels: Any, reject: bool
    ) -> None:
        super().__init__()
        self.events, self.window, self.idle, self.channels, self.reject = events, window, idle, channels, reject
        self.modalities: Any = False
        self.unit_factor, self.task = 1e6, 0.0

    def __repr__(self) -> str:
        settings = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return f"Windows({settings})"

    def transform(self, raw: Any, y: Any = None) -> dict[str, Any]:
        sfreq, (length, step) = float(raw.info["sfreq"]), self.window
        recording = Recording(raw)
        texts = [str(text) for text in raw.annotations.description]
        kept = [text in self.events for text in texts]
        onsets = raw.annotations.onset[kept] - (raw.first_time if raw.info["meas_date"] else 0.0)
        codes, names = label_samples(
            np.round(onsets * sfreq).astype(int),
            [text for text in texts if text in self.events],
            raw.n_times,
            round(self.task * sfreq),
        )
        table = label_windows(codes, width=round(length * sfreq), step=max(1, round(step * sfreq)))
        table["label"] = np.array(names)[table["code"]]
        if not self.idle:
            table = table[table["label"] != IDLE]
        if self.reject:
            for first, last in bad_stretches(recording):
                table = table[(table["stop"] <= first * sfreq) | (table["start"] > last * sfreq)]
        data = self.unit_factor * raw.get_data(picks=self._picks(raw))
        spans = table[["start", "stop"]].to_numpy()
        code_of = self.events | {IDLE: max(self.events.values()) + 1}
        X = np.stack([data[:, start:stop] for start, stop in spans]) if len(spans) else np.empty((0, len(data), 0))
        events = np.column_stack([spans[:, 0], 0 * spans[:, 0], table["label"].map(code_of)])
        table = table.assign(onset=table["start"] / sfreq, stop=table["stop"] / sfreq)
        return {"X": X, "events": events, "windows": table[["onset", "stop", "purity", "label"]]}

    def _picks(self, raw: Any) -> Any:
        import mne

        if self.channels is not None:
            return list(self.channels)
        if isinstance(self.modalities, dict):
            return mne.pick_types(raw.info, **self.modalities)
        return "data" if self.modalities else mne.pick_types(raw.info, eeg=True)


class PseudoOnlineEvaluation(WithinSessionEvaluation):
    """MOABB's within-session evaluation with folds that respect time.

    Parameters
    ----------
    paradigm : PseudoOnlineParadigm
    datasets : list of MOABB datasets, optional
    protocol : {"blocked", "shuffled"}
        "shuffled" is the folding of the published code (Carrara & Papadopoulo 2024), for comparison only: it leaks,
        and warns.
    n_splits : int
    gap : float, optional
    min_purity : float
        As `BlockedWindows` takes them.
    **options
        Of MOABB's evaluations; the suffix of the results file gets a hash of folds, seed and versions, which MOABB's
        own key leaves out.
    """

    def __init__(
        self,
        paradigm: PseudoOnlineParadigm,
        datasets: list[BaseDataset] | None = None,
        *,
        protocol: str = "blocked",
        n_splits: int = 5,
        gap: float | None = None,
        min_purity: float = 0.0,
        **options: Any,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise DataError(f"no protocol {protocol!r}", expected=PROTOCOLS)
        folding: dict[str, Any] = {"protocol": protocol, "n_splits": n_splits, "seed": options.get("random_state")}
        if protocol == "shuffled":
            warnings.warn(SHUFFLED_LEAKS, stacklevel=2)
            options |= {"cv_class": StratifiedKFold, "n_splits": n_splits}
        else:
            cut = {"n_splits": n_splits, "gap": gap, "min_purity": min_purity}
            options |= {"cv_class": BlockedWindows, "cv_kwargs": cut, "groups": window_groups}
            folding |= cut
        key = result_key({**folding, "scorer": described(paradigm.scoring), "versions": versions()})
        options["suffix"] = "_".join(filter(None, [options.get("suffix", ""), protocol, key[:12]]))
        super().__init__(paradigm, datasets, **options)
