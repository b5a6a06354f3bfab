"""``brainalign caption``, ``synthesize`` and ``ablate``: ask the voxels of a recording, in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from brainalign.cli.decoding import named_latents, pairs, takes
from brainalign.errors import DataError

__all__ = ["ablate", "caption", "synthesize"]

Data = Annotated[str, typer.Argument(help="A data spec, a folder (BIDS, or saved trials), or NIfTI or FIF files.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the run; what is finished there is kept.")]
Joint = Annotated[str, typer.Option(help="Model id of a joint network of pictures and texts.")]
Pictures = Annotated[
    str, typer.Option(help="A number of drawn scenes, a folder of pictures or of latents, or 'shown' in training.")
]
Categories = Annotated[
    list[str] | None,
    typer.Option(help="NAME=TEXT, the same NAME for several texts. Repeatable; those of drawn scenes with 'mini'."),
]
Planted = Annotated[list[str] | None, typer.Option(help="REGION=CATEGORY, where the truth is known. Repeatable.")]

# What suits the embedded generator: it begins at next to no signal, so that its first gradients are noise.
_MINI = {"scale": 30.0, "steps": 10, "solver": "ddim", "lead_from": 0.05}

_TITLES = {
    "caption": "What voxels like, in words",
    "synthesize": "Pictures that drive each region",
    "ablate": "Decoding without each region",
}


@dataclass(kw_only=True)
class Asked:
    """What every command of this file can be told beside its own, each an option of the command line."""

    root: Annotated[Path | None, typer.Option(help="Folder of your copy, or the one file names start from.")] = None
    subject: Annotated[str | None, typer.Option(help="Which subject; the first by default.")] = None
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the loader. Repeatable.")] = None
    zscore: Annotated[str | None, typer.Option(help="Scale responses within the groups of this column.")] = None
    where: Annotated[str | None, typer.Option(help="Only these units, for example \"roi == 'FFA'\".")] = None
    test_size: Annotated[float | None, typer.Option(help="Share of the stimuli held out.")] = None
    seed: Annotated[int, typer.Option()] = 0


@takes(Asked)
def caption(
    data: Data,
    out: Out,
    latents: Joint,
    bank: Pictures = "shown",
    texts: Annotated[
        str, typer.Option(help="Captions to choose from: so many of drawn scenes, a file, or of the pictures 'shown'.")
    ] = "shown",
    texts_by: Annotated[str, typer.Option(help="Place captions by their 'text' or by their 'picture'.")] = "text",
    category: Categories = None,
    planted: Planted = None,
    clusters: Annotated[int, typer.Option(help="Clusters of voxels that like the same; 0 for none.")] = 0,
    keywords: Annotated[int, typer.Option(help="Words of captions from the pictures liked best; 0 for none.")] = 0,
    subdivide: Annotated[list[str] | None, typer.Option(help="REGION=PARTS, with a split-half check.")] = None,
    judge: Annotated[str, typer.Option(help="Text model that judges captions.")] = "offline:minilm",
    n_permutations: Annotated[int, typer.Option(help="Shuffles behind each voxel's p.")] = 1000,
    **asked: Any,
) -> None:
    """What each voxel likes, in words, judged on pictures that were held out."""
    analysis = {
        "kind": "captions",
        "latents": ["latents"],
        "bank": _bank(bank, seed=101),
        "texts": _texts(texts) | {"by": texts_by},
        "categories": _categories(category, latents),
        "planted": _text_pairs(planted, "planted"),
        "clusters": clusters,
        "keywords": keywords,
        "subdivide": pairs(subdivide, "subdivide"),
        "judge": judge,
        "n_permutations": n_permutations,
    }
    run = _run("caption", data, out, {"latents": latents}, analysis, asked)
    _tell(run, "caption/caption score")


@takes(Asked)
def synthesize(
    data: Data,
    out: Out,
    latents: Joint,
    generator: Annotated[str, typer.Option(help="A generator's id or folder.")] = "mini",
    generator_option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for it. Repeatable.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="A region to drive. Repeatable; all by default.")] = None,
    n: Annotated[int, typer.Option(help="Pictures of each region.")] = 8,
    sampler: Annotated[
        str, typer.Option(help="guided, told (guided, with an embedding), prior, facets or optimal.")
    ] = "told",
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the sampler. Repeatable.")] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(help="Network of a second encoder, NAME=ID for several. Repeatable; the guide's by default."),
    ] = None,
    bank: Pictures = "shown",
    natural: Pictures = "shown",
    category: Categories = None,
    planted: Planted = None,
    **asked: Any,
) -> None:
    """Make pictures that drive each region, judged by encoders fitted on other stimuli."""
    kind = "guided" if sampler == "told" else sampler
    options = pairs(param, "param")
    if kind == "guided" and generator.partition(":")[0] == "mini":
        options = _MINI | options
    judges = {f"judge_{name}" if judge else "latents": one for name, one in named_latents(judge or [latents]).items()}
    analysis = {
        "kind": "synthesis",
        "latents": ["latents"],
        "judges": list(judges),
        "generator": generator,
        "generator_options": pairs(generator_option, "generator-option"),
        "samplers": {sampler: {"kind": kind, "told": sampler == "told", "options": options}},
        "bank": _bank(bank, seed=101),
        "natural": _bank(natural, seed=103),
        "regions": region or None,
        "n": n,
        "categories": _categories(category, latents),
        "planted": _text_pairs(planted, "planted"),
    }
    run = _run("synthesize", data, out, {"latents": latents} | judges, analysis, asked)
    _tell(run, next(name for name in run.scores if f"{sampler}/response" in name))


@takes(Asked)
def ablate(
    data: Data,
    out: Out,
    latents: Annotated[list[str], typer.Option(help="Model id; NAME=ID for several. Repeatable.")],
    by: Annotated[str, typer.Option(help="Column of the units that names their region.")] = "roi",
    region: Annotated[
        list[str] | None, typer.Option(help="NAME=QUERY instead, such as both=\"roi in ['FFA']\".")
    ] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="NAME=COLUMN or NAME=QUERY of the trials.")] = None,
    mode: Annotated[str, typer.Option(help="zero, mean, permute or retrain.")] = "permute",
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the encoder. Repeatable.")] = None,
    planted: Annotated[list[str] | None, typer.Option(help="REGION=ATTRIBUTE, where the truth is known.")] = None,
    **asked: Any,
) -> None:
    """Silence each region and decode again: what each adds to each latent and attribute."""
    named = named_latents(latents)
    analysis = {
        "kind": "ablation",
        "latents": list(named),
        "by": by,
        "regions": _text_pairs(region, "region") or None,
        "attributes": _text_pairs(attribute, "attribute"),
        "mode": mode,
        "encoder": pairs(param, "param"),
        "planted": _text_pairs(planted, "planted"),
    }
    run = _run("ablate", data, out, named, analysis, asked)
    losses = {name: one.value for name, one in run.scores.items() if " without " in name}
    _tell(run, max(losses, key=lambda name: losses[name] or 0.0))


def _run(
    name: str, data: str, out: Path, latents: Mapping[str, str], analysis: dict[str, Any], asked: dict[str, Any]
) -> Any:
    """An experiment of one analysis."""
    from brainalign.experiment import run_experiment
    from brainalign.experiment.schema import as_experiment

    if asked["test_size"] is not None:
        analysis["test_size"] = asked["test_size"]
    plain = {
        "name": name,
        "title": _TITLES[name],
        "dataset": {
            "name": data,
            "root": None if asked["root"] is None else str(asked["root"]),
            "subject": asked["subject"],
            "options": pairs(asked["option"], "option"),
        },
        "preprocessing": [] if asked["zscore"] is None else [{"step": "zscore", "by": asked["zscore"]}],
        "latents": {one: {"model": model} for one, model in latents.items()},
        "analyses": [{**analysis, "name": name, "units": asked["where"]}],
        "seed": asked["seed"],
    }
    return run_experiment(as_experiment(plain), out=out)


def _tell(run: Any, score: str) -> None:
    """The score in a line, and where tables and report are."""
    typer.echo(str(run.scores[score]))
    typer.echo(f"tables: {(run.folder / 'tables').resolve()}\nreport: {run.report.resolve()}")


def _bank(given: str, *, seed: int) -> dict[str, Any]:
    """Pictures from one word: a number, ``shown``, or a folder of either kind."""
    if given.isdigit():
        return {"scenes": int(given), "seed": seed}
    if given == "shown":
        return {"shown": True}
    if not Path(given).is_dir():
        raise DataError("no bank of pictures has this name", found=given,
                        expected="a number of drawn scenes, 'shown', or a folder of pictures or latents")  # fmt: skip
    return {"folder" if (Path(given) / "manifest.json").is_file() else "pictures": given}


def _texts(given: str) -> dict[str, Any]:
    return (
        {"scenes": int(given), "seed": 102}
        if given.isdigit()
        else {"shown": True}
        if given == "shown"
        else {"file": given}
    )


def _text_pairs(given: list[str] | None, what: str) -> dict[str, str]:
    """``NAME=TEXT`` where a text may hold ``==``, and a number stays text."""
    made = {}
    for one in given or []:
        name, sign, text = one.partition("=")
        if not sign or not name or not text:
            raise DataError(f"--{what} takes NAME=TEXT", found=one)
        made[name] = text
    return made


def _categories(given: list[str] | None, network: str) -> dict[str, list[str]]:
    if given is None and network == "mini":
        from brainalign.scenes import CATEGORIES

        return {name: [f"a photo of a {name}"] for name in CATEGORIES}
    made: dict[str, list[str]] = {}
    for one in given or []:
        for name, text in _text_pairs([one], "category").items():
            made.setdefault(name, []).append(text)
    return made
