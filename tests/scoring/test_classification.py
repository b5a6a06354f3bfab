"""Class decisions against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from brainalign.errors import DataError
from brainalign.scoring.classification import (
    accuracy,
    auc,
    balanced_accuracy,
    check_classes,
    classification_score,
    clopper_pearson,
    confusion_matrix,
)

RNG = np.random.default_rng(0)
TRUE = RNG.choice(["cat", "face", "house"], 80, p=[0.6, 0.3, 0.1])
PREDICTED = np.where(RNG.random((5, 80)) < 0.5, TRUE, RNG.choice(["cat", "face", "house"], (5, 80)))


@pytest.mark.parametrize(
    ("ours", "oracle"),
    [(accuracy, metrics.accuracy_score), (balanced_accuracy, metrics.balanced_accuracy_score)],
)
def test_accuracies_equal_sklearn_row_by_row(ours, oracle) -> None:
    np.testing.assert_allclose(ours(TRUE, PREDICTED), [oracle(TRUE, row) for row in PREDICTED], atol=1e-12)


def test_confusion_equals_sklearn() -> None:
    ours = confusion_matrix(TRUE, PREDICTED[0])
    np.testing.assert_array_equal(ours, metrics.confusion_matrix(TRUE, PREDICTED[0]))
    assert confusion_matrix(["a"], ["a"], classes=["b", "a"]).tolist() == [[0, 0], [0, 1]]


def test_auc_equals_sklearn_with_ties() -> None:
    positive, scores = RNG.random(60) < 0.3, RNG.integers(0, 8, (4, 60))
    expected = [metrics.roc_auc_score(positive, row) for row in scores]
    np.testing.assert_allclose(auc(positive, scores), expected, atol=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (720, 864)])
def test_clopper_pearson_equals_scipy(k, n) -> None:
    expected = stats.binomtest(k, n).proportion_ci(method="exact")
    np.testing.assert_allclose(clopper_pearson(k, n), expected, atol=1e-9)


def test_score_carries_chance_interval_and_p_value() -> None:
    score = classification_score(TRUE, PREDICTED[0], null=np.linspace(0.2, 0.4, 99))
    assert score.value == pytest.approx(np.mean(PREDICTED[0] == TRUE))
    assert score.ci == clopper_pearson(int(np.sum(PREDICTED[0] == TRUE)), 80)
    assert score.chance == pytest.approx(0.3)
    assert "p = 0.01" in score.how
    majority = classification_score(TRUE, PREDICTED[0]).chance
    assert majority == pytest.approx(max(np.mean(c == TRUE) for c in set(TRUE)))


def test_clustered_interval_is_wider_and_balanced_chance_is_one_over_k() -> None:
    clusters = np.repeat(np.arange(8), 10)
    right = np.repeat(np.random.default_rng(4).random(8) < 0.5, 10)
    true, pred = np.tile([0, 1], 40), np.where(right, np.tile([0, 1], 40), np.tile([1, 0], 40))
    plain, clustered = classification_score(true, pred), classification_score(true, pred, clusters=clusters)
    assert clustered.high - clustered.low > 1.5 * (plain.high - plain.low)
    balanced = classification_score(TRUE, PREDICTED[0], metric="balanced_accuracy")
    assert balanced.chance == pytest.approx(1 / 3)
    assert balanced.low < balanced.value < balanced.high


def test_a_class_without_trials_is_named() -> None:
    with pytest.raises(DataError, match="no trial of class 'chair' in the test part"):
        check_classes(TRUE, ["cat", "chair"], where="the test part")
    with pytest.raises(DataError, match="'house'"):
        classification_score(["cat", "face"], ["cat", "house"])
    with pytest.raises(DataError, match="no trial of class 'True'"):
        auc([False, False], [0.1, 0.2])
    with pytest.raises(DataError, match="single class"):
        check_classes(["cat", "cat"])
    with pytest.raises(DataError, match=r"\(3,\) and \(2,\)"):
        accuracy([1, 2, 3], [1, 2])
