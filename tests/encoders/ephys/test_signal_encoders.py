"""Encoders of signals: what was planted is found, subjects are told apart, and what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from brainalign.encoders import ATM, EEGNet, ShallowConvNet, TSConv, load_encoder
from brainalign.encoders.ephys.network import ContrastLoss
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.learning.losses import info_nce
from brainalign.scoring import retrieval
from brainalign.trials import Trials

SIZES = {"n_filters": 8, "kernel": 5, "pool": 9, "dropout": 0.1}
TRAINING = {"n_epochs": 30, "batch_size": 32, "learning_rate": 5e-3}
LATENTS = Latents(np.random.default_rng(7).standard_normal((90, 6)), [f"p{n:02d}" for n in range(90)], space="toy")


def subject(
    name: str, rows: slice = slice(None), *, mixing: int = 0, n_channels: int = 5, noise: float = 0.5
) -> Trials:
    """Latents mixed into channels, each at a latency of its own."""
    rng = np.random.default_rng(mixing)
    weights, peaks = rng.standard_normal((6, n_channels)), rng.integers(8, 25, 6)
    courses = np.exp(-0.5 * ((np.arange(40) - peaks[:, None]) / 3) ** 2)
    ids = np.array(LATENTS.ids)[rows]
    X = np.einsum("nk,kc,kt->nct", LATENTS.values, weights, courses)
    X = (X + noise * np.random.default_rng(int(name)).standard_normal(X.shape))[rows]
    table = pd.DataFrame({"stimulus_id": ids, "subject": name})
    return Trials(1e-6 * X, table, times=np.arange(40) / 100)


@pytest.mark.parametrize(
    "encoder",
    [
        TSConv(SIZES, training=TRAINING),
        ATM(SIZES, {"n_heads": 2}, training=TRAINING),
        EEGNet({"kernel": 9, "pools": (2, 4), "dropout": 0.1}, training=TRAINING),
    ],
    ids=["tsconv", "atm", "eegnet"],
)
def test_pictures_never_seen_are_retrieved_and_a_shuffled_copy_tells_nothing(encoder, tmp_path):
    train, test = subject("1", slice(0, 70)), subject("1", slice(70, 90))
    score = retrieval(encoder.fit(train, LATENTS).predict(test), LATENTS)
    assert score.value > 0.4 > 5 * score.chance
    encoder.save(tmp_path / "model")
    np.testing.assert_array_equal(load_encoder(tmp_path / "model").predict(test).values, encoder.predict(test).values)
    order = np.random.default_rng(1).permutation(70)
    shuffled = encoder.fit(train.with_responses(train.responses[order]), LATENTS)
    assert retrieval(shuffled.predict(test), LATENTS).low < 0.1


def test_power_is_read_by_the_shallow_network():
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, (120, 2))
    amplitude = np.stack([values[:, 0], values[:, 1], 1 - values[:, 0]], axis=1)
    X = amplitude[:, :, None] * np.sin(2 * np.pi * (0.15 * np.arange(60) + rng.random((120, 3, 1))))
    encoder = ShallowConvNet(
        {"kernel": 9, "pool": 40, "n_filters": 8}, centre=True, training=TRAINING | {"n_epochs": 30}
    )
    assert encoder.fit(X[:90], values[:90]).score(X[90:], values[90:]) > 0.7


def test_predictions_have_the_length_of_latents():
    X = subject("1").responses
    latents = 5 + 3 * LATENTS.values
    for encoder in (TSConv(SIZES, training={"n_epochs": 2}), TSConv(SIZES, centre=True, training={"n_epochs": 2})):
        made = encoder.fit(X, latents).predict(X)
        centre = latents.mean(axis=0) if encoder.centre else 0.0
        kept = np.sqrt(np.square(latents - centre).sum(axis=1).mean())
        assert np.linalg.norm(made - centre, axis=1).mean() == pytest.approx(kept, rel=0.1)


def test_a_low_data_subject_gains_from_others_and_from_transfer():
    others = {"1": subject("1", slice(0, 70)), "2": subject("2", slice(0, 70))}
    few, test = subject("3", slice(0, 12)), subject("3", slice(70, 90))

    def make(**options):
        return TSConv(SIZES, training=TRAINING, **options)

    alone = retrieval(make().fit(few, LATENTS).predict(test), LATENTS).value
    joint = retrieval(make().fit({**others, "3": few}, LATENTS).predict(test), LATENTS).value
    shared = make(unseen="shared").fit(others, LATENTS)
    unseen = retrieval(shared.predict(test), LATENTS).value
    assert joint > alone + 0.1 and unseen > 0.3
    mapped = make(adapter="channels").fit(others, LATENTS)
    other = subject("4", slice(0, 40), n_channels=7)
    moved = mapped.transfer(other, LATENTS, training={"n_epochs": 60, "learning_rate": 0.03})
    value = retrieval(moved.predict(subject("4", slice(70, 90), n_channels=7)), LATENTS).value
    assert moved.signals_["4"] == (7, 40) and value > 0.25
    before, after = (one.predict(subject("1", slice(70, 90))).values for one in (mapped, moved))
    np.testing.assert_array_equal(before, after)


def test_tokens_tell_subjects_apart_and_one_stands_for_all_others(tmp_path):
    both = {"1": subject("1", slice(0, 40)), "2": subject("2", slice(0, 40))}
    model = ATM(SIZES, {"n_heads": 2}, unseen="shared", training={"n_epochs": 3}).fit(both, LATENTS)
    X = both["1"].responses
    one, two, other = (model.predict(X, subject=name) for name in ("1", "2", "9"))
    assert np.abs(one - two).max() > 1e-6 and np.abs(one - other).max() > 1e-6
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_encoder(tmp_path / "model").predict(X, subject="9"), other)
    moved = model.transfer({name: subject(name, slice(0, 20)) for name in ("7", "8")}, LATENTS)
    tokens = moved.network_.tokens
    assert tokens.subjects == ("1", "2", "7", "8")
    old = model.network_.tokens
    for name in ("1", "2"):
        torch.testing.assert_close(tokens.of(name).weight, old.of(name).weight)
    assert all((tokens.of(name).weight - old.shared).abs().max() > 0 for name in ("7", "8"))


def test_image_and_text_are_weighted_and_the_slip_is_the_published_one():
    rng = torch.Generator().manual_seed(0)
    predicted, image, text = (torch.randn(8, 4, generator=rng) for _ in range(3))
    batch = {"target/image": image, "target/text": text, "stimulus": torch.arange(8)}
    outputs = {"image": predicted, "text": predicted}
    loss = ContrastLoss({"image": 0.99, "text": 0.01}, 0.0, 0.07)
    wanted = 0.99 * info_nce(predicted, image, 0.07) + 0.01 * info_nce(predicted, text, 0.07)
    torch.testing.assert_close(loss.compare(outputs, batch)["loss"], wanted)
    slip = ContrastLoss({"image": 1.0}, 0.0, 0.07, legacy=True).compare({"image": predicted}, batch)["loss"]
    unit = image / image.norm(dim=1, keepdim=True)
    logits = np.log(1 / 0.07) * predicted @ unit.T
    by_hand = -(logits.log_softmax(1).diagonal().mean() + logits.log_softmax(0).diagonal().mean()) / 2
    torch.testing.assert_close(slip, by_hand, rtol=1e-4, atol=1e-4)
    doubled = ContrastLoss({"image": 1.0}, 0.0, 0.07, legacy=True).compare({"image": 2 * predicted}, batch)["loss"]
    assert abs(doubled - slip) > 0.1  # it is not normalised
    with pytest.raises(DataError, match="unknown target 'img'"):
        TSConv(SIZES, target_weights={"img": 1.0}).fit(subject("1"), {"image": LATENTS})


def test_what_does_not_fit_is_refused():
    trials = subject("1", slice(0, 40))
    model = TSConv(SIZES, training={"n_epochs": 1}).fit(trials, LATENTS)
    slower = Trials(trials.responses, trials.trials, times=np.arange(40) / 80)
    for bad, words in (
        (trials.select(units=[0, 1, 2, 3]), "other units or times"),
        (trials.select(units=[1, 0, 2, 3, 4]), "first difference"),
        (trials.select(times=(0.0, 0.3)), "other units or times"),
        (slower, "another sampling rate"),
        (subject("2"), "not fitted on subject '2'"),
    ):
        with pytest.raises(DataError, match=words):
            model.predict(bad)
    with pytest.raises(DataError, match="nothing in this network belongs"):
        model.transfer(subject("2"), LATENTS)
    with pytest.raises(DataError, match="other units or times"):
        TSConv(SIZES).fit({"1": trials, "2": subject("2", n_channels=4)}, LATENTS)
    with pytest.raises(DataError, match="another sampling rate"):
        TSConv(SIZES).fit({"1": trials, "2": slower}, LATENTS)
    with pytest.raises(DataError, match="none of them zero"):
        Trials(trials.responses[..., :0], trials.trials, times=[])
    values = LATENTS.at(trials.stimulus_ids)
    for bad in (trials.responses[..., :0], trials.matrix()):
        with pytest.raises(DataError, match="trials by channels by times"):
            TSConv(SIZES).fit(bad, values)
    with pytest.raises(DataError, match="trials by channels by times"):
        TSConv(SIZES).fit(Trials(trials.matrix(), trials.trials), LATENTS)
    with pytest.raises(DataError, match="too short"):
        TSConv().fit(trials, LATENTS)
    with pytest.raises(DataError, match="unknown size 'kernl'"):
        TSConv({"kernl": 3}).fit(trials, LATENTS)
    with pytest.raises(DataError, match="unknown adapter"):
        TSConv(SIZES, adapter="token").fit(trials, LATENTS)
    with pytest.raises(DataError, match="never seen"):
        TSConv(SIZES, adapter="channels", unseen="shared").fit(trials, LATENTS)
