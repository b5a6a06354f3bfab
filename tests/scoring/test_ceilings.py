"""Noise ceilings: the definition written out in loops, planted signal and noise, rsatoolbox, and real RDMs."""

from __future__ import annotations

import numpy as np
import pytest

from brainalign.errors import DataError
from brainalign.scoring.ceilings import correlation_ceiling, ncsnr, noise_ceiling, rdm_ceilings, split_half
from tests.conftest import real_data


def simulate(n_stimuli: int, repetitions: np.ndarray, *, noise_sd: float, n_units: int = 300, seed: int = 0):
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_stimuli, n_units))
    ids = rng.permutation(np.repeat(np.arange(n_stimuli), repetitions))
    return signal, signal[ids] + noise_sd * rng.normal(size=(len(ids), n_units)), ids


def test_ncsnr_is_the_definition_written_out() -> None:
    _, responses, ids = simulate(12, np.array([1, 2, 3, 4] * 3), noise_sd=1.5, n_units=5)
    expected = []
    for unit in responses.T:
        squares, dof = 0.0, 0
        for stimulus in set(ids):
            repeats = unit[ids == stimulus]
            if len(repeats) > 1:
                squares += np.sum((repeats - repeats.mean()) ** 2)
                dof += len(repeats) - 1
        noise = squares / dof
        expected.append(np.sqrt(max(np.var(unit, ddof=1) - noise, 0.0) / noise))
    np.testing.assert_allclose(ncsnr(responses, ids), expected, rtol=1e-12)


@pytest.mark.parametrize("repetitions", [np.full(2000, 3), np.tile([1, 2, 4, 5], 500)])
def test_planted_signal_to_noise_is_recovered(repetitions) -> None:
    _, responses, ids = simulate(2000, repetitions, noise_sd=2.0)
    ratio = ncsnr(responses, ids)
    assert ratio.mean() == pytest.approx(0.5, abs=2.5 * ratio.std() / np.sqrt(len(ratio)) + 1e-3)


def test_ceiling_is_what_the_true_signal_explains_with_unequal_repetitions() -> None:
    repetitions = np.tile([1, 2, 6], 700)
    signal, responses, ids = simulate(2100, repetitions, noise_sd=1.5, n_units=60)
    averaged = np.stack([responses[ids == s].mean(axis=0) for s in range(2100)])
    explained = np.square([np.corrcoef(a, s)[0, 1] for a, s in zip(averaged.T, signal.T)])
    ceiling = noise_ceiling(ncsnr(responses, ids), repetitions)
    assert ceiling.mean() == pytest.approx(explained.mean(), abs=0.01)
    np.testing.assert_allclose(correlation_ceiling(ceiling) ** 2, ceiling)


def test_noise_alone_has_no_ceiling() -> None:
    rng = np.random.default_rng(3)
    noise, ids = rng.normal(size=(3000, 200)), np.repeat(np.arange(1000), 3)
    assert np.mean(noise_ceiling(ncsnr(noise, ids), 3)) < 0.03
    assert abs(np.mean(split_half(noise[:600], ids[:600], n_splits=5))) < 0.05


def test_shuffled_ids_lose_the_signal() -> None:
    _, responses, ids = simulate(400, np.full(400, 3), noise_sd=0.5)
    assert np.mean(ncsnr(responses, ids)) > 1.8
    assert np.mean(ncsnr(responses, np.random.default_rng(0).permutation(ids))) < 0.25


@pytest.mark.parametrize(("s", "repeats", "expected"), [(0.0, 3, 0.0), (np.inf, 1, 1.0), (2.0, [1], 0.8)])
def test_noise_ceiling_ends(s, repeats, expected) -> None:
    assert noise_ceiling(s, repeats) == pytest.approx(expected)


