"""The table of reconstructions: published recipe, controls, intervals, ceilings, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from brainalign.errors import DataError, LeakageError
from brainalign.latents.network import Network
from brainalign.reconstruction import CONTROLS, reconstruction_table
from brainalign.scenes import draw_scenes
from brainalign.stimuli import Stimuli
from tests.conftest import real_data

IDS = [f"p{number:02d}" for number in range(12)]


def pictures(seed: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (len(IDS), size, size, 3)).astype(np.uint8)


def of(values: np.ndarray) -> Stimuli:
    return Stimuli.from_arrays(values, IDS)


SEEN = pictures(0)
CLOSE = np.clip(0.8 * SEEN + 0.2 * pictures(1), 0, 255).astype(np.uint8)
FAR = pictures(2)


def pixel_judge() -> Network:
    return Network("flat", nn.Flatten(), lambda image: torch.from_numpy(np.array(image)).float().permute(2, 0, 1))


def test_a_good_system_beats_its_controls_and_noise_is_at_chance():
    table = reconstruction_table(
        of(CLOSE), of(SEEN), protocol="toy", controls={"noise input": of(FAR), "generator ceiling": of(SEEN)},
        metrics=["PixCorr", "SSIM"], judges={"flat": pixel_judge()}, split="abc",
    )  # fmt: skip
    good, noise = table.scores["reconstruction", "flat"], table.scores["noise input", "flat"]
    assert good.value == 1.0 and good.chance == 0.5 and good.ceiling == 1.0 and good.n == 12 and good.split == "abc"
    assert noise.low < 0.5 < noise.high
    likeness = table.scores["reconstruction", "PixCorr"]
    assert likeness.value > 0.9 and abs(likeness.chance) < 0.1 and likeness.low < likeness.value < likeness.high
    assert likeness.ceiling == pytest.approx(1.0) and likeness.protocol.startswith("toy")
    assert table.rows == ["reconstruction", "generator ceiling", "noise input"]
    assert table.absent == ("nearest training picture", "shuffled brain")
    assert "controls not given: nearest training picture" in repr(table)


def test_order_of_rows_changes_nothing():
    order = list(np.random.default_rng(3).permutation(len(IDS)))
    turned = Stimuli.from_arrays(CLOSE[order], [IDS[row] for row in order])
    options = {"protocol": "toy", "metrics": ["PixCorr"], "judges": {"flat": pixel_judge()}}
    straight, other = (reconstruction_table(one, of(SEEN), **options).scores for one in (of(CLOSE), turned))
    assert straight == other


def test_alexnet_is_the_published_recipe_on_real_weights():
    """Two-way identification with features of torchvision's AlexNet, written out by numpy as published."""
    from safetensors.torch import load_file
    from torchvision import models
    from torchvision.transforms import Normalize, Resize

    folder = real_data("weights")
    seen, n = draw_scenes(8, seed=0), 8
    rng = np.random.default_rng(0)
    mixed = [np.clip(0.4 * seen.array(one) + 200 * rng.random((1, 1, 3)), 0, 255).astype(np.uint8) for one in seen.ids]
    mixed[0], mixed[1] = mixed[1], mixed[0]  # so that not everything is right
    made = Stimuli.from_arrays(np.stack(mixed), seen.ids)
    table = reconstruction_table(made, seen, protocol="toy", metrics=["AlexNet", "LPIPS"], weights=folder)

    network = models.alexnet(weights=None).features
    weights = load_file(folder / "alexnet_features_torchvision_names.safetensors")
    network.load_state_dict({name.removeprefix("features."): tensor for name, tensor in weights.items()})
    transform = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

    def features(pictures: Stimuli, last: int) -> np.ndarray:
        batch = torch.stack(
            [torch.from_numpy(pictures.array(one).copy()).permute(2, 0, 1) / 255 for one in pictures.ids]
        )
        with torch.no_grad():
            return network.eval()[: last + 1](transform(Resize((256, 256), antialias=True)(batch))).flatten(1).numpy()

    for metric, last in (("AlexNet(2)", 4), ("AlexNet(5)", 11)):
        r = np.corrcoef(features(seen, last), features(made, last))[:n, n:]
        success = r < np.diag(r)  # the reconstruction is the column, and is held
        expected = np.mean(success.sum(axis=0) / (n - 1))
        assert 0.3 < expected < 1
        assert table.scores["reconstruction", metric].value == pytest.approx(expected, abs=1e-9)
    assert features(seen, 4).shape == (n, 192 * 31 * 31)
    same = reconstruction_table(seen, seen, protocol="toy", metrics=["LPIPS"], weights=folder)
    assert same.scores["reconstruction", "LPIPS"].value == pytest.approx(0, abs=1e-9)
    assert table.scores["reconstruction", "LPIPS"].value > 0.1


