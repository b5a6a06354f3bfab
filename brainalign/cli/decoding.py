"""``brainalign fit``, ``reconstruct`` and ``score``: one decoder in one folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from brainalign.errors import DataError

__all__ = ["fit", "named_latents", "pairs", "reconstruct", "score", "takes"]

Run = Annotated[Path, typer.Argument(help="A folder that `brainalign fit` made.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


@dataclass(kw_only=True)
class FitOptions:
    """What `fit` can be told beside data, latents and folder, each an option of the command line."""

    root: Annotated[Path | None, typer.Option(help="Folder of your copy, or the one file names start from.")] = None
    subject: Annotated[str | None, typer.Option(help="Which subject; the first by default.")] = None
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the loader. Repeatable.")] = None
    encoder: Annotated[str, typer.Option(help="Name of an encoder.")] = "LinearEncoder"
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the encoder. Repeatable.")] = None
    by: Annotated[str | None, typer.Option(help="Column kept together by the split; 'split' for the data's own.")] = (
        None
    )
    test_size: Annotated[float, typer.Option(help="Share of the groups held out.")] = 0.2
    zscore: Annotated[str | None, typer.Option(help="Scale responses within the groups of this column.")] = None
    average: Annotated[bool, typer.Option("--average", help="Fit on means over repetitions.")] = False
    seed: Annotated[int, typer.Option()] = 0


def takes(options: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command that gathers ``**asked`` show the fields of a dataclass as its options."""

    def of(command: Callable[..., None]) -> Callable[..., None]:
        shown = signature(command, eval_str=True).parameters.values()
        hints = get_type_hints(options, include_extras=True)
        more = [
            Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
            for one in fields(options)
        ]
        every = [one for one in shown if one.kind is not Parameter.VAR_KEYWORD] + more
        command.__signature__ = Signature(every)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in every}
        return command

    return of


@takes(FitOptions)
def fit(
    data: Annotated[str, typer.Argument(help="A data spec, a folder (BIDS, or saved trials), or NIfTI or FIF files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; a finished fit is kept.")],
    latents: Annotated[
        list[str], typer.Option(help="Model id, or a folder written by Latents.save; NAME=ID for several. Repeatable.")
    ],
    device: Device = "auto",
    **asked: Any,
) -> None:
    """Fit an encoder, brain to latents, on the training side of a recording."""
    from brainalign.experiment.decoding import Recipe, fit_run

    root, option, param = asked.pop("root"), asked.pop("option"), asked.pop("param")
    recipe = Recipe(
        data,
        named_latents(latents),
        root=None if root is None else str(root),
        options=pairs(option, "option"),
        params=pairs(param, "param"),
        **asked,
    )
    typer.echo(f"encoder: {fit_run(recipe, out, device=device).resolve()}")


def reconstruct(
    run: Run,
    generator: Annotated[str, typer.Option(help="pixels, decode, linear, nearest, or a generator's id or folder.")],
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the generator. Repeatable.")] = None,
    controls: Annotated[bool, typer.Option(help="Make the controls too.")] = True,
    seed: Annotated[int, typer.Option()] = 0,
    device: Device = "auto",
) -> None:
    """Make pictures of the held-out stimuli of a fit, going on where an earlier call stopped."""
    from brainalign.experiment.decoding import reconstruct_run

    options = pairs(option, "option")
    made = reconstruct_run(run, generator, options=options, controls=controls, seed=seed, device=device)
    typer.echo(f"pictures: {made.resolve()}")


def score(
    run: Run,
    metric: Annotated[list[str] | None, typer.Option(help="Metrics of pictures. Repeatable.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder of the judges' weights.")] = None,
    protocol: Annotated[str, typer.Option(help="Tag of the table, for example nsd-1000.")] = "held-out stimuli",
    report: Annotated[bool, typer.Option("--report", help="Also write report.html, with the pictures.")] = False,
    device: Device = "auto",
) -> None:
    """Score predicted latents and pictures of a fit on the stimuli that were held out."""
    from brainalign.experiment.decoding import score_run

    options: dict[str, Any] = {} if metric is None else {"metrics": metric}
    if weights is not None:
        options["weights"] = str(weights)
    scores, table = score_run(run, device=device, protocol=protocol, **options)
    for name, one in scores.items():
        if table is None or name.startswith(tuple(f"{row}/" for row in table.rows)) is False:
            typer.echo(f"{name}: {one}")
    if table is not None:
        typer.echo(str(table))
    typer.echo(f"\nscores: {(run / 'scores.json').resolve()}")
    if report:
        from brainalign.experiment.decoding_report import report_scores

        typer.echo(f"report: {report_scores(run, scores, table).resolve()}")


def pairs(given: list[str] | None, what: str) -> dict[str, Any]:
    """``NAME=VALUE`` as a dict; a value is read as JSON where it is JSON, and as text otherwise.

    Examples
    --------
    >>> pairs(["alphas=[1, 10]", "cv=loo"], "param")
    {'alphas': [1, 10], 'cv': 'loo'}
    """
    made = {}
    for one in given or []:
        name, sign, text = one.partition("=")
        if not sign or not name:
            raise DataError(f"--{what} takes NAME=VALUE", found=one)
        try:
            made[name] = json.loads(text)
        except ValueError:
            made[name] = text
    return made


def named_latents(given: list[str]) -> dict[str, str]:
    """Targets by name; a single one without a name is called "latents".

    Examples
    --------
    >>> named_latents(["clip=offline:conse", "low=pixels:16"])
    {'clip': 'offline:conse', 'low': 'pixels:16'}
    """
    made = {}
    for one in given:
        match = re.fullmatch(r"([A-Za-z_]\w*)=(.+)", one)
        name, spec = match.groups() if match else ("latents", one)
        if name in made:
            raise DataError("several latents need a name each", expected="--latents NAME=ID", found=given)
        made[name] = spec
    if len(made) > 1 and "latents" in made:
        raise DataError("several latents need a name each", expected="--latents NAME=ID", found=given)
    return made
