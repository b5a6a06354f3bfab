"""Generators: the embedded pipeline, the published pipeline classes from small local folders, and the simple ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import brainalign as ba
from brainalign.errors import DataError
from brainalign.latents.mini import WEIGHTS
from brainalign.reconstruction import Inversion, Retrieval, VaeDecoder, best_of, load_generator, scene_agreement
from brainalign.reconstruction.generators.inputs import Accepted

UNCLIP = WEIGHTS / "unclip"


@pytest.fixture(scope="module")
def scenes() -> ba.Stimuli:
    return ba.draw_scenes(24, seed=9)


@pytest.fixture(scope="module")
def clip(scenes: ba.Stimuli) -> ba.Latents:
    return ba.extract(scenes, "mini", cache=False, device="cpu")


@pytest.fixture(scope="module")
def layout(scenes: ba.Stimuli) -> ba.Latents:
    return ba.extract(scenes, "mini:vae", cache=False, device="cpu")


@pytest.fixture(scope="module")
def mini():
    return load_generator("mini", device="cpu", steps=10)


@pytest.fixture(scope="module")
def pictures(mini, clip: ba.Latents) -> ba.Stimuli:
    return mini.generate(clip, seed=0)


def stack(pictures: ba.Stimuli) -> np.ndarray:
    return np.stack([pictures.array(one) for one in pictures.ids]).astype(float)


def test_pictures_show_what_their_embeddings_say(scenes, clip, pictures) -> None:
    assert pictures.ids == clip.ids and pictures.array(pictures.ids[0]).shape == (64, 64, 3)
    seen = scene_agreement(pictures, scenes)
    assert seen["category"] >= 0.7 and seen["colour"] >= 0.7 and seen["position"] >= 0.7
    own = ba.extract(pictures, "mini", cache=False, device="cpu").values
    assert np.mean((own @ clip.values.T).argmax(1) == np.arange(24)) >= 0.85


def test_pictures_do_not_show_another_embedding(scenes, clip, pictures) -> None:
    shifted = dict(zip(scenes.ids, [*scenes.ids[5:], *scenes.ids[:5]]))
    moved = ba.Stimuli(scenes.ids, images=lambda one: pictures.image(shifted[one]))
    assert scene_agreement(moved, scenes)["category"] < 0.4
    own = ba.extract(moved, "mini", cache=False, device="cpu").values
    assert np.mean((own @ clip.values.T).argmax(1) == np.arange(24)) < 0.2


def test_seed_alone_decides_not_batch_nor_order(mini, clip, pictures) -> None:
    few = clip.select(clip.ids[3::-1])
    before, mini.batch_size = mini.batch_size, 3
    try:
        again, other = mini.generate(few, seed=0), mini.generate(few, seed=1)
    finally:
        mini.batch_size = before
    for one in few.ids:
        assert np.abs(again.array(one).astype(int) - pictures.array(one)).max() <= 2
        assert np.abs(other.array(one).astype(int) - pictures.array(one)).max() > 10


def test_several_pictures_keep_their_source(mini, clip) -> None:
    drawn = mini.generate(clip.select(clip.ids[:2]), 2, seed=0)
    assert drawn.ids == tuple(f"{one}#{draw}" for one in clip.ids[:2] for draw in range(2))
    assert drawn.table["source_id"].tolist() == [clip.ids[0]] * 2 + [clip.ids[1]] * 2
    assert (drawn.array(drawn.ids[0]) != drawn.array(drawn.ids[1])).any()


def test_layout_brings_the_picture_nearer(mini, scenes, clip, layout, pictures) -> None:
    both = mini.generate({"vae": layout.select(layout.ids[::-1]), "clip": clip}, seed=0).select(clip.ids)
    true = stack(scenes)
    assert np.mean((stack(both) - true) ** 2) < 0.7 * np.mean((stack(pictures) - true) ** 2)


def test_own_loop_is_the_pipelines(mini, clip, layout) -> None:
    # From strength 1 on, the start is noise alone (zero terminal signal): what the pipeline itself begins with.
    chosen = {"clip": clip.values[:2], "vae": layout.values[:2]}
    strength, mini.strength = mini.strength, 1.0
    try:
        own = mini._draw(chosen, [1, 2])
    finally:
        mini.strength = strength
    start = torch.cat([torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(one)) for one in (1, 2)])
    told = mini.condition({"clip": chosen["clip"]}, [1, 2])
    embeddings = told.led["class_labels"]
    assert embeddings.shape == (2, 256)
    with torch.no_grad():
        found = mini.pipeline(
            prompt=[""] * 2, image_embeds=mini._embeddings(chosen), latents=start, num_inference_steps=10,
            generator=[torch.Generator().manual_seed(one) for one in (1, 2)], guidance_scale=mini.guidance,
            output_type="np",
        ).images  # fmt: skip
    np.testing.assert_allclose(own, found, atol=2e-3)


def test_parts_for_guided_sampling(mini, scenes, clip, layout) -> None:
    told = mini.condition({"clip": clip.values[:4]}, [0, 1, 2, 3])
    clean, noise = torch.as_tensor(layout.values[:4]), torch.randn(4, 4, 16, 16)
    share = mini.alphas_cumprod[500]
    x = (share.sqrt() * clean + (1 - share).sqrt() * noise).requires_grad_()
    found = mini.denoise(x, 500, told, guidance=1.0)
    assert float((found - noise).detach().square().mean()) < 0.4  # a guess of zero has 1
    assert mini.latent_shape == (4, 16, 16)
    decoded = mini.decode(clean)
    assert float((decoded.permute(0, 2, 3, 1) * 255 - torch.as_tensor(stack(scenes)[:4])).square().mean()) < 300
    (gradient,) = torch.autograd.grad(mini.decode(found).sum(), x)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


def condition_gradient(generator, values, layout):
    """Diffusion error and its gradient in the condition; the networks take none."""
    told = torch.as_tensor(np.asarray(values)[:2]).requires_grad_()
    with generator.frozen():
        error = generator.diffusion_error(
            torch.as_tensor(layout.values[:2]), {"clip": told}, torch.tensor([200, 700]), [1, 2]
        )
        (gradient,) = torch.autograd.grad(error.sum(), told)
    assert all(one.grad is None for one in generator.pipeline.unet.parameters())
    assert torch.isfinite(gradient).all() and (gradient.abs().amax(dim=1) > 0).all()
    return error.detach(), gradient


def test_what_is_told_learns_from_the_error_of_denoising(mini, clip, layout) -> None:
    error, gradient = condition_gradient(mini, clip.values, layout)
    assert all(one.requires_grad for one in mini.pipeline.unet.parameters())  # afterwards as before
    noise = torch.cat([torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(one)) for one in (1, 2)])
    told = mini.condition({"clip": clip.values[:2]}, [1, 2])
    for row, t in enumerate((200, 700)):
        a, x = mini.alphas_cumprod[t], torch.as_tensor(layout.values[row])
        arguments = {name: one[row : row + 1] for name, one in told.led.items()}
        with torch.no_grad():
            found = mini.pipeline.unet((a.sqrt() * x + (1 - a).sqrt() * noise[row])[None], t, **arguments).sample[0]
        velocity = a.sqrt() * noise[row] - (1 - a).sqrt() * x
        assert error[row].item() == pytest.approx((found - velocity).square().mean().item(), rel=1e-4)
    other, _ = condition_gradient(mini, clip.values[5:], layout)
    assert (other > error).all()  # of other pictures
    half = load_generator(f"unclip:{UNCLIP}", device="cpu", memory="24GB", space="mini", unit=True)
    _, coarse = condition_gradient(half, clip.values, layout)
    assert torch.nn.functional.cosine_similarity(coarse, gradient).min() > 0.98


def test_wrong_latents_are_refused(mini, clip, layout) -> None:
    foreign = ba.Latents(clip.values, clip.ids, space="open_clip:ViT-H-14/laion2b_s32b_b79k")
    with pytest.raises(DataError, match=r"cannot turn latents of this space(.|\n)*expected: mini(.|\n)*ViT-H-14"):
        mini.generate(foreign)
    old = ba.Latents(clip.values, clip.ids, space="mini", meta={**clip.meta, "weights_sha256": "0" * 64})
    with pytest.raises(DataError, match="another revision of 'mini'"):
        mini.generate(old)
    with pytest.raises(DataError, match=r"another shape(.|\n)*\(n, 128\)(.|\n)*\(3, 64\)"):
        mini.generate(np.ones((3, 64)))
    with pytest.raises(DataError, match="NaN or infinity"):
        mini.generate(np.full((3, 128), np.nan))
    with pytest.raises(DataError, match=r"needs latents(.|\n)*clip"):
        mini.generate({"vae": layout})
    with pytest.raises(DataError, match="unknown kind of latents for mini 'text'"):
        mini.generate({"clip": clip, "text": clip})
    with pytest.raises(DataError, match="different stimuli"):
        mini.generate({"clip": clip, "vae": layout.select(layout.ids[:3])})
    with pytest.raises(DataError, match="an integer from 1"):
        mini.generate(clip, 0)


def test_unknown_names_options_and_damage_are_refused(tmp_path: Path) -> None:
    for name in ("minni", "unclip:", "mini:clip", "dalle:x"):
        with pytest.raises(DataError, match="unknown generator"):
            load_generator(name)
    with pytest.raises(DataError, match="unknown memory preset '10GB'"):
        load_generator("mini", memory="10GB")
    with pytest.raises(DataError, match="strength is out of range"):
        load_generator("mini", device="cpu", strength=0)
    with pytest.raises(DataError, match=r"cannot be made of these options(.|\n)*colour"):
        load_generator("mini", device="cpu", colour="red")
    folder = tmp_path / "unclip"
    shutil.copytree(UNCLIP, folder)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot load model 'unclip:"):
        load_generator(f"unclip:{folder}", device="cpu")


def test_stable_unclip_from_a_folder(mini, clip, pictures) -> None:
    chosen = clip.select(clip.ids[:2])
    plain = load_generator(f"unclip:{UNCLIP}", device="cpu", steps=10, guidance=2.0, space="mini")
    same = plain.generate(chosen, seed=0)
    assert np.abs(stack(same) - stack(pictures.select(chosen.ids))).max() <= 2
    sliced = load_generator(f"unclip:{UNCLIP}", device="cpu", memory="24GB", steps=1, space="mini")
    assert sliced.batch_size == 4 and sliced.dtype == torch.float16 and sliced.pipeline.vae.use_slicing


def small_unet(**options):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(**{
        "sample_size": 16, "in_channels": 4, "out_channels": 4, "block_out_channels": (8, 16), "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "norm_num_groups": 4, "attention_head_dim": 4, "cross_attention_dim": 8, **options,
    })  # fmt: skip


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory) -> Path:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("sd")
    StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(UNCLIP / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(UNCLIP / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(UNCLIP / "tokenizer"),
        unet=small_unet(),
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def check_batches(generator, latents) -> None:
    """Shape, use of the latents, and the same pictures in other batches."""
    found = generator.generate(latents, seed=0)
    assert stack(found).shape == (3, 64, 64, 3)
    generator.batch_size = 2
    assert np.abs(stack(generator.generate(latents, seed=0)) - stack(found)).max() <= 2
    assert np.abs(stack(generator.generate(latents[::-1].copy(), seed=0)) - stack(found)).max() > 2


def test_image_to_image_from_a_folder(stable_diffusion: Path, layout) -> None:
    generator = load_generator(f"img2img:{stable_diffusion}", device="cpu", steps=4, strength=0.5)
    check_batches(generator, layout.values[:3])
    told = generator.condition({"vae": layout.values[:2]})
    assert generator.denoise(torch.randn(2, 4, 16, 16), 10, told).shape == (2, 4, 16, 16)


def test_ip_adapter_from_a_folder(stable_diffusion: Path, tmp_path: Path, layout) -> None:
    torch.manual_seed(1)
    weights = {"image_proj.proj.weight": torch.randn(4 * 8, 128), "image_proj.proj.bias": torch.zeros(32),
               "image_proj.norm.weight": torch.ones(8), "image_proj.norm.bias": torch.zeros(8)}  # fmt: skip
    for place in range(small := 4):  # one down, two up, one in the middle
        width = (8, 8, 8, 16)[place]
        for part in ("k", "v"):
            weights[f"ip_adapter.{2 * place + 1}.to_{part}_ip.weight"] = torch.randn(width, 8)
    assert small == sum("attn2.to_k" in name for name in small_unet().state_dict())
    save_file(weights, tmp_path / "adapter.safetensors")
    options = {"adapter": str(tmp_path), "weight_name": "adapter.safetensors", "device": "cpu", "steps": 3}
    generator = load_generator(f"ip-adapter:{stable_diffusion}", **options)
    check_batches(generator, np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32) * 5)
    condition_gradient(generator, np.random.default_rng(1).normal(size=(2, 128)).astype(np.float32), layout)
    both = generator.generate({"clip": np.ones((2, 128)), "vae": layout.values[:2]})
    assert stack(both).shape == (2, 64, 64, 3)
    with pytest.raises(DataError, match="needs an adapter"):
        load_generator(f"ip-adapter:{stable_diffusion}", device="cpu")
    with pytest.raises(DataError, match="safetensors alone"):
        load_generator(f"ip-adapter:{stable_diffusion}", **{**options, "weight_name": "adapter.bin"})


def adapter_weights(unet: torch.nn.Module, width: int, tokens: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An IP-Adapter for this network: `tokens` projects a picture, keys and values of each cross-attention read it."""
    weights = {f"image_proj.{name}": one for name, one in tokens.items()}
    # diffusers numbers cross-attentions 1, 3, 5, ... in the order of its attention processors.
    blocks = [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]
    for place, block in enumerate(blocks):
        inner = unet.get_submodule(block).to_k.out_features
        for part in ("k", "v"):
            weights[f"ip_adapter.{2 * place + 1}.to_{part}_ip.weight"] = torch.randn(inner, width)
    return weights


