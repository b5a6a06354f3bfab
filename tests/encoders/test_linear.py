"""`LinearEncoder` against scikit-learn pipelines and written-out loops, on a simulated subject, and without a brain."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainalign.encoders import LinearEncoder
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import simulate_subject
from brainalign.splits import split


def data(n_samples: int = 80, n_features: int = 10, shape: tuple[int, ...] = (4,), *, noise: float = 1.0):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features)) * np.linspace(0.5, 30, n_features) + 5
    coef = rng.standard_normal((n_features, int(np.prod(shape)))) / np.linspace(0.5, 30, n_features)[:, None]
    Y = X @ coef + noise * rng.standard_normal((n_samples, coef.shape[1])) * np.linspace(0.5, 4, coef.shape[1]) + 2
    return X, Y.reshape(n_samples, *shape)


@pytest.fixture(scope="module")
def subject():
    rng = np.random.default_rng(0)
    latents = Latents(rng.standard_normal((200, 8)), [f"s{i}" for i in range(200)], space="toy", meta={"model": "m"})
    trials, _ = simulate_subject(latents, seed=0, n_repetitions=3, drift=0.0)
    return latents, *split(trials, test_size=0.25, seed=0)


def top1(predicted: Latents, latents: Latents) -> float:
    """Share of predictions whose nearest true latent (by cosine) is that of their own stimulus."""
    truth = latents.at(predicted.ids)
    unit = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (predicted.values, truth)]
    return float(np.mean((unit[0] @ unit[1].T).argmax(axis=1) == np.arange(len(truth))))


def test_pictures_are_retrieved_from_a_simulated_brain_and_not_from_a_shuffled_one(subject):
    latents, train, test = subject
    assert top1(LinearEncoder().fit(train, latents).predict(test), latents) > 0.9
    order = np.random.default_rng(1).permutation(len(latents))
    wrong = Latents(latents.values[order], latents.ids, space="toy")
    encoder = LinearEncoder().fit(train, wrong)
    assert top1(encoder.predict(test), wrong) < 0.12  # chance is 1 in 50
    assert abs(encoder.score(test, wrong)) < 0.1


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("n_features", [10, 200])
def test_one_alpha_is_a_scikit_learn_pipeline(standardize, n_features):
    X, Y = data(n_features=n_features)
    ours = LinearEncoder(3.0, None, standardize=standardize, rescale=False).fit(X[:60], Y[:60])
    steps = [StandardScaler()] if standardize else []
    theirs = make_pipeline(*steps, SklearnRidge(3.0)).fit(X[:60], Y[:60])
    np.testing.assert_allclose(ours.predict(X[60:]), theirs.predict(X[60:]), atol=1e-8)


def test_rescaling_uses_held_out_predictions_of_training_samples_alone():
    X, Y = data()
    X[:, 3] = 1.0  # a feature without variance
    train, test = np.arange(60), np.arange(60, 80)
    alphas = [1.0, 30.0, 1e3]
    ours = LinearEncoder(alphas, 4).fit(X[train], Y[train])
    scaler = StandardScaler().fit(X[train])
    design, new = scaler.transform(X[train]), scaler.transform(X[test])
    for target in range(Y.shape[1]):
        y = Y[train, target]
        held_out, losses = {}, {}
        for alpha in alphas:
            held_out[alpha] = np.empty(60)
            scores = []
            for fit_rows, left_out in KFold(4).split(design):
                guess = SklearnRidge(alpha).fit(design[fit_rows], y[fit_rows]).predict(design[left_out])
                held_out[alpha][left_out] = guess
                truth = y[left_out]
                scores.append(1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
            losses[alpha] = -np.mean(scores)
        best = min(losses, key=losses.get)
        plain = SklearnRidge(best).fit(design, y).predict(new)
        expected = (plain - held_out[best].mean()) / held_out[best].std() * y.std() + y.mean()
        assert ours.fits_["latents"].best_alphas[target] == best
        np.testing.assert_allclose(ours.predict(X[test])[:, target], expected, rtol=1e-8)


def test_a_sample_is_decoded_the_same_alone_and_in_any_batch():
    X, Y = data(shape=(3, 2))
    encoder = LinearEncoder().fit(X[:60], Y[:60])
    together = encoder.predict(X[60:])
    for row in range(20):
        np.testing.assert_allclose(encoder.predict(X[60 + row : 61 + row])[0], together[row], atol=1e-10)


def test_rescaled_predictions_spread_like_the_latents_and_plain_ones_less():
    X, Y = data(600, noise=3.0)
    spread = Y[:400].std(axis=0)
    rescaled = LinearEncoder().fit(X[:400], Y[:400]).predict(X[400:]).std(axis=0)
    plain = LinearEncoder(rescale=False).fit(X[:400], Y[:400]).predict(X[400:]).std(axis=0)
    np.testing.assert_allclose(rescaled / spread, 1, atol=0.15)
    assert (plain < 0.95 * rescaled).any() and (plain <= rescaled).all()


def test_a_dimension_that_cannot_be_predicted_stays_at_its_mean():
    X, Y = data()
    Y[:, 1] = 7.0
    prediction = LinearEncoder([1e12]).fit(X, Y).predict(X)
    np.testing.assert_allclose(prediction[:, 1], 7.0)
    np.testing.assert_allclose(prediction, np.tile(Y.mean(axis=0), (len(X), 1)), atol=1e-6)


def test_several_latents_at_once_are_the_same_as_one_by_one(subject):
    latents, train, test = subject
    rng = np.random.default_rng(2)
    image = Latents(latents.values @ rng.standard_normal((8, 12)), latents.ids, space="vae")
    image = Latents(image.values.reshape(200, 3, 2, 2), latents.ids, space="vae")
    both = LinearEncoder().fit(train, {"clip": latents, "vae": image})
    predicted = both.predict(test)
    assert set(predicted) == {"clip", "vae"} and predicted["vae"].shape == (50, 3, 2, 2)
    for name, target in {"clip": latents, "vae": image}.items():
        alone = LinearEncoder().fit(train, target).predict(test)
        np.testing.assert_allclose(alone.values, predicted[name].values, atol=1e-8)
        assert predicted[name].space == target.space
    assert 0.5 < both.score(test, {"clip": latents, "vae": image}) < 1
    with pytest.raises(DataError, match="other targets"):
        both.score(test, {"clip": latents})


def test_the_design_is_decomposed_once_for_all_targets(monkeypatch):
    from brainalign.encoders import linear

    calls = []
    plan = linear.plan_ridge
    monkeypatch.setattr(linear, "plan_ridge", lambda *args, **options: calls.append(1) or plan(*args, **options))
    X, Y = data()
    LinearEncoder().fit(X, dict.fromkeys("abc", Y))
    assert len(calls) == 1


def test_leave_one_out_serves_stimuli_shown_once(subject):
    latents, train, test = subject
    encoder = LinearEncoder(cv="loo").fit(train.average("stimulus_id"), latents)
    assert top1(encoder.predict(test), latents) > 0.9
    with pytest.raises(DataError, match="predict a repetition of a stimulus"):
        LinearEncoder(cv="loo").fit(train, latents)


@pytest.mark.parametrize("cv", [None, "gcv"])
def test_rescaling_needs_something_held_out(cv):
    X, Y = data()
    with pytest.raises(DataError, match="rescale needs held-out predictions"):
        LinearEncoder(1.0, cv).fit(X, Y)
    assert LinearEncoder(1.0, cv, rescale=False).fit(X, Y).predict(X).shape == Y.shape
