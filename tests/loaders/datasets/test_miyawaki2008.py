"""Miyawaki 2008: planted patch weights come back, patterns stand as they were shown, rest is gone."""

from __future__ import annotations

import shutil

import nibabel
import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.loaders.registry import load
from brainalign.loaders.trees import make_tree
from tests.loaders.planted import copy_with


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree("miyawaki2008", tmp_path_factory.mktemp("miyawaki"))


@pytest.fixture
def root(tree, tmp_path):
    shutil.copytree(tree.root, tmp_path / "copy")
    return tmp_path / "copy"


def shown(tree):
    """Patches of every volume that shows some, run by run, by a loop."""
    rows = []
    for kind, name in (("random", "train"), ("figure", "test")):
        for run in sorted(tree.truth["patches"][kind]):
            for volume, patches in enumerate(tree.truth["patches"][kind][run]):
                if patches[0] >= 0:
                    rows.append((f"{kind}-{run:02d}", volume, name, patches))
    return rows


def test_planted_weights_come_back(tree):
    trials = load(tree.spec, root=tree.root, shift=0)
    rows = shown(tree)
    assert trials.trials[["run", "volume", "split"]].to_numpy().tolist() == [list(row[:3]) for row in rows]
    clean = np.array([row[3] for row in rows]) @ tree.truth["patch_weights"].T
    runs = trials.trials["run"].to_numpy()

    def match(responses):
        return np.median(
            [
                np.corrcoef(responses[runs == run, unit], clean[runs == run, unit])[0, 1]
                for run in np.unique(runs)
                for unit in range(trials.n_units)
            ]
        )

    assert match(trials.responses) > 0.8
    assert abs(match(np.roll(trials.responses, 1, axis=0))) < 0.4


def test_pictures_are_the_patterns(tree):
    trials = load(tree.spec, root=tree.root, shift=0)
    for row, (_, _, _, patches) in enumerate(shown(tree)):
        picture = trials.stimuli.array(trials.stimulus_ids[row])
        assert np.array_equal(picture[..., 0], patches.reshape(10, 10, order="F") * 255)


def test_equal_patterns_are_one_stimulus_and_one_block(tree, root):
    labels = root / "label" / "data_random_run01_label.csv"
    copy_with(labels, lambda lines: [lines[0], lines[1], lines[1], lines[3], lines[1], *lines[5:]])
    table = load(tree.spec, root=root, shift=0).trials
    first = table[table["run"] == "random-01"].reset_index(drop=True)
    assert first["stimulus_id"][0] == first["stimulus_id"][1] == first["stimulus_id"][3] != first["stimulus_id"][2]
    assert first["block"][0] == first["block"][1] != first["block"][3]
    assert first["repetition"].tolist()[:4] == [0, 1, 0, 2]
    assert len(load(tree.spec, root=root, shift=0).average(["run", "block"]).trials) == len(table) - 1


def test_shift_pairs_later_volumes(tree, root):
    for kind in ("random", "figure"):
        for path in (root / "func").glob(f"data_{kind}_run*.nii.gz"):
            image = nibabel.load(path)
            data = np.roll(np.asarray(image.dataobj), 2, axis=3)
            nibabel.save(nibabel.Nifti1Image(data, image.affine), path)
    late, prompt = load(tree.spec, root=root), load(tree.spec, root=tree.root, shift=0)
    kept = prompt.trials["volume"].to_numpy() < 8  # the last two volumes have no answer in the file
    assert late.trials["volume"].tolist() == prompt.trials["volume"][kept].tolist()
    agreement = [np.corrcoef(a, b)[0, 1] for a, b in zip(late.responses, prompt.responses[kept], strict=True)]
    assert np.median(agreement) > 0.9
    with pytest.raises(DataError, match="shift"):
        load(tree.spec, root=root, shift=-1)


def test_regions(tree):
    mask = tree.truth["mask"]
    half = np.arange(mask.shape[0])[:, None, None] < mask.shape[0] // 2
    for roi, wanted in (("LHV1d", mask & half), ("V1d", mask), (["RHV1d"], mask & ~half)):
        units = load(tree.spec, root=tree.root, roi=roi).units
        assert np.array_equal(units[["i", "j", "k"]].to_numpy(), np.argwhere(wanted))
    units = load(tree.spec, root=tree.root).units
    assert np.array_equal(units["hemi"] == "left", units["i"] < mask.shape[0] // 2)
    with pytest.raises(DataError, match="Did you mean 'V1d'"):
        load(tree.spec, root=tree.root, roi="V1dd")


def test_wrong_files_are_refused(tree, root):
    labels = root / "label" / "data_figure_run02_label.csv"
    good = labels.read_text()
    lines = good.splitlines()
    short = [line.rpartition(",")[0] for line in lines]
    second = [lines[1] + ",1", *(start + lines[1][1:] for start in ("2", "-1", "x"))]
    for wrong in (lines[:-1], short, *([lines[0], row, *lines[2:]] for row in second)):
        labels.write_text("\n".join(wrong))
        with pytest.raises(DataError, match=labels.name):
            load(tree.spec, root=root)
    labels.write_text(good)
    bold = root / "func" / "data_random_run03.nii.gz"
    bold.write_bytes(bold.read_bytes()[:-200])
    with pytest.raises(DataError, match=bold.name):
        load(tree.spec, root=root)
    bold.unlink()
    with pytest.raises(DataError, match=bold.name):
        load(tree.spec, root=root)
