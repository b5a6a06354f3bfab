"""One space of EEG, MEG and fMRI: each modality points at the others' pictures; what is missing may be missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from brainalign.analysis.shared_axes import shared_axes
from brainalign.encoders import UnifiedEncoder, load_encoder
from brainalign.encoders.unified_network import Recording, UnifiedNetwork
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.scoring import retrieval
from brainalign.trials import Trials

SMALL: dict[str, Any] = {
    **{"width": 24, "rank": 8, "n_fused": 6, "n_experts": 2, "dropout": 0.0},
    "signal": {"kernel": 5, "pool": 5, "n_filters": 8, "dropout": 0.0},
    "training": {"batch_size": 48, "learning_rate": 5e-3, "n_epochs": 25},
}
N = 170
IDS = [f"s{number:03d}" for number in range(N)]
VALUES = np.random.default_rng(0).standard_normal((N, 6))
EVERYTHING = Latents(VALUES, IDS, space="toy")
TEST = slice(140, N)


def recorded(modality: str, rows: slice, *, subject: int = 1, noise: float = 0.7) -> Trials:
    """Voxels, or channels that answer with a course of their own."""
    shape = {"fmri": (40, None), "eeg": (10, 30), "meg": (16, 24)}[modality]
    rng = np.random.default_rng([subject, len(modality), shape[0]])
    clean = VALUES @ rng.standard_normal((6, shape[0] + subject))
    if shape[1]:
        clean = clean[:, :, None] * np.sin(np.arange(shape[1]) / 4 + rng.uniform(0, 1))
    responses = (clean + noise * rng.standard_normal(clean.shape))[rows]
    times = None if shape[1] is None else np.arange(shape[1]) / 100
    return Trials(responses, pd.DataFrame({"stimulus_id": IDS[rows]}), times=times)


@pytest.fixture(scope="module")
def fitted() -> UnifiedEncoder:
    recordings = {
        "fmri-1": recorded("fmri", slice(0, 90)),
        "eeg-1": recorded("eeg", slice(40, 140)),
        "eeg-2": recorded("eeg", slice(0, 80), subject=2),
        "meg-1": recorded("meg", slice(60, 140)),
    }
    return UnifiedEncoder(**SMALL).fit(recordings, EVERYTHING)


def test_modalities_find_each_others_pictures(fitted, tmp_path):
    seen = {name: recorded(name, TEST) for name in ("fmri", "eeg", "meg")}
    spaces = {name: fitted.embed(one, f"{name}-1") for name, one in seen.items()}
    truth = EVERYTHING.select(IDS[TEST])
    for name, one in seen.items():
        assert retrieval(fitted.predict(one, f"{name}-1"), truth, top=5).value > 0.5  # chance is 1/6
    for one, other in (("eeg", "fmri"), ("fmri", "eeg"), ("meg", "fmri")):
        assert retrieval(spaces[one], spaces[other], top=5).value > 0.45
    shuffled = Latents(np.roll(spaces["fmri"].values, 7, axis=0), spaces["fmri"].ids, space="toy")
    assert retrieval(spaces["eeg"], shuffled, top=5).low < 1 / 6
    axes = shared_axes(spaces, n_axes=6, n_permutations=200)
    assert axes.table["q"].min() < 0.05 and axes.table["r"].iloc[0] > 0.4
    assert (axes.geometry["rho"] > 0.2).all() and (axes.geometry["p"] < 0.05).all()
    apart = shared_axes({"eeg": spaces["eeg"], "fmri": shuffled}, n_axes=6, n_permutations=200)
    assert apart.table["q"].min() > 0.05 and apart.geometry["p"].iloc[0] > 0.05
    fitted.save(tmp_path / "unified")
    again = load_encoder(tmp_path / "unified").embed(seen["meg"], "meg-1")
    np.testing.assert_array_equal(again.values, spaces["meg"].values)


def test_what_is_missing_may_be_missing(fitted):
    fmri, eeg = recorded("fmri", slice(150, N)), recorded("eeg", slice(140, 160))
    together = fitted.predict_together({"fmri-1": fmri, "eeg-1": eeg})
    assert sorted(together.ids) == IDS[TEST] and sorted(set(together.meta["n_recordings"])) == [1, 2]
    alone = {"fmri-1": fitted.predict(fmri, "fmri-1"), "eeg-1": fitted.predict(eeg, "eeg-1")}
    np.testing.assert_allclose(together.at(["s165"]), alone["fmri-1"].at(["s165"]))
    mean = (alone["fmri-1"].at(["s155"]) + alone["eeg-1"].at(["s155"])) / 2
    np.testing.assert_allclose(together.at(["s155"]), mean, rtol=1e-6)


def test_an_epoch_is_balanced_over_modalities(fitted):
    kept = {"fmri-1": np.arange(30), "eeg-1": np.arange(90), "eeg-2": np.arange(30), "meg-1": np.arange(60)}
    drawn = fitted._drawn(kept)
    totals = {
        "fmri": len(drawn["fmri-1"]),
        "eeg": len(drawn["eeg-1"]) + len(drawn["eeg-2"]),
        "meg": len(drawn["meg-1"]),
    }
    assert set(totals.values()) == {120}
    assert (np.bincount(drawn["fmri-1"]) == 4).all() and (np.bincount(drawn["meg-1"]) == 2).all()
    assert UnifiedEncoder(balanced=False)._drawn(kept) is kept


def test_a_new_subject_of_a_known_modality_joins(fitted):
    more = {"eeg-3": recorded("eeg", slice(0, 100), subject=3)}
    joined = fitted.transfer(more, EVERYTHING, training={"n_epochs": 40, "batch_size": 16, "learning_rate": 0.01})
    test = recorded("eeg", TEST, subject=3)
    assert retrieval(joined.predict(test, "eeg-3"), EVERYTHING.select(IDS[TEST]), top=5).value > 0.4
    with pytest.raises(DataError, match="unknown modality 'nirs'"):
        fitted.transfer({"nirs-1": recorded("fmri", slice(0, 30))}, EVERYTHING)


def test_rows_of_a_mixed_batch_go_through_their_own_heads():
    torch.manual_seed(0)
    recordings = {
        "fmri-1": Recording("fmri", 7, None), "eeg-1": Recording("eeg", 3, 12), "eeg-2": Recording("eeg", 2, 12),
    }  # fmt: skip
    sizes = {key: SMALL[key] for key in ("width", "rank", "n_fused", "n_experts", "dropout", "signal")}
    network = UnifiedNetwork(recordings, {"latents": 4}, {**sizes, "n_blocks": 1}).eval()
    x, subject = torch.randn(6, 36), torch.tensor([2, 0, 1, 2, 0, 1])
    together = network(x, subject)["latents"]
    for row in range(6):
        n_flat = list(recordings.values())[subject[row]].n_flat
        alone = network(x[row : row + 1, :n_flat], subject[row : row + 1])["latents"]
        torch.testing.assert_close(together[row : row + 1], alone)


def test_bad_input_is_refused(fitted):
    fmri = recorded("fmri", slice(0, 40))
    with pytest.raises(DataError, match="Trials by name"):
        UnifiedEncoder(**SMALL).fit(fmri.responses, VALUES[:40])
    with pytest.raises(DataError, match="other times than the others of modality 'eeg'"):
        UnifiedEncoder(**SMALL).fit({"eeg-1": fmri, "eeg-2": recorded("eeg", slice(0, 40))}, EVERYTHING)
    with pytest.raises(DataError, match="these sizes make no network"):
        UnifiedEncoder(**SMALL | {"rank": 0}).fit({"fmri-1": fmri}, EVERYTHING)
    with pytest.raises(DataError, match="not fitted on subject 'fmri-9'"):
        fitted.predict(fmri, "fmri-9")
    with pytest.raises(DataError, match="mapping of subject to Trials"):
        fitted.predict_together(fmri)
