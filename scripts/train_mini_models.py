"""Train the embedded mini models on drawn scenes: CLIP, autoencoder, judge and unCLIP denoiser.

    python scripts/train_mini_models.py --out runs/mini            # as long as the four budgets say
    python scripts/train_mini_models.py --out runs/mini --quick    # seconds, to see that it runs
    python scripts/assemble_mini_models.py runs/mini               # weights to the folders inside the package

Leaves clip, vae, judge and unet as float16 safetensors, `report.json` and `samples.png`; each file is written when it
is ready, the denoiser also while it is trained. The seeds of the scenes trained on are in SEEDS: `draw_scenes` of any
other seed is held out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SEEDS = {"train": 710_001, "judge": 710_002, "test": 710_003}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scenes", type=int, default=60_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch-scale", type=float, default=1.0, help="4 or more on a large GPU")
    parser.add_argument("--seconds", type=float, nargs=4, default=(600, 900, 240, 3600), help="CLIP, VAE, judge, UNet")
    parser.add_argument("--steps", type=int, nargs=4, default=(20_000, 20_000, 4_000, 60_000))
    return parser.parse_args()


def save(tensors: dict[str, Any], path: Path) -> None:
    """float16 safetensors, readable by all, whole or absent."""
    import torch
    from safetensors.torch import save_file

    draft = path.with_suffix(".part")
    half = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for name, value in tensors.items()
        if isinstance(value, torch.Tensor)
    }
    save_file(half, draft)
    draft.chmod(0o644)
    draft.replace(path)


def as_stored(module: Any, path: Path) -> Any:
    """Save a module and round its weights to what was stored, for what is built on it."""
    import torch

    save(module.state_dict(), path)
    with torch.no_grad():
        for value in [*module.parameters(), *module.buffers()]:
            if value.is_floating_point():
                value.copy_(value.half().float())
    return module.eval().requires_grad_(False)


def main() -> None:
    args = options()
    if args.quick:
        args.scenes, args.steps, args.seconds = 400, (6, 6, 6, 6), (60.0,) * 4
    args.out.mkdir(parents=True, exist_ok=True)
    import numpy as np
    import torch
    from mini_models import data, halves, loops, measures, networks

    from brainalign.reconstruction.judge_network import JudgeNetwork

    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores"
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    budgets = [{"steps": n, "seconds": s} for n, s in zip(args.steps, args.seconds)]
    report: dict[str, Any] = {"date": str(date.today()), "machine": machine, "torch": torch.__version__,
                              "command": " ".join(sys.argv[1:]), "scenes": args.scenes, "seeds": SEEDS}  # fmt: skip

    def note(name: str, found: Any) -> None:
        report[name] = found
        print(f"[{time.perf_counter() - start:6.1f} s] {name}: {found}", flush=True)
        (args.out / "report.json").write_text(json.dumps(report, indent=1))

    def drawn(which: str, n: int, merges: Path | None) -> tuple[dict[str, Any], np.ndarray]:
        found = data.draw(SEEDS[which], n, jobs=args.jobs, merges=merges)
        return {name: torch.from_numpy(value).to(device) for name, value in found.items()}, found["labels"]

    def size(batch: int) -> int:
        return 48 if args.quick else int(batch * args.batch_scale)

    start = time.perf_counter()
    merges = args.out / "merges.txt.gz"
    vocabulary = data.write_merges(merges)
    train, labels = drawn("train", args.scenes, merges)
    held, truth = drawn("test", min(12_000, args.scenes), merges)
    judged, _ = drawn("judge", max(400, args.scenes // 4), None)
    note("drawn", {name: len(value["images"]) for name, value in (("train", train), ("test", held), ("judge", judged))})

    clip = networks.make_clip(vocabulary).to(device).train()
    steps = loops.train_clip(clip, train, labels, batch=size(192), run=budgets[0])
    clip = as_stored(clip, args.out / "clip.safetensors")
    note("clip", {"steps": steps, **measures.measure_clip(clip, held, truth, data.Words(merges))})

    vae = networks.make_vae().to(device, memory_format=torch.channels_last).train()
    steps = loops.train_vae(vae, train["images"], batch=size(64), run=budgets[1])
    vae = as_stored(vae, args.out / "vae.safetensors")
    true = held["images"][:1000].float() / 255
    rebuilt = measures.decode_latents(vae, measures.encode_latents(vae, held["images"][:1000]))
    latents = measures.encode_latents(vae, train["images"])
    scale = 1 / float(latents[:20_000].std())
    latents = (latents * scale).half()
    note("vae", {"steps": steps, "scaling_factor": scale, "psnr": measures.psnr(rebuilt, true)})

    judge = JudgeNetwork({name: len(values) for name, values in data.LABELS.items()}).to(device).train()
    steps = loops.train_judge(judge, judged, batch=size(128), run=budgets[2])
    judge = as_stored(judge, args.out / "judge.safetensors")
    note("judge", {"steps": steps, "true pictures": measures.measure_judge(judge, true, truth[:1000]),
                   "autoencoder": measures.measure_judge(judge, rebuilt, truth[:1000])})  # fmt: skip

    from diffusers import DDPMScheduler
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    embeddings = measures.embed_images(clip, train["images"])
    normalizer = StableUnCLIPImageNormalizer(networks.EMBED).to(device).requires_grad_(False)
    normalizer.mean.copy_(embeddings.mean(0, keepdim=True))
    normalizer.std.copy_(embeddings.std(0, keepdim=True))
    save(normalizer.state_dict(), args.out / "normalizer.safetensors")
    augment = DDPMScheduler(**networks.AUGMENTATION_SCHEDULE)

    def condition(rows: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        return loops.condition_with_noise(embeddings[rows], levels, augment, normalizer)

    unet = networks.make_unet().to(device, memory_format=torch.channels_last).train()
    names = [name for name, _ in unet.named_parameters()]
    average, steps = loops.train_unet(
        unet, latents, condition, batch=size(128), run=budgets[3],
        save=lambda weights: save(dict(zip(names, weights)), args.out / "unet.safetensors"),
    )  # fmt: skip
    with torch.no_grad():
        for weight, mean in zip(unet.parameters(), average):
            weight.copy_(mean)
    unet = as_stored(unet, args.out / "unet.safetensors")
    note("unet", {"steps": steps})

    n = 24 if args.quick else 500
    models = halves.Models(clip, vae, judge, unet, normalizer, augment, scale)
    sheet = halves.measure_halves(models, held["images"][:n], truth[:n], note)
    measures.contact_sheet([true[:24], rebuilt[:24], *sheet], args.out / "samples.png")
    note("seconds", round(time.perf_counter() - start, 1))


if __name__ == "__main__":
    main()
