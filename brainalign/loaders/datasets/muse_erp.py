"""Faces and houses seen by wearers of a Muse headband (eeg-notebooks): comma-separated runs, compressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import sha256_file
from brainalign.errors import DataError
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.ephys.load import load_recordings
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import Recording
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_muse_erp"]


def load_muse_erp(
    spec: DatasetSpec, root: Path, *, subject: Name, peak_to_peak: float | None = None, **options: Any
) -> Trials:
    """Faces against houses; the N170 of four dry electrodes.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    peak_to_peak : float, optional
        Leave out trials in which a channel spans more than this, in volts. It looks at no label.
    **options
        ``tmin`` and ``tmax``, and `EphysOptions`.

    Returns
    -------
    Trials
        ``label`` (and stimulus_id) is face or house; sessions are folders, runs are files and count on over the
        sessions. A run that lies in two
        folders is taken once; one with fewer trials than the spec's ``fewest_trials`` is left out.

    Raises
    ------
    DataError
        When a file lacks a channel or is cut, a marker is unknown, or no trial is left.
    """
    window = (options.pop("tmin", spec.fact("tmin")), options.pop("tmax", spec.fact("tmax")))
    chosen = EphysOptions.of({"picks": "eeg", "edges": "drop", **options})
    recordings: list[Recording] = []
    tables: list[pd.DataFrame] = []
    seen: set[str] = set()
    left_out: list[dict[str, Any]] = []
    for path in sorted(spec.paths(root, "recording", subject=subject)):
        if (digest := sha256_file(path)) in seen:
            left_out.append({"file": path.name, "why": "the same run lies in another folder"})
            continue
        seen.add(digest)
        recording, table = _read(spec, path, subject, run=len(recordings) + 1)
        if len(table) < spec.fact("fewest_trials"):
            left_out.append({"file": path.name, "why": f"{len(table)} trials"})
            continue
        recordings.append(recording)
        tables.append(table)
    if not recordings:
        raise DataError(
            "no run of this subject is left", path=root, expected="recordings", found=left_out or "no file", fix=AGAIN
        )
    trials = load_recordings(recordings, tables, window=window, options=chosen)
    if peak_to_peak is not None:
        kept = np.ptp(trials.responses, axis=2).max(axis=1) <= peak_to_peak
        if not kept.any():
            raise DataError(
                "no trial is left",
                expected=f"one within {peak_to_peak} V",
                found=f"the calmest spans {np.ptp(trials.responses, axis=2).max(axis=1).min():.3g} V",
                fix="a larger peak_to_peak",
            )
        left_out.append({"trials": int((~kept).sum()), "why": f"a channel spans more than {peak_to_peak} V"})
        trials = trials.select(kept)
    trials.info["left_out"] = left_out
    return trials


def _read(spec: DatasetSpec, path: Path, subject: Name, *, run: int) -> tuple[Recording, pd.DataFrame]:
    import mne

    names, sfreq = spec.fact("ch_names"), float(spec.fact("sfreq"))
    try:
        table = pd.read_csv(path, usecols=[*names, "Marker0"])
        data = table[names].to_numpy(dtype=np.float64).T * 1e-6
        marker = table["Marker0"].to_numpy(dtype=np.int64)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            "not a run of the Muse",
            path=path,
            expected=f"columns {names}, Marker0",
            found=str(error),
            fix="copy it again",
        ) from error
    labels = dict(zip(spec.fact("codes"), spec.fact("classes"), strict=True))
    samples = np.flatnonzero(marker)
    if strange := set(marker[samples]) - set(labels):
        raise DataError("unknown markers", path=path, expected=labels, found=sorted(map(int, strange)), fix=AGAIN)
    info = mne.create_info(names, sfreq, "eeg", verbose="error").set_montage("standard_1005", verbose="error")
    entities = {
        "subject": str(subject),
        "session": path.parent.name.removeprefix("session"),
        "run": str(run),
    }
    label = [labels[code] for code in marker[samples]]
    events = pd.DataFrame({"onset": samples / sfreq, "duration": 0.0, "stimulus_id": label, "label": label})
    return Recording(mne.io.RawArray(data, info, verbose="error"), path, entities), events
