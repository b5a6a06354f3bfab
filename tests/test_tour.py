"""The user's side, line by line: the public calls with the arguments that the documentation shows."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import brainalign as ba
from brainalign.analysis import rsa
from brainalign.cli import app
from brainalign.encoders import LinearEncoder
from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec
from brainalign.voxelwise import Ridge
from tests.readme_files import write_own_data


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetSpec]:
    folder = tmp_path_factory.mktemp("home")
    return folder, write_own_data(folder)


@pytest.fixture
def at_home(home: tuple[Path, DatasetSpec], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, tiny = home
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    # A small copy of the released layout: its own spec stands in for that of the released sizes.
    released = DatasetSpec.load
    monkeypatch.setattr(DatasetSpec, "load", lambda name: tiny if name == "nsd" else released(name))
    return folder


@pytest.fixture(scope="module")
def scenes() -> tuple[ba.Trials, ba.Latents]:
    """A simulated subject in four sessions, driven by numbers in place of a network."""
    pictures = ba.draw_scenes(120, seed=0)
    latents = ba.Latents(np.random.default_rng(0).standard_normal((120, 8)), pictures.ids, space="toy")
    trials, truth = ba.simulate_subject(
        latents, modality="fmri", seed=0, stimuli=pictures, n_sessions=4, n_repetitions=2, rois={"V1": 20, "FFA": 20}
    )
    assert truth.noise_ceiling.shape == (40,)
    return trials, latents


# -- a recording ------------------------------------------------------------------------------------------------------


def test_a_data_set_by_its_spec(at_home: Path) -> None:
    trials = ba.load("nsd", root="~/data/nsd", subject=1, roi="nsdgeneral")
    assert trials.shape == (24, 60) and set(trials.units["roi"]) == {"nsdgeneral"}
    latents = ba.extract(trials.stimuli, "pixels:8")
    assert set(latents.ids) == set(trials.stimulus_ids)


def test_fmri_from_files(at_home: Path) -> None:
    trials = ba.load_fmri("bold.nii.gz", events="events.tsv", mask="brain.nii.gz", atlas="rois.nii.gz", model="lss")
    assert trials.n_trials == 10 and {"roi", "x", "y", "z"} <= set(trials.units)


def test_recordings_from_files(at_home: Path) -> None:
    trials = ba.load_ephys("sub-01_raw.fif", events="events.tsv", tmin=-0.2, tmax=1.0)
    assert trials.shape == (10, 3, 121) and trials.trials["subject"].unique().tolist() == ["01"]


@pytest.mark.parametrize("modality", ["fmri", "eeg", "seeg"])
def test_a_simulated_subject(modality: str) -> None:
    latents = np.random.default_rng(0).standard_normal((30, 6))
    trials, truth = ba.simulate_subject(latents, modality=modality, seed=0)
    assert trials.info["modality"] == modality and truth.weights


def test_what_trials_say_of_themselves(scenes: tuple[ba.Trials, ba.Latents]) -> None:
    trials, _ = scenes
    told = repr(trials)
    for word in ("1 subject", "4 session", "240 trials of 120 stimuli", "40 units", "V1 20", "noise ceiling"):
        assert word in told


def test_selecting_averaging_and_ceilings(scenes: tuple[ba.Trials, ba.Latents]) -> None:
    trials, _ = scenes
    faces = trials.select(units="roi == 'FFA'", trials="session <= 3")
    assert faces.n_units == 20 and set(faces.trials["session"]) == {1, 2, 3}
    mean = trials.average("stimulus_id")
    assert mean.n_trials == 120
    ceiling = trials.noise_ceiling()
    assert ceiling.shape == (40,) and (ceiling >= 0).all() and (ceiling <= 1).all()
    train, test = ba.split(trials, by="stimulus_id", test_size=0.2, seed=0)
    assert not set(train.stimulus_ids) & set(test.stimulus_ids) and len(set(test.stimulus_ids)) == 24


# -- networks, both ways ----------------------------------------------------------------------------------------------


def test_brain_to_latent(scenes: tuple[ba.Trials, ba.Latents], tmp_path: Path) -> None:
    trials, clip = scenes
    train, test = ba.split(trials, by="stimulus_id", test_size=0.2, seed=0)
    encoder = LinearEncoder().fit(train, clip)
    encoder.save(tmp_path / "linear_s1")
    encoder = ba.load_encoder(tmp_path / "linear_s1")
    predicted = encoder.predict(test)
    score = ba.scoring.retrieval(predicted, clip, query="brain", gallery=20)
    assert score.value > 2 * score.chance and score.chance == pytest.approx(1 / 20) and score.n == 24


def test_latent_to_brain(scenes: tuple[ba.Trials, ba.Latents], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trials, latents = scenes
    train, test = ba.split(trials, by="stimulus_id", test_size=0.2, seed=0)
    model = Ridge(alphas="auto", cv=5).fit(latents, train)
    assert model.best_alphas_.shape == model.cv_scores_.shape == (40,)
    scores = model.score_units(latents, test)
    assert {"r", "ceiling", "p", "q"} <= set(scores.table())
    scores.to_nifti("layer4_r.nii.gz")
    written = nibabel.load("layer4_r.nii.gz")
    assert np.isfinite(np.asarray(written.dataobj)).sum() == 40


# -- geometries -------------------------------------------------------------------------------------------------------


def test_geometries() -> None:
    rng = np.random.default_rng(0)
    X, runs, conditions = rng.standard_normal((40, 12)), np.repeat([1, 2, 3, 4], 10), np.tile(np.arange(10), 4)
    model_rdms = np.abs(rng.standard_normal((3, 45)))
    d = rsa.rdm(X, metric="crossnobis", groups=runs, labels=conditions)
    assert d.shape == (45,)
    assert rsa.compare(d, model_rdms, method="whitened_cosine").shape == (3,)
    subject_rdms = np.abs(rng.standard_normal((5, 45)))
    result = rsa.evaluate(subject_rdms, model_rdms, method="spearman", bootstrap="both", n_draws=100, seed=0)
    assert len(result.table()) == 3 and result.plot() is not None
    assert abs(rsa.cka(X, rng.standard_normal((40, 3)), debiased=True)) < 0.5


# -- command line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nsd", "kay2008", "ieeg_bids"])
def test_check(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``brainalign check NAME ROOT`` on a whole copy and on one that lacks a file."""
    tree = make_tree(name, tmp_path / name)
    monkeypatch.setattr(DatasetSpec, "load", lambda _: tree.spec)
    whole = CliRunner().invoke(app, ["check", name, str(tree.root)])
    assert whole.exit_code == 0 and "complete" in whole.output
    required = next(path for path in sorted(tree.root.rglob("*")) if path.suffix in (".mat", ".vhdr"))
    required.unlink()
    lacking = CliRunner().invoke(app, ["check", name, str(tree.root)])
    assert lacking.exit_code == 1 and f"missing: {required.relative_to(tree.root)}" in lacking.output
