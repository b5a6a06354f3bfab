"""SingleWordProductionDutch: planted answers come back word by word, with regions; damage is named."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.loaders import load
from brainalign.loaders.datasets.single_word_production import word_events
from brainalign.loaders.trees import Tree, make_tree
from tests.loaders.planted import weights_found


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree("single_word_production", tmp_path / "words")


def read(tree: Tree, subject: int = 1, **options: object):
    return load(tree.spec, root=tree.root, subject=subject, tmin=-0.1, tmax=0.5, **options)


def test_words_and_answers_come_back(tree: Tree) -> None:
    for subject in (1, 2):
        trials, labels = read(tree, subject), tree.truth["labels"][subject]
        words = np.array(["boom", "huis", "maan", "vis"])
        assert trials.trials["label"].tolist() == words[labels].tolist()
        np.testing.assert_allclose(trials.trials["onset"].astype(float), tree.truth["onsets"], atol=0.003)
        peak = trials.select(times=(0.13, 0.17)).responses.mean(axis=-1) * 1e6
        right, shuffled = weights_found(tree.truth["features"][labels], peak, tree.truth["weights"][subject])
        assert right > 0.9 > shuffled
    assert set(trials.units["type"]) == {"seeg"} and trials.units["region"].tolist()[:2] == ["STG", "insula"]


def test_bipolar_pairs_keep_a_region(tree: Tree) -> None:
    trials = read(tree, reference="bipolar")
    assert trials.units["name"].tolist() == ["L1-L2", "L2-L3", "R1-R2", "R2-R3"]
    assert trials.units["region"].tolist() == ["STG", "STG", "insula", "insula"]


def test_stretches_of_a_word() -> None:
    events = word_events(["a", "a", "b", "", "b"], 1.0)
    assert events["onset"].tolist() == [0, 2, 4] and events["label"].tolist() == ["a", "b", "b"]
    with pytest.raises(DataError, match="no word was shown"):
        word_events(["", " "], 1.0)


def test_the_unit_is_taken_from_the_recording_or_its_channels(tree: Tree) -> None:
    """Microvolts by the planted channels.tsv; volts times a conversion, or millivolts, where the recording says so."""
    path, table = next(tree.root.glob("sub-01/ieeg/*.nwb")), next(tree.root.glob("sub-01/ieeg/*_channels.tsv"))
    micro, text = read(tree).responses, table.read_text()

    def state(unit: str, conversion: float, listed: str) -> None:
        with h5py.File(path, "a") as file:
            file["acquisition/iEEG/data"].attrs.update({"unit": unit, "conversion": conversion})
        table.write_text(text.replace("uV", listed))

    for unit, conversion, listed, factor in (
        ("volts", 1e-6, "µV", 1.0),
        ("unknown", 1.0, "mV", 1e3),
        ("unknown", 1.0, "n/a", 1.0),
        ("millivolts", 0.5, "n/a", 500.0),
    ):
        state(unit, conversion, listed)
        np.testing.assert_allclose(read(tree).responses, factor * micro, rtol=1e-5)
    state("volts", 1.0, "uV")
    with pytest.raises(DataError, match=r"stated in different ways[\s\S]*1 V by the recording[\s\S]*unit='uV'"):
        read(tree)
    np.testing.assert_allclose(read(tree, unit="uV").responses, micro, rtol=1e-5)
    with pytest.raises(DataError, match="not a unit of voltage"):
        read(tree, unit="tesla")


def test_damage_is_named(tree: Tree) -> None:
    path = next(tree.root.glob("sub-01/ieeg/*.nwb"))
    whole = path.read_bytes()
    with h5py.File(path, "a") as file:
        short = file["acquisition/Stimulus/data"][:-5]
        del file["acquisition/Stimulus/data"]
        file["acquisition/Stimulus/data"] = short
    with pytest.raises(DataError, match="do not fit each other"):
        read(tree)
    with h5py.File(path, "a") as file:
        del file["acquisition/iEEG/data"]
    with pytest.raises(DataError, match="iEEG"):
        read(tree)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"\.nwb"):
        read(tree)
