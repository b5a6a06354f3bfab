"""A Shap-E of a few thousand weights that truly lifts: pictures of ellipses to ellipsoids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from brainalign.stimuli import Stimuli

SIZE, HIDDEN, WIDTH = 32, 6, 4
LEAST, MOST = 0.3, 0.8


def axes(n: int, seed: int) -> np.ndarray:
    """Half axes (n, 3) of ellipsoids."""
    return np.random.default_rng(seed).uniform(LEAST, MOST, (n, 3))


def ellipses(half: np.ndarray) -> Stimuli:
    """Pictures of ellipsoids seen along their third axis, which the colour tells."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    pictures = np.full((len(half), SIZE, SIZE, 3), 255, np.uint8)
    for picture, (a, b, c) in zip(pictures, half):
        picture[(x / a) ** 2 + (y / b) ** 2 < 1] = (round(300 * (c - LEAST)), 40, 200 - round(300 * (c - LEAST)))
    return Stimuli.from_arrays(pictures, [f"e{row}" for row in range(len(half))])


def marching_cubes_tables() -> tuple[Tensor, Tensor]:
    """(256, 5, 3) edges and (256, 5) which of them count, in the numbering of diffusers' mesh decoder."""
    from skimage.measure import marching_cubes

    corners = [(0, 0), (1, 0), (0, 1), (1, 1)]
    edges = [(0.5, a, b) for a, b in corners] + [(a, 0.5, b) for a, b in corners] + [(a, b, 0.5) for a, b in corners]
    numbers = {edge: number for number, edge in enumerate(edges)}
    cases, masks = torch.zeros(256, 5, 3, dtype=torch.long), torch.zeros(256, 5, dtype=torch.bool)
    bits = np.arange(8).reshape(2, 2, 2).transpose(2, 1, 0)  # x is the lowest
    for case in range(1, 255):
        field = np.where(case >> bits & 1, 1.0, -1.0)
        places, faces, _, _ = marching_cubes(field, 0, method="lorensen")
        for row, face in enumerate(faces):
            cases[case, row] = torch.tensor([numbers[tuple(places[corner].tolist())] for corner in face])
            masks[case, row] = True
    return cases, masks


def build(folder: Path, *, steps: int = 300) -> Path:
    """Make and save the pipeline: a renderer of ellipsoids in closed form, a prior trained on pictures of them."""
    from diffusers import HeunDiscreteScheduler, PriorTransformer, ShapEImg2ImgPipeline
    from diffusers.pipelines.shap_e.renderer import ShapERenderer
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    renderer = ShapERenderer(
        param_names=("nerstf.mlp.0.weight",), param_shapes=((HIDDEN, 93),), d_latent=WIDTH, d_hidden=HIDDEN,
        n_hidden_layers=1, insert_direction_at=None,
    )  # fmt: skip
    cases, masks = marching_cubes_tables()
    renderer.mesh_decoder.cases.copy_(cases)
    renderer.mesh_decoder.masks.copy_(masks)
    encoder = CLIPVisionModel(CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=SIZE, patch_size=8
    )).eval()  # fmt: skip
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, num_layers=1, embedding_dim=WIDTH, num_embeddings=HIDDEN,
        additional_embeddings=0, embedding_proj_dim=32, embedding_proj_norm_type="layer", norm_in_type="layer",
        encoder_hid_proj_type=None, added_emb_type=None, time_embed_dim=16, clip_embed_dim=2 * WIDTH,
    )  # fmt: skip
    processor = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=SIZE)
    scheduler = HeunDiscreteScheduler(
        num_train_timesteps=1024, beta_schedule="exp", prediction_type="sample", clip_sample=True
    )
    pipeline = ShapEImg2ImgPipeline(prior, encoder, processor, scheduler, renderer)
    write_renderer(renderer)
    fit_prior(pipeline, steps)
    pipeline.save_pretrained(folder)
    return folder


def planted(half: Tensor) -> Tensor:
    """The latent (n, HIDDEN, WIDTH) of ellipsoids with these half axes: every token tells all three slopes."""
    told = torch.cat([torch.ones(len(half), 1), LEAST / half], dim=1)
    return told[:, None].expand(-1, HIDDEN, -1)


@torch.no_grad()
def write_renderer(renderer) -> None:
    """Signed field k (1 - sum (x / a)^2): swish(s) + swish(-s) is s^2 / 2 for small s."""
    for module in (renderer.params_proj, renderer.mlp):
        for one in module.parameters():
            one.zero_()
    row = renderer.params_proj.projections["nerstf__mlp__0__weight"]
    small, reference = 0.2, 100.0
    weights = row.proj.weight.view(HIDDEN, 93, WIDTH)
    weights[:, 10, 0], weights[:, 11, 0] = reference, -reference  # so that the norm divides by a constant
    row.norm.weight[:3] = small / LEAST * reference * (2 / 93) ** 0.5
    for unit in range(HIDDEN):
        weights[unit, unit // 2, 1 + unit // 2] = (-1.0) ** unit
    last = renderer.mlp.mlp[1]
    for output, size in ((0, 2.0), (1, 40.0), (2, 40.0)):  # the field, and both densities
        last.weight[output], last.bias[output] = -2 * size / small**2, size
    last.bias[3:] = torch.tensor([2.0, 0.0, -2.0]).repeat(3)


def fit_prior(pipeline, steps: int) -> None:
    half = torch.tensor(axes(256, seed=99), dtype=torch.float32)
    shown = ellipses(half.numpy())
    with torch.no_grad():
        pixels = torch.stack([pipeline.image_processor(shown.image(one), return_tensors="pt").pixel_values[0]
                              for one in shown.ids])  # fmt: skip
        tokens = pipeline.image_encoder(pixels)["last_hidden_state"][:, 1:]
    clean, shares = planted(half), pipeline.scheduler.alphas_cumprod
    fitted = torch.optim.Adam(pipeline.prior.parameters(), lr=1e-2)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(fitted, steps)
    for _ in range(steps):
        rows, times = torch.randint(256, (32,)), torch.randint(1024, (32,))
        share = shares[times].reshape(-1, 1, 1)
        noisy = share.sqrt() * clean[rows] + (1 - share).sqrt() * torch.randn(32, HIDDEN, WIDTH)
        told = tokens[rows] * (torch.rand(32, 1, 1) > 0.1)
        found = pipeline.prior(noisy, times, told).predicted_image_embedding[..., :WIDTH]
        loss = (found - clean[rows]).square().mean()
        fitted.zero_grad()
        loss.backward()
        fitted.step()
        plan.step()
