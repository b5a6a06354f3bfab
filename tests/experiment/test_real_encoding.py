"""Encoding experiments on real recordings: areas and movement tuning found, and plain baselines reached."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from brainalign.experiment import load_experiment, run_experiment
from tests.conftest import REPOSITORY, data_root, real_data
from tests.report.chromium import open_in_chromium


@pytest.fixture
def do(tmp_path, monkeypatch):
    def run(name, needs):
        real_data(needs)
        monkeypatch.setenv("BRAINALIGN_DATA", str(data_root()))
        made = run_experiment(
            load_experiment(REPOSITORY / "scripts" / "experiments" / f"{name}.yaml"), out=tmp_path / name
        )
        page = open_in_chromium(made.report)
        assert page.console_errors == page.broken_images == page.requests == []
        return made

    return run


def test_digits_are_seen_in_early_visual_areas(do):
    made = do("digits69_encoding", "digits69")
    scores = made.scores
    for area in ("V1", "V2", "V3"):
        assert scores[f"areas/{area}/pixels"].low > 0.1
        assert scores[f"areas/{area}/explained"].value > scores["elsewhere/other/explained"].value + 0.1
    assert scores["areas/V2/pixels"].low > scores["elsewhere/other/pixels"].high
    # The deepest layer is nearer to V3 than to V1, beside the pixels of both.
    gain = {
        area: scores[f"areas/{area}/net blocks.6"].value - scores[f"areas/{area}/pixels"].value for area in ("V1", "V3")
    }
    assert gain["V3"] > gain["V1"] + 0.02
    preferred = np.load(made.folder / "steps" / "areas" / "preferred.npy")
    q = np.load(made.folder / "steps" / "areas" / "q.npy")
    np.testing.assert_array_equal(preferred >= 0, (q < 0.05).any(axis=0))
    image = nib.load(made.folder / "maps" / "areas" / "preferred_layer.nii.gz")
    assert image.shape == (110, 110, 37) and np.nansum(image.get_fdata() > 0) == (preferred >= 0).sum()


@pytest.mark.slow
def test_captions_of_voxels_hold_for_digits_held_out(do):
    scores = do("digits69_captions", "digits69").scores
    said, shuffled = scores["captions/caption score"], scores["captions/caption score, shuffled weights"]
    assert said.low > 0.03 and said.n == 25
    assert abs(shuffled.value) < 0.02 and abs(said.chance) < 0.01


@pytest.mark.slow
def test_movement_and_motor_cortex_both_ways(do):
    made = do("spikes_encoding", "spikes_reaching")
    scores = made.scores
    # The plain baseline, ridge on eight lags of 50 ms, reads the velocity with R² .60 and .51.
    assert scores["velocity/vel_x"].value >= 0.60 and scores["velocity/vel_y"].value >= 0.51
    assert scores["velocity/vel_x"].low > 0.5 and scores["velocity/vel_y"].low > 0.45
    assert scores["tuning/M1/explained"].value > 0.8
    each = [scores[f"tuning/M1/{name}"] for name in ("position", "velocity", "acceleration", "speed")]
    assert all(score.low > 0.1 for score in each)
    shares = [scores[f"together/M1/{name}"].value for name in ("position", "velocity", "acceleration", "speed")]
    assert sum(shares) == pytest.approx(scores["together/M1/together"].value)
    best_alone = np.load(made.folder / "steps" / "tuning" / "r2.npy").mean(axis=1).max()
    assert scores["together/M1/together"].low > best_alone
