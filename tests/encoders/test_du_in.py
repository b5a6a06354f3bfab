"""Du-IN finds the sounds words are spelt in, the region that speaks, and the words; shapes and counts of the paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from brainalign.encoders import DuIN, load_encoder
from brainalign.encoders.du_in.network import DuINNetwork, Sizes
from brainalign.errors import DataError
from brainalign.trials import Trials
from tests.encoders.planted_signals import SEGMENT, spoken

SMALL: dict[str, Any] = {
    **{"n_fused": 4, "segment": SEGMENT, "stride": 5, "n_filters": 8, "n_kept": 4, "depth": 1, "n_heads": 2},
    **{"head_width": 8, "n_codes": 8, "code_width": 4, "hidden": 16, "dropout": 0.0},
    "training": {"n_epochs": 20, "batch_size": 16},
    "stage_training": {"codes": {"n_epochs": 60, "batch_size": 16}, "mask": {"n_epochs": 10}},
}


@pytest.fixture(scope="module")
def fitted() -> DuIN:
    people = {name: spoken(60, int(name), subject=name, n_other=n)[0] for name, n in (("1", 6), ("2", 3))}
    more = spoken(40, 5, subject="1")[0]
    return DuIN(**SMALL).fit(people, unlabelled=more)


def test_words_sounds_and_region_are_found(fitted):
    assert fitted.classes_ == ("ma", "na", "pa", "ta") and fitted.subjects_ == ("1", "2")
    for subject, n_other in (("1", 6), ("2", 3)):
        test, spelt = spoken(40, 30 + int(subject), subject=subject, n_other=n_other)
        assert fitted.score(test) > 0.8
        assert normalized_mutual_info_score(fitted.codes(test).ravel(), spelt.ravel()) > 0.4
        regions = fitted.region_contributions(test)
        assert regions.index[0] == "speech" and regions["total"].sum() == pytest.approx(1, abs=1e-5)
        assert set(fitted.select_channels(test, 4)) == {"S0", "S1", "S2", "S3"}


def test_probabilities_are_joined_by_word_and_classified_by_trial(fitted, tmp_path):
    test, _ = spoken(12, 40)
    predicted = fitted.predict(test)
    np.testing.assert_allclose(predicted.values.sum(axis=1), 1, atol=1e-5)
    assert sorted(predicted.ids) == sorted(set(test.stimulus_ids))
    by_trial = fitted.predict(test.responses, subject="1")
    assert (np.array(fitted.classes_)[by_trial.argmax(axis=1)] == fitted.classify(test)).all()
    word = test.stimulus_ids == "pa"
    np.testing.assert_allclose(predicted.at(["pa"])[0], by_trial[word].mean(axis=0), atol=1e-5)
    fitted.save(tmp_path / "du_in")
    again = load_encoder(tmp_path / "du_in")
    np.testing.assert_array_equal(again.classify(test), fitted.classify(test))
    np.testing.assert_array_equal(again.codes(test), fitted.codes(test))


def test_a_new_subject_joins_by_its_map_alone(fitted):
    few, test = spoken(32, 50, subject="3", n_other=2)[0], spoken(40, 51, subject="3", n_other=2)[0]
    joined = fitted.transfer(few, training={"n_epochs": 50})
    assert joined.score(test) > 0.6 and fitted.subjects_ == ("1", "2")
    old, new = fitted.network_.state_dict(), joined.network_.state_dict()
    shared = [name for name in old if "adapters" not in name and "outward" not in name]
    assert shared and all(torch.equal(old[name], new[name]) for name in shared)
    with pytest.raises(DataError, match="codes were not learnt from subject '3'"):
        joined.codes(test)
    with pytest.raises(DataError, match="words that were not fitted on"):
        fitted.transfer(few.with_trials(label="zu", stimulus_id="zu"))


def test_shuffled_words_are_not_learnt():
    train, test = spoken(60, 1)[0], spoken(60, 2)[0]
    words = np.random.default_rng(0).permutation(train.trials["label"].to_numpy())
    model = DuIN(**SMALL | {"pretraining": "none"}).fit(train.with_trials(label=words, stimulus_id=words))
    assert model.score(test) < 0.25 + 3 * np.sqrt(0.25 * 0.75 / 60)


def test_latents_are_predicted_too():
    train, test = spoken(60, 1)[0], spoken(40, 2)[0]
    truth = dict(zip(("ma", "na", "pa", "ta"), np.eye(4)[:, :3], strict=True))

    def latents(trials: Trials) -> np.ndarray:
        return np.array([truth[word] for word in trials.stimulus_ids])

    training = {"n_epochs": 40, "batch_size": 16}
    model = DuIN(**SMALL | {"pretraining": "none", "training": training}).fit(train.responses, latents(train))
    assert model.classes_ is None and model.score(test.responses, latents(test)) > 0.7
    with pytest.raises(DataError, match="fitted on latents, not on words"):
        model.classify(test)
    with pytest.raises(DataError, match="no codes were learnt"):
        model.codes(test.responses)


def test_shapes_and_counts_of_the_published_sizes():
    given = DuIN.published().get_params()
    sizes = Sizes(**{name: given[name] for name in Sizes.__dataclass_fields__})
    network = DuINNetwork({"1": 10 * 3000}, 3000, {"latents": 61}, sizes)
    x, subject = torch.randn(2, 30000), torch.zeros(2, dtype=torch.long)
    network.eval()
    assert network.backbone(x, subject).shape == (2, 30, 160)
    assert network.heads(x, subject)["latents"].shape == (2, 61)
    autoencoder = network.autoencoder
    made = autoencoder(x, subject)
    assert made["index"].shape == (2, 30) and autoencoder.quantiser.codes.shape == (2048, 64)
    fused = autoencoder.to_segment(torch.randn(3, 160, 1))
    assert fused.shape == (3, 16, 100)

    def count(module: torch.nn.Module) -> int:
        return sum(one.numel() for one in module.parameters())

    convolutions = (16 * 19 + 1) * 128 + (128 * 3 + 1) * 128 + (128 * 3 + 1) * 16 + 2 * (128 + 128 + 16)
    block = 160 * 3 * 512 + 512 * 160 + (160 + 1) * 320 + (320 + 1) * 160 + 4 * 160
    assert count(network.backbone) == (10 + 1) * 16 + convolutions + 160 + 8 * block
    assert count(network.head) == (30 * 160 + 1) * 128 + (128 + 1) * 61
    assert count(network.to_codes) == (160 + 1) * 2048
    # The published total, 4.38 M, is of a head over 4 s, the length that the public code gives all stages.
    longer = DuINNetwork({"1": 10 * 4000}, 4000, {"latents": 61}, sizes)
    assert abs(count(longer.backbone) + count(longer.head) - 4.38e6) < 0.01e6
    assert round((count(network.backbone) + count(network.head)) / 1e6, 2) == 4.17


def test_the_autoencoder_counts_only_channels_that_a_subject_has():
    torch.manual_seed(0)
    sizes = Sizes(**{name: DuIN(**SMALL).get_params()[name] for name in Sizes.__dataclass_fields__})
    network = DuINNetwork({"1": 3 * 45, "2": 2 * 45}, 45, {"latents": 2}, sizes).autoencoder.eval()
    x, subject = torch.randn(2, 3 * 45), torch.tensor([0, 1])
    fused = torch.randn(2, 45, 4)
    error = network.error(fused, x, subject)
    for row, n_channels in ((0, 3), (1, 2)):
        guess = network.outward[row](fused[row]).T
        torch.testing.assert_close(error[row], (guess - x[row].view(3, 45)[:n_channels]).square().mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segment": 10}, "no whole number of segments"),
        ({"n_codes": 0}, "these sizes make no network"),
        ({"pretraining": "maks"}, "unknown stage of pretraining 'maks'"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        DuIN(**SMALL | changes).fit(spoken(20, 1)[0])


def test_bad_recordings_are_refused(fitted):
    trials, _ = spoken(20, 1)
    with pytest.raises(DataError, match="one word only"):
        DuIN(**SMALL).fit(trials.with_trials(label="ma"))
    with pytest.raises(DataError, match="labels are missing"):
        DuIN(**SMALL).fit(trials.with_trials(label=[None, *trials.trials["label"][1:]]))
    with pytest.raises(DataError, match="unknown column of the trials"):
        DuIN(**SMALL).fit(trials, "labels")
    slow = Trials(trials.responses, trials.trials, trials.units, times=np.arange(45) / 50)
    with pytest.raises(DataError, match="another sampling rate or other times"):
        DuIN(**SMALL).fit({"1": trials, "2": slow})
    with pytest.raises(DataError, match="another sampling rate or other times"):
        fitted.predict(slow)
    with pytest.raises(DataError, match="another number of channels or times"):
        fitted.predict(trials.responses[:, :, :30], subject="1")
    with pytest.raises(DataError, match="none of them 0"):
        fitted.predict(trials.responses[:, :, :0], subject="1")
    with pytest.raises(DataError, match="other units or times"):
        fitted.predict(trials.select(units=np.arange(5)))
    with pytest.raises(DataError, match="not fitted on subject '9'"):
        fitted.predict(trials.with_trials(subject="9"))
    with pytest.raises(DataError, match="unlabelled signals have another number"):
        DuIN(**SMALL).fit(trials.responses, trials.stimulus_ids.astype(str), unlabelled=trials.responses[:, :5])
