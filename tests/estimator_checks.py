"""The one list of checks that every estimator enters: scikit-learn's own, and ours.

A new estimator adds one `Case` to `CASES`. A scikit-learn check that it cannot pass is named in the case with the
reason; nothing is skipped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from brainalign.encoders import (
    WAVE,
    BrainIT,
    BrainMAE,
    DuIN,
    LinearEncoder,
    MindEye,
    MindEye2,
    NeuroBOLT,
    Neuroformer,
    TSConv,
    load_encoder,
)
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.splits import split
from brainalign.trials import Trials
from brainalign.voxelwise import BandedRidge, FactorisedReceptiveField, LagNetwork, Ridge, ROIQueryEncoder


@dataclass(frozen=True)
class Case:
    """An estimator and what to expect of it.

    Parameters
    ----------
    make : callable
        Builds it, small and quick, with a fixed seed where it has one.
    brain_first : bool
        True for encoders, ``fit(trials, latents)``; False for voxelwise models, ``fit(latents, trials)``.
    tolerance : float
        For the same samples predicted alone and in a batch, or read from disk.
    on_maps : bool
        True for models of latents on a grid: X is (n_samples, n_channels, 2, 2). scikit-learn's own checks hand over
        matrices, so only ours are run.
    on_signals : bool
        True for models of channels by times: X is (n_samples, n_channels, 24); again only ours are run.
    on_counts : bool
        True for models of spike counts by times, which are channels by times too; X is (n_samples, n_channels, 3).
    expected_failures : mapping
        Names of scikit-learn checks that fail, with the reason.
    """

    make: Callable[[], Any]
    brain_first: bool
    tolerance: float = 1e-6
    on_maps: bool = False
    on_signals: bool = False
    on_counts: bool = False
    expected_failures: Mapping[str, str] = field(default_factory=dict)


def small_brain_it() -> BrainIT:
    """One that learns a little in a few steps."""
    training = {"learning_rate": 0.02, "n_epochs": 30}
    sizes = {"n_clusters": 4, "width": 16, "n_self": 0, "n_cross": 1, "n_heads": 1, "embedding": 4}
    return BrainIT(**sizes, n_voxels=1.0, dropout=0.0, voxel_training={"n_epochs": 8}, training=training)


SMALL = {"n_blocks": 1, "dropout": 0.0, "prior_depth": 0, "projector": 8, "training": {"batch_size": 8, "n_epochs": 8}}
"""A network that a check can afford."""

SMALL_SIGNALS = {
    "sizes": {"dropout": 0.0, "kernel": 5, "n_filters": 8, "pool": 5},
    "training": {"batch_size": 16, "learning_rate": 0.01, "n_epochs": 12},
}


SMALL_WAVE = {
    "sizes": {"depth": 1, "dropout": 0.0, "n_heads": 1, "parcel_dropout": 0.0, "width": 16},
    "training": {"batch_size": 16, "learning_rate": 0.01, "n_epochs": 12},
}
SMALL_NEUROBOLT = {
    "sizes": {
        **{"depth": 1, "dropout": 0.0, "n_heads": 2, "n_scales": 1, "patch": 24, "shortest": 24},
        **{"spectral_depth": 0, "spectral_heads": 1, "width": 16},
    },
    "training": {"batch_size": 8, "learning_rate": 0.01, "n_epochs": 15},
    "validation": 0,
}
SMALL_BRAIN_MAE = {
    **{"window": 12, "width": 16, "n_guided": 1, "depth": 1, "n_heads": 1, "hidden": 16, "dropout": 0.0},
    **{"pretraining": "none", "training": {"batch_size": 16, "learning_rate": 0.02, "n_epochs": 15}},
}


SMALL_NEUROFORMER = {
    **{"window": 1, "width": 16, "depth": 1, "n_heads": 1, "hidden": 8, "dropout": 0.0, "weights": {"spikes": 0.1}},
    "training": {"batch_size": 40, "learning_rate": 0.03, "n_epochs": 14},
}


def small_du_in() -> DuIN:
    """One without pretraining."""
    sizes = {"n_filters": 8, "n_kept": 4, "depth": 1, "n_heads": 1, "head_width": 8, "hidden": 16, "dropout": 0.0}
    training = {"batch_size": 16, "learning_rate": 0.01, "n_epochs": 10}
    return DuIN(8, 12, 4, **sizes, pretraining="none", training=training)


CASES = {
    "Ridge": Case(Ridge, brain_first=False),
    "Ridge-loo": Case(lambda: Ridge(cv="loo", scoring="correlation"), brain_first=False),
    "BandedRidge": Case(lambda: BandedRidge(bands=2, n_iter=4), brain_first=False),
    "FactorisedReceptiveField": Case(
        lambda: FactorisedReceptiveField([0.5, np.inf], cv=3), brain_first=False, tolerance=1e-5, on_maps=True
    ),
    "ROIQueryEncoder": Case(
        lambda: ROIQueryEncoder(None, 8, training={"n_epochs": 4}), brain_first=False, tolerance=1e-5, on_maps=True
    ),
    "BrainIT": Case(
        small_brain_it,
        brain_first=True,
        tolerance=1e-5,
        expected_failures={"check_methods_subset_invariance": "asks for 1e-7, a network in float32 gives 1e-6"},
    ),
    "DuIN": Case(small_du_in, brain_first=True, tolerance=1e-5, on_signals=True),
    "LinearEncoder": Case(LinearEncoder, brain_first=True),
    "LinearEncoder-plain": Case(lambda: LinearEncoder(1.0, None, standardize=False, rescale=False), brain_first=True),
    "MindEye": Case(lambda: MindEye(24, **SMALL), brain_first=True, tolerance=1e-5),
    "MindEye2": Case(lambda: MindEye2(24, **SMALL), brain_first=True, tolerance=1e-5),
    "LagNetwork": Case(
        lambda: LagNetwork(1, width=8, dropout=0.0, training={"n_epochs": 12, "batch_size": 32, "learning_rate": 0.08}),
        brain_first=False,
        tolerance=1e-5,
    ),
    "Neuroformer": Case(
        lambda: Neuroformer(**SMALL_NEUROFORMER), brain_first=True, tolerance=1e-5, on_signals=True, on_counts=True
    ),
    "WAVE": Case(lambda: WAVE(**SMALL_WAVE), brain_first=True, tolerance=1e-5, on_signals=True),
    "BrainMAE": Case(lambda: BrainMAE(**SMALL_BRAIN_MAE), brain_first=True, tolerance=1e-5, on_signals=True),
    "NeuroBOLT": Case(lambda: NeuroBOLT(**SMALL_NEUROBOLT), brain_first=True, tolerance=1e-5, on_signals=True),
    "TSConv": Case(lambda: TSConv(**SMALL_SIGNALS), brain_first=True, tolerance=1e-5, on_signals=True),
}


def data(case: Case, n_samples: int = 40, n_features: int = 6, n_targets: int = 3, *, dtype: Any = np.float64):
    """A linear truth with a little noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features))
    Y = X @ rng.standard_normal((n_features, n_targets)) + 0.3 * rng.standard_normal((n_samples, n_targets))
    return seen_by(case, X).astype(dtype), Y.astype(dtype)


