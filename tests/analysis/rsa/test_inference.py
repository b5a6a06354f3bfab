"""RSA inference: weighted forms against RDMs that are really resampled, coverage by simulation, real subjects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainalign.analysis import rsa
from brainalign.analysis.rsa.bootstrap import bootstrap_scores, two_factor_variance, weighted_gram
from brainalign.errors import DataError
from tests.conftest import real_data

RNG = np.random.default_rng(0)
SIMILARITY = {
    "pearson": lambda a, b: stats.pearsonr(a, b)[0],
    "spearman": lambda a, b: stats.spearmanr(a, b)[0],
    "cosine": lambda a, b: a @ b / np.sqrt((a @ a) * (b @ b)),
    "rho_a": lambda a, b: (
        12
        * np.sum((stats.rankdata(a) - (len(a) + 1) / 2) * (stats.rankdata(b) - (len(a) + 1) / 2))
        / (len(a) ** 3 - len(a))
    ),
}


def resampled(condensed: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The RDM of the drawn conditions, without the pairs of a condition and its own copy."""
    first, second = np.triu_indices(len(drawn), 1)
    real = drawn[first] != drawn[second]
    return rsa.to_square(condensed)[drawn[first[real]], drawn[second[real]]]


@pytest.mark.parametrize("method", list(SIMILARITY))
@pytest.mark.parametrize("ties", [False, True])
def test_weighted_gram_equals_resampled_rdms(method, ties) -> None:
    rdms = RNG.integers(0, 6, (4, 66)).astype(float) if ties else RNG.random((4, 66))
    gram = weighted_gram(rdms, method)
    for seed in range(8):
        drawn = np.random.default_rng(seed).integers(0, 12, 12)
        found = gram(np.bincount(drawn, minlength=12).astype(float))
        if method != "rho_a":
            norm = np.sqrt(np.diag(found))
            found = found / np.outer(norm, norm)
        copies = [resampled(d, drawn) for d in rdms]
        expected = [[SIMILARITY[method](a, b) for b in copies] for a in copies]
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("method", ["pearson", "cosine"])
def test_draws_equal_loops_over_resampled_subjects_and_conditions(method, monkeypatch) -> None:
    subjects, models = RNG.random((5, 45)), RNG.random((2, 45))
    drawn_subjects, drawn_stimuli = RNG.integers(0, 5, (6, 5)), RNG.integers(0, 10, (6, 10))

    def given_weights(n_draws, n, *, seed):
        chosen = drawn_subjects if n == 5 else drawn_stimuli
        yield np.stack([np.bincount(row, minlength=n) for row in chosen]).astype(float)

    monkeypatch.setattr("brainalign.analysis.rsa.bootstrap.bootstrap_weights", given_weights)
    draws = bootstrap_scores(subjects, models, method=method, factors="both", n_draws=6, seed=0)
    similarity = SIMILARITY[method]
    for i, (who, what) in enumerate(zip(drawn_subjects, drawn_stimuli)):
        cases = {"both": (who, what), "subjects": (who, np.arange(10)), "stimuli": (np.arange(5), what)}
        for factor, (people, stimuli) in cases.items():
            brain = [resampled(d, stimuli) for d in subjects]
            model = [resampled(d, stimuli) for d in models]
            scores = [np.mean([similarity(brain[s], m) for s in people]) for m in model]
            unit = [b - b.mean() if method == "pearson" else b for b in brain]
            unit = [b / np.linalg.norm(b) for b in unit]
            lower = np.mean([similarity(unit[s], sum(unit[t] for t in people if t != s)) for s in people])
            np.testing.assert_allclose(draws[factor][i], [*scores, lower], atol=1e-12)


