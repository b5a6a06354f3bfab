"""Single-trial estimators against nilearn's own models fitted one trial at a time, and against planted amplitudes."""

from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders.glm import GLMOptions, block_weights, glm_weights, respond, run_weights, trial_regressors

TR, N_VOLUMES, N_VOXELS = 2.0, 120, 12
pytestmark = pytest.mark.filterwarnings("ignore:.*Generation of a mask has been requested")


def make_events(n_trials=16, seed=0, gap=12.0):
    rng = np.random.default_rng(seed)
    onset = 6 + gap * np.arange(n_trials) + rng.uniform(0, 2, n_trials)
    return pd.DataFrame({"onset": onset, "duration": 1.5, "trial_type": rng.permutation(["a", "b", "c", "d"] * 4)})


def make_data(seed=1):
    rng = np.random.default_rng(seed)
    drift = np.cumsum(rng.normal(size=(N_VOLUMES, N_VOXELS)), axis=0)
    return 500 + drift + 3 * rng.normal(size=(N_VOLUMES, N_VOXELS))


def nilearn_effects(data, events, names, *, scaling, **options):
    """Effects of named conditions by nilearn's FirstLevelModel, on an image that holds the data."""
    from nilearn.glm.first_level import FirstLevelModel

    image = nibabel.Nifti1Image(data.T.reshape(3, 4, 1, -1), np.eye(4))
    mask = nibabel.Nifti1Image(np.ones((3, 4, 1), np.int8), np.eye(4))
    model = FirstLevelModel(
        t_r=TR,
        mask_img=mask,
        noise_model="ols",
        signal_scaling=0 if scaling else False,
        minimize_memory=True,
        **options,
    )
    model.fit(image, events=events[["onset", "duration", "trial_type"]])
    effects = [model.compute_contrast(name, output_type="effect_size").get_fdata().ravel() for name in names]
    return np.array(effects)


def nilearn_lss(data, events, *, rename_others, **options):
    """The textbook loop: a model per trial, in which only that trial keeps a name of its own."""
    rows = []
    for row in range(len(events)):
        one = events.copy()
        if rename_others:
            one["trial_type"] = "other"
        one.loc[one.index[row], "trial_type"] = "target"
        rows.append(nilearn_effects(data, one, ["target"], **options)[0])
    return np.array(rows)


@pytest.mark.parametrize(("hrf", "drift"), [("spm", "cosine"), ("glover", "polynomial")])
@pytest.mark.parametrize("others", ["one", "trial_type"])
def test_lss_equals_a_loop_of_nilearn_models(hrf, drift, others):
    data, events = make_data(), make_events(n_trials=16).iloc[:8]
    options = GLMOptions(hrf=hrf, drift=drift, drift_order=2, others=others, slice_time_ref=0.5)
    weights = run_weights(events, n_volumes=N_VOLUMES, tr=TR, model="lss", options=options)
    expected = nilearn_lss(
        data,
        events,
        rename_others=others == "one",
        scaling=True,
        hrf_model=hrf,
        drift_model=drift,
        drift_order=2,
        slice_time_ref=0.5,
    )
    np.testing.assert_allclose(respond(weights, data, scale="percent"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["percent", None])
def test_lsa_equals_a_nilearn_model_of_all_trials(scale):
    data, events = make_data(), make_events()
    names = [f"trial{row:02d}" for row in range(len(events))]
    expected = nilearn_effects(
        data,
        events.assign(trial_type=names),
        names,
        scaling=scale is not None,
        hrf_model="spm",
        drift_model="polynomial",
        drift_order=2,  # a run of four minutes
    )
    weights = run_weights(events, n_volumes=N_VOLUMES, tr=TR, model="lsa")
    np.testing.assert_allclose(respond(weights, data, scale=scale), expected, rtol=1e-4, atol=1e-4)


def test_confounds_and_events_that_are_no_trials_are_fitted_along():
    rng = np.random.default_rng(3)
    data, events = make_data(), make_events()
    confounds = rng.normal(size=(N_VOLUMES, 3)) * [1e-4, 1, 1e5]  # scales as far apart as motion and global signal
    design_events = events.assign(trial_type=[f"t{row}" if row < 8 else "rest" for row in range(len(events))])
    from nilearn.glm.first_level import make_first_level_design_matrix

    design = make_first_level_design_matrix(
        np.arange(N_VOLUMES) * TR, design_events, "spm", drift_model="cosine", add_regs=confounds / confounds.std(0)
    )
    expected = np.linalg.lstsq(design.to_numpy(), data, rcond=None)[0]
    expected = expected[[design.columns.get_loc(f"t{row}") for row in range(8)]]
    marked = design_events.assign(is_trial=[True] * 8 + [False] * 8)
    weights = run_weights(
        marked, n_volumes=N_VOLUMES, tr=TR, model="lsa", nuisance=confounds, options=GLMOptions(drift="cosine")
    )
    assert len(weights) == 8
    np.testing.assert_allclose(weights @ data, expected, rtol=1e-5, atol=1e-6)


def test_trial_regressors_are_the_columns_of_nilearns_design():
    from nilearn.glm.first_level import make_first_level_design_matrix

    events, times = make_events(), (np.arange(N_VOLUMES) + 0.5) * TR
    named = events.assign(trial_type=[f"{row:02d}" for row in range(len(events))])
    design = make_first_level_design_matrix(times, named, "glover", drift_model=None)
    regressors = trial_regressors(events, times, hrf="glover")
    np.testing.assert_allclose(regressors, design.drop(columns="constant").to_numpy(), atol=1e-12)


def test_block_mean_is_the_mean_of_the_volumes_of_each_block():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 5)) + 100
    events = pd.DataFrame({"onset": [10.0, 50.0, 80.0], "duration": [20.0, 10.0, 20.0], "trial_type": ["a", "b", "a"]})
    options = GLMOptions(drift=None, delay=4.0)
    weights = run_weights(events, n_volumes=60, tr=2.0, model="block", options=options)
    expected = np.stack([data[7:17].mean(0), data[27:32].mean(0), data[42:52].mean(0)]) - data.mean(0)
    np.testing.assert_allclose(respond(weights, data), expected, rtol=1e-4, atol=1e-5)


