"""The shipped experiments on words, dry-run on generated trees with a small network."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from brainalign.analysis.decoding import decode
from brainalign.encoders.du_in import DuIN, DuINClassifier
from brainalign.errors import DataError
from brainalign.experiment import load_experiment, run_experiment
from brainalign.loaders.trees import make_tree
from tests.conftest import REPOSITORY
from tests.encoders.planted_signals import spoken

SMALL = {
    **{"n_fused": 4, "segment": 20, "stride": 5, "n_filters": 8, "n_kept": 4, "depth": 1, "decoder_depth": 1},
    **{"n_heads": 2, "head_width": 8, "n_codes": 8, "code_width": 4, "hidden": 16, "dropout": 0.0},
    "training": {"n_epochs": 30, "batch_size": 8},
    "stage_training": {"codes": {"n_epochs": 2}, "mask": {"n_epochs": 2}},
}


def shipped(name: str, root: Path):
    experiment = load_experiment(REPOSITORY / "scripts" / "experiments" / f"{name}.yaml")
    dataset = experiment.dataset.model_copy(update={"root": str(root)})
    return experiment.model_copy(update={"dataset": dataset})


def test_du_in_words_on_a_generated_tree(tmp_path):
    tree = make_tree("du_in", tmp_path / "tree", subjects=["001"])
    experiment = shipped("du_in_words", tree.root)
    assert set(experiment.analyses[0].params) <= set(DuIN().get_params())
    words = experiment.analyses[0].model_copy(update={"params": SMALL})
    made = run_experiment(experiment.model_copy(update={"analyses": [words]}), out=tmp_path / "run")
    score = made.scores["words/accuracy"]
    assert score.value > score.chance == 0.25 and made.report.is_file()


def test_single_word_production_on_a_generated_tree(tmp_path):
    sizes = {"sfreq": 1024.0, "seconds": 12.0}
    tree = make_tree("single_word_production", tmp_path / "tree", subjects=[1], sizes=sizes)
    made = run_experiment(shipped("single_word_production", tree.root), out=tmp_path / "run")
    assert made.report.is_file()


def test_podcast_ecog_on_a_generated_tree(tmp_path):
    """Planted: high gamma follows a word's features 150 ms after its onset, in every electrode."""
    tree = make_tree("podcast_ecog", tmp_path / "tree", subjects=[1], sizes={"seconds": 30.0})
    experiment = shipped("podcast_ecog", tree.root)
    experiment = experiment.model_copy(update={"dataset": experiment.dataset.model_copy(update={"subject": 1})})
    made = run_experiment(experiment, out=tmp_path / "run")
    assert made.report.is_file() and "words/all units/gpt2" in made.scores
    times = np.linspace(-0.5, 0.8, 27)
    r = np.load(made.folder / "steps" / "words" / "r.npy").reshape(-1, len(times))
    assert (np.abs(times[r.argmax(axis=1)] - 0.15) < 0.051).all() and (r.max(axis=1) > 0.9).all()
    assert np.abs(r[:, times < -0.1]).mean() < 0.2
    features = tree.root / "stimuli" / "gpt2-xl" / "features.hdf5"
    with h5py.File(features, "a") as file:
        file["vectors"][:] = np.random.default_rng(0).permutation(file["vectors"][:])
    shuffled = run_experiment(experiment, out=tmp_path / "shuffled").scores
    assert shuffled["words/all units/explained"].value == 0 < made.scores["words/all units/explained"].value


def test_the_classifier_is_cross_validated_and_refuses_what_it_does_not_know():
    trials, _ = spoken(48, 1)
    runs = np.repeat([1, 2], 24)
    estimator = DuINClassifier({**SMALL, "segment": 15, "pretraining": "none"})
    assert decode(trials, "label", by=runs, estimator=estimator).score.value > 0.5
    with pytest.raises(DataError, match="unknown option of DuIN 'segmnt'"):
        DuINClassifier({"segmnt": 15}).fit(trials.responses, trials.stimulus_ids)
    with pytest.raises(DataError, match="shorter than a segment"):
        DuINClassifier({"segment": 100}).fit(trials.responses, trials.stimulus_ids)
