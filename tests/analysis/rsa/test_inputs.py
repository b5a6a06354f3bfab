"""Awkward but sound input gives the numbers of plain input and is left as it was; bad input gives one clear error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from brainalign.analysis import relative, rsa
from brainalign.analysis.factorisation import find_concepts, label_alignment, participation_ratio
from brainalign.analysis.rsa.bootstrap import BOOTSTRAP_METHODS
from brainalign.analysis.rsa.compare import METHODS
from brainalign.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 9, (12, 6)).astype(float)
LABELS, RUNS = np.tile(np.arange(4), 3), np.repeat(np.arange(3), 4)
RDMS = RNG.integers(1, 500, (4, 66)).astype(float)
MODELS = RNG.random((3, 66))

FUNCTIONS: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    **{
        f"rdm {m}": (lambda x, m=m: rsa.rdm(x, metric=m), X)
        for m in ("correlation", "euclidean", "sqeuclidean", "cosine", "mahalanobis", "poisson")
    },
    **{
        f"rdm {m}": (lambda x, m=m: rsa.rdm(x, metric=m, labels=LABELS, groups=RUNS), X)
        for m in ("crossnobis", "poisson_cv")
    },
    **{f"compare {m}": (lambda x, m=m: rsa.compare(x, MODELS, method=m), RDMS) for m in METHODS},
    **{f"compare with {m}": (lambda x, m=m: rsa.compare(MODELS, x, method=m), RDMS) for m in METHODS},
    **{
        f"evaluate {m}": (lambda x, m=m: rsa.evaluate(x, MODELS, method=m, n_draws=3).standard_error, RDMS)
        for m in BOOTSTRAP_METHODS
    },
    "evaluate fitted": (lambda x: rsa.evaluate_fitted(x, {"a": MODELS}, n_draws=2).subject_scores, RDMS),
    "permutation": (lambda x: rsa.permutation_test(x, MODELS, n_permutations=3).scores, RDMS),
    "groups": (lambda x: rsa.compare_groups(x, x, MODELS, n_permutations=3).differences, RDMS),
    "fit": (lambda x: rsa.fit_weights(x, MODELS), RDMS),
    "cross-validated fit": (lambda x: rsa.crossvalidated_fit(x, MODELS)[0], RDMS),
    "partial": (lambda x: rsa.partial_correlation(x, MODELS), RDMS),
    "rgtm": (rsa.rgtm, RDMS),
    "rgdm": (lambda x: rsa.rgdm(x).distances, RDMS),
    "adaptive": (lambda x: rsa.adaptive_dependence(x, MODELS[0], n_permutations=2).statistic, RDMS[0]),
    "noise": (rsa.noise_covariance, X),
    "residuals": (lambda x: rsa.condition_residuals(x, LABELS)[0], X),
    "cka": (lambda x: rsa.cka(x, X, debiased=True), X),
    "rbf": (lambda x: rsa.cka(x, X, kernel="rbf"), X),
    "procrustes": (lambda x: rsa.procrustes(x, X[:, :4]), X),
    "neighbours": (lambda x: rsa.mutual_knn(x, X[:, :4], k=3), X),
    "movie": (lambda x: rsa.rdm_movie(x, times=np.arange(2) / 2, window=0.5)[0], X.reshape(6, 6, 2)),
    "square": (rsa.to_square, RDMS),
    "condensed": (rsa.from_square, rsa.to_square(RDMS)),
    "identify": (lambda x: rsa.identify_regions(x).confusion, RDMS.reshape(2, 2, 66)),
    "anchors": (lambda x: relative.to_anchors(x, [0, 1, 4]), X),
    "stitch": (lambda x: relative.stitch(x, X, [0, 1, 2, 3]).value, X),
    "participation": (participation_ratio, X),
    "alignment": (lambda x: label_alignment(x, LABELS), X),
    "concepts": (lambda x: find_concepts(x, 2).amounts, X),
}


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_the_form_of_the_input_does_not_matter(name) -> None:
    function, plain = FUNCTIONS[name]
    expected = function(plain)
    frozen = plain.copy()
    frozen.flags.writeable = False
    forms = {
        "integers": plain.astype(int),
        "list": plain.tolist(),
        "read-only": frozen,
        "column-major": np.asfortranarray(plain),
        "strided": np.repeat(plain, 2, axis=-1)[..., ::2],
        "backwards": plain[..., ::-1].copy()[..., ::-1],
        "other byte order": plain.astype(">f8"),
        "single": plain.astype(np.float32),
    }
    for form, given in forms.items():
        before = np.array(given)
        # Single precision may order near ties of a distance in another way, but is never far off.
        tolerance = {"rtol": 1e-3, "atol": 5e-3} if form == "single" else {"rtol": 1e-9, "atol": 1e-9}
        np.testing.assert_allclose(function(given), expected, err_msg=form, **tolerance)
        np.testing.assert_array_equal(np.array(given), before, err_msg=form)


HOLES, INFINITE = RDMS.copy(), RDMS.copy()
HOLES[0, 3], INFINITE[0, 3] = np.nan, np.inf


def drawn(n_subjects: int = 4, n_stimuli: int = 12) -> rsa.Resamples:
    return rsa.Resamples.draw(5, n_subjects=n_subjects, n_stimuli=n_stimuli)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rsa.compare(RDMS[:, :1], MODELS[:, :1]), "at least 3"),
        (lambda: rsa.compare(INFINITE, MODELS, method="pearson"), "finite distances"),
        (lambda: rsa.compare(RDMS, MODELS, method="whitened_cosine", noise_covariance=np.ones((12, 12))), "singular"),
        (lambda: rsa.evaluate(HOLES, MODELS), "NaN"),
        (lambda: rsa.evaluate(RDMS, MODELS[:, :55]), "same pairs"),
        (lambda: rsa.evaluate(RDMS, MODELS, n_draws=0), "needs draws"),
        (lambda: rsa.bootstrap_scores(HOLES, MODELS, drawn()), "NaN"),
        (lambda: rsa.bootstrap_scores(RDMS, MODELS[:, :55], drawn()), "different pairs"),
        (lambda: rsa.bootstrap_scores(RDMS, MODELS, drawn(n_subjects=3)), "something else"),
        (lambda: rsa.bootstrap_scores(RDMS, MODELS, drawn(n_stimuli=11), method="kendall_a"), "something else"),
        (lambda: rsa.bootstrap_scores(RDMS, MODELS, drawn(), factors="rdm"), "'subjects', 'stimuli' or 'both'"),
        (lambda: rsa.permutation_test(RDMS, MODELS, n_permutations=0), "needs permutations"),
        (lambda: rsa.compare_groups(RDMS, RDMS, MODELS, n_permutations=0), "needs permutations"),
        (lambda: rsa.adaptive_dependence(RDMS[0], RDMS[1], n_permutations=0), "needs permutations"),
        (lambda: rsa.rdm([["a", "b"], ["c", "d"]]), "not numeric"),
        (lambda: rsa.rdm(X + 1j), "complex"),
        (lambda: rsa.compare(RDMS + 1j, MODELS), "complex"),
        (lambda: rsa.compare(RDMS.astype(str).tolist(), [["x"] * 66]), "not numeric"),
        (lambda: rsa.noise_covariance(X + 1j), "complex"),
        (lambda: rsa.rdm(X, metric="mahalanobis", noise_precision=np.full((6, 6), np.nan)), "NaN"),
        (lambda: rsa.rdm(X, metric="crossnobis", labels=LABELS, groups=np.zeros(12)), "at least 2 groups"),
        (lambda: rsa.volume_neighbours(np.empty((0, 3)), 2.0), "grid positions"),
        (lambda: rsa.RDMs([[1.0, 2.0, 3.0]], ["a", "a", "b"]), "unique"),
        (lambda: relative.stitch(X, X, list(range(12))), "no anchors"),
    ],
)
def test_bad_input_is_refused(call, message) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_an_infinite_distance_is_the_last_rank() -> None:
    finite = np.where(np.isinf(INFINITE), 1e6, INFINITE)
    np.testing.assert_allclose(rsa.compare(INFINITE, MODELS), rsa.compare(finite, MODELS), atol=1e-14)
