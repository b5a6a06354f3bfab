"""`FactorisedReceptiveField`: planted places and features are found, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.splits import split
from brainalign.trials import Trials
from brainalign.voxelwise import FactorisedReceptiveField
from brainalign.voxelwise.receptive_fields import gaussian_pools

GRID, N_CHANNELS, N_UNITS = (6, 8), 5, 12


def simulate(n_stimuli: int = 250, *, noise: float = 0.7, seed: int = 0):
    """Units that each weigh the features under one Gaussian; smooth maps, as those of networks are."""
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((n_stimuli, N_CHANNELS, *GRID))
    maps = maps + 0.5 * np.roll(maps, 1, axis=2) + 0.5 * np.roll(maps, 1, axis=3)
    centres = np.stack([rng.integers(0, GRID[0], N_UNITS), rng.integers(0, GRID[1], N_UNITS)], axis=1).astype(float)
    weights = rng.standard_normal((N_CHANNELS, N_UNITS))
    clean = np.empty((n_stimuli, N_UNITS))
    for unit, (row, column) in enumerate(centres):
        rows, columns = np.mgrid[: GRID[0], : GRID[1]]
        pool = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2)
        clean[:, unit] = np.einsum("nkhw,hw->nk", maps, pool / pool.sum()) @ weights[:, unit]
    clean /= clean.std(axis=0)
    return maps, clean + noise * rng.standard_normal(clean.shape), centres, weights


@pytest.fixture(scope="module")
def fitted():
    maps, responses, centres, weights = simulate()
    return FactorisedReceptiveField().fit(maps[:200], responses[:200]), maps, responses, centres, weights


def test_planted_places_are_found_within_one_cell(fitted):
    model, _, _, centres, _ = fitted
    assert np.abs(model.centres_ - centres).max() <= 1
    assert (np.abs(model.centres_ - centres).max(axis=1) == 0).mean() > 0.6
    assert ((model.sizes_ >= 0.5) & (model.sizes_ <= 2)).all()


def test_planted_features_are_found(fitted):
    model, _, _, _, weights = fitted
    similarity = [np.corrcoef(model.feature_weights_[:, unit], weights[:, unit])[0, 1] for unit in range(N_UNITS)]
    assert np.median(similarity) > 0.95 and min(similarity) > 0.8


def test_beats_ridge_on_features_pooled_over_the_image(fitted):
    model, maps, responses, _, _ = fitted
    pooled = maps.mean(axis=(2, 3))
    rival = RidgeCV(np.logspace(-3, 3, 13)).fit(pooled[:200], responses[:200]).score(pooled[200:], responses[200:])
    assert model.score(maps[200:], responses[200:]) > 0.5 > 0.25 > rival


def test_finds_nothing_in_a_shuffled_copy(fitted):
    _, maps, responses, _, _ = fitted
    order = np.random.default_rng(1).permutation(200)
    model = FactorisedReceptiveField(n_centres=3).fit(maps[order], responses[:200])
    assert model.score(maps[200:], responses[200:]) < 0.02


def test_one_pool_is_ridge_on_that_pool():
    """Against scikit-learn: cross-validated score, weights and prediction of a single candidate."""
    maps, responses, _, _ = simulate(80)
    model = FactorisedReceptiveField([np.inf], alphas=3.0, cv=4).fit(maps, responses)
    pooled = maps.mean(axis=(2, 3))
    theirs = SklearnRidge(3.0).fit(pooled, responses)
    np.testing.assert_allclose(model.predict(maps), theirs.predict(pooled), atol=1e-5)
    np.testing.assert_allclose(model.feature_weights_, theirs.coef_.T, atol=1e-5)
    for unit in range(3):
        scores = cross_val_score(make_pipeline(SklearnRidge(3.0)), pooled, responses[:, unit], cv=KFold(4))
        assert model.cv_scores_[unit] == pytest.approx(scores.mean(), abs=1e-5)


def test_each_unit_keeps_the_pool_that_scores_best(fitted):
    model, _, _, _, _ = fitted
    assert model.pool_scores_.shape == (len(model.pool_maps_), N_UNITS)
    np.testing.assert_array_equal(model.cv_scores_, model.pool_scores_.max(axis=0))
    np.testing.assert_array_equal(model.maps_, model.pool_maps_[model.pool_scores_.argmax(axis=0)])
    assert model.maps_.shape == (N_UNITS, *GRID)
    np.testing.assert_allclose(model.maps_.sum(axis=(1, 2)), 1)


def test_pools():
    maps, centres, sizes = gaussian_pools((4, 4), [1.0, np.inf], n_centres=2)
    assert centres.tolist() == [[0.5, 0.5], [0.5, 2.5], [2.5, 0.5], [2.5, 2.5], [1.5, 1.5]]
    assert sizes.tolist() == [1, 1, 1, 1, np.inf]
    np.testing.assert_allclose(maps[-1], 1 / 16)
    rows = np.arange(4)
    np.testing.assert_allclose((maps[3].sum(axis=1) * rows).sum(), (maps[3].sum(axis=0) * rows).sum())
    np.testing.assert_allclose(maps[0], maps[3][::-1, ::-1])


def test_tokens_give_what_maps_give():
    maps, responses, _, _ = simulate(60)
    tokens = maps.reshape(60, N_CHANNELS, -1).transpose(0, 2, 1)
    a = FactorisedReceptiveField([1.0], n_centres=3).fit(maps, responses)
    b = FactorisedReceptiveField([1.0], n_centres=3, grid=GRID).fit(tokens, responses)
    np.testing.assert_array_equal(a.centres_, b.centres_)
    np.testing.assert_allclose(a.predict(maps), b.predict(tokens), atol=1e-9)


def recording():
    maps, responses, centres, _ = simulate(120)
    ids = [f"s{number}" for number in range(120)]
    latents = Latents(maps, ids, space="toy")
    table = pd.DataFrame({"stimulus_id": np.tile(ids, 2)})
    noise = np.random.default_rng(3).standard_normal((240, N_UNITS))
    return latents, Trials(np.tile(responses, (2, 1)) + 0.3 * noise, table), centres


def test_trials_join_by_id_and_seen_stimuli_are_not_scored():
    latents, trials, centres = recording()
    train, test = split(trials, test_size=0.25)
    model = FactorisedReceptiveField([1.0]).fit(latents, train)
    assert np.abs(model.centres_ - centres).max(axis=1).mean() < 0.7
    order = np.random.default_rng(0).permutation(120)
    mixed = latents.select([latents.ids[row] for row in order])
    np.testing.assert_allclose(
        FactorisedReceptiveField([1.0]).fit(mixed, train).predict(latents), model.predict(latents)
    )
    assert model.score(latents, test) > 0.4
    with pytest.raises(LeakageError):
        model.score(latents, train)
    with pytest.raises(DataError, match="another space"):
        model.predict(Latents(latents.values, latents.ids, space="other"))
    with pytest.raises(DataError, match="do not match the trials fitted on"):
        model.score(latents, test.select(units=[0, 1]))


def test_units_are_scored_on_new_stimuli():
    latents, trials, _ = recording()
    train, test = split(trials, test_size=0.25)
    model = FactorisedReceptiveField([1.0]).fit(latents, train)
    scores = model.score_units(latents, test, n_permutations=200)
    average = test.average("stimulus_id")
    predicted = model.predict(latents.select(average.stimulus_ids))
    by_hand = [np.corrcoef(a, b)[0, 1] for a, b in zip(average.matrix().T, predicted.T, strict=True)]
    np.testing.assert_allclose(scores.r, by_hand, atol=1e-6)
    assert scores.r2.mean() == pytest.approx(model.score(latents, test))
    assert (scores.q < 0.05).mean() > 0.8 and np.isfinite(scores.ceiling).all()
    shuffled = Trials(np.random.default_rng(0).permutation(train.responses), train.trials, train.units)
    nothing = FactorisedReceptiveField([1.0]).fit(latents, shuffled).score_units(latents, test, n_permutations=200)
    assert (nothing.q < 0.05).sum() == 0 and abs(nothing.r.mean()) < 0.15
    with pytest.raises(LeakageError):
        model.score_units(latents, train)
    on_arrays = FactorisedReceptiveField([1.0]).fit(latents.values, average_of(trials, latents))
    with pytest.raises(DataError, match="fitted on arrays"):
        on_arrays.score_units(latents, test)


def average_of(trials: Trials, latents: Latents) -> np.ndarray:
    mean = trials.average("stimulus_id")
    row_of = {one: row for row, one in enumerate(mean.stimulus_ids)}
    return mean.matrix()[[row_of[one] for one in latents.ids]]


def test_fit_twice_equals_fit_once_and_parameters_stay():
    maps, responses, _, _ = simulate(60)
    model = FactorisedReceptiveField([1.0, 2.0], 3)
    first = model.fit(maps, responses).predict(maps)
    model.fit(maps[:, :2, :3, :3], responses[:, :2])
    np.testing.assert_array_equal(model.fit(maps, responses).predict(maps), first)
    copy = clone(model)
    assert copy.get_params() == model.get_params() and not hasattr(copy, "centres_")
    np.testing.assert_array_equal(copy.fit(maps, responses).predict(maps), first)


def test_one_unit_and_a_constant_unit():
    maps, responses, _, _ = simulate(60)
    model = FactorisedReceptiveField([1.0], 3).fit(maps, responses[:, 0])
    assert model.predict(maps).shape == (60,) and model.centres_.shape == (1, 2)
    model.fit(maps, np.column_stack([responses[:, 0], np.full(60, 2.0)]))
    assert np.isnan(model.cv_scores_[1]) and np.allclose(model.predict(maps)[:, 1], 2)


def test_bad_input_is_refused():
    maps, responses, _, _ = simulate(40)
    model = FactorisedReceptiveField([1.0], 2)
    broken = maps.copy()
    broken[3, 2, 1, 1] = np.nan
    with pytest.raises(DataError, match="X contains NaN"):
        model.fit(broken, responses)
    with pytest.raises(DataError, match="Y contains NaN"):
        model.fit(maps, np.where(np.arange(40)[:, None] == 3, np.nan, responses))
    with pytest.raises(DataError, match="on a grid"):
        model.fit(maps.reshape(40, -1), responses)
    with pytest.raises(DataError, match="do not fill a grid"):
        model.fit(np.zeros((40, 17, 3)), responses)
    with pytest.raises(DataError, match="differ in samples"):
        model.fit(maps, responses[:-1])
    with pytest.raises(DataError, match="sizes of receptive fields"):
        FactorisedReceptiveField([0.0]).fit(maps, responses)
    with pytest.raises(DataError, match="chosen by cross-validation"):
        FactorisedReceptiveField(cv=None, alphas=1.0).fit(maps, responses)
    model.fit(maps, responses)
    with pytest.raises(DataError, match="number of channels"):
        model.predict(maps[:, :3])
    with pytest.raises(DataError, match="another grid"):
        model.predict(maps[:, :, :3])
    with pytest.raises(DataError, match="X contains NaN"):
        model.predict(broken)
    with pytest.raises(DataError, match="number of units"):
        model.score(maps, responses[:, :3])
