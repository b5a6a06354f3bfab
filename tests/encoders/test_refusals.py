"""Bad input of every system is refused before any compute: what, what was expected, what was found, how to mend it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from brainalign.arrays import sha256_file
from brainalign.encoders import BrainIT, LinearEncoder, MindEye, MindEye2, load_encoder
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.trials import Trials

IDS = [f"picture{number}" for number in range(24)]
ONCE = {"n_epochs": 1}
SYSTEMS: dict[str, Callable[[], Any]] = {
    "linear": lambda: LinearEncoder(alphas=1.0, cv=None, rescale=False),
    "MindEye": lambda: MindEye(8, 1, prior_depth=0, training=ONCE),
    "MindEye2": lambda: MindEye2(8, 1, prior_depth=0, training=ONCE),
    "Brain-IT": lambda: BrainIT(2, 8, n_heads=2, n_cross=1, embedding=4, voxel_training=ONCE, training=ONCE),
}


def latents(weights: str = "a", model: str = "toy") -> Latents:
    values = np.random.default_rng(0).standard_normal((24, 3)).astype(np.float32)
    return Latents(values, IDS, space=model, meta={"model": model, "weights_sha256": weights})


def trials(ids: list[str], n_voxels: int = 12, subject: str = "1") -> Trials:
    responses = np.random.default_rng(1).standard_normal((len(ids), n_voxels)).astype(np.float32)
    return Trials(responses, pd.DataFrame({"stimulus_id": ids, "subject": subject}))


TRAIN, TEST = IDS[:18], IDS[18:]


@pytest.fixture(scope="module", params=SYSTEMS)
def fitted(request) -> Any:
    return SYSTEMS[request.param]().fit(trials(TRAIN), latents())


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory) -> Path:
    return fitted.save(tmp_path_factory.mktemp("saved") / "encoder")


def refused(do: Callable[[], Any], says: str, error: type[DataError] = DataError) -> None:
    with pytest.raises(error) as caught:
        do()
    lines = {line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]}
    assert {"expected", "found", "mend"} <= lines, str(caught.value)
    assert says in str(caught.value)


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("computed before it was refused")


SCORED = {
    "another model": (TEST, lambda: latents(model="other"), "of another model or revision", DataError),
    "another revision": (TEST, lambda: latents("b"), "of another model or revision", DataError),
    "a picture seen in training": (IDS, latents, "in both train and test", LeakageError),
}


@pytest.mark.parametrize("case", SCORED.values(), ids=SCORED)
def test_nothing_is_scored_on_foreign_latents_or_on_what_was_seen(fitted, case, monkeypatch):
    ids, given, says, error = case
    monkeypatch.setattr(type(fitted), "predict", never)
    refused(lambda: fitted.score(trials(ids), given()), says, error)


def test_voxels_and_subjects_are_those_fitted_on(fitted):
    refused(lambda: fitted.predict(np.zeros((2, 11), np.float32)), "X has 11 features")
    refused(lambda: fitted.predict(trials(TEST, 11)), "11 units")
    refused(lambda: fitted.predict(trials(TEST, subject="9")), "not fitted on subject")
    if isinstance(fitted, MindEye2 | BrainIT):
        refused(lambda: fitted.predict(np.zeros((2, 12), np.float32), "9"), "subject '9'")
        refused(lambda: fitted.transfer(trials(TRAIN), latents()), "was fitted on already")
        joining = trials(TRAIN, 10, "2")
        refused(lambda: fitted.transfer(joining, latents("b")), "of another model or revision")
        joined = fitted.transfer(joining, latents())
        refused(lambda: joined.predict(np.zeros((2, 12), np.float32), "2"), "voxels")


def _change(name: str, change: Callable[[bytes], bytes], *, own_hash: bool = True) -> Callable[[Path], None]:
    """Spoil a file; with the hash of its new content in the config, so that the content itself is what is refused."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))
        if own_hash:
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(config | {"sha256": sha256_file(path)}))

    return spoil


def _foreign(folder: Path) -> None:
    save_file({"other": np.zeros(3, np.float32)}, folder / "model.safetensors")
    _change("model.safetensors", bytes)(folder)


WEIGHTS = "model.safetensors"
SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a bit": (
        _change(WEIGHTS, lambda one: one[:-1] + bytes([one[-1] ^ 1]), own_hash=False),
        "not those that were saved",
    ),
    "cut short": (_change(WEIGHTS, lambda one: one[:-9]), "not a safetensors file"),
    "a pickle": (_change(WEIGHTS, lambda _: pickle.dumps({"coef": 1})), "pickled checkpoints are never opened"),
    "weights of something else": (_foreign, "config and weights do not make a"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "weights of this encoder are missing"),
    "half a config": (_change("config.json", lambda one: one[:40], own_hash=False), "not the config of an encoder"),
    "a config of something else": (
        _change("config.json", lambda _: b'{"model_type": "bert"}', own_hash=False),
        "not the config of an encoder",
    ),
    "an unknown encoder": (
        _change("config.json", lambda one: one.replace(b'"encoder": "', b'"encoder": "My'), own_hash=False),
        "unknown encoder 'My",
    ),
    "nothing": (shutil.rmtree, "no encoder here"),
}


@pytest.mark.parametrize("harm", SPOILT.values(), ids=SPOILT)
def test_damaged_and_foreign_checkpoints(saved, tmp_path, harm):
    spoil, says = harm
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    load_encoder(folder)
    spoil(folder)
    refused(lambda: load_encoder(folder), says)


def test_a_pickled_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "last.pth").write_bytes(pickle.dumps({"coef": 1}))
    refused(lambda: load_encoder(tmp_path / "last.pth"), "no encoder here")
