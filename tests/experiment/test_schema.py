"""Experiment files: what is accepted, and how the rest is refused."""

from __future__ import annotations

import pytest
import yaml

from brainalign.encoders.registry import ENCODERS, encoder_class
from brainalign.errors import SpecError
from brainalign.experiment import demo_file, load_experiment
from brainalign.reconstruction.judging import METRICS
from tests.conftest import REPOSITORY
from tests.experiment.small import small

FILES = [demo_file(), *sorted((REPOSITORY / "scripts" / "experiments").glob("*.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_experiments_are_valid(path):
    assert load_experiment(path).name == path.stem


@pytest.mark.parametrize("path", [one for one in FILES if one.stem.startswith("nsd_")], ids=lambda path: path.stem)
def test_systems_of_nsd_have_the_parameters_that_their_encoders_take(path):
    (analysis,) = load_experiment(path).analyses
    for system in analysis.systems.values():
        if system.encoder in ENCODERS:
            encoder_class(system.encoder)(**system.params)
    assert analysis.by == "split" and analysis.protocol == "nsd-1000"
    assert set(analysis.metrics) <= set(METRICS)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"colour": "red"}, r"'colour'"),
        ({"analyses": []}, "at least 1"),
        ({"analyses": [{"kind": "decoed", "name": "a"}]}, "analyses"),
        ({"analyses": [{"kind": "rsa", "name": "a", "latents": ["pixel"]}]}, "Did you mean 'pixels'"),
        ({"analyses": [{"kind": "rsa", "name": "../a", "latents": ["pixels"]}]}, "name"),
        ({"analyses": [{"kind": "rsa", "name": "a", "latents": ["pixels"]}] * 2}, "share the name"),
        ({"analyses": [{"kind": "decode", "name": "a", "label": "x", "n_splits": 1}]}, "n_splits"),
        ({"name": "a/b"}, "'name'"),
        ({"preprocessing": [{"step": "smooth"}]}, "preprocessing"),
    ],
)
def test_wrong_fields_are_named(tmp_path, changes, message):
    plain = {**small().model_dump(mode="json"), **changes}
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(plain))
    with pytest.raises(SpecError, match=message) as refused:
        load_experiment(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ("!!python/object/apply:os.system ['touch hacked']", "plain YAML"),
        ("- a\n- b", "not an experiment"),
        ("a: [", "plain YAML"),
        ("a: " + "x" * (2 << 20), "too large"),
    ],
)
def test_hostile_files_are_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(SpecError, match=message):
        load_experiment(path)
    assert not (tmp_path / "hacked").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"none\.yaml"):
        load_experiment(tmp_path / "none.yaml")
