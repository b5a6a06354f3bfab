"""ROI-optimal latents: the weights written out, planted categories found, and none in a shuffled copy."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.encoders import LinearEncoder, roi_optimal
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import simulate_subject

CATEGORY_OF = {"FFA": "people", "PPA": "buildings", "EBA": "animals", "VWFA": "food"}
IDS = [f"s{row}" for row in range(240)]


def subject(seed: int = 0):
    """Pictures of four categories, and a brain with a region for each."""
    rng = np.random.default_rng(seed)
    centres = dict(zip(CATEGORY_OF.values(), rng.standard_normal((4, 16)), strict=True))
    values = np.stack([centres[one] for one in centres for _ in range(60)]) + 0.7 * rng.standard_normal((240, 16))
    about = {name: centre - values.mean(axis=0) for name, centre in centres.items()}
    latents = Latents(values, IDS, space="toy", meta={"model": "m"})
    directions = {roi: about[category] for roi, category in CATEGORY_OF.items()}
    trials, _ = simulate_subject(latents, seed=seed, rois=list(CATEGORY_OF), directions=directions, drift=0.0)
    return latents, trials.average("stimulus_id"), about


def hits(encoder: LinearEncoder, trials, latents: Latents, about: dict) -> int:
    """Regions whose optimal latent is nearest (by angle at the mean) to their own category."""
    best = roi_optimal(encoder, {roi: f"roi == '{roi}'" for roi in CATEGORY_OF}, units=trials)
    moved = best.values - latents.values.mean(axis=0)
    names = list(about)
    unit = np.stack([about[name] / np.linalg.norm(about[name]) for name in names])
    nearest = [names[row] for row in (moved @ unit.T).argmax(axis=1)]
    return sum(found == CATEGORY_OF[roi] for found, roi in zip(nearest, best.ids, strict=True))


def test_each_region_stands_for_its_planted_category_and_for_none_when_shuffled():
    found, shuffled = [], []
    for seed in range(6):
        latents, trials, about = subject(seed)
        found.append(hits(LinearEncoder(cv="loo").fit(trials, latents), trials, latents, about))
        order = np.random.default_rng(seed).permutation(240)
        wrong = Latents(latents.values[order], IDS, space="toy")
        shuffled.append(hits(LinearEncoder(cv="loo").fit(trials, wrong), trials, latents, about))
    assert sum(found) >= 22  # of 24
    assert 1 <= sum(shuffled) <= 13  # chance is 6; 13 or more has p = 0.002


def test_it_is_the_sum_of_weights_renormalised_upon_the_mean():
    latents, trials, _ = subject()
    encoder = LinearEncoder(cv="loo").fit(trials, latents)
    best = roi_optimal(encoder, "roi == 'FFA'", units=trials)
    inside = (trials.units["roi"] == "FFA").to_numpy()
    spread = trials.responses[:, inside].std(axis=0)
    direction = spread @ encoder.fits_["latents"].coef[inside]
    length = np.linalg.norm(best.values[0] - encoder.predict(trials.matrix().mean(axis=0, keepdims=True))[0])
    typical = np.sqrt(((latents.values - latents.values.mean(axis=0)) ** 2).sum(axis=1).mean())
    np.testing.assert_allclose(length, typical, rtol=1e-6)
    moved = best.values[0] - encoder.predict(trials.matrix().mean(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(moved / length, direction / np.linalg.norm(direction), atol=1e-4)
    assert best.space == "toy" and best.meta["model"] == "m" and best.ids == ("roi == 'FFA'",)
    masked = roi_optimal(encoder, inside)
    np.testing.assert_allclose(masked.values, best.values)


def test_several_targets_loaded_and_with_a_norm_of_each(tmp_path):
    latents, trials, _ = subject()
    image = Latents(latents.values.reshape(240, 4, 2, 2), IDS, space="vae")
    encoder = LinearEncoder(cv="loo").fit(trials, {"clip": latents, "vae": image})
    from brainalign.encoders import load_encoder

    loaded = load_encoder(encoder.save(tmp_path / "e"))
    for one in (encoder, loaded):
        best = roi_optimal(one, "roi == 'PPA'", units=trials, norm={"clip": 2.0, "vae": 5.0})
        assert best["vae"].shape == (1, 4, 2, 2) and best["vae"].meta["norm"] == 5.0
        np.testing.assert_allclose(np.linalg.norm(best["clip"].values - latents.values.mean(axis=0)), 2.0, rtol=1e-2)


def test_what_cannot_be_asked_is_refused():
    latents, trials, _ = subject()
    encoder = LinearEncoder(cv="loo").fit(trials, latents)
    with pytest.raises(DataError, match="units are needed"):
        roi_optimal(encoder, "roi == 'FFA'")
    with pytest.raises(DataError, match="is empty"):
        roi_optimal(encoder, "roi == 'V9'", units=trials)
    with pytest.raises(DataError, match="boolean mask of the units"):
        roi_optimal(encoder, np.zeros(trials.n_units, dtype=bool))
    with pytest.raises(DataError, match="not those fitted on"):
        roi_optimal(encoder, "roi == 'FFA'", units=trials.select(units="roi != 'EBA'"))
    with pytest.raises(DataError, match="only a linear encoder"):
        roi_optimal(object(), np.ones(3, dtype=bool))
    with pytest.raises(DataError, match="is not fitted"):
        roi_optimal(LinearEncoder(), np.ones(3, dtype=bool))
