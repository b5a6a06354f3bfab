"""Plants of the BCI trees. Each docstring names what the plant leaves in `Tree.truth`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainalign.loaders.trees.planting import Planting

__all__ = ["plant_eegmmidb", "plant_muse_erp", "plant_ssvep_exo"]

_REST = 4.2
_TASK = 4.1


def plant_eegmmidb(plan: Planting) -> None:
    """EEGMMIDB: EDF+ runs of rest (T0) and tasks (T1, T2); a task weakens a 10 Hz rhythm of its own channel.

    Truth: ``codes[run]`` the tasks in order; T1 acts on the first channel, T2 on the second.
    """
    n_channels, sfreq, n_trials = (plan.fact(name) for name in ("n_channels", "sfreq", "trials_per_run"))
    n_samples = int(plan.fact("seconds") * sfreq)
    names = ["C3..", "C4..", "Cz..", "Fc5.", "Fc6."][:n_channels]
    times = np.arange(n_samples) / sfreq
    plan.truth["codes"] = {}
    for run in plan.spec.values("run"):
        rng = plan.rng("run", run)
        codes = rng.permutation(np.resize(["T1", "T2"], n_trials)).tolist()
        rhythm = 20 * np.sin(2 * np.pi * 10 * times + rng.uniform(0, 2 * np.pi, (n_channels, 1)))
        events = []
        for number, code in enumerate(codes):
            start = number * (_REST + _TASK)
            events += [(round(start, 3), _REST, "T0"), (round(start + _REST, 3), _TASK, code)]
            task = slice(round((start + _REST) * sfreq), round((start + _REST + _TASK) * sfreq))
            rhythm[["T1", "T2"].index(code), task] *= 0.2
        data = rhythm + 5 * rng.standard_normal((n_channels, n_samples))
        content = {"data": data, "ch_names": names, "sfreq": sfreq, "events": events}
        plan.write("recording", content, subject=1, run=run)
        plan.truth["codes"][run] = codes


def plant_ssvep_exo(plan: Planting) -> None:
    """SSVEP: each trial carries a sine of its class's frequency on every channel; rest has none.

    Truth: ``codes[subject]`` of both sessions, a list of arrays.
    """
    import mne

    sfreq, n_trials, names = (plan.fact(name) for name in ("sfreq", "trials_per_session", "ch_names"))
    codes = dict(zip(plan.fact("codes"), plan.fact("classes"), strict=True))
    length, spacing = int(5 * sfreq), int(6.5 * sfreq)
    flicker = np.arange(length) / sfreq * 2 * np.pi
    plan.truth["codes"] = {}
    for subject in plan.spec.subjects:
        plan.truth["codes"][subject] = []
        for wildcard in plan.spec.files["recording"].wildcards:
            rng = plan.rng(subject, wildcard)
            drawn = rng.permutation(np.resize(list(codes), n_trials))
            data = 5e-6 * rng.standard_normal((len(names), n_trials * spacing + length))
            samples = int(sfreq) + spacing * np.arange(n_trials)
            for sample, code in zip(samples, drawn, strict=True):
                if codes[code] != "rest":
                    data[:, sample : sample + length] += 4e-6 * np.sin(float(codes[code]) * flicker)
            info = mne.create_info(names, sfreq, "eeg")
            plan.write("recording", mne.io.RawArray(data, info, verbose="error"), wildcard=wildcard, subject=subject)
            events = np.column_stack([samples, np.zeros_like(samples), drawn])
            plan.write("events", _Events(events), wildcard=wildcard, subject=subject)
            plan.truth["codes"][subject].append(drawn)


def plant_muse_erp(plan: Planting) -> None:
    """Muse: CSV runs of faces and houses; a face draws the two channels behind the ears down 170 ms after it.

    Truth: ``labels[subject]`` of each session, a list of arrays of "face" and "house".
    """
    sfreq, n_trials, names = (plan.fact(name) for name in ("sfreq", "trials_per_run", "ch_names"))
    spacing = int(0.9 * sfreq)
    plan.truth["labels"] = {}
    for subject in plan.spec.subjects:
        plan.truth["labels"][subject] = []
        for session in plan.spec.files["recording"].wildcards:
            rng = plan.rng(subject, session)
            codes = rng.permutation(np.resize([1, 2], n_trials))
            data = 5 * rng.standard_normal((len(names), (n_trials + 2) * spacing))
            marker = np.zeros(data.shape[1], dtype=int)
            samples = spacing * np.arange(1, n_trials + 1)
            marker[samples] = codes
            for sample in samples[codes == 2]:
                dip = 20 * np.exp(-0.5 * ((np.arange(spacing) / sfreq - 0.17) / 0.03) ** 2)
                data[[0, -1], sample : sample + spacing] -= dip
            columns = {"timestamps": np.arange(data.shape[1]) / sfreq, **dict(zip(names, data)), "Marker0": marker}
            plan.write("recording", pd.DataFrame(columns).round(3), subject=subject, wildcard=session)
            plan.truth["labels"][subject].append(np.where(codes == 2, "face", "house"))


class _Events:
    """An MNE event array with the ``save`` that the FIF writer calls."""

    def __init__(self, events: np.ndarray) -> None:
        self.events = events

    def save(self, path: object, **_: object) -> None:
        import mne

        mne.write_events(path, self.events, overwrite=True, verbose="error")
