"""Podcast ECoG on a planted tree: words by the clock, bad channels, high gamma recovered from the voltages."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from brainalign.errors import DataError, SpecError
from brainalign.loaders import load, load_latents
from brainalign.loaders.trees import Tree, make_tree
from tests.loaders.planted import weights_found


@pytest.fixture
def podcast(tmp_path: Path) -> Tree:
    return make_tree("podcast_ecog", tmp_path / "podcast", sizes={"seconds": 12.0})


@pytest.mark.parametrize("subject", [1, 7])
def test_podcast_high_gamma_follows_the_words(podcast: Tree, subject: int) -> None:
    trials = load("podcast_ecog", root=podcast.root, subject=subject, tmin=0.0, tmax=0.24, resample=100.0)
    onsets = podcast.truth["onsets"]
    assert trials.n_trials == len(onsets) and trials.trials["label"].tolist()[:2] == ["word0", "word1"]
    assert trials.stimulus_ids.tolist()[:2] == ["word_00000", "word_00001"]
    np.testing.assert_allclose(trials.trials["onset"], onsets)
    np.testing.assert_allclose(trials.trials["duration"], 0.2)
    peak = trials.select(times=(0.12, 0.18)).responses.mean(axis=-1)
    right, shuffled = weights_found(podcast.truth["features"], peak, podcast.truth["weights"][subject])
    assert right > 0.9 and abs(shuffled) < 0.8
    assert set(trials.units["type"]) == {"ecog"}


@pytest.mark.parametrize("subject", [1, 7])
def test_podcast_envelope_is_recovered_from_the_voltages(podcast: Tree, subject: int) -> None:
    """The voltages are 80 Hz waves of the envelope: our high gamma must find it, at 512 and at 2048 Hz."""
    for signal in ("prepared", "raw"):
        trials = load(
            "podcast_ecog",
            root=podcast.root,
            subject=subject,
            signal=signal,
            tmin=0.0,
            tmax=0.24,
            high_gamma=(65, 95),
            envelope="amplitude",
        )
        peak = trials.select(times=(0.12, 0.18)).responses.mean(axis=-1) * 1e6
        right, _ = weights_found(podcast.truth["features"][: len(peak)], peak, podcast.truth["weights"][subject])
        assert right > 0.9, signal
        assert set(trials.units["type"]) == {"ecog"}
        assert trials.space.sfreq == (2048.0 if signal == "raw" and subject == 7 else 512.0)


def test_podcast_words_of_several_tokens_and_bad_channels(podcast: Tree) -> None:
    transcript = podcast.root / "stimuli" / "gpt2-xl" / "transcript.tsv"
    transcript.write_text(
        "\tword_idx\tword\ttoken\tstart\tend\n"
        "0\t0\tpodcast\tpod\t1.0\t1.3\n1\t0\tpodcast\tcast\t1.0\t1.5\n2\t1\tnull\tx\tn/a\tn/a\n3\t2\tgo\tgo\t2.0\t2.1\n"
    )
    vectors = np.array([[1.0, 0.0], [3.0, 2.0], [9.0, 9.0], [5.0, 5.0]])
    with h5py.File(transcript.with_name("features.hdf5"), "w") as file:
        file["vectors"] = vectors
    latents = load_latents("podcast_ecog", "gpt2-xl", root=podcast.root)
    assert latents.ids == ("word_00000", "word_00001")
    np.testing.assert_array_equal(latents.values, [[2.0, 1.0], [5.0, 5.0]])
    with h5py.File(transcript.with_name("features.hdf5"), "w") as file:
        file["vectors"] = vectors[1:]
    with pytest.raises(DataError, match="do not fit each other"):
        load_latents("podcast_ecog", "gpt2-xl", root=podcast.root)
    with pytest.raises(DataError, match="'du_in' brings no features along"):
        load_latents("du_in", "gpt2-xl", root=podcast.root)
    channels = next((podcast.root / "sub-01" / "ieeg").glob("*channels.tsv"))
    channels.write_text(channels.read_text(encoding="utf-8-sig").replace("good", "bad", 1), encoding="utf-8-sig")
    trials = load("podcast_ecog", root=podcast.root, subject=1, tmin=0, tmax=0.2)
    assert trials.trials["label"].tolist() == ["podcast", "go"]
    np.testing.assert_allclose(trials.trials["duration"], [0.5, 0.1])
    whole = load("podcast_ecog", root=podcast.root, subject=1, tmin=0, tmax=0.2, bads="keep")
    assert trials.units["name"].tolist() == whole.units["name"].tolist()[1:]
    transcript.write_text("word\tonset\nhello\t1.0\n")
    with pytest.raises(DataError, match=r"no column \['start'"):
        load("podcast_ecog", root=podcast.root, subject=1)
    with pytest.raises(DataError, match="Did you mean 'highgamma'"):
        load("podcast_ecog", root=podcast.root, subject=1, signal="high_gamma")
    with pytest.raises(SpecError, match="not a plain name"):
        load("podcast_ecog", root=podcast.root, subject=1, transcript="../..")
    transcript.write_text("word\tstart\tend\nhello\t1.0\t1.2\n")
    with pytest.raises(DataError, match="a file is missing"):
        load("podcast_ecog", root=podcast.root, subject=3, signal="raw")
