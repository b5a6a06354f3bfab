"""Synthesised pictures a second with the embedded pipeline, beside the floor in floating-point operations.

Counts the operations of one picture (torch's counter, forward and backward), times the samplers, and times a large
matrix product: the floor is what the operations would take at that rate. On a GPU: ``--device cuda --batch 64
--precision bfloat16``.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import brainalign as ba
from brainalign.analysis.synthesis import Guided, PictureEncoder, PlugAndPlay, synthesize
from brainalign.latents import extract
from brainalign.scenes import draw_scenes
from brainalign.voxelwise import Ridge


class Whole(nullcontext):
    """In place of the counter's tracker of modules, which cannot stand gradients of inputs alone."""

    parents = frozenset({"Global"})


def counter() -> FlopCounterMode:
    """Counts operations of everything together."""
    made = FlopCounterMode(display=False)
    made.mod_tracker = Whole()
    return made


def rate_of_products(device: str, seconds: float = 1.0) -> float:
    """Floating-point operations a second of a float32 product of 1024 x 1024 matrices."""
    x = torch.randn(1024, 1024, device=device)
    x @ x
    n, start = 0, _now(device)
    while _now(device) - start < seconds:
        x @ x
        n += 1
    return n * 2 * 1024**3 / (_now(device) - start)


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def main() -> None:
    """Print a table: sampler, pictures a second, operations a picture, seconds and floor a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", help="a sampler by name; all by default")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    steps, n = (4, 2) if options.quick else (20, options.batch)
    scenes = draw_scenes(200, seed=1)
    latents = extract(scenes, "mini")
    responses = latents.flat() @ np.random.default_rng(0).standard_normal((latents.shape[1], 20))
    guide = PictureEncoder(Ridge().fit(latents.flat(), responses), "mini", device=options.device)
    generator = ba.load_generator("mini", device=options.device, steps=steps)
    shared = {"steps": steps, "lead_from": 0.01, "batch_size": n, "precision": options.precision}
    samplers = {
        "free": Guided(scale=0.0, **shared),
        "led": Guided(scale=20.0, **shared),
        "led, estimate alone": Guided(scale=20.0, through_network=False, **shared),
        "led, checkpoints": Guided(scale=20.0, checkpoint=True, **shared),
        "led, tiles": Guided(scale=20.0, tile=8, **shared),
        "latent prior": PlugAndPlay(latents, batch_size=n),
    }
    if unknown := sorted(set(options.case or []) - set(samplers)):
        parser.error(f"unknown case {unknown}; known: {list(samplers)}")
    samplers = {name: one for name, one in samplers.items() if not options.case or name in options.case}
    rate = rate_of_products(options.device)
    rows = []
    for name, sampler in samplers.items():
        with counter() as counted:
            synthesize(guide, lambda r: r[:, 0], generator=generator, n=n, sampler=sampler)
        start = _now(options.device)
        synthesize(guide, lambda r: r[:, 0], generator=generator, n=n, sampler=sampler, seed=1)
        seconds = (_now(options.device) - start) / n
        flops = counted.get_total_flops() / n
        rows.append({"sampler": name, "pictures_per_s": 1 / seconds, "gflop_per_picture": flops / 1e9,
                     "s_per_picture": seconds, "floor_s": flops / rate, "ratio": seconds * rate / flops})  # fmt: skip
        print(
            "  ".join(
                f"{key} {value:.3g}" if isinstance(value, float) else f"{value:22}" for key, value in rows[-1].items()
            )
        )
    print(
        f"{rate / 1e9:.0f} GFLOP/s of products on {options.device}, {steps} steps, batches of {n}, {options.precision}"
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
