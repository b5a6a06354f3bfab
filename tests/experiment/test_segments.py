"""The segments section: a planted story is found through the shared space, on a made tree and the real recording."""

from __future__ import annotations

import pytest

from brainalign.errors import SpecError
from brainalign.experiment import load_experiment, run_experiment
from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec
from tests.conftest import REPOSITORY, data_root, real_data

YAML = """
name: story
title: Story
dataset: {{name: {spec}, root: {root}, subjects: [1, 2, 3, 4, 5]}}
analyses:
  - {{kind: segments, name: segments, length: 3, gap: {gap}, n_splits: 3, n_components: [1, 3], n_shuffles: 2}}
"""


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    tree = make_tree("story_hubs", tmp_path / "story_hubs")
    monkeypatch.setattr(DatasetSpec, "load", classmethod(lambda cls, name: tree.spec))

    def write(gap=3):
        path = tmp_path / "experiment.yaml"
        path.write_text(YAML.format(spec="story_hubs", root=tree.root, gap=gap))
        return path

    return write


def test_a_planted_story_is_found(experiment, tmp_path):
    made = run_experiment(load_experiment(experiment()), out=tmp_path / "out")
    scores = {name.split("/")[1]: one for name, one in made.scores.items()}
    assert scores["shared space"].low > 0.4
    assert scores["units as they are"].low > 0.4
    assert scores["random phases"].value < 3 * scores["random phases"].chance + 0.05
    assert made.report.is_file()


def test_a_gap_shorter_than_a_segment_is_refused(experiment):
    with pytest.raises(SpecError, match="gap must be at least"):
        load_experiment(experiment(gap=2))


@pytest.mark.slow
def test_real_stories(tmp_path, monkeypatch):
    real_data("story_hubs")
    monkeypatch.setenv("BRAINALIGN_DATA", str(data_root()))
    made = run_experiment(
        load_experiment(REPOSITORY / "scripts" / "experiments" / "story_segments.yaml"), out=tmp_path / "out"
    )
    scores = {name.split("/")[1]: one for name, one in made.scores.items()}
    # The plain correlation of hubs matches .229 of all segments.
    assert scores["units as they are"].value == pytest.approx(0.229, abs=0.01)
    assert scores["shared space"].low > 0.229
    assert scores["shared less as they are"].low > 0.05
    assert scores["random phases"].value < 2 * scores["random phases"].chance
