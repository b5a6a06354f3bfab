"""Miyawaki 2008: volumes of visual cortex while flickering 10 x 10 patches were on show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.damage import AGAIN, damaged
from brainalign.loaders.datasets.shared import agree, choose, read_lines, standard_run
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_voxels
from brainalign.loaders.regions import read_mask
from brainalign.spaces import VolumeSpace
from brainalign.specs import DatasetSpec, Name
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["load_miyawaki2008"]

_SPLITS = {"random": "train", "figure": "test"}


def load_miyawaki2008(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Name,
    roi: str | Sequence[str] | None = None,
    shift: int = 2,
) -> Trials:
    """One response per volume that shows a pattern, every voxel detrended and z-scored within its run; rest is dropped.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    roi : str or sequence of str, optional
        Areas ("V1d", both hemispheres, or "LHV1d"); the whole mask by default.
    shift : int
        Volumes by which responses lag behind the labels: volume t + shift goes with label t. 2 is nilearn's choice.

    Returns
    -------
    Trials
        `stimulus_id` names the pattern itself, so equal patterns are one stimulus; `split` is "train" for random
        runs and "test" for figures. ``average(["run", "block"])`` gives one response per presentation.
    """
    if not 0 <= shift <= 20:
        raise DataError("shift is out of range", expected="0 to 20 volumes", found=shift, fix="2 is usual")
    reference = open_nifti(_file(spec, root, "random", 1), verify=False)
    mask, units, space = _units(spec, root, reference, roi)
    responses, patterns, tables = [], [], []
    for kind in _SPLITS:
        for run in spec.values(f"{kind}_run"):
            image = open_nifti(_file(spec, root, kind, run), verify=False)
            check_same_grid(image, reference, what="run")
            labels = _read_patches(spec, _file(spec, root, kind, run, labels=True), image)
            shown = np.flatnonzero(labels[: len(labels) - shift, 0] != spec.fact("rest_label"))
            responses.append(standard_run(read_voxels(image, mask))[shown + shift].astype(np.float32))
            patterns.append(labels[shown])
            tables.append(_run_table(labels, shown, run=f"{kind}-{int(run):02d}", split=_SPLITS[kind]))
    grids = np.concatenate(patterns).astype(np.uint8)
    table = pd.concat(tables, ignore_index=True).assign(stimulus_id=[_pattern_id(one) for one in grids], subject="1")
    history: list[dict[str, Any]] = [
        {"step": "detrend", "by": ["run"], "order": 1},
        {"step": "zscore", "by": ["run"], "fit": "all volumes"},
        {"step": "shift", "volumes": shift},
    ]
    info = {"roi": "all" if roi is None else roi}
    stimuli = _stimuli(table["stimulus_id"], grids)
    return Trials(np.concatenate(responses), table, units, stimuli=stimuli, space=space, history=history, info=info)


def _file(spec: DatasetSpec, root: Path, kind: str, run: Any, *, labels: bool = False) -> Path:
    return spec.path(root, f"{kind}_labels" if labels else kind, **{f"{kind}_run": run})


def _run_table(labels: np.ndarray, shown: np.ndarray, *, run: str, split: str) -> pd.DataFrame:
    """Trials of one run; a block is a stretch of the same pattern."""
    changed = (np.diff(labels, axis=0) != 0).any(axis=1)
    block = np.cumsum(np.r_[True, changed])
    return pd.DataFrame({"run": run, "volume": shown, "block": block[shown], "split": split})


def _pattern_id(patches: np.ndarray) -> str:
    """The patches as hexadecimal digits, so that an id is its pattern."""
    return "grid-" + np.packbits(patches).tobytes().hex()


def _stimuli(ids: pd.Series, grids: np.ndarray) -> Stimuli:
    first = ids.drop_duplicates()
    side = round(grids.shape[1] ** 0.5)
    # Patches are numbered down the columns, as MATLAB does.
    pictures = grids[first.index].reshape(-1, side, side).transpose(0, 2, 1) * np.uint8(255)
    return Stimuli.from_arrays(pictures, first.tolist())


def _read_patches(spec: DatasetSpec, path: Path, image: Any) -> np.ndarray:
    """Label of each volume, (n_volumes, n_patches): 0 and 1, or rest throughout."""
    try:
        labels = np.array([line.split(",") for line in read_lines(path)], dtype=np.float64)
    except ValueError as error:
        raise damaged(path, "a table of patches, numbers between commas", error) from error
    expected = (image.shape[3] if len(image.shape) == 4 else 1, spec.fact("n_patches"))
    agree("labels and volumes of a run differ", path=path, expected=expected, found=labels.shape)
    rest = labels == spec.fact("rest_label")
    wrong = np.flatnonzero(~(rest.all(axis=1) | np.isin(labels, [0, 1]).all(axis=1)))
    if wrong.size:
        raise DataError("a row is neither a pattern nor rest", path=path, expected="0 and 1, or all rest",
                        found=f"row {wrong[0] + 1}: {np.unique(labels[wrong[0]])[:5]}", fix=AGAIN)  # fmt: skip
    return labels.astype(int)


def _units(
    spec: DatasetSpec, root: Path, reference: Any, roi: str | Sequence[str] | None
) -> tuple[np.ndarray, pd.DataFrame, VolumeSpace]:
    mask = read_mask(spec.path(root, "mask"), reference)
    files = {str(name): spec.path(root, "roi", roi=name) for name in spec.values("roi")}
    masks = {name: read_mask(path, reference) for name, path in files.items() if path.is_file()}
    if roi is not None:
        areas = {area: [name for name in masks if area in (name, name[2:])] for area in
                 dict.fromkeys([*masks, *(name[2:] for name in masks)])}  # fmt: skip
        wanted = [name for area in choose(roi, list(areas), what="region") for name in areas[area]]
        mask = mask & np.logical_or.reduce([masks[name] for name in wanted])
    if not mask.any():
        raise DataError(
            "no voxel of the mask lies in these regions",
            path=spec.path(root, "mask"),
            found=roi,
            expected="at least one",
            fix="choose other regions",
        )
    space = VolumeSpace(mask.shape, reference.affine)  # type: ignore[arg-type]
    units = space.units(mask)
    inside = [one[mask] for one in masks.values()] or [np.zeros(len(units), dtype=bool)]
    units["roi"] = np.select(inside, [name[2:] for name in masks] or [""], default="other")
    units["hemi"] = np.select(
        inside, ["left" if name.startswith("L") else "right" for name in masks] or [""], default=""
    )
    return mask, units, space