def test_time_resolved_and_constant_units() -> None:
    _, responses, ids = simulate(50, np.full(50, 2), noise_sd=1.0, n_units=6)
    responses[:, 4] = 3.0
    flat, shaped = ncsnr(responses, ids), ncsnr(responses.reshape(100, 2, 3).astype(np.float32), ids)
    assert shaped.shape == (2, 3)
    np.testing.assert_allclose(shaped.ravel(), flat, rtol=1e-5)
    assert np.flatnonzero(np.isnan(flat)).tolist() == [4]
    assert np.isnan(noise_ceiling(flat, 2)[4])


def test_memory_mapped_responses_in_blocks(tmp_path, monkeypatch) -> None:
    _, responses, ids = simulate(40, np.full(40, 2), noise_sd=1.0, n_units=50)
    np.save(tmp_path / "responses.npy", responses)
    mapped = np.load(tmp_path / "responses.npy", mmap_mode="r")
    expected = ncsnr(responses, ids), split_half(responses, ids)
    monkeypatch.setattr(
        "brainalign.scoring.ceilings.row_blocks", lambda n, _: (slice(i, i + 7) for i in range(0, n, 7))
    )
    np.testing.assert_allclose(ncsnr(mapped, ids), expected[0], rtol=1e-12)
    np.testing.assert_allclose(split_half(mapped, ids), expected[1], rtol=1e-12)


def test_split_half_agrees_with_the_variance_ceiling() -> None:
    _, responses, ids = simulate(1500, np.full(1500, 4), noise_sd=2.0, n_units=80)
    expected = 1.0 / (1.0 + 4.0 / 4)
    assert split_half(responses, ids, n_splits=4).mean() == pytest.approx(expected, abs=0.02)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="each shown once"):
        ncsnr(np.zeros((3, 2)), ["a", "b", "c"])
    with pytest.raises(DataError, match=r"4 rows[\s\S]*\(3, 2\)"):
        ncsnr(np.zeros((3, 2)), ["a", "b", "c", "a"])
    with pytest.raises(DataError, match="NaN"):
        ncsnr(np.array([[1.0], [np.nan]]), ["a", "a"])
    with pytest.raises(DataError, match="smallest 0"):
        noise_ceiling(1.0, [2, 0])
    with pytest.raises(DataError, match="at least 3"):
        split_half(np.zeros((4, 1)), ["a", "a", "b", "b"])


@pytest.mark.parametrize("method", ["spearman", "pearson", "cosine", "rho_a"])
def test_rdm_ceilings_equal_rsatoolbox(method) -> None:
    rsatoolbox = pytest.importorskip("rsatoolbox")
    rng = np.random.default_rng(4)
    rdms = rng.random((5, 45)) + 2 * rng.random(45)
    name = {"pearson": "corr", "rho_a": "rho-a"}.get(method, method)
    expected = rsatoolbox.inference.noise_ceiling.boot_noise_ceiling(rsatoolbox.rdm.RDMs(rdms), method=name)
    np.testing.assert_allclose(rdm_ceilings(rdms, method=method), expected, atol=1e-12)


def test_lower_rdm_ceiling_leaves_the_subject_out() -> None:
    rng = np.random.default_rng(5)
    lower, upper = rdm_ceilings(rng.normal(size=(6, 2000)), method="pearson")
    assert abs(lower) < 0.05
    assert upper > 0.35


@pytest.mark.parametrize(("area", "yardstick"), [("IT", 0.449), ("EVC", 0.239)])
def test_real_rdms_have_their_known_reliability(area, yardstick) -> None:
    path = real_data("images92") / "brain_data" / "92images" / f"fmri_{area}_RDMs.npz"
    with np.load(path) as archive:
        rdms = archive["Net_RDM"][:, *np.triu_indices(92, 1)]
    lower, upper = rdm_ceilings(rdms)
    # The yardstick averages raw RDMs; averaging ranks is a little better.
    assert lower == pytest.approx(yardstick, abs=0.005)
    assert lower < upper
