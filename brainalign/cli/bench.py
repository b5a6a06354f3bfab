"""``brainalign bench bci``: the BCI leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainalign.cli.decoding import pairs
from brainalign.errors import DataError

__all__ = ["bci"]


def bci(
    datasets: Annotated[str, typer.Option(help="Data specs or MOABB datasets, between commas.")],
    pipelines: Annotated[str | None, typer.Option(help="Between commas; the baseline set by default.")] = None,
    protocols: Annotated[
        str, typer.Option(help="within_session, cross_run, cross_session, cross_subject, pseudo_online; commas.")
    ] = "within_session",
    events: Annotated[str | None, typer.Option(help="Only these classes, between commas.")] = None,
    subjects: Annotated[str | None, typer.Option(help="Only these subjects, between commas.")] = None,
    band: Annotated[str | None, typer.Option(help="Pass band in hertz, LOW-HIGH.")] = None,
    window: Annotated[str | None, typer.Option(help="Seconds of each trial, FROM-TO.")] = None,
    channels: Annotated[str | None, typer.Option(help="Only these channels, between commas.")] = None,
    scorer: Annotated[str | None, typer.Option(help="A scikit-learn scorer; the paradigm's by default.")] = None,
    n_splits: Annotated[int | None, typer.Option(help="Folds within a session.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="PIPELINE.NAME=VALUE. Repeatable.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the folders of data specs.")] = None,
    n_jobs: Annotated[int, typer.Option(help="Folds at a time.")] = 1,
    out: Annotated[Path, typer.Option("--out", help="Folder; finished folds are kept and not done again.")] = Path(
        "runs/bci"
    ),
) -> None:
    """Named pipelines on named datasets: one tidy table and one report."""
    from brainalign.experiment.leaderboard import Leaderboard, run_leaderboard

    settings: dict[str, dict[str, object]] = {}
    for name, value in pairs(param, "param").items():
        pipeline, _, key = name.partition(".")
        settings.setdefault(pipeline, {})[key] = value
    asked = Leaderboard(
        _listed(datasets) or [],
        pipelines=_listed(pipelines),
        protocols=_listed(protocols) or [],
        events=_listed(events),
        subjects=[int(one) if one.isdigit() else one for one in _listed(subjects) or []] or None,
        band=_span(band),
        window=_span(window),
        channels=_listed(channels),
        scorer=scorer,
        n_splits=n_splits,
        seed=seed,
        settings=settings,
    )
    report = run_leaderboard(asked, out=out, root=root, n_jobs=n_jobs)
    typer.echo(f"table: {(out / 'results.csv').resolve()}\nreport: {report.resolve()}")


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [one.strip() for one in text.split(",") if one.strip()]


def _span(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(one) for one in text.split("-"))
    except ValueError as error:
        raise DataError("not a span", expected="FROM-TO, such as 8-30", found=text) from error
    return low, high
