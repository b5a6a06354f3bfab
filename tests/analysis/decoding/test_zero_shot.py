"""Zero-shot decoding with planted embeddings, an encoder that cheats, and classes that were seen."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge

from brainalign.analysis import zero_shot_decode
from brainalign.errors import DataError, LeakageError

CLASSES = ["cat", "chair", "face", "house", "scissors", "shoe", "bottle", "noise"]
LABELS = np.repeat(CLASSES, 12)
RNG = np.random.default_rng(0)
EMBEDDINGS = {name: RNG.normal(size=5) for name in CLASSES}
TARGETS = np.stack([EMBEDDINGS[name] for name in LABELS])
RESPONSES = TARGETS @ RNG.normal(size=(5, 60)) + 2.0 * RNG.normal(size=(96, 60))


class Lookup(BaseEstimator):
    """Knows the targets of the classes it was trained on, and nothing else."""

    def fit(self, X, Y):
        self.seen_ = np.unique(Y, axis=0)
        return self

    def predict(self, X):
        return self.seen_[np.zeros(len(X), dtype=int)]


def test_nearest_embedding_written_out() -> None:
    predicted = TARGETS + 1.5 * RNG.normal(size=TARGETS.shape)
    result = zero_shot_decode(predicted, EMBEDDINGS, LABELS, trained_on=["dog"])
    expected = []
    for row in predicted:
        angles = [row @ e / np.linalg.norm(row) / np.linalg.norm(e) for e in EMBEDDINGS.values()]
        expected.append(CLASSES[int(np.argmax(angles))])
    assert result.predictions["predicted"].tolist() == expected
    assert result.score.chance == 1 / 8
    assert result.score.n == 8
    assert result.score.value == pytest.approx(result.per_class().mean())
    assert "not declared" not in result.score.how
    assert "not declared" in zero_shot_decode(predicted, EMBEDDINGS, LABELS).score.how


def test_encoder_generalises_to_classes_left_out() -> None:
    result = zero_shot_decode(RESPONSES, EMBEDDINGS, LABELS, encoder=Ridge(10.0))
    assert result.score.low > 0.6
    assert result.score.chance == 0.5
    assert len(result.fold_scores) == 28
    assert np.all(result.confusion.sum(axis=1) == 7 * 12)
    assert np.all(np.diag(result.confusion) > 0)


def test_shuffled_embeddings_and_memorised_targets_are_at_chance() -> None:
    rng = np.random.default_rng(3)
    values = []
    for _ in range(12):
        shuffled = dict(zip(CLASSES, [EMBEDDINGS[c] for c in rng.permutation(CLASSES)]))
        values.append(zero_shot_decode(RESPONSES, shuffled, LABELS, encoder=Ridge(10.0)).score.value)
    assert np.mean(values) == pytest.approx(0.5, abs=0.12)
    assert zero_shot_decode(RESPONSES, EMBEDDINGS, LABELS, encoder=Lookup()).score.value == pytest.approx(0.5)


def test_no_tested_class_is_ever_trained_on() -> None:
    seen = []

    class Recorder(Ridge):
        def fit(self, X, Y):
            seen.append({c for c in CLASSES if np.any(np.all(EMBEDDINGS[c] == Y, axis=1))})
            return super().fit(X, Y)

    result = zero_shot_decode(RESPONSES, EMBEDDINGS, LABELS, encoder=Recorder())
    for fold, trained in enumerate(seen):
        tested = set(result.predictions.loc[result.predictions["fold"] == fold, "true"])
        assert len(tested) == 2
        assert tested | trained == set(CLASSES)
        assert not tested & trained


def test_many_classes_meet_two_others_each() -> None:
    names = [f"class{i:02d}" for i in range(20)]
    embeddings = {name: RNG.normal(size=4) for name in names}
    labels = np.repeat(names, 3)
    X = np.stack([embeddings[name] for name in labels]) + 0.3 * RNG.normal(size=(60, 4))
    first, second = (zero_shot_decode(X, embeddings, labels, encoder=Ridge(), seed=s) for s in (0, 1))
    assert len(first.fold_scores) == 20
    assert np.all(first.confusion.sum(axis=1) == 6)
    assert first.score.value > 0.8
    assert first.score.split != second.score.split


def test_a_seen_class_is_a_leak() -> None:
    with pytest.raises(LeakageError, match=r"2 tested classes were in training: \['cat', 'face'\]"):
        zero_shot_decode(TARGETS, EMBEDDINGS, LABELS, trained_on=["face", "cat", "dog"])


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"no embedding of class \['shoe'\]"):
        zero_shot_decode(TARGETS, {k: v for k, v in EMBEDDINGS.items() if k != "shoe"}, LABELS)
    with pytest.raises(DataError, match="one row per label"):
        zero_shot_decode(TARGETS[:-1], EMBEDDINGS, LABELS)
    with pytest.raises(DataError, match="third class"):
        zero_shot_decode(RESPONSES[:24], EMBEDDINGS, LABELS[:24], encoder=Ridge())