def seen_by(case: Case, X: np.ndarray) -> np.ndarray:
    """Features as they are, or as channels of maps or of signals with something else in the other places."""
    if case.on_counts:
        rates = np.repeat(np.exp(np.clip(X, -2, 2))[:, :, None], 3, axis=2)
        return np.random.default_rng(5).poisson(rates).astype(np.float64)
    if case.on_signals:
        noise = 0.1 * np.random.default_rng(5).standard_normal((*X.shape, 24))
        return X[:, :, None] * np.sin(np.arange(24) / 3) + noise
    if not case.on_maps:
        return X
    other = 0.1 * np.random.default_rng(5).standard_normal((*X.shape, 3))
    return np.concatenate([X[:, :, None], other], axis=2).reshape(*X.shape, 2, 2)


def recording(case: Case, n_stimuli: int = 40, n_repetitions: int = 2) -> tuple[Trials, Latents]:
    """Trials with repetitions, and the latents that drive them."""
    rng = np.random.default_rng(1)
    ids = [f"picture{number:02d}" for number in range(n_stimuli)]
    values = rng.standard_normal((n_stimuli, 4))
    latents = Latents(values if case.on_signals else seen_by(case, values), ids, space="toy")
    table = pd.DataFrame(
        {"stimulus_id": np.tile(ids, n_repetitions), "session": np.repeat(range(n_repetitions), n_stimuli)}
    )
    clean = np.tile(values @ rng.standard_normal((4, 7)), (n_repetitions, 1))
    noisy = clean + 0.5 * rng.standard_normal(clean.shape)
    if case.on_signals:
        seen = seen_by(case, noisy)
        return Trials(seen, table, times=np.arange(seen.shape[2]) / 100), latents
    return Trials(noisy, table), latents