def test_plus_adapter_takes_tokens(stable_diffusion: Path, tmp_path: Path) -> None:
    """The resampler of "plus" adapters attends to every token of the picture."""
    torch.manual_seed(2)
    hidden, depth, n_queries, n_in, n_out = 64, 4, 4, 12, 8  # the depth is that of every published one
    tokens = {
        "latents": torch.randn(1, n_queries, hidden),
        "proj_in.weight": torch.randn(hidden, n_in), "proj_in.bias": torch.zeros(hidden),
        "proj_out.weight": torch.randn(n_out, hidden), "proj_out.bias": torch.zeros(n_out),
        "norm_out.weight": torch.ones(n_out), "norm_out.bias": torch.zeros(n_out),
    }  # fmt: skip
    for layer in range(depth):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            tokens |= {
                f"layers.{layer}.{norm}.weight": torch.ones(hidden),
                f"layers.{layer}.{norm}.bias": torch.zeros(hidden),
            }
        tokens |= {
            f"layers.{layer}.0.to_q.weight": torch.randn(hidden, hidden) / 8,
            f"layers.{layer}.0.to_kv.weight": torch.randn(2 * hidden, hidden) / 8,
            f"layers.{layer}.0.to_out.weight": torch.randn(hidden, hidden) / 8,
            f"layers.{layer}.1.1.weight": torch.randn(4 * hidden, hidden) / 8,
            f"layers.{layer}.1.3.weight": torch.randn(hidden, 4 * hidden) / 16,
        }
    save_file(adapter_weights(small_unet(), n_out, tokens), tmp_path / "plus.safetensors")
    options = {"adapter": str(tmp_path), "weight_name": "plus.safetensors", "device": "cpu", "steps": 2}
    generator = load_generator(f"ip-adapter:{stable_diffusion}", **options)
    assert generator.accepts[0].shape is None
    latents = np.random.default_rng(0).normal(size=(3, 7, n_in)).astype(np.float32) * 3
    check_batches(generator, latents)
    changed = latents.copy()
    changed[:, -1] *= -2  # the last token counts too
    assert np.abs(stack(generator.generate(changed)) - stack(generator.generate(latents))).max() > 1


