"""Pictures and predicted latents to solids, by a small pipeline of the published class that truly lifts ellipses."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

import brainalign as ba
from brainalign.analysis import DecodingTasks, ablate_regions
from brainalign.encoders import LinearEncoder
from brainalign.errors import DataError, LeakageError
from brainalign.reconstruction import Retrieval
from brainalign.reconstruction.generators.inputs import picture_seed
from brainalign.reconstruction.shapes import ShapeDecoder, load_lift, read_ply, shape_agreement
from tests.reconstruction.shapes import tiny

REGIONS = ("width", "height", "depth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("shap_e") / "pipeline")


@pytest.fixture(scope="module")
def lift(folder):
    return load_lift(f"shap-e:{folder}", device="cpu", steps=3, guidance=1.5, grid=12, frame_size=0, space="tiny")


@pytest.fixture(scope="module")
def half():
    return tiny.axes(72, seed=5)


@pytest.fixture(scope="module")
def pictures(half):
    return tiny.ellipses(half)


@pytest.fixture(scope="module")
def tokens(lift, pictures):
    return ba.extract(pictures, lift.network, cache=False)


def extents(lifted) -> np.ndarray:
    return np.stack([np.ptp(one.vertices, axis=0) / 2 for one in lifted.solids.values()])


def test_pictures_become_the_solids_they_show(lift, pictures, half):
    first = lift.lift(pictures.select(pictures.ids[:24]))
    found = extents(first)
    for axis in range(3):
        assert np.corrcoef(found[:, axis], half[:24, axis])[0, 1] > 0.75
    again = lift.lift(pictures.select(pictures.ids[23::-1]), seed=1)
    assert shape_agreement(again.solids, first.solids, n_points=200)["percentile"].mean() > 0.9
    moved = dict(zip(first.ids, [*list(first.solids.values())[7:], *list(first.solids.values())[:7]]))
    assert shape_agreement(again.solids, moved, n_points=200)["percentile"].mean() < 0.65


def test_views_and_surface_are_the_pipelines_own(lift, pictures, folder):
    from diffusers import ShapEImg2ImgPipeline

    one = pictures.ids[0]
    pipeline = ShapEImg2ImgPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    renderer = pipeline.shap_e_renderer  # asked through the pipeline, coarsely
    renderer.decode_to_mesh = partial(renderer.decode_to_mesh, grid_size=16)
    renderer.decode_to_image = partial(renderer.decode_to_image, n_coarse_samples=4, n_fine_samples=6)

    def ask(kind):
        chance = torch.Generator().manual_seed(picture_seed(3, one, 0))
        options = {"num_inference_steps": 3, "guidance_scale": 1.5, "output_type": kind, "frame_size": 32}
        return pipeline(pictures.image(one), generator=chance, **options).images

    options = {"device": "cpu", "steps": 3, "guidance": 1.5, "samples": (4, 6)}
    seen = load_lift(f"shap-e:{folder}", grid=16, frame_size=32, **options)
    state = torch.get_rng_state()
    found = seen.lift(pictures.select([one]), seed=3)
    assert torch.equal(state, torch.get_rng_state())
    with torch.random.fork_rng():
        frames, mesh = np.asarray(ask("np"))[0], ask("mesh")[0]
    assert found.frames[one].shape == (20, 32, 32, 3) and found.frames[one].std() > 5
    # Chance lies along the rays of a batch, so that a view of the same batches is the same to the last bit.
    assert np.abs(found.frames[one] / 255 - frames.clip(0, 1)).max() < 0.01
    assert np.allclose(found.solids[one].vertices, mesh.verts.numpy(), atol=1e-5)
    assert np.array_equal(found.solids[one].faces, mesh.faces.numpy())
    # The field's colour is the sigmoid of (2, 0, -2), which the decoder turns into linear light.
    assert np.abs(found.solids[one].colours.astype(int) - [225, 128, 30]).max() <= 1


def test_tokens_go_where_the_picture_would(lift, pictures, tokens):
    few = pictures.ids[:3]
    shown, told = lift.lift(pictures.select(few)), lift.lift(tokens.select(few))
    assert told.ids == few
    for one in few:
        assert np.allclose(shown.solids[one].vertices, told.solids[one].vertices, atol=1e-4)


def test_a_generator_first_makes_the_picture(folder, lift, pictures):
    bank = pictures.select(pictures.ids[:6])
    known = ba.Latents(np.eye(6), bank.ids, space="toy")
    both = load_lift(f"shap-e:{folder}", generator=Retrieval(bank, known), device="cpu", steps=3, guidance=1.5,
                     grid=12, frame_size=0)  # fmt: skip
    asked = ba.Latents(np.eye(6)[[4]] + 0.1, ["x"], space="toy")
    # The solid's chance is that of the stimulus asked for, not of the picture shown.
    renamed = ba.Stimuli.from_arrays(bank.array(bank.ids[4])[None], ["x"])
    assert np.allclose(both.lift(asked).solids["x"].vertices, lift.lift(renamed).solids["x"].vertices)
    assert both.lift(asked).meta["generator"] == "nearest of 6 pictures"
    with pytest.raises(DataError, match="cannot turn latents of this space"):
        both.lift(ba.Latents(np.eye(6), bank.ids, space="other"))


def test_wrong_latents_and_names_are_refused(folder, lift, tokens):
    few = tokens.select(tokens.ids[:2])
    with pytest.raises(DataError, match=r"cannot turn latents of this space(.|\n)*expected: tiny"):
        lift.lift(ba.Latents(few.values, few.ids, space="open_clip:ViT-L-14/openai"))
    with pytest.raises(DataError, match="another revision"):
        lift.lift(ba.Latents(few.values, few.ids, space="tiny", meta={"weights_sha256": "0" * 64}))
    with pytest.raises(DataError, match=r"another shape(.|\n)*\(n, 16, 32\)"):
        lift.lift(few.values[:, 1:])
    for name in ("shap-e:", "point-e:x"):
        with pytest.raises(DataError, match="unknown lift"):
            load_lift(name)
    with pytest.raises(DataError, match="cannot be made of these options"):
        load_lift(f"shap-e:{folder}", device="cpu", colour="red")
    with pytest.raises(DataError, match="cannot be done"):
        load_lift(f"shap-e:{folder}", device="cpu", grid=1)
    with pytest.raises(DataError, match="no view was rendered"):
        lift.lift(few).turntable()


def test_nothing_solid_is_said(folder, pictures):
    broken = load_lift(f"shap-e:{folder}", device="cpu", steps=2, grid=8, frame_size=0)
    with torch.no_grad():
        broken.pipeline.shap_e_renderer.mlp.mlp[1].bias[0] = -1e4
    with pytest.raises(DataError, match="nothing solid was made of 'e0'"):
        broken.lift(pictures.select(["e0"]))
    broken.pipeline.shap_e_renderer.mesh_decoder.masks.zero_()
    with pytest.raises(DataError, match="marching cubes"):
        broken.lift(pictures.select(["e0"]))


def test_files_and_turntable(folder, pictures, tmp_path):
    from PIL import Image

    seen = load_lift(f"shap-e:{folder}", device="cpu", steps=2, grid=12, frame_size=12, samples=(8, 8))
    made = seen.lift(pictures.select(["e0", "e1"]))
    saved = made.save(tmp_path / "shapes")
    assert json.loads((saved / "shapes.json").read_text())["stimuli"] == {"00000": "e0", "00001": "e1"}
    assert np.array_equal(read_ply(saved / "00001.ply").vertices, made.solids["e1"].vertices)
    with Image.open(saved / "00001.png") as sheet:
        assert np.array_equal(np.asarray(sheet)[12:24, 24:36], made.frames["e1"][7])
    turn = made.turntable()
    assert len(turn) == 40 and turn.table.loc["e1@3", "source_id"] == "e1"
    assert np.array_equal(turn.array("e1@3"), made.frames["e1"][3])


@pytest.mark.slow
def test_shapes_lose_what_a_silenced_region_was_planted_to_carry(lift, pictures, tokens, half):
    # A region for each half axis; which of two ellipsoids is larger along it is read off the solid.
    rng = np.random.default_rng(0)
    scaled = (half - half.mean(0)) / half.std(0)
    responses = np.repeat(scaled, 12, axis=1) + 0.7 * rng.standard_normal((72, 36))
    table = pd.DataFrame({"stimulus_id": pictures.ids, **dict(zip(REGIONS, (half > 0.55).T))})
    units = pd.DataFrame({"roi": np.repeat(REGIONS, 12)})
    trials = ba.Trials(responses.astype(np.float32), table, units)
    train, test = ba.split(trials, by="stimulus_id", test_size=24, seed=0)
    decoder = ShapeDecoder(LinearEncoder(cv="loo").fit(train, tokens), lift)
    shapes = lift.lift(pictures).latents()
    tasks = DecodingTasks(train, shapes, {one: one for one in REGIONS})
    lost = ablate_regions(decoder, test, tasks, mode="mean")
    full, losses = lost.values()["value"], lost.table().pivot(index="region", columns="task", values="loss")
    assert full["latents"] > 0.85 and (full[list(REGIONS)] > 0.8).all()
    own = np.diag(losses.loc[list(REGIONS), list(REGIONS)])
    other = losses.loc[list(REGIONS), list(REGIONS)].to_numpy()[~np.eye(3, dtype=bool)]
    assert own.min() > 0.2 and other.max() < 0.15, losses
    order = rng.permutation(train.n_trials)
    shuffled = ShapeDecoder(LinearEncoder(cv="loo").fit(train.with_responses(train.responses[order]), tokens), lift)
    assert abs(tasks.scores(shuffled.predict(test), test)[:, 0].mean() - 0.5) < 0.2
    with pytest.raises(LeakageError):
        ablate_regions(decoder, train, tasks, mode="mean")
    with pytest.raises(DataError, match="a fitted encoder and a lift"):
        ShapeDecoder(lift, lift)