def test_block_mean_takes_drift_out_first():
    events = pd.DataFrame({"onset": [20.0, 60.0], "duration": 20.0, "trial_type": "a"})
    ramp = np.linspace(0, 50, 60)[:, None]
    options = GLMOptions(drift="polynomial", drift_order=1)
    weights = run_weights(events, n_volumes=60, tr=2.0, model="block", options=options)
    np.testing.assert_allclose(weights @ ramp, 0, atol=1e-9)


def test_weights_ignore_constant_drift_and_confounds():
    rng = np.random.default_rng(5)
    confounds = rng.normal(size=(N_VOLUMES, 4))
    for model in ("lss", "lsa", "block"):
        weights = run_weights(
            make_events().assign(duration=4.0), n_volumes=N_VOLUMES, tr=TR, model=model, nuisance=confounds
        )
        np.testing.assert_allclose(weights @ np.c_[np.ones(N_VOLUMES), confounds], 0, atol=1e-10)


@pytest.mark.parametrize("model", ["lss", "lsa"])
def test_planted_amplitudes_are_recovered_and_shuffled_onsets_find_nothing(model):
    rng = np.random.default_rng(7)
    events = make_events()
    amplitudes = rng.normal(size=(len(events), 200))
    times = np.arange(N_VOLUMES) * TR
    signal = trial_regressors(events, times) @ amplitudes
    noise = rng.normal(size=signal.shape)
    data = 500 + 3 * signal * (noise.std() / signal.std()) + noise
    recovered = respond(run_weights(events, n_volumes=N_VOLUMES, tr=TR, model=model), data)
    shuffled = events.assign(onset=np.roll(events["onset"], 5))
    elsewhere = respond(run_weights(shuffled, n_volumes=N_VOLUMES, tr=TR, model=model), data)
    correlation = np.corrcoef(amplitudes.ravel(), recovered.ravel())[0, 1]
    chance = np.corrcoef(amplitudes.ravel(), elsewhere.ravel())[0, 1]
    assert correlation > 0.9
    assert abs(chance) < 0.2


def test_separate_models_beat_one_model_where_trials_overlap():
    """Mumford et al. 2012: with close events and noise, LSS is the better estimator."""
    rng = np.random.default_rng(11)
    n_trials = 40
    events = pd.DataFrame({"onset": 4 + 4.0 * np.arange(n_trials), "duration": 1.0, "trial_type": "a"})
    times = np.arange(100) * TR
    amplitudes = 1 + rng.normal(size=(n_trials, 300))
    data = trial_regressors(events, times) @ amplitudes
    data += 1.5 * data.std() * rng.normal(size=data.shape)
    scores = {}
    for model in ("lss", "lsa"):
        found = respond(run_weights(events, n_volumes=100, tr=TR, model=model), data)
        scores[model] = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(amplitudes.T, found.T, strict=True)])
    assert scores["lss"] > scores["lsa"] > 0.05


