"""Measure the shipped mini models again, on held-out scenes, and refresh their report and model card.

    python scripts/measure_mini_models.py [--scenes 500] [--write]

The guidance is chosen on the first half of the scenes and reported on the second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def shipped() -> Any:
    """The models of the package, as `mini_models.halves.Models`."""
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from mini_models import data, halves, networks

    from brainalign.latents import load_model
    from brainalign.latents.mini import mini_folder
    from brainalign.latents.network import fill, load_weights
    from brainalign.reconstruction.judge_network import JudgeNetwork

    folder = mini_folder()
    judge, file = (
        JudgeNetwork({name: len(one) for name, one in data.LABELS.items()}),
        folder / "judge/model.safetensors",
    )
    fill(judge, load_weights(file), path=file)
    vae: Any = load_model("mini:vae", device="cpu")
    parts = [load_model("mini", device="cpu").module, vae.module, judge]
    parts.append(UNet2DConditionModel.from_pretrained(folder / "unclip" / "unet"))
    parts.append(StableUnCLIPImageNormalizer.from_pretrained(folder / "unclip" / "image_normalizer"))
    ready = [one.float().eval().requires_grad_(False) for one in parts]
    return halves.Models(*ready, DDPMScheduler(**networks.AUGMENTATION_SCHEDULE), vae.scaling_factor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500, help="half to choose the guidance on, half to report")
    parser.add_argument("--write", action="store_true", help="put the findings into the report and card of the package")
    args = parser.parse_args()
    import torch
    from assemble_mini_models import refresh
    from mini_models import data, halves
    from train_mini_models import SEEDS

    from brainalign.latents.mini import WEIGHTS

    torch.manual_seed(0)
    held = data.draw(SEEDS["test"], args.scenes, jobs=1)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    found: dict[str, Any] = {"samples measured": {"date": str(date.today()), "machine": machine}}

    def note(name: str, what: Any) -> None:
        found[name] = what
        print(f"{name}: {what}", flush=True)

    halves.measure_halves(shipped(), torch.from_numpy(held["images"]), held["labels"], note)
    if args.write:
        report = json.loads((WEIGHTS / "report.json").read_text())
        stale = [name for name in report if name.startswith(("samples", "choosing", "guidance", "judge on"))]
        refresh(WEIGHTS, {name: one for name, one in report.items() if name not in stale} | found)


if __name__ == "__main__":
    main()
