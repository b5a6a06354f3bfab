"""The simulated subject: what it says it planted is there, measured by other means."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.loaders.simulated import load_simulated, simulate_subject
from brainalign.scenes import draw_scenes
from brainalign.splits import split
from brainalign.trials import Trials

N_FEATURES = 12


@pytest.fixture(scope="module")
def latents() -> Latents:
    values = np.random.default_rng(1).standard_normal((400, N_FEATURES))
    return Latents(values, [f"picture-{row}" for row in range(400)], space="toy")


@pytest.fixture(scope="module")
def still(latents: Latents):
    """Four repetitions, no drift."""
    return simulate_subject(latents, n_repetitions=4, drift=0.0, rois={"V1": 40, "FFA": 40})


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=0) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)


def variance_between(trials: Trials) -> tuple[np.ndarray, np.ndarray]:
    """Signal and noise variance by one-way analysis of variance, from the definition."""
    by_stimulus = [trials.responses[trials.stimulus_ids == one] for one in np.unique(trials.stimulus_ids)]
    noise = np.mean([rows.var(axis=0, ddof=1) for rows in by_stimulus], axis=0)
    means = np.var([rows.mean(axis=0) for rows in by_stimulus], axis=0, ddof=1)
    return means - noise / len(by_stimulus[0]), noise


def test_planted_ceilings_are_recovered(still) -> None:
    trials, truth = still
    signal, noise = variance_between(trials)
    assert np.abs(signal - truth.noise_ceiling).max() < 0.15
    assert np.abs(noise - (1 - truth.noise_ceiling)).max() < 0.15
    assert np.abs(trials.noise_ceiling() - truth.noise_ceiling).max() < 0.1
    assert np.abs(trials.noise_ceiling() - truth.noise_ceiling).mean() < 0.03
    assert np.median(np.abs(trials.ncsnr() - truth.ncsnr)) < 0.06


def test_silent_units_have_no_ceiling(still) -> None:
    trials, truth = still
    silent = truth.ncsnr == 0
    assert silent.sum() == 8  # a tenth of each ROI
    assert trials.noise_ceiling()[silent].max() < 0.08
    assert not np.concatenate(list(truth.weights.values()), axis=1)[:, silent].any()
    assert not truth.signal.values[:, silent].any()


def test_signal_is_latents_times_weights(latents: Latents, still) -> None:
    _, truth = still
    centred = latents.values - latents.values.mean(axis=0)
    expected = centred @ np.concatenate([truth.weights["V1"], truth.weights["FFA"]], axis=1)
    np.testing.assert_allclose(truth.signal.values, expected, atol=1e-5)
    np.testing.assert_allclose(truth.signal.values.var(axis=0), truth.noise_ceiling, atol=1e-5)


def test_each_roi_listens_to_its_own_subspace_and_direction(still) -> None:
    _, truth = still
    for roi, weights in truth.weights.items():
        basis, active = truth.subspaces[roi], np.linalg.norm(weights, axis=0) > 0
        np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-12)
        np.testing.assert_allclose(basis @ (basis.T @ weights), weights, atol=1e-12)
        preferred = truth.directions[roi] @ weights[:, active] / np.linalg.norm(weights[:, active], axis=0)
        assert np.median(preferred) > 0.6
    angles = np.linalg.svd(truth.subspaces["V1"].T @ truth.subspaces["FFA"], compute_uv=False)
    assert angles.max() < 0.999


def test_ridge_finds_the_weights_and_reaches_the_ceiling(latents: Latents, still) -> None:
    trials, truth = still
    train, test = split(trials, test_size=0.25)
    model = RidgeCV(np.logspace(-2, 3, 6)).fit(latents.at(train.stimulus_ids), train.responses)
    planted = np.concatenate([truth.weights["V1"], truth.weights["FFA"]], axis=1)
    clear = truth.noise_ceiling > 0.3
    assert clear.sum() > 20
    assert cosine(model.coef_.T[:, clear], planted[:, clear]).min() > 0.9
    r2 = explained(test, model.predict(latents.at(test.stimulus_ids)))
    assert np.abs(r2 - truth.noise_ceiling).mean() < 0.05
    assert r2[clear].mean() == pytest.approx(truth.noise_ceiling[clear].mean(), abs=0.04)


def test_shuffled_latents_find_nothing(latents: Latents, still) -> None:
    trials, _ = still
    train, test = split(trials, test_size=0.25)
    shuffled = Latents(np.random.default_rng(5).permutation(latents.values), latents.ids, space="shuffled")
    model = RidgeCV(np.logspace(-2, 3, 6)).fit(shuffled.at(train.stimulus_ids), train.responses)
    r2 = explained(test, model.predict(shuffled.at(test.stimulus_ids)))
    assert r2.mean() < 0.01
    assert r2.max() < 0.05


def explained(test: Trials, predicted: np.ndarray) -> np.ndarray:
    residual = ((test.responses - predicted) ** 2).sum(axis=0)
    return 1 - residual / ((test.responses - test.responses.mean(axis=0)) ** 2).sum(axis=0)


def test_drift_lowers_the_ceiling_and_zscore_by_session_restores_it(latents: Latents) -> None:
    trials, truth = simulate_subject(latents, n_repetitions=4, drift=0.5, n_sessions=4, rois={"V1": 60}, silent_share=0)
    raw = np.abs(trials.noise_ceiling() - truth.noise_ceiling).mean()
    scaled = np.abs(trials.zscore("session").noise_ceiling() - truth.noise_ceiling).mean()
    assert raw > 0.07
    assert scaled < 0.6 * raw


def test_drift_returned_is_the_drift_in_the_data(latents: Latents) -> None:
    options = {"n_repetitions": 3, "rois": {"V1": 15}, "n_sessions": 3}
    still, _ = simulate_subject(latents, drift=0.0, **options)
    moving, truth = simulate_subject(latents, drift=0.3, **options)
    for row, session in enumerate((1, 2, 3)):
        here = (moving.trials["session"] == session).to_numpy()
        phase = np.cos(np.pi * (np.arange(here.sum()) + 0.5) / here.sum())[:, None]
        expected = still.responses[here] * truth.drift["gain"][row] + truth.drift["offset"][row]
        expected = expected + phase * truth.drift["slope"][row]
        np.testing.assert_allclose(moving.responses[here], expected, atol=1e-4)


@pytest.mark.parametrize("modality", ["fmri", "eeg", "seeg"])
def test_same_seed_same_subject_and_no_input_is_changed(latents: Latents, modality: str) -> None:
    before = latents.values.copy()
    first, truth = simulate_subject(latents, modality=modality, seed=3, n_repetitions=1)
    second, _ = simulate_subject(latents, modality=modality, seed=3, n_repetitions=1)
    other, _ = simulate_subject(latents, modality=modality, seed=4, n_repetitions=1)
    np.testing.assert_array_equal(first.responses, second.responses)
    assert first.trials.equals(second.trials)
    assert not np.array_equal(first.responses, other.responses)
    np.testing.assert_array_equal(latents.values, before)
    assert truth.signal.ids == latents.ids


def test_a_roi_is_the_same_whatever_else_is_simulated(latents: Latents) -> None:
    _, alone = simulate_subject(latents, rois={"FFA": 20}, n_repetitions=1)
    _, among = simulate_subject(latents, rois={"V1": 30, "FFA": 20}, n_repetitions=5, n_sessions=3)
    np.testing.assert_array_equal(alone.weights["FFA"], among.weights["FFA"])


def test_order_of_latents_does_not_matter_to_the_join(latents: Latents) -> None:
    """Responses follow the id: the regression works with latents stored in any order."""
    trials, truth = simulate_subject(latents, rois={"V1": 10}, ceiling=(0.5, 0.6), silent_share=0)
    reverse = latents.select(latents.ids[::-1])
    predicted = (reverse.at(trials.stimulus_ids) - latents.values.mean(axis=0)) @ truth.weights["V1"]
    r = [np.corrcoef(predicted[:, unit], trials.responses[:, unit])[0, 1] for unit in range(10)]
    assert min(r) > 0.6


def test_test_stimuli_have_their_own_number_of_repetitions(latents: Latents) -> None:
    trials, _ = simulate_subject(latents, n_repetitions=1, test_share=0.1, n_test_repetitions=6, rois={"V1": 5})
    counts = trials.trials.groupby(["split", "stimulus_id"]).size()
    assert len(counts["test"]) == 40
    assert set(counts["test"]) == {6}
    assert set(counts["train"]) == {1}
    train, test = split(trials, by="split")
    assert not set(train.stimulus_ids) & set(test.stimulus_ids)


def test_trials_are_dealt_over_sessions_and_runs(latents: Latents) -> None:
    trials, _ = simulate_subject(latents, n_repetitions=2, n_sessions=2, n_runs=5, rois={"V1": 5})
    sizes = trials.trials.groupby(["session", "run"]).size()
    assert len(sizes) == 10
    assert set(sizes) == {80}
    assert trials.trials.groupby(["session", "run"])["onset"].apply(lambda s: s.is_monotonic_increasing).all()


def test_rois_may_follow_latents_of_their_own(latents: Latents) -> None:
    late = Latents(np.random.default_rng(8).standard_normal((400, 5)), latents.ids[::-1], space="late")
    trials, truth = simulate_subject({"V1": latents, "FFA": late}, n_repetitions=3, drift=0)
    assert {roi: len(weights) for roi, weights in truth.weights.items()} == {"V1": N_FEATURES, "FFA": 5}
    r2 = {}
    train, test = split(trials)
    for name, source in (("V1", latents), ("FFA", late)):
        model = RidgeCV().fit(source.at(train.stimulus_ids), train.responses)
        r2[name] = explained(test, model.predict(source.at(test.stimulus_ids)))
    is_v1 = (trials.units["roi"] == "V1").to_numpy()
    assert r2["V1"][is_v1].mean() > 0.25 > 0.02 > r2["V1"][~is_v1].mean()
    assert r2["FFA"][~is_v1].mean() > 0.25 > 0.02 > r2["FFA"][is_v1].mean()


def test_a_given_direction_is_the_preferred_one(latents: Latents) -> None:
    wanted = np.arange(N_FEATURES, dtype=float)
    _, truth = simulate_subject(latents, rois=["FFA"], directions={"FFA": wanted})
    np.testing.assert_allclose(truth.directions["FFA"], wanted / np.linalg.norm(wanted), atol=1e-12)


def test_voxels_are_compact_clusters_that_go_back_to_the_brain(still) -> None:
    trials, truth = still
    units = trials.units
    assert not units[["i", "j", "k"]].duplicated().any()
    for _, roi in units.groupby("roi"):
        places = roi[["x", "y", "z"]].to_numpy()
        assert np.linalg.norm(places - places.mean(axis=0), axis=1).max() < 14
    image = trials.to_nifti(truth.noise_ceiling)
    world = image.affine @ [*units.loc[3, ["i", "j", "k"]], 1]
    np.testing.assert_allclose(world[:3], units.loc[3, ["x", "y", "z"]].astype(float))
    assert image.get_fdata().sum() == pytest.approx(truth.noise_ceiling.sum(), rel=1e-5)


# -- time-resolved ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["eeg", "seeg"])
def sensors(request, latents: Latents):
    return simulate_subject(latents, modality=request.param, n_repetitions=4, drift=0.0)


def test_nothing_depends_on_the_stimulus_before_the_first_onset(sensors) -> None:
    trials, truth = sensors
    before = trials.times <= min(truth.onsets.values())
    assert before.sum() > 20
    assert not truth.signal.values[:, :, before].any()
    assert (truth.ncsnr[:, before] == 0).all()
    assert trials.noise_ceiling()[:, before].mean() < 0.02


def test_time_resolved_ceilings_are_recovered(sensors) -> None:
    trials, truth = sensors
    measured = trials.noise_ceiling()
    assert np.abs(measured - truth.noise_ceiling).max() < 0.12
    assert np.abs(measured - truth.noise_ceiling).mean() < 0.02
    assert 0.08 < truth.noise_ceiling.max() < 0.75


@pytest.mark.parametrize(
    "modality, source, onset", [("eeg", "temporal", 0.12), ("eeg", "parietal", 0.25), ("seeg", "RI", 0.22)]
)
def test_a_source_begins_at_its_onset(latents: Latents, modality: str, source: str, onset: float) -> None:
    trials, truth = simulate_subject(latents, modality=modality, rois=[source], ceiling=(0.7, 0.7), drift=0)
    assert truth.onsets == {source: onset}
    varies = trials.times[truth.ncsnr.max(axis=0) > 0]
    assert onset < varies[0] <= onset + 1.01 / 100
    best = truth.ncsnr.max(axis=1).argmax()
    measured = trials.noise_ceiling()[best]
    assert measured[trials.times <= onset].max() < 0.15
    assert measured.max() == pytest.approx(0.7, abs=0.05)
    rises = trials.times[measured > 0.3][0]
    assert onset < rises < onset + 0.06


def test_noise_has_a_one_over_f_spectrum_and_unit_scale(latents: Latents) -> None:
    trials, _ = simulate_subject(latents, modality="eeg", n_repetitions=2, drift=0, tmin=-2.0, tmax=0.05)
    quiet = trials.select(times=(-2.0, 0.0)).responses
    assert quiet.std() == pytest.approx(10e-6, rel=0.05)
    power = np.abs(np.fft.rfft(quiet * np.hanning(quiet.shape[2]), axis=2)) ** 2
    frequency = np.fft.rfftfreq(quiet.shape[2], 0.01)
    band = (frequency > 3) & (frequency < 40)
    slope = np.polyfit(np.log(frequency[band]), np.log(power.mean(axis=(0, 1))[band]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.15)


def test_line_noise_stands_out_at_50_hertz(latents: Latents) -> None:
    few = latents.select(latents.ids[:60])
    options = {"modality": "eeg", "n_repetitions": 2, "sfreq": 250.0, "drift": 0}
    power = {}
    for line in (0.0, 1.0):
        trials, _ = simulate_subject(few, line_noise=line, **options)
        spectrum = np.abs(np.fft.rfft(trials.responses, axis=2)).mean(axis=(0, 1))
        frequency = np.fft.rfftfreq(len(trials.times), 1 / 250)
        power[line] = spectrum[np.abs(frequency - 50).argmin()] / np.median(
            spectrum[(frequency > 35) & (frequency < 65)]
        )
        assert trials.responses.var() == pytest.approx((10e-6) ** 2 * (1 + line**2 / 2), rel=0.15)
    assert power[1.0] > 4 > 2 > power[0.0]


def test_eeg_goes_back_to_the_scalp_and_responds_where_its_source_is(latents: Latents) -> None:
    trials, truth = simulate_subject(latents, modality="eeg", rois=["occipital"], n_repetitions=2)
    assert set(truth.weights) == {"occipital"}
    best = trials.units.loc[np.linalg.norm(truth.weights["occipital"], axis=0).argmax()]
    assert best["region"] == "occipital"
    evoked = trials.to_evoked(truth.ncsnr)
    assert evoked.data.shape == (32, 81)
    assert evoked.info["chs"][0]["loc"][:3].any()


def test_only_the_contacts_in_a_source_respond(latents: Latents) -> None:
    trials, truth = simulate_subject(latents, modality="seeg", rois={"RF": 10, "LT": 6}, n_repetitions=1)
    assert trials.units.groupby("shaft").size().to_dict() == {"RF": 10, "LT": 6}
    responsive = truth.ncsnr.max(axis=1) > 0
    assert (responsive == (trials.units["region"] != "white matter").to_numpy()).all()
    assert responsive.sum() == 6


# -- from the spec, and at the door ----------------------------------------------------------------------------------


def test_pictures_travel_with_the_trials() -> None:
    scenes = draw_scenes(30)
    latents = Latents(np.random.default_rng(0).standard_normal((30, 4)), scenes.ids, space="toy")
    trials, _ = simulate_subject(latents, stimuli=scenes, rois=["V1"])
    assert trials.stimuli is not None
    assert trials.stimuli.image(trials.stimulus_ids[0]).size == (64, 64)


def test_the_data_set_named_simulated_loads() -> None:
    from brainalign.specs import DatasetSpec

    spec = DatasetSpec.load("simulated")
    trials, truth = load_simulated(spec, None, n_stimuli=24, model="pixels:8", n_repetitions=2, rois={"V1": 6})
    assert trials.shape == (48, 6)
    assert truth.weights["V1"].shape == (8 * 8 * 3, 6)
    assert trials.stimuli.caption(trials.stimulus_ids[0]).startswith("a ")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"modality": "fmr"}, "Did you mean 'fmri'"),
        ({"n_repetition": 2}, "Did you mean 'n_repetitions'"),
        ({"n_repetitions": 0}, "integers from 1"),
        ({"ceiling": (0.5, 1.0)}, "ceiling"),
        ({"drift": -1.0}, "drift"),
        ({"rois": {"V1": 0}}, "needs a voxel"),
        ({"rois": "V1"}, "list of names"),
        ({"rois": {"V1": 10**6}}, "more voxels"),
        ({"rois": ["V1"], "directions": {"V2": np.ones(N_FEATURES)}}, "unknown ROI 'V2'"),
        ({"rois": ["V1"], "directions": {"V1": np.ones(3)}}, "does not fit its latents"),
        ({"modality": "eeg", "rois": ["occipitl"]}, "Did you mean 'occipital'"),
        ({"modality": "eeg", "rois": {"occipital": 3}}, "list of sources"),
        ({"modality": "seeg", "rois": {"LO": 0}}, "needs a contact"),
        ({"n_runs": 5000}, "fewer trials than runs"),
    ],
)
def test_bad_options_are_refused(latents: Latents, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        simulate_subject(latents, **options)


@pytest.mark.parametrize(
    "values, message",
    [
        (np.ones((20, 4)), "do not vary"),
        (np.ones(20), "a row a stimulus"),
        (np.array([[1.0, np.nan], [2.0, 3.0], [0.0, 1.0]]), "not finite"),
        ({"V1": np.zeros((5, 2)), "FFA": np.eye(5)}, "do not vary"),
    ],
)
def test_bad_latents_are_refused(values, message: str) -> None:
    with pytest.raises(DataError, match=message):
        simulate_subject(values, n_runs=1, n_sessions=1)


def test_latents_of_rois_must_cover_the_same_stimuli(latents: Latents) -> None:
    few = latents.select(latents.ids[:10])
    with pytest.raises(DataError, match="without latents"):
        simulate_subject({"V1": latents, "FFA": few})


def test_regions_driven_by_models_of_their_own(tmp_path):
    options = {"n_stimuli": 30, "rois": {"V1": 5, "FFA": 5}, "n_repetitions": 1, "n_sessions": 1}
    models = {"V1": "pixels:4", "FFA": "pixels:3:grey"}
    trials, truth = load_simulated(None, tmp_path, models=models, **options)
    assert trials.shape == (30, 10)
    assert truth.weights["V1"].shape == (48, 5) and truth.weights["FFA"].shape == (9, 5)
    with pytest.raises(DataError, match="layers of one network or by several models"):
        load_simulated(None, tmp_path, models=models, layers={"V1": "blocks.0"}, **options)