@pytest.fixture(scope="module")
def stable_diffusion_xl(tmp_path_factory) -> Path:
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    folder = tmp_path_factory.mktemp("sdxl")
    tokenizer = CLIPTokenizer.from_pretrained(UNCLIP / "tokenizer")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length, projection_dim=8,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    StableDiffusionXLPipeline(
        vae=AutoencoderKL.from_pretrained(UNCLIP / "vae"),
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=small_unet(cross_attention_dim=16, addition_embed_type="text_time", addition_time_embed_dim=4,
                        projection_class_embeddings_input_dim=8 + 6 * 4),
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def test_stable_diffusion_xl_with_an_adapter_and_as_image_to_image(stable_diffusion_xl: Path, tmp_path, layout) -> None:
    torch.manual_seed(1)
    tokens = {"proj.weight": torch.randn(4 * 16, 128), "proj.bias": torch.zeros(64), "norm.weight": torch.ones(16),
              "norm.bias": torch.zeros(16)}  # fmt: skip
    unet = small_unet(cross_attention_dim=16)
    save_file(adapter_weights(unet, 16, tokens), tmp_path / "adapter.safetensors")
    options = {"adapter": str(tmp_path), "weight_name": "adapter.safetensors", "device": "cpu", "steps": 2}
    generator = load_generator(f"ip-adapter:{stable_diffusion_xl}", **options)
    assert type(generator.pipeline).__name__ == "StableDiffusionXLPipeline"
    check_batches(generator, np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32) * 5)
    with pytest.raises(DataError, match="not offered for Stable Diffusion XL"):
        generator.condition({"clip": np.ones((1, 128))})
    polish = load_generator(f"img2img:{stable_diffusion_xl}", device="cpu", steps=4, strength=0.5)
    assert type(polish.pipeline).__name__ == "StableDiffusionXLImg2ImgPipeline"
    check_batches(polish, layout.values[:3])


