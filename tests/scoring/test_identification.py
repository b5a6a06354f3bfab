"""Retrieval and identification against loops over pairs and galleries, with ties, duplicates and blind predictors."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainalign.errors import DataError
from brainalign.scoring.identification import rank_percentiles, retrieval, similarity, two_way_identification

RNG = np.random.default_rng(0)
TRUE = RNG.normal(size=(9, 20))
PREDICTED = TRUE + 2.0 * RNG.normal(size=TRUE.shape)


class FakeLatents:
    """What scoring asks of Latents: ids, at, and a metadata dictionary."""

    def __init__(self, values, ids, meta=None):
        self.values, self.ids, self.meta = values, tuple(ids), meta or {}

    def at(self, ids):
        return self.values[[self.ids.index(i) for i in ids]]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def brute_retrieval(queries: np.ndarray, entries: np.ndarray, size: int, top: int) -> float:
    """Every gallery of `size` that holds the right entry, one after the other (no ties in the data)."""
    hits = []
    for i, query in enumerate(queries):
        for wrong in combinations([j for j in range(len(entries)) if j != i], size - 1):
            better = sum(cosine(query, entries[j]) > cosine(query, entries[i]) for j in wrong)
            hits.append(better < top)
    return float(np.mean(hits))


@pytest.mark.parametrize(("gallery", "top"), [(None, 1), (None, 3), (4, 1), (6, 2)])
@pytest.mark.parametrize("query", ["brain", "stimulus"])
def test_retrieval_equals_all_galleries_written_out(gallery, top, query) -> None:
    pair = (PREDICTED, TRUE) if query == "brain" else (TRUE, PREDICTED)
    score = retrieval(PREDICTED, TRUE, query=query, gallery=gallery, top=top)
    assert score.value == pytest.approx(brute_retrieval(*pair, gallery or 9, top), abs=1e-12)
    assert score.chance == top / (gallery or 9)
    assert score.low <= score.value <= score.high
    assert score.n == 9


@pytest.mark.parametrize("fixed", ["predicted", "true"])
def test_two_way_equals_all_pairs_written_out(fixed) -> None:
    fixed_side, varied = (PREDICTED, TRUE) if fixed == "predicted" else (TRUE, PREDICTED)
    wins = [
        np.corrcoef(fixed_side[i], varied[i])[0, 1] > np.corrcoef(fixed_side[i], varied[j])[0, 1]
        for i in range(9)
        for j in range(9)
        if i != j
    ]
    assert two_way_identification(PREDICTED, TRUE, fixed=fixed).value == pytest.approx(np.mean(wins), abs=1e-12)


def test_within_and_group_limit_the_pairs() -> None:
    within, group = np.array(list("aaaabbbbb")), np.array([0, 0, 1, 1, 2, 2, 3, 4, 5])
    wins = [
        np.corrcoef(PREDICTED[i], TRUE[i])[0, 1] > np.corrcoef(PREDICTED[i], TRUE[j])[0, 1]
        for i in range(9)
        for j in range(9)
        if within[i] == within[j] and group[i] != group[j]
    ]
    score = two_way_identification(PREDICTED, TRUE, within=within, group=group)
    assert score.value == pytest.approx(np.mean(wins), abs=1e-12)
    assert score.n == 6
    assert f"{len(wins)} ordered pairs" in score.how


def test_rank_percentiles_average_to_two_way_identification() -> None:
    ranks = rank_percentiles(PREDICTED, TRUE)
    assert ranks.shape == (9,)
    assert ranks.mean() == pytest.approx(two_way_identification(PREDICTED, TRUE).value, abs=1e-12)


@pytest.mark.parametrize("constant", [np.zeros(300), np.ones(300), RNG.normal(size=300)])
@pytest.mark.parametrize("query", ["brain", "stimulus"])
def test_a_constant_predictor_scores_exactly_chance(constant, query) -> None:
    true = np.random.default_rng(1).normal(size=(57, 300)).astype(np.float32)
    blind = np.tile(constant, (57, 1)).astype(np.float32)
    for size, top in [(None, 1), (None, 5), (20, 3)]:
        score = retrieval(blind, true, query=query, gallery=size, top=top)
        assert score.value == pytest.approx(score.chance, abs=1e-12)
    assert rank_percentiles(blind, true, query=query).mean() == pytest.approx(0.5, abs=1e-12)


def test_duplicates_in_the_gallery_share_the_credit() -> None:
    true = np.vstack([TRUE, TRUE[:1]])
    score = retrieval(true, true)
    assert score.value == pytest.approx((8 + 2 * 0.5) / 10, abs=1e-12)
    assert two_way_identification(true, true).value == pytest.approx((90 - 2 * 0.5) / 90, abs=1e-12)
    assert two_way_identification(true, true, group=[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]).value == 1.0


def test_shuffled_predictions_are_at_chance() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=(400, 30))
    predicted = true + rng.normal(size=true.shape)
    shuffled = predicted[rng.permutation(400)]
    assert retrieval(predicted, true, gallery=50).value > 0.5
    assert two_way_identification(predicted, true).low > 0.9
    for score in (retrieval(shuffled, true, gallery=50), two_way_identification(shuffled, true)):
        assert score.low < score.chance < score.high


def test_interval_covers_the_value_of_the_population() -> None:
    def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        true = rng.normal(size=(n, 8))
        return true + 2.0 * rng.normal(size=true.shape), true

    population = rank_percentiles(*draw(3000, 1000)).mean()
    scores = [two_way_identification(*draw(40, seed)) for seed in range(100)]
    assert 85 <= sum(score.low <= population <= score.high for score in scores) <= 99


def test_latents_are_joined_by_id_and_bring_their_split() -> None:
    ids = [f"s{i}" for i in range(9)]
    order = np.random.default_rng(3).permutation(9)
    predicted = FakeLatents(PREDICTED[order], [ids[i] for i in order], {"split": {"hash": "abc"}})
    gallery = FakeLatents(np.vstack([TRUE, TRUE]), ids + [f"other{i}" for i in range(9)])
    score = retrieval(predicted, gallery)
    assert score.value == pytest.approx(retrieval(PREDICTED, TRUE).value, abs=1e-12)
    assert (score.split, score.chance) == ("abc", 1 / 9)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(1, 3), st.integers(0, 1000))
def test_ties_of_coarse_predictions_average_over_fair_draws(n, levels, seed) -> None:
    rng = np.random.default_rng(seed)
    true = np.eye(n)
    predicted = rng.integers(0, levels + 1, (n, n)).astype(float)
    expected = []
    for i in range(n):
        own, others = predicted[i, i], np.delete(predicted[i], i)
        expected.append((1 / (1 + np.sum(others == own))) * (not np.any(others > own)))
    assert retrieval(predicted, true).value == pytest.approx(np.mean(expected), abs=1e-9)


def test_similarity_in_blocks_of_features(monkeypatch) -> None:
    expected = np.corrcoef(PREDICTED, TRUE)[:9, 9:]
    monkeypatch.setattr("brainalign.scoring.cosine._FEATURES_PER_BLOCK", 7)
    np.testing.assert_allclose(similarity(PREDICTED, TRUE, kind="correlation"), expected, atol=1e-12)
    spatial = similarity(PREDICTED.reshape(9, 5, 4), TRUE.reshape(9, 5, 4))
    np.testing.assert_allclose(spatial[2, 3], cosine(PREDICTED[2], TRUE[3]), atol=1e-12)


def test_rows_go_through_in_blocks(monkeypatch) -> None:
    expected = two_way_identification(PREDICTED, TRUE), retrieval(PREDICTED, TRUE, gallery=5)
    monkeypatch.setattr(
        "brainalign.scoring.identification.row_blocks", lambda n, _: (slice(i, min(i + 2, n)) for i in range(0, n, 2))
    )
    again = two_way_identification(PREDICTED, TRUE), retrieval(PREDICTED, TRUE, gallery=5)
    for first, second in zip(expected, again):
        np.testing.assert_allclose([first.value, *first.ci], [second.value, *second.ci], atol=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected: \(8, 20\)"):
        retrieval(PREDICTED, TRUE[:8])
    with pytest.raises(DataError, match="'brain' or 'stimulus'"):
        retrieval(PREDICTED, TRUE, query="forward")
    with pytest.raises(DataError, match="gallery <= 9"):
        retrieval(PREDICTED, TRUE, gallery=300)
    with pytest.raises(DataError, match="predicted contains NaN"):
        retrieval(np.where(PREDICTED > 2, np.nan, PREDICTED), TRUE)
    with pytest.raises(DataError, match="one side has stimulus ids"):
        retrieval(FakeLatents(PREDICTED, range(9)), TRUE)
    with pytest.raises(DataError, match="occurs twice"):
        retrieval(FakeLatents(PREDICTED, [0] * 9), FakeLatents(TRUE, range(9)))
    with pytest.raises(DataError, match="no pair is left"):
        two_way_identification(PREDICTED, TRUE, within=np.arange(9))


def test_retrieval_within_groups_equals_a_loop_over_groups():
    rng = np.random.default_rng(5)
    group = rng.permutation(np.repeat([0, 1, 2], [6, 7, 9]))
    true = rng.standard_normal((22, 5))
    predicted = true + 2.0 * rng.standard_normal((22, 5))
    hits, chances = [], []
    for row in range(22):
        entries = np.flatnonzero(group == group[row])
        cosine = [
            predicted[row] @ true[one] / np.linalg.norm(predicted[row]) / np.linalg.norm(true[one]) for one in entries
        ]
        order = entries[np.argsort(-np.array(cosine))]
        hits.append(row in order[:2])
        chances.append(2 / len(entries))
    score = retrieval(predicted, true, top=2, within=group)
    assert score.value == pytest.approx(np.mean(hits))
    assert score.chance == pytest.approx(np.mean(chances))
    assert "6 to 9" in score.name
    percentiles = rank_percentiles(predicted, true, kind="cosine", within=group)
    assert np.mean(percentiles) > 0.5
    with pytest.raises(DataError, match="gallery"):
        retrieval(predicted, true, gallery=7, within=group)


def test_out_of_fold_predictions_of_noise_are_at_chance_within_folds_and_below_across():
    """A predictor that gives each fold the mean of what it was trained on leans away from what it is tested on."""
    rng = np.random.default_rng(0)
    across, within = [], []
    for _ in range(20):
        true = rng.standard_normal((40, 6))
        fold = np.arange(40) % 4
        means = np.stack([true[fold != number].mean(axis=0) for number in range(4)])
        predicted = means[fold] + 0.05 * rng.standard_normal((40, 6))
        across.append(two_way_identification(predicted, true).value)
        within.append(two_way_identification(predicted, true, within=fold).value)
    assert np.mean(across) < 0.45
    assert np.mean(within) == pytest.approx(0.5, abs=0.03)
