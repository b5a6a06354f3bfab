"""Controls and brain correlation on a planted subject whose pictures its voxels know."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import brainalign as ba
from brainalign.encoders import LinearEncoder
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.reconstruction import brain_correlation, control_pictures, reconstruction_table
from brainalign.reconstruction.controls import nearest_training, shuffle_pairing
from brainalign.reconstruction.simple import Pixels, simple_generator
from brainalign.voxelwise import Ridge


@pytest.fixture(scope="module")
def subject():
    """80 pictures of 6 x 6 pixels, two repetitions, and 60 voxels that are linear in the pixels."""
    rng = np.random.default_rng(0)
    ids = [f"s{number:02d}" for number in range(80)]
    pictures = rng.integers(0, 256, (80, 6, 6)).astype(np.uint8)
    stimuli = ba.Stimuli.from_arrays(np.repeat(pictures[..., None], 3, axis=-1), ids)
    pixels = ba.extract(stimuli, "pixels:6:grey", cache=False)
    responses = np.tile(pixels.flat() @ rng.standard_normal((36, 60)), (2, 1))
    responses += 0.2 * rng.standard_normal(responses.shape)
    units = {"name": [f"v{number}" for number in range(60)], "roi": ["V1"] * 30 + ["V2"] * 30}
    trials = ba.Trials(
        responses.astype(np.float32), pd.DataFrame({"stimulus_id": ids * 2}), pd.DataFrame(units), stimuli=stimuli
    )
    train, test = ba.split(trials, test_size=0.3, seed=0)
    return train, test, pixels, stimuli


def test_the_planted_pictures_are_found_and_no_control_finds_them(subject):
    train, test, pixels, stimuli = subject
    encoder = LinearEncoder(rescale=False).fit(train, pixels)
    made = Pixels().generate(encoder.predict(test))
    controls = control_pictures(encoder, Pixels(), train, test, pixels, seed=1)
    seen = stimuli.select(made.ids)
    table = reconstruction_table(
        made, seen, protocol="planted", controls=controls, metrics=[], judges={"pixels": "pixels:6:grey"},
        training=train.stimuli.select(dict.fromkeys(train.stimulus_ids)),
    )  # fmt: skip
    value = {row: table.scores[row, "pixels"] for row in table.rows}
    assert value["reconstruction"].low > 0.95 and value["generator ceiling"].value == 1.0 and not table.absent
    assert value["nearest training picture"].high < value["reconstruction"].low
    for row in ("shuffled brain", "noise input"):
        assert 0.3 < value[row].value < 0.7 < value["reconstruction"].low, row


def test_several_shuffles_become_one_row_with_an_interval_over_them(subject):
    train, test, pixels, stimuli = subject
    encoder = LinearEncoder(rescale=False).fit(train, pixels)
    made = Pixels().generate(encoder.predict(test))
    controls = control_pictures(encoder, Pixels(), train, test, pixels, seed=1, shuffles=4)
    names = [name for name in controls if name.startswith("shuffled")]
    assert names == ["shuffled brain", *(f"shuffled brain #{number}" for number in (2, 3, 4))]
    how = {"protocol": "planted", "metrics": [], "judges": {"pixels": "pixels:6:grey"}}
    seen = stimuli.select(made.ids)
    table = reconstruction_table(made, seen, controls=controls, **how)
    alone = [
        reconstruction_table(made, seen, controls={"shuffled brain": controls[name]}, **how)
        .scores["shuffled brain", "pixels"]
        .value
        for name in names
    ]
    score = table.scores["shuffled brain", "pixels"]
    half = 3.182446 * np.std(alone, ddof=1) / 2  # Student's t with 3 degrees of freedom, over the root of 4
    assert score.value == pytest.approx(np.mean(alone)) and score.n == 4 and len(set(alone)) == 4
    assert (score.low, score.high) == pytest.approx((np.mean(alone) - half, np.mean(alone) + half))
    assert table.rows == ["reconstruction", "generator ceiling", "nearest training picture", "shuffled brain",
                          "noise input"]  # fmt: skip
    with pytest.raises(DataError, match="shuffled brains are counted"):
        control_pictures(encoder, Pixels(), train, test, pixels, shuffles=0)
    with pytest.raises(DataError, match="a system is called 'noise input #2'"):
        reconstruction_table({"noise input #2": made}, seen, protocol="planted", metrics=[])


def test_nearest_is_a_training_picture_and_the_right_one(subject):
    train, _, pixels, stimuli = subject
    known = list(dict.fromkeys(train.stimulus_ids))
    guess = Latents(pixels.at(known[:3]) + 0.01, ["a", "b", "c"], space=pixels.space)
    found = nearest_training(guess, pixels, train)
    assert [found.content_hash(one) for one in "abc"] == [stimuli.content_hash(one) for one in known[:3]]


def test_shuffling_moves_every_stimulus_and_keeps_repetitions(subject):
    train, *_ = subject
    mixed = shuffle_pairing(train, seed=3)
    assert (mixed.stimulus_ids != train.stimulus_ids).all()
    assert set(mixed.stimulus_ids) == set(train.stimulus_ids)
    pairs = set(zip(train.stimulus_ids, mixed.stimulus_ids, strict=True))
    assert len(pairs) == len(set(train.stimulus_ids))
    np.testing.assert_array_equal(mixed.responses, train.responses)


def test_a_linear_generator_knows_only_training_pictures(subject):
    train, test, pixels, stimuli = subject
    rng = np.random.default_rng(2)
    mixed = Latents(pixels.flat() @ rng.standard_normal((36, 50)), pixels.ids, space="mixed")
    generator = simple_generator("linear", mixed, train, size=6, grey=True)
    ids = list(dict.fromkeys(test.stimulus_ids))
    made = generator.generate(mixed.select(ids))
    apart = np.stack([made.array(one) for one in ids]) - np.stack([stimuli.array(one) for one in ids]).astype(float)
    assert np.abs(apart).mean() < 3
    with pytest.raises(DataError, match="cannot turn latents of this space"):
        generator.generate(pixels.select(ids))
    with pytest.raises(DataError, match="unknown generator 'pixel'"):
        simple_generator("pixel", pixels, train)


def test_brain_correlation_by_hand_and_its_refusals(subject):
    train, test, pixels, _ = subject
    model = Ridge().fit(pixels, train)
    ids = list(dict.fromkeys(test.stimulus_ids))
    own = pixels.select(ids)
    found = brain_correlation(own, test, model, protocol="planted", seen=pixels)
    measured = test.average("stimulus_id")
    guess = model.predict(own.select(measured.stimulus_ids))
    expected = np.mean(
        [np.corrcoef(one[30:], two[30:])[0, 1] for one, two in zip(guess, measured.responses, strict=True)]
    )
    score = found["brain correlation, V2"]
    assert (
        score.value == pytest.approx(expected, abs=1e-6)
        and score.value == score.ceiling
        and set(found) >= {"brain correlation, all"}
    )
    noise = Latents(np.random.default_rng(0).random(own.shape), ids, space=pixels.space)
    wrong = brain_correlation(noise, test, model, protocol="planted", seen=pixels)["brain correlation, all"]
    assert score.low > wrong.high
    with pytest.raises(LeakageError):
        brain_correlation(pixels, train, model, protocol="planted")
    with pytest.raises(DataError, match="does not know which pictures"):
        brain_correlation(own, test, Ridge().fit(own.flat(), measured.responses), protocol="planted")
    with pytest.raises(DataError, match="other units"):
        brain_correlation(own, test.select(units="roi == 'V1'"), model, protocol="planted")


def test_controls_refuse_a_seen_picture(subject):
    train, _, pixels, _ = subject
    encoder = LinearEncoder(rescale=False).fit(train, pixels)
    with pytest.raises(LeakageError):
        control_pictures(encoder, Pixels(), train, train, pixels)