def in_order(case: Case, trials: Trials, latents: Latents) -> tuple[Any, Any]:
    """Arguments of ``fit`` in this estimator's order."""
    return (trials, latents) if case.brain_first else (latents, trials)


def same(a: Any, b: Any) -> None:
    """Bit-equal predictions, in the same precision."""
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


def check_predictions_are_finite_and_shaped(case: Case, folder: Path) -> None:
    X, Y = data(case)
    model = case.make().fit(X, Y)
    assert model.predict(X).shape == Y.shape and np.isfinite(model.predict(X)).all()
    assert case.make().fit(X, Y[:, 0]).predict(X).shape == (len(X),)
    assert model.score(X, Y) > 0.5


def check_nan_and_infinity_are_refused(case: Case, folder: Path) -> None:
    for bad in (np.nan, np.inf):
        X, Y = data(case)
        fitted = case.make().fit(X, Y)
        X[3, 2] = bad
        with pytest.raises(DataError, match="X contains NaN or infinity"):
            case.make().fit(X, Y)
        with pytest.raises(DataError, match="X contains NaN or infinity"):
            fitted.predict(X)
        X, Y = data(case)
        Y[5, 1] = bad
        with pytest.raises(DataError, match="NaN or infinity"):
            case.make().fit(X, Y)


def check_one_trial(case: Case, folder: Path) -> None:
    X, Y = data(case)
    with pytest.raises(DataError, match=r"n_samples ?= ?1"):
        case.make().fit(X[:1], Y[:1])
    model = case.make().fit(X, Y)
    np.testing.assert_allclose(model.predict(X[:1]), model.predict(X)[:1], atol=case.tolerance)


def check_rank_deficiency(case: Case, folder: Path) -> None:
    X, Y = data(case)
    repeated = np.concatenate([X, X, np.ones_like(X[:, :1])], axis=1)
    few_rows = seen_by(case, np.random.default_rng(2).standard_normal((len(X), 3 * len(X))))
    for design in (repeated, few_rows):
        predicted = case.make().fit(design, Y).predict(design)
        assert np.isfinite(predicted).all() and predicted.std() > 0


def check_determinism(case: Case, folder: Path) -> None:
    X, Y = data(case)
    same(case.make().fit(X, Y).predict(X), case.make().fit(X, Y).predict(X))


def check_fit_twice_equals_fit_once(case: Case, folder: Path) -> None:
    X, Y = data(case)
    model = case.make().fit(X, Y)
    once = model.predict(X)
    model.fit(X[::-1, :4], Y[:, :2])
    same(model.fit(X, Y).predict(X), once)


def check_input_is_not_changed(case: Case, folder: Path) -> None:
    X, Y = data(case)
    before = X.copy(), Y.copy()
    X.flags.writeable = Y.flags.writeable = False
    model = case.make().fit(X, Y)
    model.predict(X)
    model.score(X, Y)
    same(X, before[0])
    same(Y, before[1])


