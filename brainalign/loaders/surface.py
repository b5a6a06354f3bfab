"""fMRI on the cortical surface: GIFTI or MGH series (or betas) of one or two hemispheres, to `Trials`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.loaders.regions import choose_rois
from brainalign.loaders.runs import FmriOptions, Run, trials_from_runs
from brainalign.loaders.sidecars import agreed_tr, read_confounds, read_json
from brainalign.loaders.surface_files import read_series, read_vertex_labels, series_header, wrong_vertices
from brainalign.spaces import SurfaceSpace
from brainalign.trials import Trials

__all__ = ["load_surface", "read_hemispheres", "vertex_units"]

_HEMISPHERES = {"left": "left", "l": "left", "lh": "left", "right": "right", "r": "right", "rh": "right"}


def load_surface(
    data: Mapping[str, Any],
    events: Any,
    *,
    labels: Mapping[str, str | PathLike[str]] | None = None,
    model: str = "lss",
    **options: Any,
) -> Trials:
    """Load surface time series or betas as single-trial responses.

    Parameters
    ----------
    data : mapping
        ``{"left": path, "right": path}``, or lists of paths with one per run; one hemisphere alone will do, ``lh`` and
        ``rh`` are understood. GIFTI (``.func.gii``, ``.shape.gii``) or FreeSurfer (``.mgh``, ``.mgz``).
    events : path or DataFrame, or a sequence with one per run
        As in `load_fmri`; with ``model="beta"`` one row per map.
    labels : mapping, optional
        ``{"left": path, "right": path}`` of ``.label.gii`` or ``.annot`` files, for ``units["roi"]``.
    model : {"lss", "lsa", "block", "beta"}
    **options
        See `FmriOptions` and `GLMOptions`. Vertices of the medial wall are often zero or NaN: ``nan="drop"``.

    Returns
    -------
    Trials
        units name (``left-12``), hemi, vertex and roi; `SurfaceSpace` leads back to GIFTI.

    Raises
    ------
    DataError
        When a file is damaged, hemispheres or runs differ in vertices or volumes, and as `load_fmri` says.
    """
    given = FmriOptions.of(options)
    files = _by_hemisphere(data, "data")
    n_runs = len(next(iter(files.values())))
    space = SurfaceSpace({hemi: series_header(paths[0], given.max_bytes)[0] for hemi, paths in files.items()})
    units = vertex_units(space, _by_hemisphere(labels, "labels") if labels else {})
    keep = np.ones(len(units), dtype=bool)
    if given.roi is not None:
        if "roi" not in units:
            fix = "give labels={'left': ..., 'right': ...} too"
            raise DataError("regions are chosen from labels", found=f"roi={given.roi!r}", fix=fix, expected="labels")
        keep = choose_rois(units["roi"].to_numpy(), given.roi, sorted(set(units["roi"])))
    runs = []
    for number, about in enumerate(given.by_run(events, n_runs)):
        paths = {hemi: every[number] for hemi, every in files.items()}
        n_volumes, tr = _volumes_and_tr(paths, space, model, given)
        runs.append(
            Run(
                read=partial(read_hemispheres, paths, space, keep),
                n_volumes=n_volumes,
                events=about["events"],
                tr=tr,
                confounds=read_confounds(about["confounds"], n_volumes),
                entities=about["entities"],
                path=next(iter(paths.values())),
            )
        )
    return trials_from_runs(runs, units[keep].reset_index(drop=True), space=space, model=model, options=given)


def _by_hemisphere(given: Mapping[str, Any], what: str) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for name, paths in given.items():
        hemi = _HEMISPHERES.get(str(name).lower())
        if hemi is None:
            raise unknown("hemisphere", name, ["left", "right"], fix=f"name the {what} left and right")
        files[hemi] = [Path(path) for path in (paths if isinstance(paths, list | tuple) else [paths])]
    lengths = {hemi: len(paths) for hemi, paths in files.items()}
    if not files or len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise DataError(
            f"{what} of the hemispheres differ in number",
            expected="one file per run",
            found=lengths,
            fix="give both hemispheres a file for every run",
        )
    return dict(sorted(files.items()))


def vertex_units(space: SurfaceSpace, labels: Mapping[str, Sequence[Path]] | None = None) -> pd.DataFrame:
    """Units table of all vertices, left before right: name (``left-12``), hemi, vertex and, with labels, roi."""
    tables = []
    for hemi, n_vertices in space.n_vertices.items():
        vertex = np.arange(n_vertices)
        table = pd.DataFrame({"name": [f"{hemi}-{one}" for one in vertex], "hemi": hemi, "vertex": vertex})
        if labels:
            if hemi not in labels:
                raise DataError(
                    f"no labels for the {hemi} hemisphere",
                    expected=list(space.n_vertices),
                    found=[*labels],
                    fix="give labels of both hemispheres",
                )
            table["roi"] = read_vertex_labels(labels[hemi][0], n_vertices)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _volumes_and_tr(
    paths: Mapping[str, Path], space: SurfaceSpace, model: str, options: FmriOptions
) -> tuple[int, float]:
    """Number of volumes and TR of a run, on which its hemispheres must agree."""
    counts, times = {}, {}
    for hemi, path in paths.items():
        n_vertices, counts[hemi], times[hemi] = series_header(path, options.max_bytes)
        if n_vertices != space.n_vertices[hemi]:
            raise wrong_vertices(path, space.n_vertices[hemi], n_vertices, what="runs")
    first = next(iter(paths.values()))
    if len(set(counts.values())) != 1:
        raise DataError(
            "hemispheres differ in volumes",
            path=first,
            expected="as many volumes each",
            found=counts,
            fix="check that both files are of one run",
        )
    n_volumes = next(iter(counts.values()))
    if model == "beta":
        return n_volumes, float("nan")
    sidecars = {f"sidecar_{hemi}": _sidecar_tr(path) for hemi, path in paths.items()}
    headers = {f"header_{hemi}": tr for hemi, tr in times.items()}
    return n_volumes, agreed_tr(first, argument=options.tr, **sidecars, **headers)


def _sidecar_tr(path: Path) -> float | None:
    stem = path.name
    for extension in (".gii", ".mgz", ".mgh", ".func", ".shape"):
        stem = stem.removesuffix(extension)
    beside = path.with_name(f"{stem}.json")
    value = read_json(beside).get("RepetitionTime") if beside.is_file() else None
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise DataError(
            "RepetitionTime of the sidecar is no number",
            path=beside,
            expected="seconds",
            found=repr(value),
            fix="correct the sidecar",
        )
    return value


def read_hemispheres(paths: Mapping[str, Path], space: SurfaceSpace, keep: np.ndarray) -> np.ndarray:
    """Volumes by kept vertices of all hemispheres, float32; `keep` marks the rows of `vertex_units`."""
    stops = np.cumsum([space.n_vertices[hemi] for hemi in paths])
    halves = np.split(keep, stops[:-1])
    return np.concatenate([read_series(path, half) for path, half in zip(paths.values(), halves, strict=True)], axis=1)
