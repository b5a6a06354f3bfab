"""Fitted models inside the bootstrap, against a loop that resamples, fits and scores RDMs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from brainalign.analysis import rsa
from brainalign.analysis.rsa.crossvalidated import Folds, _components, _cuts, _scores, evaluate_fitted
from brainalign.analysis.rsa.weighted import weighted_gram
from brainalign.errors import DataError
from tests.analysis.rsa.test_bootstrap import SIMILARITY, resampled
from tests.analysis.rsa.test_inference import simulate

RNG = np.random.default_rng(0)


def parts_of_a_geometry(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """RDMs of subjects who weigh three sets of features, and the RDM of each set."""
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(24, 4)) for _ in range(3)]
    parts = np.stack([rsa.rdm(f, metric="sqeuclidean") for f in features])
    noise = rsa.rdm(rng.normal(size=(6, 24, 8)), metric="sqeuclidean")
    return 3 * parts[0] + parts[1] + 0.5 * noise, parts


@pytest.mark.parametrize("method", ["cosine", "pearson"])
@pytest.mark.parametrize("folds", [Folds(2, 1, 1), Folds(2, 2, 2)])
def test_scores_equal_a_loop(method, folds) -> None:
    subjects, parts = parts_of_a_geometry(0)
    n_subjects, n = 6, 24
    stimuli, people = RNG.integers(0, n, (3, n)), RNG.integers(0, n_subjects, (3, n_subjects))
    spans, components = _components({"mixture": parts, "fixed": parts[1]}, subjects.shape[1])
    cuts = _cuts(folds, 0, n_subjects=n_subjects, n_stimuli=n)
    weights = [np.stack([np.bincount(row, minlength=k) for row in rows]) for rows, k in ((stimuli, n), (people, 6))]
    gram = weighted_gram(np.concatenate([subjects, components]), method)
    found = _scores(gram, spans, cuts, {"both": tuple(w.astype(float) for w in weights)})["both"].mean_scores
    centre = (lambda x: x - x.mean()) if method == "pearson" else (lambda x: x)
    for draw in range(3):
        each = []
        for tested, who in cuts:
            train, test = stimuli[draw][~tested[stimuli[draw]]], stimuli[draw][tested[stimuli[draw]]]
            learners = [s for s in people[draw] if who.all() or not who[s]]
            examined = [s for s in people[draw] if who[s]]
            if not examined:
                continue
            unit = [centre(resampled(subjects[s], train)) for s in learners]
            target = sum(u / np.linalg.norm(u) for u in unit)
            theta, _ = nnls(np.stack([centre(resampled(p, train)) for p in parts], axis=1), target)
            mixture = sum(t * resampled(p, test) for t, p in zip(theta, parts))
            models = [mixture, resampled(parts[1], test)]
            each.append(
                [np.mean([SIMILARITY[method](resampled(subjects[s], test), m) for s in examined]) for m in models]
            )
        np.testing.assert_allclose(found[draw, :2], np.mean(each, axis=0), atol=1e-9)


def test_a_mixture_is_found_and_noise_is_not_fitted() -> None:
    subjects, parts = parts_of_a_geometry(1)
    rng = np.random.default_rng(2)
    models = {
        "mixture": parts,
        "first": parts[0],
        "selected": ("selected", parts),
        "interpolated": ("interpolated", parts[:2]),
        "noise": rng.random((6, parts.shape[1])),
    }
    result = evaluate_fitted(subjects, models, method="pearson", n_draws=100)
    value = {name: score.value for name, score in result.scores.items()}
    assert value["mixture"] > value["first"] + 0.02
    assert value["selected"] == pytest.approx(value["first"], abs=1e-12)
    assert value["interpolated"] == pytest.approx(value["mixture"], abs=0.02)
    assert result.p_zero[0] < 0.001 and result.p_zero[4] > 0.05
    assert result.scores["noise"].low < 0 < result.scores["noise"].high
    assert value["mixture"] <= result.ceiling[1]
    np.testing.assert_allclose(result.subject_scores.mean(axis=0), list(value.values()), atol=1e-9)


def test_many_useless_components_do_not_help_on_held_out_conditions() -> None:
    above = []
    for seed in range(12):
        subjects, _ = simulate(5, 16, seed)
        noise = np.random.default_rng(100 + seed).random((10, 120))
        above.append(evaluate_fitted(subjects, {"noise": noise}, method="pearson", n_draws=60).p_zero[0] < 0.05)
    assert np.mean(above) <= 0.2


def test_one_subject_generalises_to_stimuli_and_bad_input_is_refused() -> None:
    subjects, parts = parts_of_a_geometry(3)
    alone = evaluate_fitted(subjects[:1], {"mixture": parts}, n_draws=50)
    assert alone.bootstrap == "stimuli"
    assert alone.scores["mixture"].ceiling is None
    with pytest.raises(DataError, match="rank measures"):
        evaluate_fitted(subjects, {"mixture": parts}, method="spearman")
    with pytest.raises(DataError, match="folds do not fit"):
        evaluate_fitted(subjects, {"mixture": parts}, folds=Folds(9))
    with pytest.raises(DataError, match="'mixture' does not fit"):
        evaluate_fitted(subjects, {"mixture": parts[:, :-1]})
    with pytest.raises(DataError, match="no models"):
        evaluate_fitted(subjects, {})