def test_two_factor_variance_equals_rsatoolbox() -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    both, subjects, stimuli = RNG.random((3, 50)) + np.array([[1.0], [0.0], [0.0]])
    expected = toolbox.util.inference_util._dual_bootstrap(np.stack([both, subjects, stimuli]), 7, 20)
    found = two_factor_variance(subjects, stimuli, both, n_subjects=7, n_stimuli=20)
    np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_value_ceiling_and_errors_agree_with_rsatoolbox(method) -> None:
    toolbox = pytest.importorskip("rsatoolbox")
    truth = RNG.random(190)
    subjects, models = truth + 0.5 * RNG.random((6, 190)), np.stack([truth, RNG.random(190)])
    np.random.seed(0)  # noqa: NPY002 - the peer draws from the global generator
    peer = toolbox.inference.eval_bootstrap_pattern(
        [toolbox.model.ModelFixed(str(i), m) for i, m in enumerate(models)],
        toolbox.rdm.RDMs(subjects),
        method={"pearson": "corr"}.get(method, method),
        N=100,
    )
    ours = rsa.evaluate(subjects, models, method=method, bootstrap="stimuli")
    np.testing.assert_allclose(ours.subject_scores.mean(axis=0), rsa.compare(subjects, models, method=method).mean(0))
    np.testing.assert_allclose(ours.standard_error, np.sqrt(peer.model_var), rtol=0.35)
    np.testing.assert_allclose(ours.ceiling, np.mean(peer.noise_ceiling, axis=1), atol=0.03)


