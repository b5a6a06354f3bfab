"""Put trained mini models into the folders that open_clip and diffusers load, with hashes and a model card.

python scripts/assemble_mini_models.py runs/mini [--into brainalign/weights/mini]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from mini_models import confirm, data, networks
from safetensors.torch import load_file

from brainalign.arrays import sha256_file
from brainalign.cache import atomic_folder

SCRIPTS = Path(__file__).resolve().parent


def card(report: dict[str, Any]) -> str:
    """The model card of a training report."""
    columns = {"true": report["judge"]["true pictures"], "autoencoder": report["judge"]["autoencoder"]}
    for name, row in report.items():
        if name.startswith("choosing at"):
            columns[f"{name.split()[-1]}, choosing"] = row
    columns["true, reporting"] = report["judge on the reporting half"]
    columns |= {
        f"**{name.split()[-1]}, reporting**": row for name, row in report.items() if name.startswith("samples at")
    }
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name, values in data.LABELS.items():
        cells = " | ".join(f"{column[name]:.2f}" for column in columns.values())
        lines.append(f"| {name} (chance {1 / len(values):.2f}) | {cells} |")
    hits = [next((v for k, v in row.items() if k.startswith("identified")), None) for row in columns.values()]
    told = " | ".join("–" if hit is None else f"{hit:.2f}" for hit in hits)
    lines.append(f"| by CLIP (chance {1 / report['guidance']['scenes']:.3f}) | {told} |")
    steps = {f"{name}_steps": report[name]["steps"] for name in ("clip", "vae", "judge", "unet")}
    again = report.get("samples measured", {"date": report["date"], "machine": report["machine"]})
    text = (SCRIPTS / "mini_models" / "card.md").read_text()
    made = text.format(**{**report, **steps, **report["seeds"]}, table="\n".join(lines), again=again)
    return made + confirmed(report.get("confirmed"))


def confirmed(found: dict[str, Any] | None) -> str:
    """What `measure_mini_models.py --seed` found, as a section of the card."""
    if found is None:
        return ""
    return (SCRIPTS / "mini_models" / "confirmed.md").read_text().format(**found, table=confirm.table(found))


def assemble_clip(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copy(source / "clip.safetensors", folder / "open_clip_model.safetensors")
    shutil.copy(source / "merges.txt.gz", folder / "merges.txt.gz")
    half = [0.5, 0.5, 0.5]
    config = {
        "model_cfg": networks.clip_config(512 + len(data.learn_merges()) + 2),
        "preprocess_cfg": {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))


def assemble_unclip(source: Path, folder: Path, scaling_factor: float) -> None:
    from diffusers import DDIMScheduler, DDPMScheduler, StableUnCLIPImg2ImgPipeline
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from transformers import (
        CLIPImageProcessor,
        CLIPTextConfig,
        CLIPTextModel,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(0)  # the stubs
    vae, unet = networks.make_vae(scaling_factor=scaling_factor), networks.make_unet()
    normalizer = StableUnCLIPImageNormalizer(networks.EMBED)
    for name, module in (("vae", vae), ("unet", unet), ("normalizer", normalizer)):
        module.load_state_dict(load_file(source / f"{name}.safetensors"))
    tokenizer = assemble_tokenizer(source / "merges.txt.gz", folder / "tokenizer")
    tiny = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    ids = {"bos_token_id": len(tokenizer) - 2, "eos_token_id": len(tokenizer) - 1, "pad_token_id": len(tokenizer) - 1}
    text = CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=data.CONTEXT, **ids, **tiny))
    vision = CLIPVisionModelWithProjection(
        CLIPVisionConfig(image_size=64, patch_size=32, projection_dim=networks.EMBED, **tiny)
    )
    half = [0.5, 0.5, 0.5]
    size = {"height": 64, "width": 64}
    pipeline = StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": 64}, crop_size=size, image_mean=half, image_std=half
        ),
        image_encoder=vision.half(),
        image_normalizer=normalizer.half(),
        image_noising_scheduler=DDPMScheduler(**networks.AUGMENTATION_SCHEDULE),
        tokenizer=tokenizer,
        text_encoder=text.half(),
        unet=unet.half(),
        scheduler=DDIMScheduler(**networks.NOISE_SCHEDULE),
        vae=vae.half(),
    )
    pipeline.save_pretrained(folder)


def assemble_tokenizer(merges: Path, folder: Path) -> Any:
    """A CLIPTokenizer with the merges of the CLIP; its special tokens have the names that CLIPTokenizer asks for."""
    import gzip

    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True)
    vocabulary = dict(SimpleTokenizer(str(merges)).encoder)
    start, end = vocabulary.pop("<start_of_text>"), vocabulary.pop("<end_of_text>")
    vocabulary |= {"<|startoftext|>": start, "<|endoftext|>": end}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text(gzip.decompress(merges.read_bytes()).decode() + "\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": data.CONTEXT, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return CLIPTokenizer.from_pretrained(folder)


def refresh(folder: Path, report: dict[str, Any]) -> None:
    """Write report, model card and hashes of a folder of mini models."""
    report = report | {"command": re.sub(r"--out \S+", "--out runs/mini", report["command"])}
    (folder / "README.md").write_text(card(report))
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    hashes = {str(path.relative_to(folder)): sha256_file(path) for path in files}
    (folder / "manifest.json").write_text(json.dumps({"sha256": hashes}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--into", type=Path, default=SCRIPTS.parent / "brainalign" / "weights" / "mini")
    args = parser.parse_args()
    report = json.loads((args.source / "report.json").read_text())
    with atomic_folder(args.into) as folder:
        assemble_clip(args.source, folder / "clip")
        assemble_unclip(args.source, folder / "unclip", report["vae"]["scaling_factor"])
        (folder / "judge").mkdir()
        shutil.copy(args.source / "judge.safetensors", folder / "judge" / "model.safetensors")
        (folder / "judge" / "config.json").write_text(json.dumps(data.LABELS, indent=1))
        refresh(folder, report)
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    main()
