"""`UnitScores`: ceilings, p, q and intervals against hand-written formulas and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from brainalign.errors import DataError
from brainalign.scoring.resampling import bootstrap_weights
from brainalign.spaces import VolumeSpace
from brainalign.trials import Trials
from brainalign.voxelwise import UnitScores, score_predictions


def measured(
    repetitions: list[int], n_units: int = 8, *, noise: float = 1.0, seed: int = 0
) -> tuple[Trials, np.ndarray]:
    """Trials of stimuli shown unequally often, and the noiseless response to each stimulus."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((len(repetitions), n_units))
    rows = np.repeat(np.arange(len(repetitions)), repetitions)
    table = pd.DataFrame({"stimulus_id": [f"s{row}" for row in rows]})
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask.ravel()[: 2 * n_units : 2] = True
    space = VolumeSpace((4, 4, 4), np.eye(4))
    units = space.units(mask).assign(roi=["V1", "V2"] * (n_units // 2))
    responses = signal[rows] + noise * rng.standard_normal((len(rows), n_units))
    return Trials(responses, table, units, space=space, info={"split": {"hash": "abc"}}), signal


def scores_of(trials: Trials, predicted: np.ndarray, **options) -> UnitScores:
    return score_predictions(predicted, trials, trials.average("stimulus_id"), **options)


def test_r_r2_and_normalised_r_are_their_formulas():
    trials, signal = measured([3] * 20 + [1] * 10)
    guess = signal + 0.3
    scores = scores_of(trials, guess, n_permutations=0)
    average = np.array([trials.responses[trials.stimulus_ids == f"s{row}"].mean(axis=0) for row in range(30)])
    k = (20 / 3 + 10) / 30
    for unit in range(trials.n_units):
        y, f = average[:, unit], guess[:, unit]
        assert scores.r[unit] == pytest.approx(np.corrcoef(y, f)[0, 1])
        assert scores.r2[unit] == pytest.approx(1 - ((y - f) ** 2).sum() / ((y - y.mean()) ** 2).sum())
        spread = [trials.responses[trials.stimulus_ids == f"s{row}", unit] for row in range(20)]
        noise = np.mean([one.var(ddof=1) for one in spread])
        signal_variance = max(trials.responses[:, unit].var(ddof=1) - noise, 0)
        ceiling = signal_variance / (signal_variance + noise * k)
        assert scores.ceiling[unit] == pytest.approx(ceiling)
        assert scores.r_normalised[unit] == pytest.approx(scores.r[unit] / np.sqrt(ceiling))
    assert np.isnan(scores.p).all() and scores.why["p"] == "no permutations asked for"


def test_permutation_p_agrees_with_the_t_distribution_and_q_with_scipy():
    trials, signal = measured([1] * 40, noise=3.0, seed=1)
    scores = scores_of(trials, signal, n_permutations=4000)
    for unit in range(trials.n_units):
        expected = stats.pearsonr(trials.responses[:, unit], signal[:, unit], alternative="greater").pvalue
        error = 4 * np.sqrt(expected * (1 - expected) / 4000) + 0.004
        assert scores.p[unit] == pytest.approx(expected, abs=error)
    np.testing.assert_allclose(scores.q, stats.false_discovery_control(scores.p))
    again = scores_of(trials, signal, n_permutations=4000)
    np.testing.assert_array_equal(again.p, scores.p)


def test_p_is_uniform_when_there_is_nothing():
    trials, _ = measured([1] * 30, seed=2)
    p = []
    for seed in range(40):
        guess = np.random.default_rng(seed).standard_normal((30, 8))
        p.append(scores_of(trials, guess, n_permutations=99, seed=seed).p)
    assert stats.kstest(np.concatenate(p), "uniform").pvalue > 0.001


def test_without_repetitions_the_ceiling_is_absent_and_says_why():
    trials, signal = measured([1] * 20)
    scores = scores_of(trials, signal, n_permutations=0)
    assert np.isnan(scores.ceiling).all() and scores.why["ceiling"] == "no test stimulus was repeated"
    summary = scores.summary()
    assert summary.ceiling is None and summary.why["ceiling"] == "no test stimulus was repeated"


def test_constant_units_score_nan_and_stay_out_of_means():
    trials, signal = measured([2] * 15)
    trials.responses[:, 3] = 1.5
    scores = scores_of(trials, signal, n_permutations=20)
    assert [np.isnan(getattr(scores, name)[3]) for name in ("r", "r2", "p", "q", "ceiling")] == [True] * 5
    others = np.delete(np.arange(8), 3)
    assert np.isfinite(scores.q[others]).all()
    assert scores.summary().value == pytest.approx(scores.r[others].mean())
    assert "1 constant left out" in scores.summary().how
    assert scores.table()["why"].tolist() == ["", "", "", "the responses are constant", "", "", "", ""]
    flat = signal.copy()
    flat[:, 5] = -2.0
    assert scores_of(trials, flat, n_permutations=0).table()["why"][5] == "the prediction is constant"
    trials.responses[:] = 1.5
    nothing = scores_of(trials, signal, n_permutations=20).summary()
    assert nothing.value is None and nothing.why["value"] == "every unit or its prediction is constant"


def test_summary_of_an_area_and_its_interval():
    trials, signal = measured([2] * 25)
    scores = scores_of(trials, signal, n_permutations=0)
    v1 = (trials.units["roi"] == "V1").to_numpy()
    summary = scores.summary("roi == 'V1'", n_draws=2000)
    assert summary.value == pytest.approx(scores.r[v1].mean())
    assert summary.ceiling == pytest.approx(np.sqrt(scores.ceiling[v1]).mean())
    assert (summary.n, summary.split, summary.chance) == (25, "abc", 0.0)
    # An independent bootstrap: resample stimuli, correlate, average.
    average = trials.average("stimulus_id").responses
    rng = np.random.default_rng(7)
    draws = []
    for _ in range(2000):
        rows = rng.integers(0, 25, 25)
        draws.append(np.mean([np.corrcoef(average[rows, u], signal[rows, u])[0, 1] for u in np.flatnonzero(v1)]))
    np.testing.assert_allclose([summary.low, summary.high], np.quantile(draws, [0.025, 0.975]), atol=0.015)
    with pytest.raises(DataError):
        scores.summary("roi == 'V9'")


def test_table_and_nifti_put_each_value_at_its_voxel(tmp_path):
    import nibabel

    trials, signal = measured([2] * 15)
    scores = scores_of(trials, signal, n_permutations=0)
    table = scores.table()
    assert list(table.columns[-8:]) == ["r", "r2", "ceiling", "r_normalised", "p", "q", "p_max", "why"]
    scores.to_nifti(tmp_path / "r.nii.gz")
    volume = nibabel.load(tmp_path / "r.nii.gz").get_fdata()
    for row in table.itertuples():
        assert volume[row.i, row.j, row.k] == pytest.approx(row.r, abs=1e-6)
    assert np.isfinite(volume).sum() == len(table)
    ceiling = scores.to_nifti(value="ceiling").get_fdata()
    assert ceiling[table.i[0], table.j[0], table.k[0]] == pytest.approx(table.ceiling[0], abs=1e-6)
    with pytest.raises(DataError, match="no measure 'rho'"):
        scores.to_nifti(value="rho")
    with pytest.raises(DataError, match="do not come from sensors"):
        scores.to_evoked()
    assert "8 units, 15 stimuli" in repr(scores)


def test_one_stimulus_cannot_be_correlated_over():
    trials, signal = measured([5])
    with pytest.raises(DataError, match="scores need stimuli"):
        scores_of(trials, signal)


# -- intervals ----------------------------------------------------------------------------------------------------


def drawn_rows(n_stimuli: int, n_draws: int, seed: int) -> list[np.ndarray]:
    """The stimuli of each bootstrap draw, written out one by one."""
    weights = np.concatenate(list(bootstrap_weights(n_draws, n_stimuli, seed=seed))).astype(int)
    return [np.repeat(np.arange(n_stimuli), row) for row in weights]


def resampled(trials: Trials, rows: np.ndarray, guess: np.ndarray) -> UnitScores:
    """Scores of a recording in which the drawn stimuli, and all their trials, stand as often as they were drawn."""
    order, names = [], []
    for number, row in enumerate(rows):
        mine = np.flatnonzero(trials.stimulus_ids == f"s{row}")
        order.append(mine)
        names += [f"{number}"] * len(mine)
    copy = Trials(trials.responses[np.concatenate(order)], pd.DataFrame({"stimulus_id": names}), trials.units)
    return scores_of(copy, guess[rows], n_permutations=0)


@pytest.mark.parametrize("value", ["r", "r2", "r_normalised"])
def test_intervals_are_those_of_a_loop_over_resampled_recordings(value):
    trials, signal = measured([3] * 12 + [1] * 4 + [2] * 8, seed=3)
    guess = signal + 0.5
    scores = scores_of(trials, guess, n_permutations=0)
    draws = np.array(
        [getattr(resampled(trials, rows, guess), value) for rows in drawn_rows(24, 80, seed=2)], dtype=float
    )
    low, high = scores.intervals(value, n_draws=80, seed=2)
    expected = np.nanquantile(draws, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([low, high], expected, atol=1e-9)
    summary = scores.summary("roi == 'V1'", value=value, n_draws=80, seed=2)
    v1 = (trials.units["roi"] == "V1").to_numpy() & ~np.isnan(getattr(scores, value))
    assert summary.value == pytest.approx(getattr(scores, value)[v1].mean())
    expected = np.quantile(np.nanmean(draws[:, v1], axis=1), [0.025, 0.975])
    np.testing.assert_allclose([summary.low, summary.high], expected, atol=1e-9)


def test_ceilings_of_summaries_are_of_the_measure():
    trials, signal = measured([3] * 20)
    scores = scores_of(trials, signal, n_permutations=0)
    assert scores.summary().ceiling == pytest.approx(np.sqrt(scores.ceiling).mean())
    assert scores.summary(value="r2").ceiling == pytest.approx(scores.ceiling.mean())
    assert scores.summary(value="r_normalised").ceiling == 1.0


def test_intervals_cover_the_true_correlation():
    """r of two normal variables whose correlation is known, in 300 independent units."""
    rng = np.random.default_rng(0)
    true = 0.6
    y = rng.standard_normal((80, 300))
    guess = true * y + np.sqrt(1 - true**2) * rng.standard_normal(y.shape)
    trials = Trials(y, pd.DataFrame({"stimulus_id": [f"s{row}" for row in range(80)]}))
    low, high = scores_of(trials, guess, n_permutations=0).intervals(n_draws=500)
    assert 0.89 < np.mean((low <= true) & (true <= high)) < 0.98


def test_intervals_are_missing_where_scores_are():
    trials, signal = measured([1] * 20)
    trials.responses[:, 2] = 4.0
    scores = scores_of(trials, signal, n_permutations=0)
    low, high = scores.intervals("r2", n_draws=50)
    assert np.isnan(low[2]) and np.isnan(high[2]) and np.isfinite(np.delete(low, 2)).all()
    low, _ = scores.intervals("r_normalised", n_draws=50)
    assert np.isnan(low).all()
    summary = scores.summary(value="r_normalised", n_draws=50)
    assert summary.value is None and summary.why["value"] == "no test stimulus was repeated"
    with pytest.raises(DataError, match="'ceiling' has no bootstrap"):
        scores.intervals("ceiling")


def test_regions_have_a_score_each():
    trials, signal = measured([2] * 20)
    scores = scores_of(trials, signal, n_permutations=0)
    regions = scores.by_region(n_draws=100)
    assert list(regions) == ["V1", "V2"]
    assert regions["V2"].value == pytest.approx(scores.r[1::2].mean())
    assert regions["V2"].low == scores.summary("roi == 'V2'", n_draws=100).low
    with pytest.raises(DataError, match=r"no units column 'rio'\. Did you mean 'roi'"):
        scores.by_region("rio")


def test_plots_show_each_region_and_its_ceiling():
    trials, signal = measured([2] * 20)
    scores = scores_of(trials, signal, n_permutations=0)
    ax = scores.plot()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["V1", "V2"]
    medians = [line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1]
    for start in (0, 1):
        assert np.median(scores.r[start::2]) in medians
    heights = [path.get_paths()[0].vertices[0, 1] for path in ax.collections]
    np.testing.assert_allclose(heights, [np.sqrt(scores.ceiling[start::2]).mean() for start in (0, 1)])
    over_time = Trials(
        np.stack([trials.responses] * 3, axis=2), trials.trials, trials.units, times=np.array([0.0, 0.1, 0.2])
    )
    ax = scores_of(over_time, np.repeat(signal, 3, axis=1), n_permutations=0).plot(value="r2")
    assert len(ax.lines) == 9 and ax.get_xlabel() == "time (s)"