def test_memory_presets_make_the_calls_that_diffusers_has_for_them(monkeypatch) -> None:
    """What each card asks of the pipeline, with the calls that need a card only recorded."""
    from diffusers import DiffusionPipeline, StableUnCLIPImg2ImgPipeline

    from brainalign.reconstruction.generators import registry

    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(registry, "resolve_device", lambda device: "cuda")
    monkeypatch.setattr(DiffusionPipeline, "enable_model_cpu_offload",
                        lambda self, device: asked.append(("offload", device)))  # fmt: skip
    monkeypatch.setattr(DiffusionPipeline, "to", lambda self, device: asked.append(("to", device)) or self)
    plain = StableUnCLIPImg2ImgPipeline.enable_attention_slicing
    monkeypatch.setattr(StableUnCLIPImg2ImgPipeline, "enable_attention_slicing",
                        lambda self: asked.append(("slices", "")) or plain(self))  # fmt: skip
    expected = {
        "12GB": (1, [("slices", ""), ("offload", "cuda")], True),
        "24GB": (4, [("slices", ""), ("to", "cuda")], True),
        "80GB": (16, [("to", "cuda")], False),
    }
    for memory, (batch_size, calls, sliced) in expected.items():
        asked.clear()
        generator = load_generator("mini", memory=memory)
        assert (generator.batch_size, asked, generator.pipeline.vae.use_slicing) == (batch_size, calls, sliced), memory
        assert generator.pipeline.unet.dtype == torch.float16


