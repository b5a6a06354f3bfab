"""Natural Scenes Dataset, subject 1, from a check of the files to the table of reconstructions.

    python scripts/reconstruct_nsd.py ~/data/nsd --out runs/nsd_subj01

Brain-Diffuser's ridge to CLIP image embeddings, pictures by Stable unCLIP, the published metrics beside all controls.
Betas are scaled within sessions and averaged over repetitions; the test set is the shared pictures. A step that is done
is not done again. With another copy than the released one (other sessions, another subject) say so by the options.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from brainalign.errors import BrainalignError
from brainalign.experiment.decoding import Recipe, fit_run, reconstruct_run, score_run
from brainalign.loaders.check import check_dataset
from brainalign.specs import DatasetSpec


def options() -> argparse.Namespace:
    """What may be asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of your copy of NSD")
    parser.add_argument("--out", type=Path, default=Path("runs/nsd_subj01"))
    parser.add_argument("--subject", default="1")
    parser.add_argument("--sessions", type=int, help="the first so many; all by default")
    parser.add_argument("--latents", default="open_clip:ViT-H-14/laion2b_s32b_b79k")
    parser.add_argument("--generator", default="unclip:stabilityai/stable-diffusion-2-1-unclip")
    parser.add_argument("--alpha", type=float, default=6e4, help="penalty, of scaled voxels")
    parser.add_argument("--weights", help="folder of the judges' weights; torchvision's own by default")
    parser.add_argument("--metrics", nargs="+", help="all published ones by default")
    parser.add_argument("--protocol", default="nsd-1000", help="nsd-982 with --sessions 37")
    parser.add_argument("--spec", default="nsd", help="name or file of the data spec")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def main() -> None:
    """Check, fit, reconstruct, score."""
    asked = options()
    checked = check_dataset(DatasetSpec.load(asked.spec), asked.root, subjects=[asked.subject])
    print(checked)
    if not checked.ok:
        raise SystemExit("mend your copy first")
    recipe = Recipe(
        asked.spec,
        {"latents": asked.latents},
        root=str(asked.root),
        subject=asked.subject,
        options={"roi": "nsdgeneral", "sessions": asked.sessions, "cache": "float32"},
        params={"alphas": asked.alpha, "cv": "loo"},
        by="split",
        zscore="session",
        average=True,
    )
    print("encoder:", fit_run(recipe, asked.out, device=asked.device))
    print("pictures:", reconstruct_run(asked.out, asked.generator, device=asked.device))
    judged = {name: value for name, value in (("weights", asked.weights), ("metrics", asked.metrics)) if value}
    scores, table = score_run(asked.out, protocol=asked.protocol, device=asked.device, **judged)
    for name in ("latents/retrieval", "latents/identification"):
        print(scores[name])
    print(table)
    print("scores:", asked.out / "scores.json")


if __name__ == "__main__":
    try:
        main()
    except BrainalignError as error:
        sys.exit(f"{type(error).__name__}: {error}")