def check_hyper_parameters_stay(case: Case, folder: Path) -> None:
    X, Y = data(case)
    model = case.make()
    before = repr(model.get_params())
    model.fit(X, Y).predict(X)
    assert repr(model.get_params()) == before


def check_clone_forgets(case: Case, folder: Path) -> None:
    X, Y = data(case)
    model = case.make().fit(X, Y)
    copy = clone(model)
    assert repr(copy.get_params()) == repr(model.get_params())
    with pytest.raises(Exception, match="not fitted"):
        copy.predict(X)
    same(copy.fit(X, Y).predict(X), model.predict(X))


def check_memory_maps(case: Case, folder: Path) -> None:
    X, Y = data(case)
    for name, array in {"X": X, "Y": Y}.items():
        np.save(folder / f"{name}.npy", array)
    X_disk, Y_disk = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "XY")
    model = case.make().fit(X_disk, Y_disk)
    np.testing.assert_allclose(model.predict(X_disk), case.make().fit(X, Y).predict(X), atol=case.tolerance)


def check_float32_in_float32_out(case: Case, folder: Path) -> None:
    X, Y = data(case, dtype=np.float32)
    model = case.make().fit(X, Y)
    assert model.predict(X).dtype == np.float32
    double = case.make().fit(*data(case)).predict(X.astype(np.float64))
    np.testing.assert_allclose(model.predict(X), double, atol=1e-3)


def check_feature_count(case: Case, folder: Path) -> None:
    X, Y = data(case)
    model = case.make().fit(X, Y)
    with pytest.raises(DataError, match=r"5 features, but .* is expecting 6|another number of channels"):
        model.predict(X[:, :5])
    with pytest.raises(DataError, match="X and Y differ in samples"):
        case.make().fit(X, Y[:-1])


def check_join_is_by_id(case: Case, folder: Path) -> None:
    trials, latents = recording(case)
    if case.make().get_params().get("cv") == "loo":
        trials = trials.average("stimulus_id")
    order = np.random.default_rng(3).permutation(len(latents))
    mixed = latents.select([latents.ids[row] for row in order])
    a, b = (case.make().fit(*in_order(case, trials, one)) for one in (latents, mixed))
    first = trials if case.brain_first else latents
    same(np.asarray(a.predict(first)), np.asarray(b.predict(first)))


def check_unpaired_input_is_refused(case: Case, folder: Path) -> None:
    trials, latents = recording(case)
    for X, y in [(trials, latents.values), (latents.values, trials), (trials.matrix(), latents)]:
        with pytest.raises(DataError):
            case.make().fit(X, y)
    strangers = Latents(latents.values, [f"other{number}" for number in range(len(latents))], space="toy")
    with pytest.raises(DataError, match="stimulus_id without latents"):
        case.make().fit(*in_order(case, trials, strangers))


def check_seen_stimuli_are_not_scored(case: Case, folder: Path) -> None:
    trials, latents = recording(case)
    if case.make().get_params().get("cv") == "loo":
        trials = trials.average("stimulus_id")
    train, test = split(trials, test_size=0.25)
    model = case.make().fit(*in_order(case, train, latents))
    assert 0.3 < model.score(*in_order(case, test, latents)) < 1
    with pytest.raises(LeakageError, match="stimulus_id in both train and test"):
        model.score(*in_order(case, train, latents))
    with pytest.raises(LeakageError):
        model.score(*in_order(case, trials, latents))


def check_saved_and_loaded(case: Case, folder: Path) -> None:
    X, Y = data(case, dtype=np.float32)
    model = case.make().fit(X, Y)
    if not hasattr(model, "save"):
        return
    model.save(folder / "model")
    loaded = type(model).load(folder / "model") if case.on_maps else load_encoder(folder / "model")
    assert type(loaded) is type(model)
    assert repr(loaded.get_params()) == repr(model.get_params())
    same(loaded.predict(X), model.predict(X))
    assert sorted(path.name for path in (folder / "model").iterdir()) == ["config.json", "model.safetensors"]
    same(loaded.fit(X, Y).predict(X), model.predict(X))


OUR_CHECKS = {
    name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")
}
