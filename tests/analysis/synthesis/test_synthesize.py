"""The call around the samplers: targets, seeds, resume, the latent prior, the judge, and refusals."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from brainalign.analysis.synthesis import (
    GaussianMixture,
    Guided,
    Multifaceted,
    PictureEncoder,
    PlugAndPlay,
    difference,
    judge_synthesis,
    maximise,
    minimise,
    pattern,
    redraw,
    synthesize,
)
from brainalign.analysis.synthesis.prior import Work
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.latents.network import Network
from brainalign.stimuli import Stimuli
from brainalign.voxelwise import Ridge

UNITS = pd.DataFrame({"name": list("abcd"), "roi": ["FFA", "FFA", "PPA", "PPA"]})
MAP = torch.randn(4, 12, generator=torch.Generator().manual_seed(0)) / 4


class Guide:
    """Four linear units of a picture of 3 x 2 x 2."""

    units = UNITS

    def __call__(self, pictures):
        return pictures.flatten(1).float() @ MAP.T


@pytest.fixture(scope="module")
def generator():
    chance = torch.Generator().manual_seed(1)
    return GaussianMixture(0.5 + 0.2 * torch.randn(2, 3, 2, 2, generator=chance), torch.tensor(0.02))


FEW = Guided(scale=5.0, steps=6, batch_size=4)


@pytest.mark.parametrize(
    "target, value",
    [
        ("roi == 'FFA'", lambda r: r[:, :2].mean(1)),
        (maximise([3]), lambda r: r[:, 3]),
        (minimise("roi == 'PPA'"), lambda r: -r[:, 2:].mean(1)),
        (difference("roi == 'FFA'", "roi == 'PPA'"), lambda r: r[:, :2].mean(1) - r[:, 2:].mean(1)),
        (pattern([0.5, -0.5], "roi == 'FFA'"), lambda r: -((r[:, 0] - 0.5) ** 2 + (r[:, 1] + 0.5) ** 2) / 2),
        (lambda r: r[:, 0] * r[:, 1], lambda r: r[:, 0] * r[:, 1]),
    ],
)
def test_every_target_rises(generator, target, value):
    free = synthesize(Guide(), target, generator=generator, n=8, sampler=replace(FEW, scale=0.0))
    led = synthesize(Guide(), target, generator=generator, n=8, sampler=FEW)
    assert led.table["value"].mean() > free.table["value"].mean()
    pixels = torch.from_numpy(np.stack([led.array(one) for one in led.ids])).permute(0, 3, 1, 2) / 255
    assert np.allclose(value(Guide()(pixels)), led.table["value"], atol=0.3)


def test_neither_batch_nor_number_changes_a_picture(generator):
    whole = synthesize(Guide(), "roi == 'FFA'", generator=generator, n=5, sampler=FEW)
    single = synthesize(Guide(), "roi == 'FFA'", generator=generator, n=3, sampler=replace(FEW, batch_size=1))
    other = synthesize(Guide(), "roi == 'FFA'", generator=generator, n=3, sampler=FEW, seed=1)
    for one in single.ids:
        assert np.abs(whole.array(one).astype(int) - single.array(one)).max() <= 1
    assert any(np.any(whole.array(one) != other.array(one)) for one in other.ids)


def test_resume_goes_on_where_it_stopped(generator, tmp_path, monkeypatch):
    def ask(n, **options):
        return synthesize(
            Guide(), "roi == 'FFA'", generator=generator, n=n, folder=tmp_path / "made", **{"sampler": FEW} | options
        )

    drawn = []
    draw = Guided.draw
    monkeypatch.setattr(Guided, "draw", lambda self, work, n, seeds: drawn.append(n) or draw(self, work, n, seeds))
    ask(3)
    (tmp_path / "made" / "00001.json").unlink()  # killed before its record was there
    found = ask(6)
    assert drawn == [[0, 1, 2], [1, 3, 4, 5]]
    fresh = synthesize(Guide(), "roi == 'FFA'", generator=generator, n=6, sampler=FEW)
    for one in found.ids:
        assert np.abs(found.array(one).astype(int) - fresh.array(one)).max() <= 1
    assert np.allclose(found.table["value"], fresh.table["value"], atol=1e-4)
    with pytest.raises(DataError, match="another synthesis"):
        ask(6, sampler=replace(FEW, scale=1.0))


class Flat(Network):
    """A network whose embedding is the picture."""

    def __init__(self):
        plan = {"size": (2, 2), "mean": [0.0] * 3, "std": [1.0] * 3, "resize_mode": "squash"}
        super().__init__("flat", torch.nn.Flatten(), _to_tensor, preprocessing=plan)


def _to_tensor(image):
    return torch.from_numpy(np.array(image.resize((2, 2)))).permute(2, 0, 1).float() / 255


class Shown:
    """A generator of embeddings of the same space: shows them as they are."""

    name, accepts = "shown", (SimpleNamespace(role="clip", space="flat", required=True, shape=(12,)),)

    def generate(self, latents, n=1, seed=0):
        values = latents["clip"].values.reshape(-1, 3, 2, 2).transpose(0, 2, 3, 1)
        return Stimuli.from_arrays((np.clip(values, 0, 1) * 255).round().astype(np.uint8), latents["clip"].ids)


@pytest.fixture(scope="module")
def fitted():
    """(fit, pictures): models of halves of a subject who sees pictures of 2 x 2 pixels."""
    import brainalign as ba

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (160, 2, 2, 3), dtype=np.uint8)
    pictures = Stimuli.from_arrays(pixels, [f"p{row}" for row in range(160)])
    latents = Latents(pixels.transpose(0, 3, 1, 2).reshape(160, -1) / 255, pictures.ids, space="flat")
    trials, _ = ba.simulate_subject(latents.select(pictures.ids[:120]), rois={"FFA": 6, "PPA": 6}, seed=1)

    def fit(stimuli):
        rows = np.isin(trials.stimulus_ids, list(stimuli))
        return PictureEncoder(Ridge().fit(latents, trials.select(rows)), Flat(), units=trials)

    return fit, pictures, latents


def test_latent_prior_finds_the_tilted_mean(fitted):
    fit, pictures, latents = fitted
    guide = fit(pictures.ids[:60])
    rows = (guide.units["roi"] == "FFA").to_numpy()
    w = guide.weights[rows].mean(0).double()
    sampler = PlugAndPlay(latents, scale=2.0, steps=300, temperature=0.0)
    work = Work(guide, Shown(), lambda responses: responses[:, rows].mean(1))
    found, _ = sampler.embeddings(work, [0], [0])
    spread = (torch.from_numpy(latents.flat()).double() @ w).std()
    assert np.allclose(found[0], sampler.mean + 2.0 / spread * sampler.covariance @ w, atol=1e-4)
    warm = replace(sampler, temperature=1.0, steps=120, rate=0.2)
    many, _ = warm.embeddings(work, range(1500), range(1500))
    assert np.allclose(many.mean(0), found[0], atol=0.05)
    assert np.abs(np.cov(many.T) - sampler.covariance.numpy()).max() < 0.03
    with pytest.raises(DataError, match="cannot be searched"):
        replace(sampler, rate=0.0)


def test_facets_are_those_of_the_preferred_pictures():
    rng = np.random.default_rng(0)
    # Two kinds of pictures drive the unit, the third does not.
    kinds = np.array([[4.0, 0, 3], [-4.0, 0, 3], [0, 4.0, -3]])
    bank = Latents(np.concatenate([kind + 0.3 * rng.standard_normal((40, 3)) for kind in kinds]), range(120), space="k")
    guide = SimpleNamespace(respond=lambda e: e[:, 2:].float(), network=SimpleNamespace(space="k"), units=UNITS[:1])
    generator = SimpleNamespace(accepts=(SimpleNamespace(role="clip", space="k"),))
    sampler = Multifaceted(bank, n_facets=2, n_preferred=60, scale=1.0)
    found, extra = sampler.embeddings(Work(guide, generator, lambda r: r[:, 0]), range(6), range(6))
    assert extra["facet"] == [0, 1] * 3
    signs = np.sign(found[:, 0])
    assert set(signs[::2]) == {signs[0]} and set(signs[1::2]) == {-signs[0]}
    assert (np.abs(found[:, 0]) > 2).all() and (found[:, 2] > 2).all()
    with pytest.raises(DataError, match="facets are clusters"):
        replace(sampler, n_preferred=500).embeddings(Work(guide, generator, lambda r: r[:, 0]), [0], [0])


def test_judge_is_another_encoder_on_other_data(fitted):
    fit, pictures, latents = fitted
    guide, judge = fit(pictures.ids[:60]), fit(pictures.ids[60:120])
    natural = pictures.select(pictures.ids[120:])
    target = "roi == 'FFA'"
    made = synthesize(guide, target, generator=Shown(), n=6, sampler=PlugAndPlay(latents, scale=4.0))
    judged = judge_synthesis(made, target, guide=guide, judge=judge, natural=natural)
    assert judged.beats_natural and judged.summary.low > 1 and judged.same_network
    rows = (judge.units["roi"] == "FFA").to_numpy()
    assert np.allclose(judged.values, judge.predict(made)[:, rows].mean(1))
    assert judged.shares[0] == (judged.natural < judged.values[0]).mean()
    turned = synthesize(guide, minimise(target), generator=Shown(), n=6, sampler=PlugAndPlay(latents, scale=4.0))
    assert judge_synthesis(turned, target, guide=guide, judge=judge, natural=natural).summary.high < -1
    with pytest.raises(DataError, match="cannot judge the pictures that it guided"):
        judge_synthesis(made, target, guide=guide, judge=guide, natural=natural)
    with pytest.raises(LeakageError):
        judge_synthesis(made, target, guide=guide, judge=fit(pictures.ids[30:90]), natural=natural)
    with pytest.raises(LeakageError):
        judge_synthesis(made, target, guide=guide, judge=judge, natural=pictures)
    bare = PictureEncoder(Ridge().fit(latents.flat(), np.tile(latents.flat(), 1)), Flat())
    with pytest.raises(DataError, match="nobody can tell"):
        judge_synthesis(made, target, guide=guide, judge=bare, natural=natural)


def test_redrawn_pictures_are_those_of_the_autoencoder(generator):
    import brainalign as ba

    scenes = ba.draw_scenes(18, seed=3)
    mini = ba.load_generator("mini", device="cpu")
    found = redraw(scenes, mini)
    own = ba.load_generator("mini:vae", device="cpu").generate(ba.extract(scenes, "mini:vae", cache=False))
    assert found.ids == scenes.ids and found.table.equals(scenes.table)
    for one in scenes.ids:
        assert np.abs(found.array(one).astype(int) - own.array(one)).max() <= 1
    with pytest.raises(DataError, match="cannot redraw"):
        redraw(scenes, generator)


def test_bad_input(fitted, generator):
    fit, pictures, latents = fitted
    guide = fit(pictures.ids[:60])
    with pytest.raises(DataError, match="is empty"):
        synthesize(guide, "roi == 'LOC'", generator=generator)
    with pytest.raises(DataError, match="is empty"):
        synthesize(guide, maximise([]), generator=generator)
    with pytest.raises(DataError, match="not a generator"):
        synthesize(guide, "roi == 'FFA'", generator=object())
    with pytest.raises(DataError, match="does not diffuse"):
        synthesize(guide, "roi == 'FFA'", generator=Shown(), sampler=FEW)
    with pytest.raises(DataError, match="integer from 1"):
        synthesize(guide, "roi == 'FFA'", generator=generator, n=0)
    with pytest.raises(DataError, match="not a target"):
        synthesize(guide, 3, generator=generator)
    with pytest.raises(DataError, match="another number of units"):
        synthesize(guide, pattern([1.0]), generator=generator)
    with pytest.raises(DataError, match="different latent spaces"):
        synthesize(guide, "roi == 'FFA'", generator=generator, sampler=PlugAndPlay(latents))
    elsewhere = Latents(latents.values, latents.ids, space="other")
    with pytest.raises(DataError, match="another space than the bank"):
        synthesize(guide, "roi == 'FFA'", generator=Shown(), sampler=PlugAndPlay(elsewhere))
    with pytest.raises(DataError, match="reads embeddings"):
        synthesize(Guide(), "roi == 'FFA'", generator=Shown(), sampler=PlugAndPlay(latents))
    with pytest.raises(DataError, match="is not finite"):
        synthesize(Guide(), lambda r: r[:, 0] * float("inf"), generator=generator, sampler=FEW)
    broken = Ridge().fit(latents.flat(), latents.flat())
    broken._fit.coef[0, 0] = np.nan
    with pytest.raises(DataError, match="weights of the model contains NaN"):
        PictureEncoder(broken, Flat())
    shifted = SimpleNamespace(coef_=np.ones((12, 4)), intercept_=np.array([0.0, np.inf, 0.0, 0.0]))
    with pytest.raises(DataError, match="intercept of the model contains NaN or infinity"):
        PictureEncoder(shifted, Flat())
    hole = np.where(np.arange(len(latents))[:, None] == 3, np.nan, latents.flat())
    with pytest.raises(DataError, match="the bank contains NaN"):
        PlugAndPlay(Latents(hole, latents.ids, space="flat"))
    with pytest.raises(DataError, match="one bank in a named space"):
        PlugAndPlay(latents.flat())
    with pytest.raises(DataError, match="not known as numbers"):
        PictureEncoder(Ridge().fit(latents.flat(), latents.flat()), Network("x", torch.nn.Flatten(), preprocessing="?"))
    with pytest.raises(DataError, match="the network lies in another space than the model"):
        PictureEncoder(guide.model, "mini", device="cpu")
