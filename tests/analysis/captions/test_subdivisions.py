"""Parts of a region: found and stable where planted, not where all units like the same."""

from __future__ import annotations

import numpy as np
import pytest

import brainalign as ba
from brainalign.analysis.captions import caption, caption_clusters, category_scores, subdivide
from brainalign.analysis.concepts import compare_categories, region_difference
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import preferred_directions
from tests.analysis.captions.conftest import CATEGORIES


def people(joint, planted, **options):
    stimuli, latents = joint.pictures(240, prefix="s", seed=1)
    trials, _ = ba.simulate_subject(
        latents,
        stimuli=stimuli,
        rois=dict.fromkeys(planted, 12),
        directions=preferred_directions(latents, stimuli, planted),
        ceiling=(0.2, 0.6),
        silent_share=0.0,
        seed=3,
        **options,
    )
    return latents, trials


def test_two_face_areas_are_told_apart(joint):
    planted = {"FFA": "category == 'face' and colour == 'red'", "OFA": "category == 'face' and colour == 'blue'"}
    latents, trials = people(joint, planted, n_dimensions=1)
    _, bank = joint.pictures(300, prefix="b", seed=3)
    found = subdivide(latents, trials, bank, n_permutations=200)
    truth = (trials.units["roi"] == "OFA").to_numpy()
    same = (found.labels.astype(bool) == truth).mean()
    assert max(same, 1 - same) > 0.85
    assert found.stability > 0.5 and found.p_stable < 0.02 and found.p_differ < 0.02 and found.agrees.mean() > 0.85
    colours = category_scores(found.embeddings, {"red": ["red"], "blue": ["blue"]}, joint.embed)
    more_red = (colours["red"] - colours["blue"]).to_numpy()
    assert np.argmax(more_red) == found.labels[~truth].mean().round()
    said = caption(np.stack([*found.embeddings.values] * 3), bank, lambda rows: ["x"] * len(rows))
    labels = caption_clusters(said, 2)
    assert labels.tolist() in ([0, 1] * 3, [1, 0] * 3)


def test_a_uniform_region_has_no_parts(joint):
    latents, trials = people(joint, {"FFA": "category == 'face'"}, n_dimensions=1)
    _, bank = joint.pictures(300, prefix="b", seed=3)
    found = subdivide(latents, trials, bank, n_permutations=200)
    assert found.p_stable > 0.02 and found.p_differ > 0.02


def test_refusals(joint):
    latents, trials = people(joint, {"FFA": "category == 'face'"})
    _, bank = joint.pictures(30, prefix="b", seed=3)
    with pytest.raises(DataError, match="is empty"):
        subdivide(latents, trials, bank, where="roi == 'PPA'")
    with pytest.raises(DataError, match="parts of a region"):
        subdivide(latents, trials, bank, n_parts=7)


def pictures_of(joint, words, n, seed):
    rows = joint.embed([words] * n) + 0.5 * np.random.default_rng(seed).standard_normal((n, 24))
    return Latents(rows, [f"{words}{row}" for row in range(n)], space="joint")


def test_what_sets_two_regions_apart(joint):
    red, blue = pictures_of(joint, "red face", 12, 0), pictures_of(joint, "blue face", 12, 1)
    contrasts = {"red": ("red", "blue"), "house": ("house", "tool")}
    table = region_difference(red, blue, contrasts, joint.embed, n_permutations=500)
    assert table.loc["embedding", "p"] < 0.01 and table.loc["red", "q"] < 0.01
    assert table.loc["red", "difference"] > 2 * abs(table.loc["house", "difference"])
    turned = region_difference(blue, red, contrasts, joint.embed, n_permutations=500)
    assert np.isclose(turned.loc["red", "difference"], -table.loc["red", "difference"])
    nothing = [
        region_difference(
            pictures_of(joint, "red face", 12, seed), pictures_of(joint, "red face", 12, 1000 + seed), n_permutations=99
        ).loc["embedding", "p"]
        for seed in range(40)
    ]
    assert np.mean(np.array(nothing) < 0.05) < 0.15 and 0.3 < np.mean(nothing) < 0.7
    with pytest.raises(DataError, match="different spaces"):
        region_difference(red, Latents(blue.values, blue.ids, space="x"))
    with pytest.raises(DataError, match="too few"):
        region_difference(red, blue.select(blue.ids[:1]))


def test_categories_of_synthesised_and_natural_pictures(joint):
    texts = Latents(joint.embed(CATEGORIES), CATEGORIES, space="joint")
    mixed = Latents(
        np.concatenate([pictures_of(joint, name, 3, 5).values for name in CATEGORIES]), range(12), space="joint"
    )
    table = compare_categories({"natural": mixed, "made": pictures_of(joint, "face", 12, 6)}, texts)
    table = table.set_index(["pictures", "category"])
    assert table.loc[("made", "face"), "share"] > 0.9 and table.loc[("made", "face"), "p"] < 0.01
    assert table.loc[("natural", "house"), "share"] == 0.25 and np.isnan(table.loc[("natural", "house"), "p"])
    assert table.groupby("pictures")["share"].sum().round(6).eq(1).all()
    with pytest.raises(DataError, match="no pictures"):
        compare_categories({}, texts)
