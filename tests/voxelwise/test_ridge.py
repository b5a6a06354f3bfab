"""`Ridge` on simulated subjects whose truth is known, its leak guards, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold, KFold

from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import simulate_subject
from brainalign.splits import folds, split
from brainalign.trials import Trials
from brainalign.voxelwise import BandedRidge, Ridge


def toy_latents(n_stimuli: int = 150, n_features: int = 12, *, seed: int = 0, space: str = "toy") -> Latents:
    rng = np.random.default_rng(seed)
    return Latents(rng.standard_normal((n_stimuli, n_features)), [f"s{i}" for i in range(n_stimuli)], space=space)


def shuffled(latents: Latents, seed: int = 5) -> Latents:
    """The same rows under the wrong stimulus ids."""
    order = np.random.default_rng(seed).permutation(len(latents))
    return Latents(latents.values[order], latents.ids, space=latents.space)


@pytest.fixture(scope="module")
def subject():
    latents = toy_latents()
    trials, truth = simulate_subject(latents, seed=0, n_repetitions=3, rois={"V1": 60, "FFA": 60}, drift=0.0)
    return latents, trials, truth


@pytest.fixture(scope="module")
def fitted(subject):
    latents, trials, _ = subject
    train, test = split(trials, test_size=0.3, seed=0)
    return Ridge().fit(latents, train), train, test


def test_planted_weights_are_recovered(subject, fitted):
    _, _, truth = subject
    model, _, _ = fitted
    planted = np.column_stack([truth.weights["V1"], truth.weights["FFA"]])
    loud = np.linalg.norm(planted, axis=0) > 0
    similarity = [np.corrcoef(model.coef_[:, unit], planted[:, unit])[0, 1] for unit in np.flatnonzero(loud)]
    assert loud.sum() > 90 and np.median(similarity) > 0.95


def test_scores_reach_the_ceiling_where_there_is_signal_and_only_there(subject, fitted):
    latents, _, truth = subject
    model, _, test = fitted
    scores = model.score_units(latents, test, n_permutations=500)
    loud = truth.noise_ceiling > 0.05
    assert np.isfinite(scores.r_normalised[loud]).mean() > 0.95  # NaN where the ceiling is estimated as zero
    assert np.nanmedian(scores.r_normalised[loud]) == pytest.approx(1, abs=0.1)
    assert (scores.q[loud] < 0.05).mean() > 0.95
    silent = truth.noise_ceiling == 0
    assert silent.sum() > 5 and abs(scores.r[silent].mean()) < 0.1
    assert (scores.p[silent] < 0.05).mean() < 0.35
    # The ceiling of means over three repetitions that was planted, averaged over units.
    planted = truth.ncsnr**2 / (truth.ncsnr**2 + 1 / 3)
    assert scores.ceiling[loud].mean() == pytest.approx(planted[loud].mean(), abs=0.05)


def test_a_shuffled_copy_gives_nothing(subject):
    latents, trials, _ = subject
    train, test = split(trials, test_size=0.3, seed=0)
    wrong = shuffled(latents)
    scores = Ridge().fit(wrong, train).score_units(wrong, test, n_permutations=500)
    assert (scores.q < 0.05).mean() < 0.02
    summary = scores.summary()
    assert summary.low < 0 < summary.high


def test_the_layer_that_drives_an_area_wins_there():
    first, second = toy_latents(seed=1, space="layer1"), toy_latents(seed=2, space="layer2")
    rois = {"V1": 40, "FFA": 40}
    trials, _ = simulate_subject({"V1": first, "FFA": second}, seed=1, rois=rois, silent_share=0.0)
    train, test = split(trials, seed=0)
    by_layer = [
        Ridge().fit(layer, train).score_units(layer, test, n_permutations=0).table().groupby("roi")["r"].mean()
        for layer in (first, second)
    ]
    assert by_layer[0]["V1"] > by_layer[1]["V1"] + 0.3
    assert by_layer[1]["FFA"] > by_layer[0]["FFA"] + 0.3


def test_repetitions_stay_together_so_that_memory_does_not_look_like_tuning():
    """Responses that are fixed per stimulus but unrelated to its features: only a leak can predict them."""
    latents = toy_latents(60, 80)
    rng = np.random.default_rng(0)
    signature = rng.standard_normal((60, 20))
    rows = rng.permutation(np.repeat(np.arange(60), 4))
    table = {"stimulus_id": [latents.ids[row] for row in rows]}
    trials = Trials(signature[rows] + 0.1 * rng.standard_normal((240, 20)), pd.DataFrame(table))
    honest = Ridge().fit(latents, trials)
    naive = Ridge().fit(latents.at(trials.stimulus_ids), trials.matrix())
    assert honest.cv_scores_.mean() < 0.02
    assert naive.cv_scores_.mean() > 0.8
    grouped = Ridge().fit(latents.at(trials.stimulus_ids), trials.matrix(), groups=trials.stimulus_ids)
    np.testing.assert_allclose(grouped.cv_scores_, honest.cv_scores_)


def test_closed_forms_and_given_folds_that_would_leak_are_refused(subject):
    latents, trials, _ = subject
    for cv in ("loo", "gcv"):
        with pytest.raises(DataError, match="predict a repetition of a stimulus from the other"):
            Ridge(cv=cv).fit(latents, trials)
        assert np.isfinite(Ridge(cv=cv).fit(latents, trials.average("stimulus_id")).cv_scores_).all()
    for cv in (KFold(5, shuffle=True, random_state=0), folds(trials, by="run", n_splits=4)):
        with pytest.raises(LeakageError, match="in both train and test"):
            Ridge(cv=cv).fit(latents, trials)
    assert np.isfinite(Ridge(cv=GroupKFold(3)).fit(latents, trials).cv_scores_).all()
    with pytest.raises(LeakageError, match="sample in both"):
        Ridge(cv=[(np.arange(10), np.arange(5, 15))]).fit(*np.random.default_rng(0).standard_normal((2, 15, 3)))


def test_what_was_seen_is_not_scored(subject, fitted):
    latents, trials, _ = subject
    model, train, test = fitted
    for seen in (train, trials):
        with pytest.raises(LeakageError, match=r"105 stimulus_id in both train and test"):
            model.score_units(latents, seen)
    assert 0 < model.score(latents, test) < 1


def test_scores_belong_to_the_same_units_subject_and_space(subject, fitted):
    latents, _, _ = subject
    model, _, test = fitted
    with pytest.raises(DataError, match="do not match the trials fitted on"):
        model.score_units(latents, test.select(units=np.arange(test.n_units)[::-1]))
    with pytest.raises(DataError, match="do not match the trials fitted on"):
        model.score_units(latents, test.with_trials(subject="2"))
    other = Latents(latents.values, latents.ids, space="another network")
    for call in (lambda: model.score_units(other, test), lambda: model.predict(other)):
        with pytest.raises(DataError, match="another space"):
            call()
    arrays = Ridge().fit(latents.values, np.ones((150, 1)) * latents.values[:, :1])
    with pytest.raises(DataError, match="fitted on arrays"):
        arrays.score_units(latents, test)


def test_predictions_of_latents_are_those_of_their_rows(subject, fitted):
    latents, _, _ = subject
    model, _, _ = fitted
    np.testing.assert_array_equal(model.predict(latents), model.predict(latents.values))
    by_hand = latents.values @ model.coef_ + model.intercept_
    np.testing.assert_allclose(model.predict(latents), by_hand, atol=1e-5)


def test_time_resolved_trials_are_fitted_channel_by_time():
    latents = toy_latents(80, 6)
    trials, truth = simulate_subject(latents, modality="eeg", seed=0, sfreq=50.0, rois=["occipital"], n_repetitions=4)
    train, test = split(trials, seed=0)
    scores = Ridge().fit(latents, train).score_units(latents, test, n_permutations=0)
    assert scores.r.shape == trials.shape[1:]
    onset = truth.onsets["occipital"]
    before = scores.r[:, trials.times < onset - 0.02]
    assert np.nanmax(scores.r) > 0.6 and abs(np.nanmean(before)) < 0.08
    assert len(scores.table()) == trials.n_units * len(trials.times)
    best = scores.table().sort_values("r").iloc[-1]
    assert best["time"] > onset
    evoked = scores.to_evoked()
    assert evoked.data.shape == scores.r.shape and evoked.times[0] == pytest.approx(trials.times[0])


@pytest.mark.parametrize("scoring", ["r2", "correlation"])
def test_score_is_the_mean_over_targets_that_vary(scoring):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((40, 5)), rng.standard_normal((40, 3))
    Y[:, 1] = 2.0
    Y[:, 0] += X[:, 0]
    model = Ridge(scoring=scoring).fit(X[:30], Y[:30])
    predicted, true = model.predict(X[30:]), Y[30:].copy()
    expected = []
    for target in (0, 2):
        y, f = true[:, target], predicted[:, target]
        by_hand = {
            "r2": 1 - ((y - f) ** 2).sum() / ((y - y.mean()) ** 2).sum(),
            "correlation": np.corrcoef(y, f)[0, 1],
        }
        expected.append(by_hand[scoring])
    assert model.score(X[30:], Y[30:]) == pytest.approx(np.mean(expected))


def test_bad_hyper_parameters_are_refused():
    X, Y = np.random.default_rng(0).standard_normal((2, 20, 3))
    refusals = {
        "alphas must be positive": Ridge(alphas=[1.0, 0.0]),
        "no scoring 'mse'": Ridge(scoring="mse"),
        "no cross-validation 'bootstrap'": Ridge(cv="bootstrap"),
        "cannot make these folds": Ridge(cv=21),
        "several alphas but nothing to choose by": Ridge(cv=None),
        "is too small to score": Ridge(cv=20),
    }
    for message, model in refusals.items():
        with pytest.raises(DataError, match=message):
            model.fit(X, Y)
    with pytest.raises(DataError, match="groups must label every sample"):
        Ridge().fit(X, Y, groups=np.arange(3))
    with pytest.raises(DataError, match="too few groups"):
        Ridge().fit(X, Y, groups=np.arange(20) % 3)


def test_a_device_that_is_not_there_is_refused():
    torch = pytest.importorskip("torch")
    X, Y = np.random.default_rng(0).standard_normal((2, 20, 3))
    if not torch.cuda.is_available():
        with pytest.raises(DataError, match="device 'cuda' is not available"):
            Ridge(device="cuda").fit(X, Y)
    np.testing.assert_allclose(Ridge(device="auto").fit(X, Y).coef_, Ridge().fit(X, Y).coef_, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("estimator", [Ridge, lambda **more: BandedRidge(bands=2, n_iter=5, **more)])
@pytest.mark.parametrize("shape", [(40, 6), (30, 50)])
def test_estimators_take_torch_tensors(shape, estimator, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape).astype(dtype)
    Y = (X[:, :4] + rng.standard_normal((shape[0], 4))).astype(dtype)
    Y[:, 2] = 5.0
    ours, theirs = estimator().fit(X, Y), estimator().fit(torch.as_tensor(X), torch.as_tensor(Y))
    tolerance = 1e-9 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(theirs.best_alphas_, ours.best_alphas_, rtol=1e-5)
    np.testing.assert_allclose(theirs.coef_, ours.coef_, atol=tolerance)
    np.testing.assert_allclose(theirs.cv_scores_, ours.cv_scores_, atol=tolerance)
    np.testing.assert_allclose(theirs.predict(torch.as_tensor(X)), ours.predict(X), atol=tolerance)
    assert theirs.coef_.dtype == dtype and theirs.unscored_ == ours.unscored_ and 2 in theirs.unscored_
    assert theirs.score(torch.as_tensor(X), torch.as_tensor(Y)) == pytest.approx(ours.score(X, Y), abs=tolerance)
    with pytest.raises(DataError, match="expecting"):
        theirs.predict(torch.as_tensor(X[:, :3]))
    X[1, 1], Y[0, 0] = np.nan, np.inf
    with pytest.raises(DataError, match="X contains NaN or infinity"):
        estimator().fit(torch.as_tensor(X), torch.as_tensor(Y))
    with pytest.raises(DataError, match="Y contains NaN or infinity"):
        estimator().fit(torch.as_tensor(np.nan_to_num(X)), torch.as_tensor(Y))
