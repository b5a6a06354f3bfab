"""The command line: a thin layer over the functions of the library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from brainalign.cli import bench, decoding, voxels
from brainalign.errors import BrainalignError

__all__ = ["app"]

app = typer.Typer(
    name="brainalign",
    help="Align recordings of the brain with neural networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", help="Folder of the run; an unfinished one is gone on with.")]


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Print our own errors as text and leave with status 1; anything else is a fault and keeps its traceback."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BrainalignError as error:
            typer.echo(f"{type(error).__name__}: {error}", err=True)
            raise typer.Exit(1) from error

    return wrapped


def _run(file: Path, out: Path) -> None:
    from brainalign.experiment import run_experiment

    run = run_experiment(file, out=out)
    typer.echo(run.table())
    typer.echo(f"\nreport: {run.report.resolve()}")


@app.command()
@_told
def demo(out: Out = Path("runs/demo")) -> None:
    """The main job on a simulated subject, offline: scores, pictures and one HTML report."""
    from brainalign.experiment import demo_file

    _run(demo_file(), out)


@app.command()
@_told
def run(
    file: Annotated[Path, typer.Argument(help="An experiment file, see scripts/experiments.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; default runs/NAME.")] = None,
) -> None:
    """Do an experiment, going on where an earlier run of it stopped."""
    _run(file, out or Path("runs") / file.stem)


@app.command()
@_told
def report(folder: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Write the report of a run anew from what the run left."""
    from brainalign.experiment import report_run

    typer.echo(f"report: {report_run(folder).resolve()}")


@app.command()
@_told
def check(
    name: Annotated[str, typer.Argument(help="Name of a data spec, or path of a spec file.")],
    root: Annotated[Path, typer.Argument(help="Folder of your copy.")],
    subject: Annotated[list[str] | None, typer.Option(help="Only these subjects.")] = None,
) -> None:
    """Compare your copy of a data set with its spec: what is there, what is missing, what is wrong."""
    from brainalign.loaders.check import check_dataset
    from brainalign.specs import DatasetSpec

    result = check_dataset(DatasetSpec.load(name), root, subjects=subject or None)
    typer.echo(str(result))
    if not result.ok:
        raise typer.Exit(1)


@app.command()
@_told
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a data spec.")],
    root: Annotated[Path, typer.Argument(help="Where to put the data set.")],
) -> None:
    """Download a data set where nilearn, MNE or MOABB can; say how to get it where they cannot."""
    from brainalign.loaders.fetch import fetch as fetch_dataset

    typer.echo(f"fetched to {fetch_dataset(name, root)}")


@app.command()
def datasets() -> None:
    """List the data sets that have a spec."""
    from brainalign.specs import DatasetSpec, list_specs

    for name in list_specs():
        spec = DatasetSpec.load(name)
        typer.echo(f"{name:16} {spec.modality:10} {spec.title}")


for _command in (
    decoding.fit,
    decoding.reconstruct,
    decoding.score,
    voxels.caption,
    voxels.synthesize,
    voxels.ablate,
):
    app.command()(_told(_command))

_bench = typer.Typer(help="Leaderboards.", no_args_is_help=True)
_bench.callback()(lambda: None)  # so that a single command keeps its name
_bench.command("bci")(_told(bench.bci))
app.add_typer(_bench, name="bench")


def main() -> None:
    """Entry point of ``python -m brainalign``."""
    sys.exit(app())
