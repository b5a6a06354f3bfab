"""`LinearEncoder` with more features than samples: weights of the samples, on disk, one product for each penalty."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from sklearn.linear_model import Ridge as SklearnRidge

from brainalign.encoders import LinearEncoder, load_encoder, provenance, weights
from brainalign.encoders.linear_maps import DualMap
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.trials import Trials
from brainalign.voxelwise import fits, plan
from brainalign.voxelwise.plan import plan_ridge
from brainalign.voxelwise.targets import TargetRows


def wide(n_samples: int = 30, n_features: int = 50, n_targets: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features)) * np.linspace(0.5, 3, n_features) + 4
    Y = X @ rng.standard_normal((n_features, n_targets)) / 7 + rng.standard_normal((n_samples, n_targets)) + 2
    return X, Y


@pytest.fixture
def everything_is_large(monkeypatch, tmp_path):
    """Coefficients, targets and saved arrays count as large from the first byte."""
    for module in (fits, plan):
        monkeypatch.setattr(module, "COEF_BYTES", 0)
    monkeypatch.setattr(provenance, "BLOCK_BYTES", 0)
    monkeypatch.setattr(weights, "MAPPED_BYTES", 1)
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "cache"))


def test_one_penalty_is_one_inverse_with_the_held_out_predictions_of_a_loop():
    X, Y = wide()
    for alphas in (20.0, [20.0]):
        made = plan_ridge(X, alphas, "loo").fit(Y, keep_coef=False)
        held_out = np.stack(
            [SklearnRidge(20.0).fit(np.delete(X, i, 0), np.delete(Y, i, 0)).predict(X[[i]])[0] for i in range(len(X))]
        )
        np.testing.assert_allclose(made.held_out_mean, held_out.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(made.held_out_std, held_out.std(axis=0), rtol=1e-8)
        r2 = 1 - ((Y - held_out) ** 2).sum(axis=0) / ((Y - Y.mean(axis=0)) ** 2).sum(axis=0)
        np.testing.assert_allclose(made.cv_scores, r2, atol=1e-9)
        np.testing.assert_allclose(made.predict(X), SklearnRidge(20.0).fit(X, Y).predict(X), atol=1e-8)


@pytest.mark.parametrize("cv", ["loo", None])
@pytest.mark.parametrize("repeated", [False, True])
def test_the_inverse_gives_what_the_eigenbasis_gives(monkeypatch, cv, repeated):
    X, Y = wide()
    if repeated:  # rank deficient: a direction of the targets is out of reach
        X[1] = X[0]
    calls = []
    inverse = plan.shared_penalty
    monkeypatch.setattr(plan, "shared_penalty", lambda *args: calls.append(1) or inverse(*args))
    direct = plan_ridge(X, 5.0, cv).fit(Y, keep_coef=False)
    assert len(calls) == (0 if repeated and cv == "loo" else 1)
    few = [plan_ridge(X, 5.0, cv).fit(Y[:, [t]], keep_coef=False) for t in range(3)]  # too few to form an inverse for
    for target, one in enumerate(few):
        for part in ("cv_scores", "held_out_mean", "held_out_std"):
            np.testing.assert_allclose(getattr(direct, part)[target], getattr(one, part)[0], atol=1e-9)
        np.testing.assert_allclose(direct.predict(X)[:, target], one.predict(X)[:, 0], atol=1e-9)


@pytest.mark.parametrize("alphas,cv", [(20.0, "loo"), ("auto", 4), ([1.0, 30.0], "loo")])
def test_weights_of_samples_on_disk_are_the_coefficients(everything_is_large, alphas, cv, tmp_path):
    X, Y = wide()
    dual = LinearEncoder(alphas, cv).fit(X, Y)
    kept = dual.fits_["latents"]
    assert isinstance(kept, DualMap) and isinstance(kept.fit.dual.base, np.memmap)
    assert not list((tmp_path / "cache").glob("brainalign-*"))  # no name is left behind
    fits.COEF_BYTES = plan.COEF_BYTES = 2**30
    primal = LinearEncoder(alphas, cv).fit(X, Y)
    new = np.random.default_rng(1).standard_normal((7, X.shape[1])) + 4
    np.testing.assert_allclose(dual.predict(new), primal.predict(new), rtol=1e-8)
    np.testing.assert_allclose(kept.coef, primal.fits_["latents"].coef, atol=1e-10)
    np.testing.assert_array_equal(kept.best_alphas, primal.fits_["latents"].best_alphas)
    np.testing.assert_allclose(kept.cv_scores, primal.fits_["latents"].cv_scores, atol=1e-9)


def test_saved_weights_of_samples_are_mapped_and_checked(everything_is_large, tmp_path):
    X, Y = (one.astype(np.float32) for one in wide())
    encoder = LinearEncoder(20.0, "loo").fit(X, {"a": Y, "b": Y[:, :45].reshape(30, 9, 5)})
    loaded = load_encoder(encoder.save(tmp_path / "e"))
    assert isinstance(loaded.fits_["a"].fit.dual.base, np.memmap)
    assert loaded.fits_["a"].fit.X is loaded.fits_["b"].fit.X  # the responses are kept once
    for name, one in encoder.predict(X).items():
        np.testing.assert_array_equal(loaded.predict(X)[name], one)
    path = tmp_path / "e" / "model.safetensors"
    assert load_file(path)["design"].shape == X.shape  # the format of the safetensors package
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="not those that were saved"):
        load_encoder(tmp_path / "e")


def test_latents_on_disk_stay_there(everything_is_large, tmp_path, monkeypatch):
    X, Y = wide()
    ids = [f"s{row}" for row in range(len(X))]
    latents = Latents(Y.reshape(30, 8, 10), ids, space="toy")
    latents.save(tmp_path / "latents")
    mapped = Latents.open(tmp_path / "latents")
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(30), 2))
    trials = Trials(X[order], pd.DataFrame({"stimulus_id": [ids[row] for row in order]}))
    whole = LinearEncoder().fit(trials, latents).predict(trials)
    monkeypatch.setattr(TargetRows, "__array__", None)  # never all at once
    encoder = LinearEncoder().fit(trials, mapped)
    assert encoder.target_shapes_ == {"latents": (8, 10)}
    np.testing.assert_allclose(encoder.predict(trials).values, whole.values, atol=1e-10)
    broken = np.array(mapped.values)
    broken[3, 2, 1] = np.nan
    Latents(broken, ids, space="toy").save(tmp_path / "broken")
    with pytest.raises(DataError, match="Y contains NaN or infinity"):
        LinearEncoder().fit(trials, Latents.open(tmp_path / "broken"))


def test_each_target_may_have_penalties_of_its_own():
    X, Y = wide()
    targets = {"text": Y, "image": Y[:, :40]}
    both = LinearEncoder({"text": 3.0, "image": [1.0, 100.0]}, "loo").fit(X, targets)
    for name, alphas in both.alphas.items():
        alone = LinearEncoder(alphas, "loo").fit(X, targets[name])
        np.testing.assert_allclose(both.predict(X)[name], alone.predict(X), rtol=1e-9)
    with pytest.raises(DataError, match="alphas are given for other targets"):
        LinearEncoder({"text": 3.0}, "loo").fit(X, targets)
