"""Kinds of voices attended to: planted ones come back, a shuffled copy is at chance, and the prompt follows."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis.decoding import (
    Intention,
    SpeakerDecoder,
    attention_prompt,
    decode_speakers,
    voice_features,
)
from brainalign.errors import DataError
from brainalign.learning import NeuralClassifier
from brainalign.loaders.simulated.listening import simulate_listening

SMALL = NeuralClassifier(
    "recurrent", {"n_units": 6, "pool": 10}, training={"n_epochs": 8, "batch_size": 32, "learning_rate": 0.03}
)
DECODER = SpeakerDecoder(3, window=50, network=SMALL)


@pytest.fixture(scope="module")
def heard():
    return simulate_listening(30, attention=1.0)


@pytest.fixture(scope="module")
def found(heard):
    return decode_speakers(DECODER, heard.signals, heard.voices)


def test_planted_attention_is_found_and_a_shuffled_copy_is_at_chance(heard, found):
    assert found.trials.low > found.trials.chance == 0.5
    assert found.windows.low > 0.5 and found.clusters.low > found.clusters.chance
    assert found.p_value is None and found.table["chosen"].isin([0, 1]).all()
    order = np.random.default_rng(0).permutation(30)
    shuffled = decode_speakers(DECODER, [heard.signals[row] for row in order], heard.voices)
    assert shuffled.trials.low < 0.5 < shuffled.trials.high


def test_speakers_never_attended_to_in_training_are_found_by_their_kind(heard):
    """Folds by the attended speaker: the network names the kind, which other speakers share."""
    apart = decode_speakers(DECODER, heard.signals, heard.voices, groups=heard.speakers[:, 0])
    assert apart.trials.low > 0.5 and "by group" in apart.trials.protocol


def test_whole_trials_are_permuted():
    near = simulate_listening(20, attention=2.0)
    halves = np.arange(20) % 2
    found = decode_speakers(DECODER, near.signals, near.voices, groups=halves, n_permutations=9)
    assert found.null.shape == (9, 2) and found.p_value == 0.1 and "p 0.1" in found.trials.how
    assert abs(found.null.mean() - 0.5) < 0.2


@pytest.mark.slow
def test_p_is_not_small_where_nothing_is_attended_to():
    p = []
    for seed in range(10):
        nothing = simulate_listening(20, attention=0.0, seed=seed)
        p.append(decode_speakers(DECODER, nothing.signals, nothing.voices, n_permutations=9, seed=seed).p_value)
    assert 0.3 < np.mean(p) < 0.8 and np.sum(np.array(p) <= 0.1) <= 4


def test_nothing_of_a_tested_trial_enters_its_decoder(heard, found):
    """Another voice and other signals in one trial leave the other trials of its fold as they were."""
    signals, voices = list(heard.signals), heard.voices.copy()
    signals[0], voices[0] = signals[0] * -50, voices[0] + 30
    changed = decode_speakers(DECODER, signals, voices).table
    same = (found.table["fold"] == found.table["fold"][0]) & (found.table.index > 0)
    np.testing.assert_array_equal(changed[same], found.table[same])
    assert not np.array_equal(changed[~same], found.table[~same])


def test_a_language_model_answers_for_the_talker_attended_to(heard):
    """Any callable will do: this one repeats what the attended talker says."""
    decoder = DECODER.fit(heard.signals[:20], heard.voices[:20])
    assert decoder.predict_proba(heard.signals[20:]).sum(axis=1) == pytest.approx(1)

    def model(prompt: str) -> str:
        return prompt.split("who says:\n")[1].split("\n")[0]

    answers, after = [], []
    for row in range(20, 30):
        flipped = row % 2
        voices, said = heard.voices[row][:: -1 if flipped else 1], ["this", "that"][:: -1 if flipped else 1]
        answers.append(model(attention_prompt("What?", said, decoder.intend(heard.signals[row], voices))))
        other = decoder.intend(heard.signals[row], heard.voices[row][:: 1 if flipped else -1])
        after.append(model(attention_prompt("What?", said, other)))
    assert answers.count("this") >= 8 and after.count("that") >= 8


def test_prompts_hold_what_is_asked_and_refuse_what_does_not_pair():
    told = attention_prompt("When {now}?", ["at {one}", "at two"], Intention(4, 0.756, 1), names=["Anna", "Ben"])
    assert "Anna: at {one}" in told and "attends to Ben" in told and "76 %" in told and "When {now}?" in told
    own = attention_prompt("q", ["a", "b"], Intention(4, 0.5, 0), template="<cluster_{cluster}> {question}")
    assert own == "<cluster_4> q"
    for change, message in (
        ({"names": ["Anna"]}, "do not pair"),
        ({"names": ["Anna", "Anna"]}, "do not pair"),
        ({"transcripts": ["alone"]}, "two talkers"),
        ({"intention": Intention(0, 0.5, 2)}, "not among these"),
        ({"template": "{who} {question}"}, "unknown fields"),
        ({"template": "{question"}, "no format"),
    ):
        given = {"transcripts": ["a", "b"], "intention": Intention(0, 0.5, 0), **change}
        with pytest.raises(DataError, match=message):
            attention_prompt("q", **given)


@pytest.mark.parametrize(
    "change, options, message",
    [
        (lambda x, v: (x[:-1], v), {}, "do not pair"),
        (lambda x, v: (x, v[:, 0]), {}, "attended one first"),
        (lambda x, v: (x, v[:, :1]), {}, "attended one first"),
        (lambda x, v: (x, v * np.nan), {}, "voices"),
        (lambda x, v: ([one * np.inf for one in x], v), {}, "signals of trial 0"),
        (lambda x, v: ([x[0][:, :3], *x[1:]], v), {}, "same channels"),
        (lambda x, v: ([x[0][:20], *x[1:]], v), {}, "window does not fit"),
        (lambda x, v: (x, v), {"groups": [1, 2]}, "one group a trial"),
        (lambda x, v: (x, v[:1].repeat(30, axis=0)), {}, "2 to 2, as there are different voices"),
        (lambda x, v: (x, np.where([[[True], [False]]], v[:1], v)), {}, "one cluster"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(heard, change, options, message):
    with pytest.raises(DataError, match=message):
        decode_speakers(DECODER, *change(heard.signals, heard.voices), **options)


def test_voices_described_otherwise_are_refused(heard):
    decoder = DECODER.fit(heard.signals, heard.voices)
    with pytest.raises(DataError, match="described otherwise"):
        decoder.intend(heard.signals[0], heard.voices[0][:, :5])
    with pytest.raises(DataError, match="other channels"):
        decoder.predict_proba([heard.signals[0][:, :5]])


def spoken(pitch: float, formant: float, *, sfreq: int = 8000) -> np.ndarray:
    """A buzz of harmonics under one formant, with some noise."""
    times, rng = np.arange(sfreq) / sfreq, np.random.default_rng(int(pitch))
    harmonics = np.arange(1, int(3500 / pitch))
    weights = np.exp(-(((harmonics * pitch - formant) / 400) ** 2)) + 0.05
    return np.sin(2 * np.pi * pitch * np.outer(times, harmonics)) @ weights + 0.01 * rng.standard_normal(sfreq)


def test_voice_features_tell_pitch_and_timbre_whatever_the_loudness():
    for pitch in (90.0, 150.0, 230.0):
        low, high = (voice_features(spoken(pitch, formant), 8000) for formant in (600, 2500))
        assert abs(2 ** low[0] - pitch) < 0.02 * pitch and abs(2 ** high[0] - pitch) < 0.02 * pitch
        assert np.linalg.norm(low[1:14] - high[1:14]) > 5
    np.testing.assert_allclose(voice_features(1e-3 * spoken(90, 600), 8000), voice_features(spoken(90, 600), 8000))
    assert voice_features(np.random.default_rng(0).standard_normal(8000), 8000)[0] == 0
    for sound, sfreq, message in (
        (np.ones(8000), 8000, "silent"),
        (np.ones(100), 8000, "not the sound"),
        (np.ones(8000), 100, "not the sound"),
        (np.full(8000, np.nan), 8000, "sound"),
    ):
        with pytest.raises(DataError, match=message):
            voice_features(sound, sfreq)