def simulate(n_subjects: int, n_stimuli: int, seed: int, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Subjects' RDMs of a stimulus geometry with a part of their own, and the RDM of the shared geometry."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n_stimuli, 6))
    own = rng.normal(size=(n_subjects, n_stimuli, 12))
    patterns = np.concatenate([np.broadcast_to(signal * shared, (n_subjects, n_stimuli, 6)), own], axis=2)
    return rsa.rdm(patterns, metric="sqeuclidean"), rsa.rdm(shared, metric="sqeuclidean")


@pytest.mark.parametrize("bootstrap", ["both", "stimuli", "subjects"])
def test_planted_geometry_is_found_and_a_shuffled_one_is_not(bootstrap) -> None:
    subjects, truth = simulate(8, 20, seed=1)
    order = np.random.default_rng(2).permutation(20)
    shuffled = rsa.from_square(rsa.to_square(truth)[np.ix_(order, order)])
    result = rsa.evaluate(subjects, {"truth": truth, "shuffled": shuffled}, bootstrap=bootstrap, n_draws=400)
    assert result.p_zero[0] < 0.001
    assert result.p_zero[1] > 0.05
    assert result.p_pairs[0, 1] < 0.05
    assert result.p_ceiling[0] > 0.05 > result.p_ceiling[1]
    lower, upper = result.ceiling
    assert lower < result.scores["truth"].value < upper
    assert result.scores["shuffled"].low < 0 < result.scores["shuffled"].high
    assert result.table().index.tolist() == ["truth", "shuffled"]


def test_interval_covers_the_value_of_new_subjects_and_stimuli() -> None:
    def value(n_subjects: int, n_stimuli: int, seed: int) -> float:
        subjects, truth = simulate(n_subjects, n_stimuli, seed)
        return float(rsa.compare(subjects, truth, method="pearson").mean())

    population = np.mean([value(60, 60, 10_000 + seed) for seed in range(5)])
    covered = 0
    for seed in range(60):
        subjects, truth = simulate(6, 16, seed)
        score = rsa.evaluate(subjects, truth, method="pearson", n_draws=200, seed=seed).scores["model0"]
        covered += score.low <= population <= score.high
    assert covered >= 53


def test_unrelated_models_are_rarely_significant() -> None:
    p = []
    for seed in range(60):
        subjects, _ = simulate(6, 16, seed)
        _, other = simulate(6, 16, 500 + seed)
        p.append(rsa.evaluate(subjects, other, method="pearson", n_draws=200).p_zero[0])
    assert np.mean(np.array(p) < 0.05) <= 0.1


def test_same_seed_same_result_and_more_draws_extend_it() -> None:
    subjects, truth = simulate(5, 12, seed=3)
    first, second = (rsa.evaluate(subjects, truth, n_draws=150, seed=4) for _ in range(2))
    assert first.scores == second.scores
    assert first.scores != rsa.evaluate(subjects, truth, n_draws=150, seed=5).scores


def test_one_subject_and_no_bootstrap() -> None:
    subjects, truth = simulate(1, 15, seed=5)
    score = rsa.evaluate(subjects, {"truth": truth}, bootstrap="stimuli").scores["truth"]
    assert score.ceiling is None
    assert "two subjects" in score.why["ceiling"]
    assert score.low < score.value < score.high
    plain = rsa.evaluate(subjects, {"truth": truth}, bootstrap=None)
    assert plain.scores["truth"].ci == (None, None)
    assert np.isnan(plain.p_zero[0])


def test_bad_input_is_refused() -> None:
    subjects, truth = simulate(4, 10, seed=6)
    with pytest.raises(DataError, match="from_square"):
        rsa.evaluate(rsa.to_square(subjects), truth)
    with pytest.raises(DataError, match=r"subject_rdms contains NaN[\s\S]*complete_conditions"):
        rsa.evaluate(np.where(subjects > 40, np.nan, subjects), truth)
    with pytest.raises(DataError, match="constant models: \\['flat'\\]"):
        rsa.evaluate(subjects, {"truth": truth, "flat": np.ones(45)})
    with pytest.raises(DataError, match="bootstrap='stimuli'"):
        rsa.evaluate(subjects[:1], truth)
    with pytest.raises(DataError, match=r"rsa\.compare takes it"):
        rsa.evaluate(subjects, truth, method="kendall_a")
    with pytest.raises(DataError, match="'both', 'stimuli'"):
        rsa.evaluate(subjects, truth, bootstrap="rdm")


@pytest.fixture(scope="module")
def images92() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Subjects' RDMs of EVC and IT, and an RDM of the pixels of the same pictures."""
    from PIL import Image

    folder = real_data("images92")
    areas = {}
    for area in ("EVC", "IT"):
        with np.load(folder / "brain_data" / "92images" / f"fmri_{area}_RDMs.npz") as archive:
            areas[area] = rsa.from_square(archive["Net_RDM"])
    pictures = sorted((folder / "stimuli_data").rglob("image_*.jpg"))
    pixels = np.stack(
        [np.asarray(Image.open(p).convert("RGB").resize((32, 32)), dtype=float).ravel() for p in pictures]
    )
    return areas, rsa.rdm(pixels)


def test_pixels_fit_early_visual_cortex_better_than_it(images92) -> None:
    areas, pixels = images92
    means = np.stack([areas["EVC"].mean(axis=0), areas["IT"].mean(axis=0)])
    evc, it = rsa.compare(means, pixels)
    assert evc > 0.38
    assert 0.2 < it < evc
    result = rsa.evaluate(areas["EVC"], {"pixels": pixels, "IT": means[1]}, n_draws=200)
    assert result.p_zero[0] < 0.001
    order = np.random.default_rng(0).permutation(92)
    shuffled = rsa.from_square(rsa.to_square(pixels)[np.ix_(order, order)])
    assert rsa.evaluate(areas["EVC"], shuffled, n_draws=200).p_zero[0] > 0.05


def test_other_subjects_reach_the_lower_ceiling_of_it(images92) -> None:
    it = images92[0]["IT"]
    value = np.mean([rsa.compare(it[s], np.delete(it, s, axis=0).mean(axis=0)) for s in range(15)])
    assert value == pytest.approx(0.449, abs=0.001)
    evc = images92[0]["EVC"]
    value = np.mean([rsa.compare(evc[s], np.delete(evc, s, axis=0).mean(axis=0)) for s in range(15)])
    assert value == pytest.approx(0.239, abs=0.001)


def test_plot_shows_models_in_the_order_of_the_table() -> None:
    subjects, truth = simulate(4, 10, seed=7)
    result = rsa.evaluate(subjects, {"other": np.arange(45.0), "truth <b>": truth}, n_draws=50)
    ax = result.plot()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["truth <b>", "other"]
    assert [bar.get_height() for bar in ax.patches[-2:]] == result.table()["value"].tolist()