def test_a_trial_alone_in_its_group_has_no_others_to_hold_apart():
    data, events = make_data(), make_events().iloc[:6].assign(trial_type=["a", "b", "b", "b", "b", "b"])
    weights = run_weights(events, n_volumes=N_VOLUMES, tr=TR, options=GLMOptions(others="trial_type", drift="cosine"))
    expected = nilearn_lss(data, events.iloc[:6], rename_others=False, scaling=False, hrf_model="spm")
    np.testing.assert_allclose(weights @ data, expected, rtol=1e-5, atol=1e-6)


def test_percent_scaling_matches_its_definition_and_refuses_centred_data():
    data, events = make_data(), make_events()
    weights = run_weights(events, n_volumes=N_VOLUMES, tr=TR)
    expected = weights @ (100 * (data / data.mean(0) - 1))
    np.testing.assert_allclose(respond(weights, data, scale="percent"), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="no positive mean"):
        respond(weights, data - data.mean(0) - 1, scale="percent")


def test_float32_data_with_a_large_baseline_lose_no_precision():
    data, events = make_data(), make_events()
    weights = run_weights(events, n_volumes=N_VOLUMES, tr=TR)
    raised = (data + 10_000).astype(np.float32)
    np.testing.assert_allclose(respond(weights, raised), weights @ raised.astype(np.float64), rtol=1e-4, atol=1e-5)


class TestRefusals:
    def test_coinciding_trials(self):
        events = make_events()
        events.loc[4, "onset"] = events.loc[3, "onset"]
        with pytest.raises(DataError, match="cannot tell the trials of a run apart"):
            run_weights(events, n_volumes=N_VOLUMES, tr=TR, model="lsa")

    def test_two_coinciding_trials_alone_in_a_run(self):
        events = pd.DataFrame({"onset": [10.0, 10.0], "duration": 1.0, "trial_type": "a"})
        with pytest.raises(DataError, match="cannot be told from the others"):
            run_weights(events, n_volumes=N_VOLUMES, tr=TR, model="lss")

    def test_more_trials_than_volumes(self):
        events = pd.DataFrame({"onset": np.linspace(0, 30, 40), "duration": 1.0, "trial_type": "a"})
        with pytest.raises(DataError, match="40 trials in 25 volumes"):
            run_weights(events, n_volumes=25, tr=TR, model="lsa")

    def test_trial_that_the_end_of_the_run_cuts_off(self):
        events = make_events()
        events.loc[15, "onset"] = (N_VOLUMES - 1) * TR - 0.5
        with pytest.raises(DataError, match="run ends before 1 of 16 trials") as caught:
            run_weights(events, n_volumes=N_VOLUMES, tr=TR)
        assert 'select="onset <' in caught.value.fix

    def test_block_without_volumes(self):
        with pytest.raises(DataError, match="no volume falls into 16 of 16 blocks"):
            run_weights(make_events().assign(duration=0.0), n_volumes=N_VOLUMES, tr=TR, model="block")

    def test_run_without_trials(self):
        with pytest.raises(DataError, match="without trials"):
            run_weights(make_events().assign(is_trial=False), n_volumes=N_VOLUMES, tr=TR)

    def test_unknown_model(self):
        with pytest.raises(DataError, match="Did you mean 'lss'"):
            run_weights(make_events(), n_volumes=N_VOLUMES, tr=TR, model="lls")

    @pytest.mark.parametrize(
        "wrong", [{"hrf": "fir"}, {"drift": "cosin"}, {"others": "all"}, {"scale": "z"}, {"slice_time_ref": 2.0}]
    )
    def test_unknown_options(self, wrong):
        with pytest.raises(DataError, match=next(iter(wrong))):
            GLMOptions(**wrong)


def test_glm_weights_solve_the_normal_equations_they_stand_for():
    rng = np.random.default_rng(2)
    regressors, nuisance, data = rng.normal(size=(50, 6)), rng.normal(size=(50, 3)), rng.normal(size=(50, 4))
    full = np.linalg.lstsq(np.c_[regressors, nuisance], data, rcond=None)[0][:6]
    np.testing.assert_allclose(glm_weights(regressors, nuisance, model="lsa") @ data, full, atol=1e-12)
    separate = [
        np.linalg.lstsq(np.c_[regressors[:, k], np.delete(regressors, k, 1).sum(1), nuisance], data, rcond=None)[0][0]
        for k in range(6)
    ]
    np.testing.assert_allclose(glm_weights(regressors, nuisance) @ data, separate, atol=1e-12)


def test_block_weights_take_out_what_the_basis_spans():
    times = np.arange(10.0)
    basis = np.linalg.qr(np.c_[np.ones(10), times])[0]
    events = pd.DataFrame({"onset": [2.0], "duration": [3.0]})
    np.testing.assert_allclose(block_weights(events, times, basis, delay=0.0) @ basis, 0, atol=1e-12)
