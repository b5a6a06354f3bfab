"""Released layouts: THINGS-MEG, Podcast ECoG, BCI IV 2a and Du-IN, on trees in which the truth is planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from brainalign.errors import DataError, SpecError
from brainalign.loaders import load
from brainalign.loaders.datasets.bci_iv_2a import load_bci_iv_2a
from brainalign.loaders.trees import Tree, make_tree
from brainalign.specs import DatasetSpec


def _planted(features: np.ndarray, responses: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Correlation of the planted weights with those of least squares; and with pairs of trial and stimulus shuffled."""
    found = []
    for rows in (np.arange(len(features)), np.random.default_rng(0).permutation(len(features))):
        design = np.column_stack([features[rows], np.ones(len(features))])
        fitted = np.linalg.lstsq(design, responses, rcond=None)[0][:-1]
        found.append(float(np.corrcoef(fitted.ravel(), weights.T.ravel())[0, 1]))
    return found[0], found[1]


def _tree(name: str, factory: pytest.TempPathFactory, **options: Any) -> Tree:
    return make_tree(name, factory.mktemp("trees") / name, **options)


def test_subjects_by_any_of_their_names() -> None:
    spec = DatasetSpec.load("things_meg")
    assert [spec.subject(name) for name in (3, "3", "sub-03", "sub-BIGMEG3", "P3", "S3")] == [3] * 6
    for hostile in ("../1", "one", "sub-1/../2", ""):
        with pytest.raises(SpecError, match="no subject"):
            spec.subject(hostile)


# -- THINGS-MEG -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def meg(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return _tree("things_meg", tmp_path_factory, sizes={"n_train_images": 40})


def test_things_meg_gives_back_what_was_planted(meg: Tree) -> None:
    trials = load("things_meg", root=meg.root, subject=1)
    image = meg.truth["image"][1]
    assert trials.stimulus_ids.tolist() == [str(number + 1) for number in image]
    expected = np.where(image < meg.truth["n_train"], "train", "test")
    assert trials.trials["split"].tolist() == expected.tolist()
    peak = trials.select(times=(0.12, 0.18)).responses.mean(axis=-1) * 1e13
    right, shuffled = _planted(meg.truth["features"][image], peak, meg.truth["weights"][1])
    assert right > 0.95 > 0.8 > shuffled
    test = load("things_meg", root=meg.root, subject="BIGMEG1", split="test")
    assert test.trials.groupby("stimulus_id")["session"].nunique().eq(2).all()  # once a session
    assert test.trials["repetition"].max() == 1
    assert not set(test.stimulus_ids) & set(load("things_meg", root=meg.root, subject=1, split="train").stimulus_ids)
    assert set(trials.units["type"]) == {"mag"}


def test_things_meg_names_pictures_by_file_and_leaves_catch_trials_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    metadata = pd.DataFrame(
        {
            "trial_type": ["exp", "test", "catch", "exp"],
            "image_nr": [5, 1, 999, 6],
            "image_path": [
                "images_meg/aardvark/aardvark_05s.jpg",
                "images_test_meg/bed_frame_14s.jpg",
                "x.jpg",
                "a\\b_2.jpg",
            ],
            "session_nr": [1.0, 1.0, 2.0, 2.0],
            "run_nr": [1.0, 2.0, 1.0, 10.0],
        }
    )
    info = mne.create_info(["MLO11", "MLO12"], 100.0, "mag")
    events = np.column_stack([np.arange(4) * 50, np.zeros(4, int), np.arange(4) + 1])
    epochs = mne.EpochsArray(1e-13 * rng.standard_normal((4, 2, 30)), info, events, metadata=metadata, verbose="error")
    folder = tmp_path / "derivatives" / "preprocessed"
    folder.mkdir(parents=True)
    epochs.save(folder / "preprocessed_P2-epo.fif", verbose="error")
    trials = load("things_meg", root=tmp_path, subject=2)
    assert trials.stimulus_ids.tolist() == ["aardvark_05s", "bed_frame_14s", "b_2"]
    assert trials.trials["concept"].tolist() == ["aardvark", "bed_frame", "b"]
    assert trials.trials[["session", "run"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 10]]
    np.testing.assert_allclose(trials.responses, epochs.get_data()[[0, 1, 3]], rtol=1e-6)
    with pytest.raises(DataError, match="unknown split"):
        load("things_meg", root=tmp_path, subject=2, split="val")
    with pytest.raises(DataError, match="a file is missing"):
        load("things_meg", root=tmp_path, subject=1)
    epochs.metadata = None
    epochs.save(folder / "preprocessed_P1-epo.fif", verbose="error")
    with pytest.raises(DataError, match="metadata"):
        load("things_meg", root=tmp_path, subject=1)