def test_direction_is_named():
    """Of a constant reconstruction every comparison is a tie, in both directions; a hub shows the difference."""
    flat = of(np.zeros_like(SEEN))
    hub = CLOSE.copy()
    hub[1:] = np.clip(0.7 * CLOSE[1:] + 0.3 * CLOSE[0], 0, 255).astype(np.uint8)
    hub[0] = SEEN.mean(axis=0).astype(np.uint8)
    options = {"protocol": "toy", "metrics": [], "judges": {"flat": pixel_judge()}}
    for fixed in ("predicted", "true"):
        score = reconstruction_table(flat, of(SEEN), fixed=fixed, **options).scores["reconstruction", "flat"]
        assert score.value == 0.5 and f"fixed {fixed}" in score.protocol
    both = [reconstruction_table(of(hub), of(SEEN), fixed=one, **options) for one in ("predicted", "true")]
    r = np.corrcoef(SEEN.reshape(12, -1), hub.reshape(12, -1))[:12, 12:]
    for table, axis in zip(both, (0, 1), strict=True):
        own = np.diag(r) if axis == 0 else np.diag(r)[:, None]
        expected = np.mean((r < own).sum(axis=axis) / 11)
        assert table.scores["reconstruction", "flat"].value == pytest.approx(expected)


def test_equal_pictures_under_two_ids_are_not_compared():
    double = SEEN.copy()
    double[1] = double[0]
    made = CLOSE.copy()
    made[1] = made[0]
    table = reconstruction_table(of(made), of(double), protocol="toy", metrics=[], judges={"flat": pixel_judge()})
    assert table.scores["reconstruction", "flat"].value == 1.0 and table.scores["reconstruction", "flat"].n == 11


def test_comparisons_stay_within_the_group():
    """Twelve pictures in two folds: 2 x 6 x 5 ordered pairs."""
    table = reconstruction_table(
        of(CLOSE), of(SEEN), protocol="toy", metrics=["PixCorr"], judges={"flat": pixel_judge()},
        within={one: number % 2 for number, one in enumerate(IDS)},
    )  # fmt: skip
    assert "60 ordered pairs" in table.scores["reconstruction", "flat"].how


def test_a_missing_judge_is_told_and_not_replaced(tmp_path):
    table = reconstruction_table(
        of(CLOSE), of(SEEN), protocol="toy", metrics=["PixCorr", "CLIP", "SwAV"], weights=tmp_path
    )
    assert set(table.missing) == {"CLIP", "SwAV"} and "no weights of CLIP" in table.missing["CLIP"]
    assert table.frame()["CLIP"].isna().all() and table.frame()["SwAV ↓"].isna().all()
    assert "CLIP is missing: no weights of CLIP here" in repr(table)


def test_best_of_is_told():
    table = reconstruction_table(of(CLOSE), of(SEEN), protocol="toy", metrics=["PixCorr"], best_of=16)
    assert "best of 16 samples" in table.scores["reconstruction", "PixCorr"].protocol


def test_every_refusal():
    seen = of(SEEN)
    toy = {"protocol": "toy", "metrics": ["PixCorr"]}
    sizes = Stimuli(IDS, images={one: np.zeros((8 + row % 2, 8, 3), np.uint8) for row, one in enumerate(IDS)})
    with pytest.raises(DataError, match="'reconstruction' has pictures of mixed size"):
        reconstruction_table(sizes, seen, **toy)
    with pytest.raises(DataError, match="'pictures seen' has pictures of mixed size"):
        reconstruction_table(seen, sizes, **toy)
    with pytest.raises(DataError, match=r"1 picture.s. have no reconstruction by 'reconstruction': ..p11"):
        reconstruction_table(seen.select(IDS[:-1]), seen, **toy)
    with pytest.raises(LeakageError, match="in both train and test"):
        reconstruction_table(seen, seen, training=["q", IDS[3]], **toy)
    twin = Stimuli.from_arrays(SEEN[:1], ["another name"])
    with pytest.raises(LeakageError, match="under two ids"):
        reconstruction_table(seen, seen, training=twin, **toy)
    with pytest.raises(DataError, match="'nsd-982' has another number"):
        reconstruction_table(seen, seen, protocol="nsd-982", metrics=["PixCorr"])
    with pytest.raises(DataError, match="unknown control 'shuffled'"):
        reconstruction_table(seen, seen, controls={"shuffled": seen}, **toy)
    with pytest.raises(DataError, match=r"unknown metric 'PixCor'.*PixCorr"):
        reconstruction_table(seen, seen, protocol="toy", metrics=["PixCor"])
    with pytest.raises(DataError, match="unknown option 'weight'"):
        reconstruction_table(seen, seen, protocol="toy", weight="x")
    with pytest.raises(DataError, match="has the name of a published metric"):
        reconstruction_table(seen, seen, judges={"CLIP": pixel_judge()}, **toy)
    with pytest.raises(DataError, match="names its protocol"):
        reconstruction_table(seen, seen, protocol=" ", metrics=["PixCorr"])
    assert len(CONTROLS) == 4
