"""fMRI volumes: 4-D NIfTI runs with events, or beta images with a trial table, to `Trials`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from brainalign.errors import DataError
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_voxels
from brainalign.loaders.regions import volume_units
from brainalign.loaders.runs import FmriOptions, Run, trials_from_runs
from brainalign.loaders.sidecars import agreed_tr, read_confounds, read_json
from brainalign.spaces import VolumeSpace
from brainalign.trials import Trials

__all__ = ["VolumeRun", "load_fmri", "load_volume_runs"]

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True, kw_only=True)
class VolumeRun:
    """One run as it lies on disk.

    Attributes
    ----------
    bold : path or nibabel image
        4-D time series; 3-D or 4-D for betas.
    events : path or DataFrame
    confounds : table, array or path, optional
    sidecar : mapping
        Content of the JSON sidecar; ``RepetitionTime`` and ``StartTime`` are used.
    entities : mapping
        Subject, session, run.
    """

    bold: Any
    events: Any
    confounds: Any = None
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    entities: Mapping[str, str] = field(default_factory=dict)


def load_fmri(
    bold: Any, events: Any, *, mask: Any = None, atlas: Any = None, model: str = "lss", **options: Any
) -> Trials:
    """Load one or several fMRI runs as single-trial responses.

    Parameters
    ----------
    bold : path or nibabel image, or a sequence of them
        One 4-D NIfTI per run (TR from header, ``.json`` sidecar beside it, or ``tr=``). With ``model="beta"``, response
        images, 3-D or 4-D, one volume per trial.
    events : path or DataFrame, or a sequence with one per run
        BIDS events (`brainalign.loaders.read_events`). With ``model="beta"``, one row per volume.
    mask : path or nibabel image, optional
        Voxels above zero are kept. Its grid must be that of the data, unless ``resample=True``.
    atlas : path or nibabel image, optional
        Integer codes; each voxel's region goes into ``units["roi"]`` under the name that ``labels=`` gives it.
    model : {"lss", "lsa", "block", "beta"}
        Least-squares-separate, least-squares-all, mean of a block's volumes, or ready-made responses.
    **options
        See `FmriOptions` and `GLMOptions`: tr, confounds, select, labels, roi, resample, nan, subject, session, run,
        stimuli, max_bytes; hrf, drift, high_pass, drift_order, slice_time_ref, others, delay, scale.

    Returns
    -------
    Trials
        responses (n_trials, n_voxels) float32; units name, i, j, k, x, y, z (mm) and roi; ``to_nifti`` leads back.
        `stimulus_id` is the events' stimulus_id, stim_file or trial_type, the first that a row has.

    Raises
    ------
    DataError
        When a file is damaged, grids differ, sources disagree on the TR, events lie outside their run, voxels hold NaN
        or are constant (see ``nan=``), a region is unknown, or an option does not exist.

    Examples
    --------
    >>> import nibabel, numpy as np, pandas as pd
    >>> series = np.random.default_rng(0).normal(100, 1, (2, 2, 1, 60)).astype(np.float32)
    >>> table = pd.DataFrame({"onset": [4.0, 40.0, 80.0], "duration": 2.0, "trial_type": ["face", "house", "face"]})
    >>> trials = load_fmri(nibabel.Nifti1Image(series, np.eye(4)), table, tr=2.0)
    >>> trials.shape, trials.stimulus_ids.tolist(), trials.to_nifti(trials.responses[0]).shape
    ((3, 4), ['face', 'house', 'face'], (2, 2, 1))
    """
    checked = FmriOptions.of(options)
    images = list(bold) if isinstance(bold, list | tuple) else [bold]
    runs = [
        VolumeRun(bold=image, sidecar=_sidecar_beside(image), **about)
        for image, about in zip(images, checked.by_run(events, len(images)), strict=True)
    ]
    return load_volume_runs(runs, mask=mask, atlas=atlas, model=model, options=checked)


def load_volume_runs(runs: Sequence[VolumeRun], *, mask: Any, atlas: Any, model: str, options: FmriOptions) -> Trials:
    """Load runs whose files and sidecars have been found; `load_fmri` and `load_bids_fmri` end here.

    Raises
    ------
    DataError
        As `load_fmri` says.
    """
    if not runs:
        raise DataError(
            "no runs to load", expected="at least one image", found=0, fix="give a path, or a list of paths"
        )
    # The voxels of a compressed file are checked while they are read, not twice.
    images = [open_nifti(run.bold, max_bytes=options.max_bytes, verify=False) for run in runs]
    for image in images[1:]:
        check_same_grid(image, images[0], what="run")
    inside, units = volume_units(
        images[0], mask=mask, atlas=atlas, labels=options.labels, roi=options.roi, resample=options.resample
    )
    prepared = []
    for run, image in zip(runs, images, strict=True):
        path = image.get_filename()
        n_volumes = _n_volumes(image, model, path)
        tr = float("nan") if model == "beta" else _tr(image, run.sidecar, options.tr, path)
        prepared.append(
            Run(
                read=partial(read_voxels, image, inside),
                n_volumes=n_volumes,
                events=run.events,
                tr=tr,
                start=_number(run.sidecar, "StartTime", path),
                confounds=read_confounds(run.confounds, n_volumes),
                entities=run.entities,
                path=path,
            )
        )
    space = VolumeSpace(tuple(images[0].shape[:3]), images[0].affine)
    return trials_from_runs(prepared, units, space=space, model=model, options=options)


def _sidecar_beside(image: Any) -> dict[str, Any]:
    if not isinstance(image, str | PathLike):
        return {}
    path = Path(image)
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    return read_json(beside) if beside.is_file() else {}


def _n_volumes(image: Any, model: str, path: Any) -> int:
    shape = tuple(image.shape)
    if len(shape) == 4 or (len(shape) == 3 and model == "beta"):
        return shape[3] if len(shape) == 4 else 1
    raise DataError(
        "not a series of volumes",
        path=path,
        expected="four dimensions (x, y, z, time)",
        found=f"shape {shape}",
        fix="give one 4-D image per run; model='beta' takes volumes one by one",
    )


def _tr(image: Any, sidecar: Mapping[str, Any], argument: float | None, path: Any) -> float:
    return agreed_tr(
        path, argument=argument, header=_header_tr(image), sidecar=_number(sidecar, "RepetitionTime", path)
    )


def _header_tr(image: Any) -> float | None:
    step = float(image.header.get_zooms()[3])
    unit = image.header.get_xyzt_units()[1] if hasattr(image.header, "get_xyzt_units") else "unknown"
    # Many tools leave 0, or 1 without a unit, where they do not know.
    if step == 0 or (unit not in _SECONDS and step == 1.0):
        return None
    return round(step * _SECONDS.get(unit, 1.0), 6)


def _number(sidecar: Mapping[str, Any], key: str, path: Any) -> float | None:
    value = sidecar.get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise DataError(
        f"{key} of the sidecar is no number",
        path=path,
        expected="seconds",
        found=repr(value),
        fix="correct the sidecar",
    )
