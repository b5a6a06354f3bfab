"""RSA inference: tests and intervals by simulation and beside rsatoolbox; real subjects."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.analysis import rsa
from brainalign.errors import DataError
from tests.conftest import real_data

RNG = np.random.default_rng(0)


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
        rsa.evaluate(subjects, truth, method="bures_distance")
    with pytest.raises(DataError, match="'both', 'stimuli'"):
        rsa.evaluate(subjects, truth, bootstrap="rdm")
    with pytest.raises(DataError, match="3 or more conditions"):
        rsa.evaluate(subjects[:, :1], truth[:1], bootstrap="subjects")
    with pytest.raises(DataError, match="same pairs"):
        rsa.evaluate(subjects, {})


def test_bootstrap_tests_agree_with_t_and_pairs_are_corrected() -> None:
    subjects, truth = simulate(8, 20, seed=1)
    rng = np.random.default_rng(3)
    models = {"truth": truth, "noisy": truth + rng.normal(scale=15, size=190), "other": rng.random(190)}
    result = rsa.evaluate(subjects, models, method="pearson", bootstrap="stimuli", n_draws=500)
    p = result.tests.p_bootstrap(result.tests.against_zero())
    assert p[0] == pytest.approx(1 / 501)
    assert p[2] > 0.05
    pairs = result.pairs(test="bootstrap", correct="holm")
    assert pairs[["first", "second"]].to_numpy().tolist() == [
        ["truth", "noisy"],
        ["truth", "other"],
        ["noisy", "other"],
    ]
    assert (pairs["q"] >= pairs["p"]).all() and pairs["q"].iloc[1] < 0.05
    smallest = pairs["p"].min()
    assert pairs["q"].min() == pytest.approx(3 * smallest)
    with pytest.raises(DataError, match="'fdr', 'holm'"):
        result.pairs(correct="bonferroni")


def test_whitened_cosine_and_its_ceiling() -> None:
    subjects, truth = simulate(6, 15, seed=8)
    result = rsa.evaluate(subjects, {"truth": truth}, method="whitened_cosine", n_draws=200)
    values = rsa.compare(subjects, truth, method="whitened_cosine")
    assert result.scores["truth"].value == pytest.approx(values.mean())
    vectors = [rsa.to_square(d) for d in subjects]
    centre = np.eye(15) - 1 / 15
    unit = [(centre @ d @ centre / np.linalg.norm(centre @ d @ centre)).ravel() for d in vectors]
    others = [sum(unit) - u for u in unit]
    lower = np.mean([u @ o / np.linalg.norm(o) for u, o in zip(unit, others)])
    upper = np.mean([u @ sum(unit) / np.linalg.norm(sum(unit)) for u in unit])
    np.testing.assert_allclose(result.ceiling, [lower, upper], atol=1e-12)


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
