"""NeuroBOLT: its branches against other transforms, what it may see, subjects and disk; planted bands recovered."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.signal import ShortTimeFFT, periodogram

from brainalign.encoders import NeuroBOLT, load_encoder
from brainalign.encoders.neurobolt.bands import BANDS, band_occlusion, band_power
from brainalign.encoders.neurobolt.network import NeuroBOLTNetwork, SpectralBranch
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.learning.blocks import Attention
from brainalign.loaders.ephys.bold import pair_bold
from brainalign.splits import contiguous_folds
from brainalign.trials import Trials
from brainalign.voxelwise.inference import shuffle_test
from brainalign.voxelwise.many import encode_many
from tests.encoders.planted_bold import GAP, SIZES, TRAINING, in_time, recorded

TINY = {
    **{"width": 8, "patch": 10, "depth": 1, "n_heads": 2, "shortest": 5, "n_scales": 2},
    **{"spectral_depth": 1, "spectral_heads": 2, "dropout": 0.0},
}
QUICK = {"n_epochs": 2, "learning_rate": 0.01}
RNG = np.random.default_rng(0)
EEG = RNG.standard_normal((3, 2000))
ONSETS = 4.0 + 0.5 * np.arange(60)


def paired(eeg=EEG, *, bold=None, sfreq=20.0, names=("Cz", "Pz", "Oz"), subject="1", window=2.0):
    bold = np.random.default_rng(1).standard_normal((60, 2)) if bold is None else bold
    return pair_bold((eeg, sfreq), bold, onsets=ONSETS, window=window, channels=names, labels={"subject": subject})


@pytest.fixture(scope="module")
def fitted():
    trials, bold = paired()
    return NeuroBOLT(TINY, gap=4, training=QUICK).fit(trials, bold), trials, bold


# -- the network ------------------------------------------------------------------------------------------------


def test_spectra_are_those_of_torch_and_scipy():
    x = torch.from_numpy(RNG.standard_normal((2, 3, 80)))
    branch = SpectralBranch(3, 80, width=8, n_scales=3, shortest=10, depth=0, n_heads=1)
    assert branch.lengths == [10, 20, 40]
    for length, made in zip(branch.lengths, branch.spectra(x), strict=True):
        options = {"window": torch.ones(length, dtype=x.dtype), "center": False, "return_complex": True}
        theirs = torch.stft(x.flatten(0, 1), length, hop_length=length, **options).abs() / length**0.5
        torch.testing.assert_close(made, theirs.transpose(1, 2).unflatten(0, (2, 3)))
        short = ShortTimeFFT(np.ones(length), hop=length, fs=1.0)
        frames = short.stft(x.numpy(), p0=0, p1=80 // length, k_offset=length // 2)
        np.testing.assert_allclose(made.numpy(), np.abs(frames).swapaxes(2, 3) / length**0.5, atol=1e-10)
    wave = torch.sin(2 * torch.pi * 3 * torch.arange(80) / 20)[None, None]
    assert branch.spectra(wave)[1].argmax(dim=3).unique().tolist() == [3]


def test_linear_attention_is_its_equation():
    torch.manual_seed(0)
    attention = Attention(6, 2, linear=True).double()
    x = torch.randn(1, 5, 6, dtype=torch.float64)
    normed = attention.norm(x)[0]
    shown = torch.tensor([[True, True, False, True, True]])
    hidden = x.clone()
    hidden[0, 2] += 1.0  # what is not shown changes nothing for the others
    for one in (attention.weights(x, x, shown), attention.weights(x, hidden, shown)):
        torch.testing.assert_close(one.sum(dim=3), torch.ones(1, 2, 5, dtype=x.dtype))
        assert (one[..., 2] == 0).all()
    keys, values = attention.to_key_value(normed).chunk(2, dim=1)
    heads = []
    for head in range(2):
        place = slice(3 * head, 3 * head + 3)
        query = attention.to_query(normed)[:, place].softmax(dim=1)
        weight = query @ keys[:, place].softmax(dim=0).T  # each token's weights of all tokens
        torch.testing.assert_close(attention.weights(x, normed[None])[0, head], weight)
        heads.append(weight @ values[:, place])
    torch.testing.assert_close(attention(x)[0], attention.outward(torch.cat(heads, dim=1)))
    with pytest.raises(DataError, match="no causal form"):
        Attention(6, 2, linear=True, causal=True)


def n_parameters(n_channels, n_times, *, width, patch, depth, shortest, n_scales, spectral_depth):
    """By hand: a block is attention (4 w²), a gated layer (12 w²) and two norms without bias (2 w)."""
    block = 16 * width**2 + 2 * width
    made = 8 * -(-patch // 8)
    patches = (8 * 15 + 8) + 2 * (8 * 8 * 3 + 8) + 3 * 16 + (0 if made == width else made * width + width)
    patches += n_channels * width + n_times // patch * width + depth * block + 2 * width
    spectra = n_channels * width + spectral_depth * block + 2 * width
    for length in (shortest * 2**number for number in range(n_scales)):
        n_windows = n_times // length
        spectra += (length // 2 + 1) * width + width + n_windows * (n_times // shortest) + n_times // shortest
    return patches + spectra


@pytest.mark.parametrize(
    "shape, sizes",
    [
        ((26, 3200), {"width": 200, "patch": 200, "depth": 12, "shortest": 100, "n_scales": 4, "spectral_depth": 4}),
        ((3, 40), {"width": 8, "patch": 10, "depth": 1, "shortest": 5, "n_scales": 2, "spectral_depth": 1}),
    ],
)
def test_parameters_and_shapes_follow_from_the_sizes(shape, sizes):
    given = {} if shape[0] == 26 else {**sizes, "n_heads": 2, "spectral_heads": 2}
    network = NeuroBOLTNetwork(*shape, **given)  # the published sizes are the defaults
    assert sum(one.numel() for one in network.parameters()) == n_parameters(*shape, **sizes)
    assert len(network.patches.times) == shape[1] // sizes["patch"]
    if shape[0] == 3:
        assert network(torch.zeros(2, *shape)).shape == (2, 8)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"patch": 16}, "patch does not fit"),
        ({"shortest": 16}, "longest of 2 spectral windows does not fit"),
        ({"n_heads": 3}, "make no network"),
        ({"n_scales": 0}, "make no network"),
        ({"dropout": 1.0}, "make no network"),
        ({"depths": 1}, "unknown size 'depths'"),
    ],
)
def test_sizes_that_make_no_network_are_refused(change, message):
    trials, bold = paired()
    with pytest.raises(DataError, match=message):
        NeuroBOLT(TINY | change, training=QUICK).fit(trials, bold)


# -- what it may see --------------------------------------------------------------------------------------------


def test_the_future_changes_no_prediction(fitted):
    encoder, trials, _ = fitted
    row = 30
    first = int(ONSETS[row] * 20)
    later = EEG.copy()
    later[:, first:] = 1e3
    before = encoder.predict(trials).values
    np.testing.assert_array_equal(encoder.predict(paired(later)[0]).values[: row + 1], before[: row + 1])
    later[:, first - 1] += 1.0
    assert (encoder.predict(paired(later)[0]).values[row] != before[row]).any()


def test_a_view_is_learnt_from_as_an_array_is(fitted):
    encoder, trials, bold = fitted
    other = NeuroBOLT(TINY, gap=4, training=QUICK).fit(np.array(trials.responses), bold.values)
    np.testing.assert_array_equal(other.predict(np.array(trials.responses)), encoder.predict(trials).values)


def test_the_epoch_is_chosen_on_the_last_volumes_behind_a_gap(fitted):
    encoder, trials, bold = fitted
    # Six volumes of 60 are held out, four left out before them: the scales are those of the first fifty.
    mean, spread = encoder.bold_scales_["1"]["latents"]
    np.testing.assert_allclose(mean, bold.values[:50].mean(axis=0))
    np.testing.assert_allclose(spread, bold.values[:50].std(axis=0))
    windows = trials.responses[:50]
    centred = np.abs(windows - windows.mean(axis=(0, 2), keepdims=True))
    np.testing.assert_allclose(encoder.scales_["1"][1][::40], np.percentile(centred, 95, axis=(0, 2)), rtol=1e-5)
    with pytest.raises(LeakageError, match="overlap between train and test"):  # windows of 2 s every half second
        NeuroBOLT(TINY, gap=2, training=QUICK).fit(trials, bold)
    with pytest.raises(DataError, match="a number of volumes"):
        NeuroBOLT(TINY, gap=-1, training=QUICK).fit(trials, bold)


# -- subjects and disk ------------------------------------------------------------------------------------------


def test_subjects_keep_their_units_and_strangers_share(tmp_path):
    (one, bold), scale = paired(), np.array([1.0, 200.0])
    two, other = paired(EEG[:, ::-1] * 3, subject="2", bold=bold.values[::-1] * scale + 500)
    both = Latents(np.concatenate([bold.values, other.values]), bold.ids + other.ids, space="bold")
    encoder = NeuroBOLT(TINY, gap=4, unseen="shared", training=QUICK).fit({"1": one, "2": two}, both)
    found = encoder.predict(two)
    np.testing.assert_allclose(found.values.mean(axis=0), other.values[:50].mean(axis=0), rtol=0.3)
    assert 20 < found.values[:, 1].std() / max(found.values[:, 0].std(), 1e-9) < 2000
    stranger = encoder.predict(paired(subject="3")[0])
    means = [encoder.bold_scales_[name]["latents"] for name in ("1", "2")]
    own = [encoder._run(encoder._features(one.responses, "*"), name, encoder._decode)["latents"] for name in "12"]
    z = (own[0] - means[0][0]) / means[0][1]
    scales = np.mean([one[1] for one in means], axis=0), np.mean([one[0] for one in means], axis=0)
    np.testing.assert_allclose(stranger.values, z * scales[0] + scales[1], rtol=1e-4)
    encoder.save(tmp_path / "model")
    again = load_encoder(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(two).values, found.values)
    with pytest.raises(DataError, match="not fitted on subject '3'"):
        NeuroBOLT(TINY, gap=4, training=QUICK).fit(one, bold).predict(paired(subject="3")[0])


def test_a_subject_with_another_montage_is_taken_in(tmp_path):
    (one, bold), names = paired(), ("Fz", "POz")
    two, other = paired(EEG[:2] * 7, names=names, subject="2", bold=bold.values * 50 + 9)
    encoder = NeuroBOLT(TINY, gap=4, adapter="channels", training=QUICK).fit(one, bold)
    both = encoder.transfer(two, other, training={"n_epochs": 1})
    np.testing.assert_array_equal(both.predict(one).values, encoder.predict(one).values)
    np.testing.assert_allclose(both.bold_scales_["2"]["latents"][0], other.values[:50].mean(axis=0))
    assert both.signals_ == {"1": (3, 40), "2": (2, 40)} and encoder.subjects_ == ("1",)
    both.save(tmp_path / "model")
    np.testing.assert_array_equal(load_encoder(tmp_path / "model").predict(two).values, both.predict(two).values)
    with pytest.raises(DataError, match="other units or times"):
        NeuroBOLT(TINY, gap=4, training=QUICK).fit(
            {"1": one, "2": two},
            Latents(np.concatenate([bold.values, other.values]), bold.ids + other.ids, space="bold"),
        )


def test_other_channels_and_rates_are_refused(fitted):
    encoder, _, bold = fitted
    for other in (paired(names=("Cz", "Pz", "O1"))[0], paired(names=("Pz", "Cz", "Oz"))[0]):
        with pytest.raises(DataError, match="other units or times"):
            encoder.predict(other)
    with pytest.raises(DataError, match="another sampling rate"):
        encoder.predict(paired(sfreq=40.0, window=1.0)[0])
    with pytest.raises(DataError, match="NaN or infinity"):
        broken = paired()[0]
        responses = np.array(broken.responses)
        responses[3, 1, 7] = np.nan
        NeuroBOLT(TINY, gap=4, training=QUICK).fit(broken.with_responses(responses), bold)
    with pytest.raises(DataError, match="windows of channels by times"):
        NeuroBOLT(TINY, training=QUICK).fit(Trials(np.zeros((60, 3)), paired()[0].trials), bold)


# -- bands ------------------------------------------------------------------------------------------------------


def test_band_power_is_that_of_scipy(fitted):
    _, trials, _ = fitted
    bands = {"low": (2.0, 5.0), "high": (5.0, 9.0)}
    made = band_power(trials, bands=bands, step=1.0)
    values = made.values.reshape(60, 2, 3, 2)  # steps, channels, bands
    frequency, density = periodogram(trials.responses[7, 2, :20], 20.0, detrend=False)
    for number, (low, high) in enumerate(bands.values()):
        inside = (frequency >= low) & (frequency < high)
        # A one-sided density counts every frequency twice; a bin is 1 Hz wide.
        assert values[7, 0, 2, number] == pytest.approx(np.log(density[inside].sum() / 2), rel=1e-5)
    for change in ({"step": 0.3}, {"step": 1.0, "bands": {"none": (3.1, 3.9)}}, {"bands": {}}):
        with pytest.raises(DataError, match=r"steps do not fill|holds no frequency"):
            band_power(trials, **change)


def test_lagged_ridge_on_band_power_finds_the_driven_regions_and_their_band():
    trials, bold = recorded()
    targets = Trials(bold.values, trials.trials, pd.DataFrame({"name": bold.meta["rois"]}))
    folds = contiguous_folds(len(trials), n_splits=4, gap=GAP)
    power = band_power(trials)
    scores = encode_many({"": targets}, {"": power}, cv={"": folds}).scores(n_permutations=500, chunk=20)["", ""]
    assert (scores.r[:2] > 0.6).all() and abs(scores.r[2]) < 0.25
    assert (scores.q[:2] < 0.05).all() and scores.p[2] > 0.05
    columns = power.values.reshape(len(power), -1, 4)
    alone = {band: Latents(columns[:, :, number], power.ids, space=band) for number, band in enumerate(BANDS)}
    made = encode_many({"": targets}, alone, cv={"": folds}).scores(n_permutations=0)
    assert [max(BANDS, key=lambda band: made["", band].r[region]) for region in (0, 1)] == ["alpha", "beta"]


# -- planted truth ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_planted_regions_and_bands_are_recovered_and_nothing_from_a_shuffled_copy():
    trials, bold = recorded()
    train, test = in_time(trials)
    encoder = NeuroBOLT(SIZES, gap=GAP, training=TRAINING).fit(train, bold)
    tested = shuffle_test(bold.at(test.stimulus_ids), encoder.predict(test).values, chunk=10)
    assert (tested.statistic[:2] > 0.5).all() and abs(tested.statistic[2]) < 0.3 and (tested.q[:2] < 0.05).all()
    lost = band_occlusion(encoder, test, bold)
    assert max(lost, key=lambda band: lost[band][0]) == "alpha" and max(lost, key=lambda band: lost[band][1]) == "beta"
    shifted = Latents(np.roll(bold.values, len(bold) // 2, axis=0), bold.ids, space="bold", meta=bold.meta)
    nothing = NeuroBOLT(SIZES, gap=GAP, training=TRAINING).fit(train, shifted)
    assert abs(nothing.score(test, shifted)) < 0.25 < tested.statistic[:2].mean() - 0.25


@pytest.mark.slow
def test_a_subject_never_seen_is_predicted_from_the_others():
    people = {name: recorded(name) for name in "1234"}
    ids = [one for _, bold in people.values() for one in bold.ids]
    bold = Latents(np.concatenate([one.values for _, one in people.values()]), ids, space="bold")
    encoder = NeuroBOLT(SIZES, gap=GAP, unseen="shared", training=TRAINING)
    encoder.fit({name: people[name][0] for name in "123"}, bold)
    predicted = encoder.predict(people["4"][0]).values
    r = [np.corrcoef(predicted[:, number], people["4"][1].values[:, number])[0, 1] for number in range(3)]
    assert min(r[:2]) > 0.5 and abs(r[2]) < 0.25