def test_roi_optimal_latents_become_pictures(mini) -> None:
    """A region that a known latent drives: its optimal latent, drawn, is what the region was made to prefer."""
    from brainalign.encoders import LinearEncoder
    from brainalign.encoders.optimal import roi_optimal

    bank = ba.draw_scenes(160, seed=21)
    latents = ba.extract(bank, "mini", cache=False, device="cpu")
    category = bank.table["category"].to_numpy()
    liked = sorted(set(category))[0]
    direction = latents.values[category == liked].mean(0) - latents.values.mean(0)
    trials, _ = ba.simulate_subject(
        latents,
        rois={"FFA": 40, "other": 40},
        directions={"FFA": direction},
        ceiling=(0.7, 0.9),
        seed=0,
        n_repetitions=2,
    )
    encoder = LinearEncoder().fit(trials.average("stimulus_id"), latents)
    found = roi_optimal(encoder, {"FFA": "roi == 'FFA'"}, units=trials)
    drawn = mini.generate(found, 4, seed=0)
    from brainalign.reconstruction import judge_scenes

    assert (judge_scenes(drawn)["category"] == liked).mean() >= 0.5  # one in eight by chance


def test_kandinsky_from_a_folder(tmp_path: Path, layout) -> None:
    from diffusers import DDPMScheduler, KandinskyV22Pipeline, VQModel

    unet = small_unet(
        out_channels=8, addition_embed_type="image", encoder_hid_dim_type="image_proj", encoder_hid_dim=128,
        down_block_types=("SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
        up_block_types=("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
    )  # fmt: skip
    movq = VQModel(
        block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3, norm_num_groups=4, latent_channels=4, num_vq_embeddings=4,
    )  # fmt: skip
    KandinskyV22Pipeline(unet=unet, movq=movq, scheduler=DDPMScheduler()).save_pretrained(tmp_path)
    generator = load_generator(f"kandinsky:{tmp_path}", device="cpu", steps=3)
    check_batches(generator, np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32) * 5)
    told = generator.condition({"clip": np.ones((2, 128), np.float32)})
    assert generator.denoise(torch.randn(2, 4, 16, 16), 10, told).shape == (2, 4, 16, 16)
    assert generator.decode(torch.randn(2, 4, 16, 16)).shape == (2, 3, 64, 64)
    condition_gradient(generator, np.random.default_rng(1).normal(size=(2, 128)).astype(np.float32), layout)


def test_decoder_alone(scenes, layout) -> None:
    decoder = load_generator("mini:vae", device="cpu")
    assert isinstance(decoder, VaeDecoder)
    assert np.mean((stack(decoder.generate(layout)) - stack(scenes)) ** 2) < 200
    with pytest.raises(DataError, match="cannot decode this shape"):
        decoder.generate(np.ones((2, 3, 16, 16)))


def test_retrieval_finds_the_nearest(scenes, clip) -> None:
    bank = load_generator("retrieval", bank=scenes, latents=clip)
    assert isinstance(bank, Retrieval)
    noisy = ba.Latents(clip.values[::-1] * 3, clip.ids[::-1], space="mini")
    np.testing.assert_array_equal(stack(bank.generate(noisy).select(scenes.ids)), stack(scenes))
    two = bank.generate(clip.select(clip.ids[:1]), 2)
    order = np.argsort(-(clip.values @ clip.values[0]))
    assert two.table["bank_id"].tolist() == [clip.ids[row] for row in order[:2]]
    with pytest.raises(DataError, match="24, the bank"):
        bank.generate(clip, 25)


def test_best_of_takes_the_best_and_says_so(mini, clip) -> None:
    chosen = clip.select(clip.ids[:2])
    best = best_of(mini, 3).generate(chosen, seed=0)
    assert best.ids == chosen.ids and (best.table["best_of"] == 3).all()
    assert best.table["generator"].unique().tolist() == ["best of 3 by mini"]
    drawn = mini.generate(chosen, 3, seed=0)
    own = ba.extract(drawn, "mini", cache=False, device="cpu").values.reshape(2, 3, -1)
    nearness = np.einsum("ijk,ik->ij", own, chosen.values)
    np.testing.assert_allclose(best.table["score"], nearness.max(1), atol=1e-4)
    for row, one in enumerate(chosen.ids):
        np.testing.assert_array_equal(best.array(one), drawn.array(f"{one}#{nearness[row].argmax()}"))
    with pytest.raises(DataError, match="one finite number for each picture"):
        best_of(mini, 2, lambda pictures, latents: [1.0]).generate(chosen)


def test_inversion_hands_over_layers_and_seeds() -> None:
    class Prior:
        seed = 0

        def invert(self, maps: list[np.ndarray]) -> np.ndarray:
            level = maps[0].mean() + 10 * maps[1].mean() + 1e-30 * self.seed
            return np.full((1, 4, 4, 3), level, np.float32)

    inversion = Inversion(Prior(), [Accepted("low", "net/low"), Accepted("high")])
    low = ba.Latents(np.full((2, 3, 3), 0.1), ["a", "b"], space="net/low")
    high = ba.Latents(np.array([[0.05], [0.02]]), ["a", "b"], space="net/high")
    found = inversion.generate({"low": low, "high": high})
    assert [int(found.array(one)[0, 0, 0]) for one in "ab"] == [153, 76]
    with pytest.raises(DataError, match="cannot turn latents of this space"):
        inversion.generate({"low": high, "high": high})


def test_deep_image_prior_as_a_generator() -> None:
    from brainalign.reconstruction import DeepImagePrior

    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    target = conv(torch.rand(2, 3, 16, 16)).detach().numpy()
    prior = DeepImagePrior(lambda images: [conv(images)], 16, n_steps=3, channels=(8, 8))
    inversion = Inversion(prior, [Accepted("conv", "toy/conv")])
    both = inversion.generate(ba.Latents(target, ["a", "b"], space="toy/conv"))
    alone = inversion.generate(ba.Latents(target[1:], ["b"], space="toy/conv"))
    np.testing.assert_array_equal(both.array("b"), alone.array("b"))
