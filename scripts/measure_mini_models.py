"""Measure the shipped mini models again, on held-out scenes, and refresh their report and model card.

    python scripts/measure_mini_models.py [--scenes 500] [--write]
    python scripts/measure_mini_models.py --seed 730001 [--scenes 500] [--write]

The guidance is chosen on the first half of the scenes and reported on the second. With a seed that nothing was chosen
on, the guidance chosen before is taken for all scenes, and the models are held against the bars they were made for: the
exit status is 1 where one is missed.
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
    parser.add_argument("--seed", type=int, help="of scenes never looked at: confirm, choose nothing")
    parser.add_argument("--clip-scenes", type=int, default=12_000, help="of the CLIP, where a seed is given")
    parser.add_argument("--write", action="store_true", help="put the findings into the report and card of the package")
    args = parser.parse_args()
    import torch
    from assemble_mini_models import refresh
    from mini_models import confirm, data, halves
    from train_mini_models import SEEDS

    from brainalign.latents.mini import WEIGHTS

    torch.manual_seed(0)
    report = json.loads((WEIGHTS / "report.json").read_text())
    when = {"date": str(date.today()), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    if args.seed is not None:
        if args.seed in SEEDS.values():
            parser.error(f"scenes of seed {args.seed} were looked at before")
        chosen = report["guidance"]["chosen"]
        found = confirm.confirm(shipped(), args.seed, chosen, n_scenes=args.clip_scenes, n_drawn=args.scenes)
        print(json.dumps(found, indent=1))
        missed = confirm.missed(found)
        print("\n".join(missed) or "every bar is met")
        if args.write:
            refresh(WEIGHTS, report | {"confirmed": found | when})
        sys.exit(1 if missed else 0)
    held = data.draw(SEEDS["test"], args.scenes, jobs=1)
    measured: dict[str, Any] = {"samples measured": when}

    def note(name: str, what: Any) -> None:
        measured[name] = what
        print(f"{name}: {what}", flush=True)

    halves.measure_halves(shipped(), torch.from_numpy(held["images"]), held["labels"], note)
    if args.write:
        stale = [name for name in report if name.startswith(("samples", "choosing", "guidance", "judge on"))]
        refresh(WEIGHTS, {name: one for name, one in report.items() if name not in stale} | measured)


if __name__ == "__main__":
    main()
