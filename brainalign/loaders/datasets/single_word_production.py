"""SingleWordProductionDutch: stereo-EEG of people who say the words they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.containers import hdf5_dataset, open_hdf5, readable
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.ephys.load import load_recordings
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import Recording
from brainalign.loaders.events import read_table
from brainalign.loaders.montage import attach_regions, clean_names
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_single_word_production", "word_events"]

_SIGNALS, _WORDS = "acquisition/iEEG/data", "acquisition/Stimulus/data"
_VOLTS = {"v": 1.0, "volt": 1.0, "mv": 1e-3, "millivolt": 1e-3, "uv": 1e-6, "microvolt": 1e-6, "nv": 1e-9}


def load_single_word_production(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Name,
    regions: Any = None,
    region_column: str = "location",
    unit: str | None = None,
    **options: Any,
) -> Trials:
    """Load stereo-EEG cut at the words that were shown, and said.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    regions : mapping, DataFrame or path, optional
        Region of each contact, as `brainalign.loaders.montage.attach_regions` takes it; by default
        ``electrodes.tsv`` where it is there and has the column.
    region_column : str
    unit : str, optional
        Of the signals, such as "uV". By default what the recording says (``unit`` times ``conversion``) and
        ``channels.tsv`` says (``units``), else what the spec does.
    **options
        ``tmin``, ``tmax`` and `EphysOptions`, such as ``reference="bipolar"``, ``high_gamma=(70, 170)`` and
        ``resample``. Words too near to an end of the recording are left out by default (``edges="drop"``).

    Returns
    -------
    Trials
        One row a word: stimulus_id and label (the word), onset, duration.

    Raises
    ------
    DataError
        When a file is damaged, signals, words and channels do not fit each other, or recording and channels.tsv state
        different units.
    """
    import mne

    path, table = spec.path(root, "recording", subject=subject), spec.path(root, "channels", subject=subject)
    with open_hdf5(path) as file, readable(path):
        recorded = hdf5_dataset(file, _SIGNALS, path)
        signals, told = np.asarray(recorded[()], dtype=np.float64), dict(recorded.attrs)
        shown = np.asarray(hdf5_dataset(file, _WORDS, path)[()])
    channels = read_table(table, ["name"])
    names = clean_names(channels["name"].tolist(), path=table)
    if signals.ndim != 2 or signals.shape[1] != len(names) or len(shown) != len(signals):
        raise DataError(
            "signals, words and channels do not fit each other",
            path=path,
            expected=f"(n_samples, {len(names)}) signals and a word a sample",
            found=f"signals {signals.shape}, words {shown.shape}",
            fix="download the recording and its channels.tsv again",
        )
    sfreq = float(spec.fact("sfreq"))
    volts = _size(unit) if unit is not None else _volts(told, channels, path) or _size(spec.fact("unit"))
    if volts is None:
        raise DataError(
            "not a unit of voltage",
            path=path,
            expected=list(_VOLTS),
            found=unit or spec.fact("unit"),
            fix="unit= one of those expected",
        )
    raw = mne.io.RawArray(signals.T * volts, mne.create_info(names, sfreq, "seeg"), verbose="error")
    chosen = EphysOptions.of({"edges": "drop", **{k: v for k, v in options.items() if k not in ("tmin", "tmax")}})
    window = (options.get("tmin"), options.get("tmax"))
    labels = {"subject": str(subject), "run": "1"}
    made = load_recordings([Recording(raw, None, labels)], [word_events(shown, sfreq)], window=window, options=chosen)
    where = regions if regions is not None else _electrodes(spec, root, subject, region_column)
    units = _regions(made.units, where, region_column)
    return made.with_responses(made.responses, units).with_trials(subject=str(subject))


def _volts(told: dict[str, Any], channels: pd.DataFrame, path: Path) -> float | None:
    """Volts of one unit of the signals, by the recording's attributes and the channels' table; None where untold."""
    stated: dict[str, float] = {}
    if size := _size(told.get("unit", "")):
        stated["the recording"] = size * float(told.get("conversion", 1.0))
    stated |= {f"channels.tsv ({one})": size for one in channels.get("units", []) if (size := _size(one))}
    if stated and max(stated.values()) > 1.001 * min(stated.values()):
        raise DataError(
            "the unit of the signals is stated in different ways",
            path=path,
            expected="one unit",
            found=", ".join(f"{size:g} V by {where}" for where, size in stated.items()),
            fix="unit='uV', or another, says which it is",
        )
    return next(iter(stated.values()), None)


def _size(unit: Any) -> float | None:
    """Volts of a unit by its name, or None."""
    name = (unit.decode() if isinstance(unit, bytes) else str(unit)).strip().lower().replace("µ", "u")
    return _VOLTS.get(name.replace("μ", "u").removesuffix("s"))


def word_events(shown: Any, sfreq: float) -> pd.DataFrame:
    """Stretches of one word: onset and duration in seconds, the word as stimulus_id and label.

    Examples
    --------
    >>> word_events([b"", b"maan", b"maan", b"", b"vis"], 2.0)[["onset", "duration", "label"]].values.tolist()
    [[0.5, 1.0, 'maan'], [2.0, 0.5, 'vis']]
    """
    words = np.array([one.decode() if isinstance(one, bytes) else str(one) for one in shown], dtype=object)
    starts = np.flatnonzero(np.r_[True, words[1:] != words[:-1]]) if len(words) else np.arange(0)
    stops = np.r_[starts[1:], len(words)]
    kept = [(start, stop) for start, stop in zip(starts, stops, strict=True) if words[start].strip()]
    if not kept:
        raise DataError(
            "no word was shown", expected="a word at some samples", found=f"{len(words)} empty ones", fix=AGAIN
        )
    labels = [words[start].strip() for start, _ in kept]
    onset, end = np.array(kept).T / sfreq
    return pd.DataFrame({"onset": onset, "duration": end - onset, "stimulus_id": labels, "label": labels})


def _electrodes(spec: DatasetSpec, root: Path, subject: Name, column: str) -> pd.DataFrame | None:
    found = spec.paths(root, "electrodes", subject=subject)
    table = read_table(found[0], ["name"]) if found else pd.DataFrame()
    return table if column in table else None


def _regions(units: pd.DataFrame, where: Any, column: str) -> pd.DataFrame:
    """Regions of contacts; that of a bipolar pair is its first contact's."""
    pairs = units["name"].str.split("-").str[0]
    named = attach_regions(units.assign(name=pairs), where, column=column) if pairs.is_unique else None
    return attach_regions(units, where, column=column) if named is None else named.assign(name=units["name"])
