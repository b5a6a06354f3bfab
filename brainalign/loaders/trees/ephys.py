"""Plants of the EEG, MEG and intracranial trees. Each docstring names what the plant leaves in `Tree.truth`.

Common to most: ``features`` (n_stimuli, 3) and ``weights[subject]`` (n_channels, 3); the response of a channel is
features @ weights.T, in volts times the modality's size, over a bump in time that ``bump`` describes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainalign.loaders.trees.planting import Planting

__all__ = [
    "plant_bci_iv_2a", "plant_du_in", "plant_ieeg_bids", "plant_meg_sample", "plant_podcast_ecog",
    "plant_things_eeg2", "plant_things_meg",
]  # fmt: skip

_MICROVOLT = 1e-6
_PEAK, _WIDTH = 0.15, 0.04


def _bump(times: np.ndarray) -> np.ndarray:
    """Time course of every planted response: one Gaussian, 150 ms after onset."""
    return np.exp(-0.5 * ((times - _PEAK) / _WIDTH) ** 2)


def plant_things_eeg2(plan: Planting) -> None:
    """THINGS-EEG2: preprocessed and raw dictionaries; written only where a writer for ``npy_dict`` is given.

    Truth: ``features`` (train pictures) and ``features_test``; ``bump`` peak and width in seconds;
    ``events[subject][part]`` list over sessions of (sample, 1-based picture number) arrays of the raw files.
    Raw channels are the preprocessed ones in the same order, then ``stim``.
    """
    train, test = plan.features(plan.fact("n_train_images")), plan.features(plan.fact("n_test_images"), "features_test")
    n_channels, n_times = plan.fact("n_channels_preprocessed"), plan.fact("n_times_preprocessed")
    times = np.linspace(plan.fact("tmin"), plan.fact("tmax"), n_times, endpoint=False)
    names = ["O1", "Oz", "O2", "PO3", "POz", "PO4", "P1", "Pz", "P2", "P3", "P4"][:n_channels]
    plan.truth |= {"bump": (_PEAK, _WIDTH), "events": {}}
    parts = {"training": (train, plan.fact("train_repeats")), "test": (test, plan.fact("test_repeats"))}
    for subject in plan.spec.subjects:
        weights = plan.weights(subject, n_channels)
        plan.truth["events"][subject] = {part: [] for part in parts}
        for part, (features, repeats) in parts.items():
            image = np.repeat(np.arange(len(features)), repeats)
            response = plan.respond(features[image], weights, subject, part)[:, :, None] * _bump(times)
            shape = (len(features), repeats, n_channels, n_times)
            entry = "preprocessed_train" if part == "training" else "preprocessed_test"
            epochs = {"preprocessed_eeg_data": response.reshape(shape), "ch_names": names, "times": times}
            plan.write(entry, epochs, subject=subject)
            for session in plan.spec.values("session"):
                raw = _things_eeg2_session(plan, (subject, part, session), features, weights, names)
                plan.write("raw", raw, subject=subject, session=session, part=part)
    files = {f"{part}_img_files": [f"{part}_{row:05d}.jpg" for row in range(len(each))] for part, each in
             (("train", train), ("test", test))}  # fmt: skip
    concepts = {"train_img_concepts": [f"concept{row % plan.fact('n_train_concepts')}" for row in range(len(train))]}
    plan.write("images", {**files, **concepts, "test_img_concepts": [f"new{row}" for row in range(len(test))]})


def _things_eeg2_session(
    plan: Planting, what: tuple[Any, ...], features: np.ndarray, weights: np.ndarray, names: list[str]
) -> dict[str, Any]:
    """One session of raw data: each picture once, 200 ms apart, and one target trial coded 99999."""
    subject, part, _ = what
    sfreq, rng = plan.fact("sfreq"), plan.rng("raw", *what)
    order, step = rng.permutation(len(features)), int(0.2 * sfreq)
    samples = int(sfreq) + step * np.arange(len(order) + 1)
    data = rng.standard_normal((len(names) + 1, samples[-1] + 2 * int(sfreq))) * 0.1 * _MICROVOLT
    data[-1] = 0
    course = _bump(np.arange(int(0.5 * sfreq)) / sfreq)
    for sample, image in zip(samples, order, strict=False):
        data[:-1, sample : sample + len(course)] += 5 * _MICROVOLT * np.outer(weights @ features[image], course)
        data[-1, sample] = image + 1
    data[-1, samples[-1]] = 99999
    plan.truth["events"][subject][part].append(np.column_stack([samples[:-1], order + 1]))
    return {
        "raw_eeg_data": data, "ch_names": [*names, "stim"], "ch_types": ["eeg"] * len(names) + ["stim"],
        "sfreq": sfreq, "lowpass": 100.0, "highpass": 0.1,
    }  # fmt: skip


def plant_things_meg(plan: Planting) -> None:
    """THINGS-MEG: preprocessed epochs whose event code is the 1-based picture number, test pictures last.

    Truth: ``features`` of train then test pictures; ``image[subject]`` rows per epoch; ``n_train``; ``bump``.
    """
    import mne

    n_train, n_test = plan.fact("n_train_images"), plan.fact("n_test_images")
    features, sfreq = plan.features(n_train + n_test), plan.fact("sfreq")
    times = np.arange(int(0.6 * sfreq)) / sfreq - 0.1
    info = mne.create_info([f"MLO{i + 11}" for i in range(plan.fact("n_channels"))], sfreq, "mag")
    plan.truth |= {"image": {}, "n_train": n_train, "bump": (_PEAK, _WIDTH)}
    for subject in plan.spec.subjects:
        rng, n_sessions = plan.rng("order", subject), plan.fact("sessions")
        test = np.arange(n_train, n_train + n_test)
        parts = np.array_split(rng.permutation(n_train), n_sessions)
        sessions = [rng.permutation(np.concatenate([part, test])) for part in parts]
        image = np.concatenate(sessions)
        response = plan.respond(features[image], plan.weights(subject, plan.fact("n_channels")), subject)
        data = 1e-13 * response[:, :, None] * _bump(times)
        events = np.column_stack([1000 * np.arange(1, len(image) + 1), np.zeros(len(image), int), image + 1])
        metadata = pd.DataFrame({"trial_type": np.where(image < n_train, "exp", "test"), "image_nr": image + 1})
        metadata["session_nr"] = np.repeat(np.arange(n_sessions) + 1, [len(part) for part in sessions])
        epochs = mne.EpochsArray(data, info, events, tmin=times[0], metadata=metadata, verbose="error")
        plan.write("epochs", epochs, subject=subject)
        plan.truth["image"][subject] = image


def plant_bci_iv_2a(plan: Planting) -> None:
    """BCI IV 2a: MATLAB cells of run structs, one run without trials first; each class has its 10 Hz electrode.

    Truth: ``labels[subject][part]`` (n_trials,) 1 to 4 over all runs; ``electrode`` column per class;
    ``samples[subject][part]`` 0-based starts of the trials, run by run.
    """
    sfreq, n_channels, n_per_run = (plan.fact(name) for name in ("sfreq", "n_channels", "trials_per_run"))
    classes, step, electrode = plan.fact("classes"), int(6.5 * sfreq), [7, 11, 9, 3]  # C3, C4, Cz, FCz
    wave = 10 * np.sin(2 * np.pi * 10 * np.arange(int(4 * sfreq)) / sfreq)
    plan.truth |= {"electrode": electrode, "labels": {}, "samples": {}}
    for subject in plan.spec.subjects:
        plan.truth["labels"][subject], plan.truth["samples"][subject] = {}, {}
        for part in plan.spec.values("part"):
            runs, labels = [], []
            for run in range(plan.fact("runs") + 1):
                rng, n_trials = plan.rng(subject, part, run), n_per_run if run else 0
                y = rng.permutation(np.resize(np.arange(1, len(classes) + 1), n_trials))
                x = np.round(rng.standard_normal((int(sfreq) + step * max(n_trials, 1), n_channels)), 1)
                starts = int(0.5 * sfreq) + step * np.arange(n_trials)
                for start, label in zip(starts, y, strict=True):
                    x[start + int(2 * sfreq) : start + int(6 * sfreq), electrode[label - 1]] += wave
                trial = {
                    "trial": (starts + 1).astype(np.uint32),
                    "y": y.astype(np.uint8),
                    "artifacts": np.zeros(n_trials),
                }
                runs.append({"X": x, **trial, "fs": sfreq, "classes": np.array(classes, dtype=object)})
                labels.append(y)
            cell = np.empty((1, len(runs)), dtype=object)
            cell[0, :] = runs
            plan.write("recording", {"data": cell}, subject=subject, part=part)
            plan.truth["labels"][subject][part] = np.concatenate(labels)
            plan.truth["samples"][subject][part] = [run["trial"].astype(int) - 1 for run in runs]


def plant_podcast_ecog(plan: Planting) -> None:
    """Podcast ECoG: raw EDF, prepared FIF and a high-gamma envelope that follows the words.

    Truth: ``features`` per word; ``onsets`` (n_words,) seconds; ``weights[subject]``; ``bump``. The high-gamma file
    is 5 plus the response; the raw and prepared signals are 80 Hz waves of that envelope.
    """
    import mne

    seconds, n_channels = plan.fact("seconds"), plan.fact("n_electrodes") // 2
    onsets = np.arange(0.5, seconds - 0.5, 0.25)
    features = plan.features(len(onsets))
    words = pd.DataFrame({"word": [f"word{row}" for row in range(len(onsets))], "start": onsets, "end": onsets + 0.2})
    for space in plan.spec.values("features"):
        plan.write("transcript", words, features=space)
        plan.write("features", {"vectors": features}, features=space)
    plan.truth |= {"onsets": onsets, "bump": (_PEAK, _WIDTH)}
    names = [f"G{i + 1}" for i in range(n_channels)]
    table = pd.DataFrame({"name": names, "type": "ECOG", "units": "uV", "status": "good"})
    table.attrs["encoding"] = "utf-8-sig"
    for subject in plan.spec.subjects:
        drive = features @ plan.weights(subject, n_channels).T
        rates = {"raw": plan.fact("sfreq", subject), "prepared": plan.fact("sfreq_prepared")}
        plan.write("channels", table, subject=subject)
        for entry, sfreq in rates.items():
            times = np.arange(int(seconds * sfreq)) / sfreq
            envelope = 5 + drive.T @ _bump(times - onsets[:, None])
            noise = plan.rng(entry, subject).standard_normal(envelope.shape)
            signal = envelope * np.sin(2 * np.pi * 80 * times) + 0.1 * noise
            if entry == "raw":
                plan.write("raw", {"data": signal, "ch_names": names, "sfreq": sfreq}, subject=subject)
                continue
            info = mne.create_info(names, sfreq, "ecog")
            for name, data in (("prepared", signal * _MICROVOLT), ("highgamma", envelope + 0.1 * noise)):
                plan.write(name, mne.io.RawArray(data, info, verbose="error"), subject=subject)


def plant_du_in(plan: Planting) -> None:
    """Du-IN in the plain layout it is converted to.

    Truth: ``features`` per word; ``labels[subject]`` word row per trial; ``weights[subject]``; ``bump``.
    """
    n_classes, sfreq = plan.fact("n_classes"), plan.fact("sfreq")
    times = np.arange(plan.fact("tmin"), plan.fact("tmax"), 1 / sfreq)
    features = plan.features(n_classes)
    plan.truth |= {"labels": {}, "bump": (_PEAK, _WIDTH)}
    for number, subject in enumerate(plan.spec.subjects):
        n_channels = 5 + number  # people differ in their contacts
        labels = plan.rng("labels", subject).permutation(np.repeat(np.arange(n_classes), 6))
        response = plan.respond(features[labels], plan.weights(subject, n_channels), subject)
        data = 1e-5 * response[:, :, None] * _bump(times)
        plan.write("data", data + 1e-6 * plan.rng("noise", subject).standard_normal(data.shape), subject=subject)
        names = [f"A{i + 1}-A{i + 2}" for i in range(n_channels)]
        runs = (np.arange(len(labels)) // (len(labels) // 2)).tolist()
        words = [f"word{label}" for label in labels]
        info = {"sfreq": sfreq, "tmin": plan.fact("tmin"), "ch_names": names, "labels": words, "runs": runs}
        plan.write("info", info, subject=subject)
        plan.truth["labels"][subject] = labels


def plant_meg_sample(plan: Planting) -> None:
    """MNE sample: magnetometers, EEG and a trigger channel ``STI 014`` with codes 1 to 4.

    Truth: ``events`` (n_events, 2) sample and code; ``features`` per code; ``weights[1]`` of the magnetometers.
    """
    import mne

    n_meg, n_eeg, sfreq, n_events = (plan.fact(name) for name in ("n_meg", "n_eeg", "sfreq", "n_events"))
    names = [*(f"MEG {i:04d}" for i in range(n_meg)), *(f"EEG {i:03d}" for i in range(n_eeg)), "STI 014"]
    info = mne.create_info(names, sfreq, ["mag"] * n_meg + ["eeg"] * n_eeg + ["stim"])
    n_samples, rng = int(plan.fact("seconds") * sfreq), plan.rng("recording")
    data = rng.standard_normal((len(names), n_samples)) * ([[1e-14]] * n_meg + [[1e-7]] * n_eeg + [[0]])
    samples = np.linspace(0.5 * sfreq, n_samples - sfreq, n_events).astype(int)
    codes, features = rng.permutation(np.resize([1, 2, 3, 4], n_events)), plan.features(4)
    course = _bump(np.arange(int(0.5 * sfreq)) / sfreq)
    weights = plan.weights(1, n_meg)
    for sample, code in zip(samples, codes, strict=True):
        data[:n_meg, sample : sample + len(course)] += 1e-13 * np.outer(weights @ features[code - 1], course)
        data[-1, sample : sample + 2] = code
    plan.write("recording", mne.io.RawArray(data, info, verbose="error"))
    plan.truth |= {"events": np.column_stack([samples, codes]), "bump": (_PEAK, _WIDTH)}


def plant_ieeg_bids(plan: Planting) -> None:
    """iEEG-BIDS in BrainVision: an 80 Hz burst on its own pair of contacts at each event.

    Truth: ``events`` (n_events, 2) onset in seconds and first contact of the pair.
    """
    sfreq, n_channels, n_events = (plan.fact(name) for name in ("sfreq", "n_channels", "n_events"))
    names = [f"{'AB'[i // (n_channels // 2) % 2]}R{i % (n_channels // 2) + 1}" for i in range(n_channels)]
    n_samples, rng = int(plan.fact("seconds") * sfreq), plan.rng("recording")
    data = rng.standard_normal((n_channels, n_samples))
    onsets = np.linspace(0.2, plan.fact("seconds") - 0.5, n_events).round(3)
    contacts = rng.integers(0, n_channels - 1, n_events)
    burst = 20 * np.sin(2 * np.pi * 80 * np.arange(int(0.2 * sfreq)) / sfreq)
    for onset, contact in zip(onsets, contacts, strict=True):
        start = round(onset * sfreq)
        data[contact : contact + 2, start : start + len(burst)] += burst
    channels = pd.DataFrame({"name": names, "type": "SEEG", "units": "V", "status": "good"})
    events = pd.DataFrame({"onset": onsets, "duration": 0.2, "trial_type": [f"burst_{names[i]}" for i in contacts]})
    channels.attrs["encoding"] = events.attrs["encoding"] = "utf-8-sig"
    for subject in plan.spec.subjects:
        where: dict[str, Any] = {
            "subject": subject,
            "task": plan.spec.values("task")[0],
            "run": plan.spec.values("run")[0],
        }
        plan.write("recording", {"data": data, "ch_names": names, "sfreq": sfreq}, **where)
        plan.write("channels", channels, **where)
        plan.write("events", events, **where)
        sidecar = {"TaskName": where["task"], "SamplingFrequency": sfreq, "PowerLineFrequency": 50.0,
                   "iEEGReference": "n/a", "SoftwareFilters": "n/a"}  # fmt: skip
        plan.write("sidecar", sidecar, **where)
    plan.truth["events"] = np.column_stack([onsets, contacts])
