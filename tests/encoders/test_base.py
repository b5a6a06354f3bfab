"""The encoder base: pairing, averaging, provenance, and files that are whole, checked and never code."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from sklearn.model_selection import KFold

import brainalign
from brainalign.arrays import sha256_file
from brainalign.encoders import Encoder, LinearEncoder, load_encoder, register_encoder
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.splits import split
from brainalign.trials import Trials


def recording(subject: str = "1", n_stimuli: int = 40, n_units: int = 9) -> tuple[Trials, Latents]:
    rng = np.random.default_rng(0)
    latents = Latents(
        rng.standard_normal((n_stimuli, 2, 3)),
        [f"s{i}" for i in range(n_stimuli)],
        space="toy",
        meta={"model": "m1"},
    )
    rows = rng.permutation(np.repeat(np.arange(n_stimuli), np.arange(n_stimuli) % 3 + 1))
    clean = latents.values.reshape(n_stimuli, -1)[rows] @ rng.standard_normal((6, n_units))
    table = pd.DataFrame({"stimulus_id": [latents.ids[row] for row in rows], "subject": subject})
    return Trials(clean + rng.standard_normal(clean.shape), table), latents


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Encoder, Trials]:
    trials, latents = recording()
    train, test = split(trials)
    encoder = LinearEncoder([1.0, 10.0], 3).fit(train, latents)
    return encoder.save(tmp_path / "encoder"), encoder, test


def test_repetitions_are_averaged_before_the_prediction():
    trials, latents = recording()
    train, test = split(trials)
    encoder = LinearEncoder().fit(train, latents)
    predicted = encoder.predict(test)
    assert isinstance(predicted, Latents) and predicted.space == "toy"
    assert set(predicted.ids) == set(test.stimulus_ids) and predicted.values.shape[1:] == (2, 3)
    for name, value in zip(predicted.ids, predicted.values, strict=True):
        mean = test.responses[test.stimulus_ids == name].mean(axis=0, keepdims=True)
        np.testing.assert_allclose(encoder.predict(mean)[0], value, atol=1e-10)
    assert encoder.predict(test.matrix()).shape == (test.n_trials, 2, 3)


def test_predictions_say_where_they_come_from():
    trials, latents = recording()
    train, test = split(trials)
    encoder = LinearEncoder().fit(train, latents)
    meta = encoder.predict(test).meta
    assert meta["model"] == "m1" and meta["predicted_by"] == "LinearEncoder"
    assert meta["trained_on_split"] == train.info["split"]["hash"] == test.info["split"]["hash"]
    assert meta["n_seen_in_training"] == 0
    assert encoder.predict(train).meta["n_seen_in_training"] == len(set(train.stimulus_ids))
    assert encoder.provenance_.stimulus_ids == tuple(sorted(set(train.stimulus_ids)))


def test_score_is_the_mean_correlation_over_dimensions():
    trials, latents = recording()
    train, test = split(trials)
    encoder = LinearEncoder().fit(train, latents)
    predicted = encoder.predict(test)
    truth = latents.at(predicted.ids).reshape(len(predicted), -1)
    guess = predicted.values.reshape(len(predicted), -1)
    expected = np.mean([np.corrcoef(truth[:, d], guess[:, d])[0, 1] for d in range(6)])
    assert encoder.score(test, latents) == pytest.approx(expected)


def test_another_brain_is_refused(saved):
    _, encoder, test = saved
    with pytest.raises(DataError, match=r"not fitted on subject \['2'\]"):
        encoder.predict(test.with_trials(subject="2"))
    with pytest.raises(DataError, match="other units or times"):
        encoder.predict(test.select(units=np.arange(8)))
    with pytest.raises(DataError, match="other units or times"):
        encoder.predict(test.select(units=np.arange(9)[::-1]))
    with pytest.raises(DataError, match="8 features, but LinearEncoder is expecting 9"):
        encoder.predict(test.matrix()[:, :8])
    mixed = test.with_trials(subject=np.arange(test.n_trials) % 2 + 1)
    encoder = LinearEncoder(1.0, 3).fit(mixed, recording()[1])
    with pytest.raises(DataError, match="one subject at a time"):
        encoder.predict(mixed)


def test_saved_and_loaded_is_the_same_encoder(saved):
    folder, encoder, test = saved
    for loaded in (load_encoder(folder), brainalign.load_encoder(str(folder))):
        assert loaded.get_params() == encoder.get_params()
        assert loaded.provenance_ == encoder.provenance_
        np.testing.assert_array_equal(loaded.predict(test).values, encoder.predict(test).values)
        assert loaded.predict(test).meta == encoder.predict(test).meta
        with pytest.raises(DataError, match="not fitted on subject"):
            loaded.predict(test.with_trials(subject="2"))


def test_several_targets_feature_names_and_one_dimension_survive_the_disk(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.standard_normal((30, 3)), columns=["a", "b", "c"])
    Y = {"clip/image": rng.standard_normal((30, 2, 2)).astype(np.float32), "size": rng.standard_normal(30)}
    encoder = LinearEncoder().fit(X, Y)
    encoder.save(tmp_path / "e")
    loaded = load_encoder(tmp_path / "e")
    before, after = encoder.predict(X), loaded.predict(X)
    assert before["clip/image"].shape == (30, 2, 2) and before["size"].shape == (30,)
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])
    with pytest.raises(DataError, match="feature names"):
        loaded.predict(X[["b", "a", "c"]])


def test_saving_again_replaces_the_whole_folder(saved):
    folder, _, _ = saved
    (folder / "stray.txt").write_text("from an earlier version")
    X = np.random.default_rng(0).standard_normal((20, 4))
    LinearEncoder().fit(X, X).save(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert load_encoder(folder).n_features_in_ == 4


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    X = np.random.default_rng(0).standard_normal((20, 4))
    encoder = LinearEncoder(cv=KFold(4)).fit(X, X)
    with pytest.raises(DataError, match="hyper-parameter 'cv' cannot be saved"):
        encoder.save(tmp_path / "e")
    assert not (tmp_path / "e").exists()
    with pytest.raises(Exception, match="not fitted"):
        LinearEncoder().save(tmp_path / "e")


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-9] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def put_a_pickle(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(pickle.dumps({"coef": np.ones(3)}))
    edit(folder, sha256=sha256_file(path))


def put_other_weights(folder: Path) -> None:
    X = np.ones((2, 2))
    save_file({"latents/coef": X}, folder / "model.safetensors")
    edit(folder, sha256=sha256_file(folder / "model.safetensors"))


def put_weights_of_another_size(folder: Path) -> None:
    X = np.random.default_rng(0).standard_normal((20, 4))
    other = LinearEncoder().fit(X, X).save(folder.parent / "other")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    edit(folder, sha256=sha256_file(folder / "model.safetensors"))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped byte": (flip_a_byte, "not those that were saved"),
    "truncated": (truncate, "not those that were saved"),
    "pickle": (put_a_pickle, "not a safetensors file"),
    "foreign weights": (put_other_weights, "config and weights do not make a LinearEncoder"),
    "other size": (put_weights_of_another_size, "config and weights do not make a LinearEncoder"),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "weights of this encoder are missing",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "no encoder here"),
    "half a config": (lambda folder: (folder / "config.json").write_text('{"format": 1'), "not the config"),
    "config of something else": (lambda folder: (folder / "config.json").write_text("[1]"), "not the config"),
    "later format": (lambda folder: edit(folder, format=99), "another format of encoder"),
    "unknown encoder": (lambda folder: edit(folder, encoder="LinearEncodr"), "Did you mean 'LinearEncoder'"),
    "import path": (lambda folder: edit(folder, encoder="os.system"), "unknown encoder 'os.system'"),
    "unhashable encoder": (lambda folder: edit(folder, encoder=["os"]), "unknown encoder"),
    "unknown parameter": (lambda folder: edit(folder, params={"depth": 3}), "do not make a LinearEncoder"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_and_foreign_files_are_refused(saved, damage):
    folder, _, _ = saved
    harm, message = damage
    harm(folder)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_encoder(folder)
    assert str(folder) in str(caught.value)


def test_encoders_from_elsewhere_load_once_registered(tmp_path):
    class MeanEncoder(Encoder):
        """Predicts the mean of the training latents."""

        def _fit(self, X, targets, groups):
            self.means_ = {name: values.mean(axis=0) for name, values in targets.items()}

        def _predict(self, X):
            return {name: np.tile(mean, (len(X), 1)) for name, mean in self.means_.items()}

        def _state(self):
            return self.means_

        def _restore(self, state):
            self.means_ = dict(state)

    X = np.random.default_rng(0).standard_normal((20, 4))
    MeanEncoder().fit(X, X).save(tmp_path / "e")
    with pytest.raises(DataError, match="unknown encoder 'MeanEncoder'"):
        load_encoder(tmp_path / "e")
    register_encoder(MeanEncoder)
    np.testing.assert_array_equal(load_encoder(tmp_path / "e").predict(X[:1])[0], X.mean(axis=0))
    for taken in ("LinearEncoder", "MeanEncoder"):
        with pytest.raises(DataError, match="exists already"):
            register_encoder(type(taken, (Encoder,), {}))
