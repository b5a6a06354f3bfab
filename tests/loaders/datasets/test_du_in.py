"""Du-IN in its converted layout: what was planted comes back, stays on disk, and must fit its info."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainalign.errors import DataError, SpecError
from brainalign.loaders import load
from brainalign.loaders.trees import Tree, make_tree
from tests.loaders.planted import weights_found


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
        right, shuffled = weights_found(du_in.truth["features"][labels], peak, du_in.truth["weights"][subject])
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
