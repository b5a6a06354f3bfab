"""The bold section: regions driven by bursts of the EEG are predicted, the others and another time's BOLD are not."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from brainalign.encoders import NeuroBOLT
from brainalign.encoders.neurobolt.protocol import predict_held_out
from brainalign.errors import DataError, LeakageError, SpecError
from brainalign.experiment import load_experiment, run_experiment
from brainalign.latents.base import Latents
from brainalign.loaders import load
from brainalign.scoring.correlation import pearson
from brainalign.splits import contiguous_folds
from tests.conftest import REPOSITORY
from tests.encoders.test_neurobolt import QUICK, TINY, paired

SHIPPED = REPOSITORY / "scripts" / "experiments" / "simulated_neurobolt.yaml"


def written(folder, **changes):
    plain = yaml.safe_load(SHIPPED.read_text())
    plain["analyses"][0] |= changes
    (folder / "experiment.yaml").write_text(yaml.safe_dump(plain))
    return load_experiment(folder / "experiment.yaml")


def test_driven_regions_are_predicted_by_ridge_and_no_other_time(tmp_path):
    made = run_experiment(written(tmp_path, predictors=["ridge"], n_permutations=500), out=tmp_path / "run")
    found = {name.removeprefix("bold/"): one for name, one in made.scores.items()}
    for region in ("thalamus", "motor"):
        one = found[f"ridge/{region}"]
        assert one.low > 0.5 and one.low < one.value < one.high
        assert abs(found[f"ridge, another time/{region}"].value) < 0.3
    assert found["ridge/ventricle"].low < 0.1
    arrays = {name: np.load(made.folder / "steps" / "bold" / f"{name}_ridge.npy") for name in ("r", "p", "q")}
    assert (arrays["q"][:2] < 0.05).all() and arrays["q"][2] > 0.05
    assert "Each region, tested" in made.report.read_text()


def test_a_network_goes_through_the_same_protocol_each_fold_on_its_own():
    trials, bold = paired()
    division = contiguous_folds(60, n_splits=3, gap=4)
    encoder = NeuroBOLT(TINY, gap=4, training=QUICK)
    bands = {"low": (1.0, 5.0), "high": (5.0, 10.0)}
    made = predict_held_out({"net": encoder, "ridge": 1.0}, trials, bold, division, bands=bands)
    fold = division[1]
    alone = NeuroBOLT(TINY, gap=4, training=QUICK).fit(trials.select(fold.train), bold)
    test = trials.select(fold.test)
    np.testing.assert_array_equal(made.encodings.predicted["", "net"][fold.test], alone.predict(test).values)
    assert made.lost["net"].shape == (2, 2) and not hasattr(encoder, "network_")
    # Without any of its frequencies a band is lost whole: predictions from windows filtered by hand.
    spectrum = np.fft.rfft(test.responses)
    spectrum[..., (np.fft.rfftfreq(40, 1 / 20) >= 1) & (np.fft.rfftfreq(40, 1 / 20) < 5)] = 0
    without = test.with_responses(np.fft.irfft(spectrum, 40).astype(np.float32))
    true = bold.at(test.stimulus_ids)
    lost = [pearson(true, alone.predict(one).values) for one in (test, without)]
    one_fold = predict_held_out({"net": encoder}, trials, bold, [fold], bands=bands).lost["net"]
    np.testing.assert_allclose(one_fold[0], lost[0] - lost[1], atol=1e-4)
    with pytest.raises(LeakageError, match="overlap between train and test"):
        predict_held_out({"ridge": 1.0}, trials, bold, contiguous_folds(60, n_splits=3, gap=2))
    with pytest.raises(DataError, match="without latents"):
        predict_held_out({"ridge": 1.0}, trials, Latents(bold.values[:9], bold.ids[:9], space="bold"), division)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rois": ["motor", "motor"]}, "rois must be named, each once"),
        ({"predictors": []}, "predictors"),
        ({"predictors": ["forest"]}, "neurobolt"),
        ({"gap": 0}, "gap"),
        ({"block": 1}, "block"),
    ],
)
def test_experiments_that_could_not_be_right_are_refused(tmp_path, changes, message):
    with pytest.raises(SpecError, match=message):
        written(tmp_path, **changes)


def test_what_is_not_in_the_recording_is_refused(tmp_path):
    with pytest.raises(DataError, match="no column 'amygdala'"):
        run_experiment(written(tmp_path, rois=["amygdala"]), out=tmp_path / "run")
    with pytest.raises(DataError, match="nothing is shown"):
        load("simulated", modality="eeg_fmri", n_stimuli=3)


@pytest.mark.slow
def test_the_shipped_experiment_finds_regions_and_bands(tmp_path):
    made = run_experiment(load_experiment(SHIPPED), out=tmp_path / "run")
    found = {name.removeprefix("bold/"): one.value for name, one in made.scores.items()}
    for region in ("thalamus", "motor"):
        assert found[f"neurobolt/{region}"] > 0.4 and found[f"ridge/{region}"] > 0.7
        assert abs(found[f"neurobolt, another time/{region}"]) < 0.25
        less = found[f"neurobolt/{region}"] - found[f"ridge/{region}"]
        assert found[f"neurobolt less ridge/{region}"] == pytest.approx(less)
    assert abs(found["neurobolt/ventricle"]) < 0.25
    folder = made.folder / "steps" / "bold"
    assert (np.load(folder / "q_neurobolt.npy")[:2] < 0.05).all() and np.load(folder / "q_neurobolt.npy")[2] > 0.05
    assert np.load(folder / "lost_neurobolt.npy").argmax(axis=0)[:2].tolist() == [2, 3]  # alpha, beta
