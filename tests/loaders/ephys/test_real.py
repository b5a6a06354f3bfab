"""Recordings of people: what is known to be in them is found, and not in a shuffled copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainalign.loaders.ephys import load_ephys
from brainalign.trials import Trials
from tests.conftest import real_data


@pytest.fixture(scope="module")
def meg() -> Trials:
    path = real_data("meg_sample") / "test_raw.fif"
    return load_ephys(
        path,
        events="STI 014",
        event_id={"auditory/left": 1, "auditory/right": 2, "visual/left": 3, "visual/right": 4},
        picks="meg",
        tmin=-0.1,
        tmax=0.4,
        h_freq=40.0,
        resample=100.0,
        baseline=(None, 0.0),
        edges="drop",
    )


def _decode(trials: Trials, labels: np.ndarray) -> float:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    return cross_val_score(
        classifier, trials.matrix(), labels, cv=StratifiedKFold(5, shuffle=True, random_state=0)
    ).mean()


def test_auditory_against_visual_from_meg(meg: Trials) -> None:
    labels = meg.trials["trial_type"].str.partition("/")[0].to_numpy()
    late = meg.select(times=(0.05, 0.35))
    assert meg.n_units == 306 and meg.n_trials == 29
    assert _decode(late, labels) > 0.85
    shuffled = [_decode(late, np.random.default_rng(seed).permutation(labels)) for seed in range(3)]
    assert np.mean(shuffled) < 0.65
    assert _decode(meg.select(times=(-0.1, 0.0)), labels) < 0.75


def test_meg_units_and_the_way_back(meg: Trials) -> None:
    assert meg.units["type"].value_counts().to_dict() == {"grad": 204, "mag": 102}
    assert meg.space.coordinate_frame == "meg" and meg.units[["x", "y", "z"]].notna().all(axis=None)
    radius = np.linalg.norm(meg.units[["x", "y", "z"]], axis=1)
    assert radius.min() > 0.05 and radius.max() < 0.2  # metres from the centre of the helmet
    evoked = meg.to_evoked()
    assert 1e-14 < np.abs(evoked.copy().pick("mag").data).max() < 1e-11  # tesla
    assert 1e-13 < np.abs(evoked.copy().pick("grad").data).max() < 1e-10  # tesla per metre


def test_erp_of_eeglab_data_is_reliable() -> None:
    path = real_data("eeglab_sample") / "eeglab_data.set"
    trials = load_ephys(path, event_id=["square"], tmin=-0.2, tmax=0.8, h_freq=30, baseline=(None, 0), edges="drop")
    assert trials.n_trials >= 79 and trials.n_units == 32
    halves = [trials.responses[start::2].mean(axis=0).ravel() for start in (0, 1)]
    assert np.corrcoef(*halves)[0, 1] > 0.8
    assert 1e-7 < np.abs(trials.responses).mean() < 1e-4  # volts
    # Epochs that are cut at random places have no evoked response.
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=(trials.n_trials, 1, 1))
    flipped = [(signs * trials.responses)[start::2].mean(axis=0).ravel() for start in (0, 1)]
    assert abs(np.corrcoef(*flipped)[0, 1]) < 0.5


def test_epoched_eeglab_data() -> None:
    trials = load_ephys(real_data("eeglab_sample") / "eeglab_data_epochs_ica.set", tmin=-0.2, tmax=0.8)
    assert trials.n_trials == 80 and trials.trials["trial_type"].str.startswith("square").all()


def test_imagined_movement_from_edf_annotations() -> None:
    """Fists against feet differ in the mu rhythm over the hand area; runs are never mixed."""
    folder = real_data("eegmmidb_s001")
    paths = [folder / f"S001R{run:02d}.edf" for run in (6, 10, 14)]
    trials = load_ephys(paths, event_id=["T1", "T2"], tmin=0.5, tmax=3.5, l_freq=8.0, h_freq=30.0, reference="average")
    assert trials.shape == (45, 64, 481)
    assert trials.trials["run"].value_counts().to_dict() == {1: 15, 2: 15, 3: 15}
    power = np.log(trials.responses.astype(float).var(axis=-1))
    labels, runs = trials.trials["stimulus_id"].to_numpy(), trials.trials["run"].to_numpy()
    classifier = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))

    def leave_run_out(y: np.ndarray) -> float:
        return float(
            np.mean(
                [
                    classifier.fit(power[runs != run], y[runs != run]).score(power[runs == run], y[runs == run])
                    for run in np.unique(runs)
                ]
            )
        )

    assert leave_run_out(labels) > 0.8
    assert np.mean([leave_run_out(np.random.default_rng(seed).permutation(labels)) for seed in range(5)]) < 0.65


def test_flicker_frequency_is_in_the_spectrum() -> None:
    folder = real_data("ssvep_exo")
    paths = sorted((folder / "subject03").glob("*_raw.fif"))
    events = [Path(str(path).replace("_raw.fif", "-eve.fif")) for path in paths]
    trials = load_ephys(
        paths,
        events=events,
        event_id={"rest": 1, "13": 2, "21": 3, "17": 4},
        tmin=0.5,
        tmax=4.5,
        l_freq=5.0,
        h_freq=45.0,
    )
    assert trials.n_trials == 64 and trials.trials["stimulus_id"].value_counts().to_dict()["13"] == 16
    frequencies, power = welch(trials.responses, fs=256.0, nperseg=1024)
    flickering = trials.trials["stimulus_id"].to_numpy() != "rest"
    strongest = []
    for spectrum in power[flickering].mean(axis=1):
        gain = [
            spectrum[np.abs(frequencies - f) < 0.3].max() / spectrum[np.abs(frequencies - f) < 2].mean()
            for f in (13, 17, 21)
        ]
        strongest.append(str((13, 17, 21)[int(np.argmax(gain))]))
    assert np.mean(np.array(strongest) == trials.stimulus_ids[flickering]) > 0.6  # chance one third
