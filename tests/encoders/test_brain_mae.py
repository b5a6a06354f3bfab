"""BrainMAE: embeddings find the networks, hidden windows are filled in, states are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from brainalign.encoders import BrainMAE, load_encoder
from brainalign.encoders.brain_mae.network import BrainMAENetwork, GuidedAttention, Sizes
from brainalign.errors import DataError
from tests.encoders.planted_parcels import resting

SMALL: dict[str, Any] = {
    **{"window": 4, "width": 32, "n_guided": 1, "n_queries": 4, "depth": 1, "n_heads": 2, "hidden": 16},
    **{"dropout": 0.0, "mask_share": 0.34, "training": {"n_epochs": 15}},
    "stage_training": {"windows": {"learning_rate": 0.01, "n_epochs": 30}},
}


@pytest.fixture(scope="module")
def fitted() -> BrainMAE:
    return BrainMAE(**SMALL).fit(resting(80, 1), unlabelled=resting(160, 3))


@pytest.mark.slow
def test_embeddings_and_attention_find_the_networks(fitted):
    owner = resting(2, 0).units["network"].to_numpy()
    same = (owner[:, None] == owner) & ~np.eye(len(owner), dtype=bool)
    other = owner[:, None] != owner
    alike, attention = np.corrcoef(fitted.embeddings()), fitted.attention()
    assert alike[same].mean() > alike[other].mean() + 0.3
    assert attention[same].mean() > 1.15 * attention[other].mean()
    np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_hidden_windows_are_filled_in_and_states_told(fitted, tmp_path):
    test = resting(60, 2)
    assert fitted.score(test) > 0.65
    assert fitted.reconstruction_error(test) < 0.96
    mixed = np.random.default_rng(0).permuted(test.responses, axis=2)  # no window tells of another
    assert fitted.reconstruction_error(mixed) > 1
    assert fitted.classify(test.with_trials(subject="7")).shape == (60,)  # a subject never seen
    fitted.save(tmp_path / "brain_mae")
    np.testing.assert_array_equal(load_encoder(tmp_path / "brain_mae").classify(test), fitted.classify(test))


def test_shuffled_states_are_not_learnt():
    train, test = resting(80, 1), resting(100, 2)
    mixed = train.with_trials(label=np.random.default_rng(3).permutation(train.trials["label"].to_numpy()))
    model = BrainMAE(**SMALL | {"pretraining": "none"}).fit(mixed)
    assert abs(model.score(test) - 0.5) < 3 * np.sqrt(0.25 / 100)


def network(**changes: Any) -> BrainMAENetwork:
    torch.manual_seed(0)
    given = {**SMALL, "n_adaptive": 0, **changes}
    sizes = Sizes(**{name: given[name] for name in Sizes.__dataclass_fields__})
    return BrainMAENetwork(5, 12, {"latents": 3}, sizes).eval()


def test_guided_attention_is_that_of_a_loop():
    torch.manual_seed(0)
    layer, x, known = GuidedAttention(8, 2), torch.randn(3, 5, 8), torch.randn(5, 8)
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = layer.to_query(known)[:, part] @ layer.to_key(known)[:, part].T / 2
        heads.append(scores.softmax(dim=1) @ layer.to_value(layer.norm(x))[:, :, part])
    torch.testing.assert_close(layer(x, known), layer.outward(torch.cat(heads, dim=2)))


@pytest.mark.parametrize("n_adaptive", [0, 1])
def test_shapes_and_hidden_windows_stay_hidden(n_adaptive):
    model, x = network(n_adaptive=n_adaptive), torch.randn(2, 60)
    assert model.windows(x).shape == (2, 3, 5, 4)
    torch.testing.assert_close(model.windows(x)[1, 2, 3], x.view(2, 5, 12)[1, 3, 8:])
    mask = torch.tensor([[True, False, False], [False, True, False]])
    other = x.view(2, 5, 12).clone()
    other[0, :, :4], other[1, :, 4:8] = 9.0, -9.0
    torch.testing.assert_close(model(x, mask), model(other.flatten(1), mask))
    assert (model(x) - model(other.flatten(1))).abs().max() > 0.1
    assert model.filled_in(model(x, mask)).shape == (2, 3, 5, 4)
    assert model.heads(x, torch.zeros(2))["latents"].shape == (2, 3)


def test_bad_input_is_refused():
    trials = resting(12, 1)
    brief = {"pretraining": "none", "training": {"n_epochs": 1}}
    with pytest.raises(DataError, match="no whole number of windows"):
        BrainMAE(**SMALL | {"window": 5}).fit(trials)
    with pytest.raises(DataError, match="these sizes make no network"):
        BrainMAE(**SMALL | {"n_heads": 3}).fit(trials)
    with pytest.raises(DataError, match="unknown stage"):
        BrainMAE(**SMALL | {"pretraining": "codes"}).fit(trials)
    with pytest.raises(DataError, match="other units or times"):
        BrainMAE(**SMALL).fit({"1": trials, "2": trials.select(units=np.arange(20))})
    with pytest.raises(DataError, match="nothing in this network belongs to one subject"):
        BrainMAE(**SMALL | brief).fit(trials).transfer(trials.with_trials(subject="2"))
    with pytest.raises(DataError, match="no attention follows embeddings"):
        BrainMAE(**SMALL | brief | {"n_guided": 0}).fit(trials).attention()