def test_things_meg_cut(meg: Tree, tmp_path: Path) -> None:
    source = next((meg.root / "derivatives" / "preprocessed").glob("*P1-epo.fif"))
    folder = tmp_path / "derivatives" / "preprocessed"
    folder.mkdir(parents=True)
    (folder / source.name).write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(DataError, match=r"preprocessed_P1-epo\.fif"):
        load("things_meg", root=tmp_path, subject=1)


# -- Podcast ECoG -----------------------------------------------------------------------------------------------


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
    right, shuffled = _planted(podcast.truth["features"], peak, podcast.truth["weights"][subject])
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
        right, _ = _planted(podcast.truth["features"][: len(peak)], peak, podcast.truth["weights"][subject])
        assert right > 0.9, signal
        assert set(trials.units["type"]) == {"ecog"}
        assert trials.space.sfreq == (2048.0 if signal == "raw" and subject == 7 else 512.0)


def test_podcast_words_of_several_tokens_and_bad_channels(podcast: Tree) -> None:
    transcript = podcast.root / "stimuli" / "gpt2-xl" / "transcript.tsv"
    transcript.write_text(
        "\tword_idx\tword\ttoken\tstart\tend\n"
        "0\t0\tpodcast\tpod\t1.0\t1.3\n1\t0\tpodcast\tcast\t1.0\t1.5\n2\t1\tnull\tx\tn/a\tn/a\n3\t2\tgo\tgo\t2.0\t2.1\n"
    )
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


# -- BCI IV 2a --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bci(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return _tree("bci_iv_2a", tmp_path_factory)


def test_bci_trials_hold_the_planted_rhythm(bci: Tree) -> None:
    trials = load("bci_iv_2a", root=bci.root, subject=1, l_freq=6.0, h_freq=14.0)
    assert trials.shape == (32, 22, 1001) and trials.times[0] == 2.0 and trials.times[-1] == 6.0
    names = ["left_hand", "right_hand", "feet", "tongue"]
    labels = np.concatenate([bci.truth["labels"][1][part] for part in "TE"])
    assert trials.stimulus_ids.tolist() == [names[label - 1] for label in labels]
    assert trials.trials["session"].value_counts().to_dict() == {"0train": 16, "1test": 16}
    assert set(trials.trials["run"]) == {0, 1}
    strongest = trials.responses.var(axis=-1).argmax(axis=1)
    np.testing.assert_array_equal(strongest, np.array(bci.truth["electrode"])[labels - 1])
    assert 1e-6 < trials.responses.std() < 1e-5  # volts


def test_bci_equals_moabb_on_the_same_files(bci: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle is MOABB's own reader of these MATLAB files, given them instead of the network."""
    module = pytest.importorskip("moabb.datasets.bnci.bnci_2014")
    folder = bci.root / "001-2014"
    monkeypatch.setattr("moabb.datasets.bnci.base._enrich_run_with_metadata", lambda *_: None)  # age and sex
    monkeypatch.setattr(module, "data_path", lambda url, *_: [str(folder / url.rpartition("/")[2])])
    monkeypatch.setattr(
        module.BNCI2014_001,
        "get_data",
        lambda self, subjects: {one: self._get_single_subject_data(one) for one in subjects},
    )
    ours, theirs = load("bci_iv_2a", root=bci.root, subject=2), load_bci_iv_2a(bci.spec, None, subject=2)
    np.testing.assert_allclose(ours.responses, theirs.responses, rtol=1e-5, atol=1e-12)
    columns = ["stimulus_id", "subject", "session", "run", "onset", "repetition"]
    pd.testing.assert_frame_equal(ours.trials[columns], theirs.trials[columns])
    assert ours.units["name"].tolist() == theirs.units["name"].tolist()
    assert ours.units[["x", "y", "z"]].notna().all(axis=None)


def test_bci_through_a_stand_in_for_moabb(monkeypatch: pytest.MonkeyPatch) -> None:
    moabb_datasets = pytest.importorskip("moabb.datasets")
    rng = np.random.default_rng(0)
    info = mne.create_info(["C3", "C4", "EOG1", "STI"], 250.0, ["eeg", "eeg", "eog", "stim"])
    data = 1e-6 * rng.standard_normal((4, 250 * 30))
    data[3] = 0
    data[3, [250, 2500, 4500]] = [2, 3, 1]
    raw = mne.io.RawArray(data, info, verbose="error")

    class Dataset:
        def get_data(self, subjects: list[int]) -> dict:
            return {subjects[0]: {"0train": {"0": raw}, "1test": {"0": raw}}}

    monkeypatch.setattr(moabb_datasets, "BNCI2014_001", Dataset)
    trials = load_bci_iv_2a(DatasetSpec.load("bci_iv_2a"), None, subject=4, tmin=0.0, tmax=1.0)
    assert trials.stimulus_ids.tolist() == ["right_hand", "feet", "left_hand"] * 2
    np.testing.assert_allclose(trials.responses[1], data[:2, 2500:2751], rtol=1e-6)
    assert trials.units["name"].tolist() == ["C3", "C4"]


def test_bci_files_that_are_something_else(bci: Tree, tmp_path: Path) -> None:
    (tmp_path / "001-2014").mkdir()
    path = tmp_path / "001-2014" / "A01T.mat"
    savemat(path, {"data": np.zeros(3)})
    with pytest.raises(DataError, match="not a file of BCI IV 2a"):
        load("bci_iv_2a", root=tmp_path, subject=1)
    whole = (bci.root / "001-2014" / "A01T.mat").read_bytes()
    for fraction in (0, 0.01, 0.5, 0.99):
        path.write_bytes(whole[: int(fraction * len(whole))])
        with pytest.raises(DataError, match=r"A01T\.mat"):
            load("bci_iv_2a", root=tmp_path, subject=1)
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"A01E\.mat"):
        load("bci_iv_2a", root=tmp_path, subject=1)
    content = loadmat(path, struct_as_record=False, squeeze_me=True)["data"][1]
    assert content.X.shape[1] == 25


