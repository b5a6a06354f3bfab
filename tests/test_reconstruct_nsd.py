"""The NSD recipe from check to table, on a generated tree of NSD's layout."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

import pytest
import yaml
from pydantic import ValidationError

from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec
from tests.conftest import REPOSITORY

MINDEYE2 = REPOSITORY / "scripts" / "experiments" / "nsd_mindeye2.yaml"


def plain(value):
    """Dicts and lists of what YAML holds; subjects stay numbers."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, int | float | str) else str(value)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nsd")
    sizes = {"n_stimuli": 40, "images_per_subject": 24, "n_shared": 8, "n_stimuli_seen": 24}
    made = make_tree(
        DatasetSpec.load("nsd"), folder / "nsd", subjects=[1], sizes=sizes | {"trials_per_session": 36, "trials": 72}
    )
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain(made.spec.model_dump())))
    return folder


def recipe(folder, *more: str) -> subprocess.CompletedProcess:
    small = ("--latents", "pixels:8", "--generator", "pixels", "--metrics", "PixCorr", "--device", "cpu")
    command = ["scripts/reconstruct_nsd.py", str(folder / "nsd"), "--spec", str(folder / "tiny.yaml"), *small, *more]
    return subprocess.run([sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_from_check_to_table(tree, tmp_path):
    done = recipe(tree, "--out", str(tmp_path / "run"), "--protocol", "dry run")
    assert done.returncode == 0, done.stderr
    assert "nsd at" in done.stdout and "shuffled brain" in done.stdout
    rows = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert rows["reconstruction/PixCorr"]["protocol"].startswith("dry run") and rows["reconstruction/PixCorr"]["n"] == 8
    assert len(list((tmp_path / "run" / "pictures").glob("nsd-*.png"))) == 8
    told = recipe(tree, "--out", str(tmp_path / "run"))
    assert told.returncode == 1 and "protocol 'nsd-1000' has another number of test pictures" in told.stderr


def test_an_incomplete_copy_is_told_before_anything_is_read(tree, tmp_path):
    lost = next((tree / "nsd").rglob("nsd_expdesign.mat"))
    content = lost.read_bytes()
    lost.unlink()
    done = recipe(tree, "--out", str(tmp_path / "run"))
    lost.write_bytes(content)
    assert done.returncode == 1 and lost.name in done.stdout and "mend your copy first" in done.stderr
    assert not (tmp_path / "run").exists()


def test_mindeye2_is_pretrained_on_others_and_never_sees_the_shared_pictures(tmp_path, monkeypatch):
    """The shipped experiment on a tree of two subjects, smaller in sizes alone."""
    import numpy as np

    from brainalign.encoders import MindEye2
    from brainalign.experiment import Experiment, load_experiment, run_experiment
    from brainalign.loaders import load

    sizes = {"n_stimuli": 40, "images_per_subject": 16, "n_shared": 6, "n_stimuli_seen": 16}
    made = make_tree(
        DatasetSpec.load("nsd"),
        tmp_path / "nsd",
        subjects=[1, 2],
        sizes=sizes | {"trials_per_session": 24, "trials": 48},
    )
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(plain(made.spec.model_dump())))
    asked = load_experiment(MINDEYE2).model_dump(mode="json")
    asked["dataset"] |= {"name": str(tmp_path / "tiny.yaml"), "root": str(tmp_path / "nsd"), "subjects": [1, 2]}
    asked["latents"]["clip"]["model"] = "pixels:2:grey"
    (analysis,) = asked["analyses"]
    analysis |= {"metrics": ["PixCorr"], "protocol": "dry run", "gallery": None}
    system = analysis["systems"]["mindeye2"]
    system["params"] |= {"hidden": 16, "n_blocks": 1, "projector": 8, "prior_depth": 1, "n_steps": 2}
    short = {"n_epochs": 2, "batch_size": 16, "device": "cpu", "precision": "float32"}
    system["params"]["training"] |= short
    system["generator"] = "pixels"
    fitted, transferred = [], []
    plain_fit, plain_transfer = MindEye2.fit, MindEye2.transfer

    def fit(self, X, y, **options):
        fitted.append({name: set(one.stimulus_ids) for name, one in X.items()})
        return plain_fit(self, X, y, **options)

    def transfer(self, X, y, **options):
        before = self.network_.branches[0].linear.weight.detach().clone()
        made = plain_transfer(self, X, y, **options)
        transferred.append((set(X.stimulus_ids), (made.network_.branches[0].linear.weight != before).any().item()))
        return made

    monkeypatch.setattr(MindEye2, "fit", fit)
    monkeypatch.setattr(MindEye2, "transfer", transfer)
    run = run_experiment(Experiment.model_validate(asked), out=tmp_path / "run")
    shown = run.scores["pictures/mindeye2/PixCorr"]
    assert shown.n == 6 and np.isfinite(shown.value) and "pictures/mindeye2/shuffled brain/PixCorr" in run.scores
    assert [list(one) for one in fitted] == [["2"]]  # once, for the system and its shuffled brain
    assert len(transferred) == 2 and all(changed for _, changed in transferred)  # all of the network is fine-tuned
    trials = load(str(tmp_path / "tiny.yaml"), root=tmp_path / "nsd", subject=1, roi="nsdgeneral").trials
    shared = set(trials.loc[trials["split"] == "test", "stimulus_id"])
    assert len(shared) == 6 and not any(shared & ids for one in fitted for ids in one.values())
    assert not any(shared & ids for ids, _ in transferred)


@pytest.mark.slow
def test_brain_it_joins_layout_and_meaning(tree, tmp_path, monkeypatch):
    """The shipped experiment with the embedded networks, smaller in sizes alone, and its second stage asked for."""
    from brainalign.encoders import BrainIT
    from brainalign.experiment import Experiment, load_experiment, run_experiment

    asked = load_experiment(REPOSITORY / "scripts" / "experiments" / "nsd_brain_it.yaml").model_dump(mode="json")
    asked["dataset"] |= {"name": str(tree / "tiny.yaml"), "root": str(tree / "nsd")}
    asked["latents"]["clip"]["model"], asked["latents"]["layout"]["model"] = "mini", "maps:mini"
    (analysis,) = asked["analyses"]
    analysis |= {"metrics": ["PixCorr"], "protocol": "dry run", "gallery": None}
    system = analysis["systems"]["brain_it"]
    params = system["params"]
    published = BrainIT.published().get_params()
    assert {name: published[name] for name in params} == params  # what the experiment asks for is what was published
    params |= {"n_clusters": 4, "width": 16, "n_self": 1, "n_cross": 1, "n_heads": 2, "embedding": 4}
    params |= {"covariance": "diag", "n_tokens": [8, 8, 4, 4, 1]}
    short = {"n_epochs": 2, "batch_size": 16, "device": "cpu", "precision": "float32"}
    params["training"] |= short
    params["voxel_training"] |= short
    small = {"n_steps": 5, "channels": [8, 8, 8, 8]}
    system |= {"generator": "fusion:mini", "options": {"n_steps": 4, "start": 2, "contrast": 0.8, "inversion": small}}
    asked["latents"]["images"] = {"model": "mini:vae"}
    system["refine"], params["diffusion_training"] = "images", {"n_epochs": 1, "batch_size": 8}
    with pytest.raises(ValidationError, match="neither pretrain nor choices"):
        Experiment.model_validate(
            asked | {"analyses": [analysis | {"systems": {"brain_it": system | {"choices": [{"width": 16}]}}}]}
        )
    refined, plain_refine = [], BrainIT.refine

    def refine(self, X, y, **options):
        made = plain_refine(self, X, y, **options)
        refined.append((sorted(set(X.stimulus_ids)), "diffusion" in made.history_[0]))
        return made

    monkeypatch.setattr(BrainIT, "refine", refine)
    run = run_experiment(Experiment.model_validate(asked), out=tmp_path / "run")
    # The system and its shuffled brain, each through both stages, on the pictures not held out.
    assert len(refined) == 2 and refined[0] == refined[1] and len(refined[0][0]) == 16 and refined[0][1]
    shown = run.scores["pictures/brain_it/PixCorr"]
    assert shown.n == 8 and shown.low <= shown.value <= shown.high
    for space in ("clip", "layout"):
        assert any(name.endswith(f"of {space}") for name in run.scores if name.count("/") == 2)
    for control in ("generator ceiling", "shuffled brain", "noise input", "nearest training picture"):
        assert f"pictures/brain_it/{control}/PixCorr" in run.scores
    # The layout is inverted from tokens: true tokens and embeddings give pictures nearer to those seen than noise does.
    top, noise = (run.scores[f"pictures/brain_it/{one}/PixCorr"].value for one in ("generator ceiling", "noise input"))
    assert top > noise


def test_a_system_is_pretrained_only_where_there_are_others(tmp_path):
    from brainalign.errors import SpecError
    from brainalign.experiment import load_experiment

    asked = yaml.safe_load(MINDEYE2.read_text())
    alone = asked | {"dataset": {"name": "nsd", "subject": 1}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(alone))
    with pytest.raises(SpecError, match="on other subjects: name them"):
        load_experiment(tmp_path / "a.yaml")
    system = asked["analyses"][0]["systems"]["mindeye2"]
    del system["pretrain"], system["transfer"]
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(asked))
    with pytest.raises(SpecError, match="takes one subject"):
        load_experiment(tmp_path / "b.yaml")