# -- Du-IN ------------------------------------------------------------------------------------------------------


@pytest.fixture
def du_in(tmp_path: Path) -> Tree:
    return make_tree("du_in", tmp_path / "du_in")


def test_du_in_gives_back_what_was_planted_and_stays_on_disk(du_in: Tree) -> None:
    for subject in ("001", "002"):
        trials = load("du_in", root=du_in.root, subject=subject)
        labels = du_in.truth["labels"][subject]
        assert trials.stimulus_ids.tolist() == [f"word{label}" for label in labels]
        assert isinstance(trials.responses, np.memmap)
        assert trials.times[0] == -0.5 and trials.space.sfreq == 100.0
        peak = trials.select(times=(0.12, 0.18)).responses.mean(axis=-1) * 1e5
        right, shuffled = _planted(du_in.truth["features"][labels], peak, du_in.truth["weights"][subject])
        assert right > 0.9 > shuffled
    assert trials.units["name"][0] == "A1-A2" and set(trials.units["type"]) == {"seeg"}


def test_du_in_regions(du_in: Tree) -> None:
    table = du_in.root / "converted" / "001" / "electrodes.tsv"
    table.write_text("name\tregion\nA1-A2\tvSMC\nA2-A3\tSTG\n")
    trials = load("du_in", root=du_in.root, subject="001")
    assert trials.units["region"].tolist()[:3] == ["vSMC", "STG", "n/a"]
    assert trials.select(units="region == 'vSMC'").n_units == 1
    other = load("du_in", root=du_in.root, subject="001", regions={"A3-A4": "IFG"})
    assert other.units["region"].tolist()[:3] == ["n/a", "n/a", "IFG"]


def test_du_in_that_does_not_fit(du_in: Tree) -> None:
    folder = du_in.root / "converted" / "001"
    info, data = json.loads((folder / "info.json").read_text()), (folder / "data.npy").read_bytes()
    for change in ({"labels": info["labels"][1:]}, {"ch_names": ["A1"]}, {"runs": []}):
        (folder / "info.json").write_text(json.dumps({**info, **change}))
        with pytest.raises(DataError, match="data and info differ"):
            load("du_in", root=du_in.root, subject="001")
    for text in ("{", "[]", "{}", json.dumps({**info, "sfreq": "fast"})):
        (folder / "info.json").write_text(text)
        with pytest.raises(DataError, match=r"info\.json"):
            load("du_in", root=du_in.root, subject="001")
    (folder / "info.json").write_text(json.dumps(info))
    for fraction in (0, 0.01, 0.5, 0.99):
        (folder / "data.npy").write_bytes(data[: int(fraction * len(data))])
        with pytest.raises(DataError, match=r"data\.npy"):
            load("du_in", root=du_in.root, subject="001")
    np.save(folder / "data.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"data\.npy"):
        load("du_in", root=du_in.root, subject="001")
    with pytest.raises(SpecError, match="no subject"):
        load("du_in", root=du_in.root, subject="../001")
