"""Parcels of an atlas: mean BOLD of each, its functional network, and short stretches of it around events."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.loaders.events import read_events, read_table
from brainalign.loaders.nifti import open_nifti, read_voxels
from brainalign.loaders.regions import volume_units
from brainalign.trials import Trials

__all__ = ["network_of", "parcel_series", "parcel_trials"]


def network_of(name: str) -> str:
    """Network in the name of a Schaefer parcel, as nilearn's ``fetch_atlas_schaefer_2018`` names them; else "".

    Examples
    --------
    >>> network_of("7Networks_LH_Vis_1"), network_of("17Networks_RH_DefaultA_PFCm_2"), network_of("V1")
    ('Vis', 'DefaultA', '')
    """
    parts = str(name).split("_")
    return parts[2] if len(parts) > 3 and parts[0].endswith("Networks") and parts[1] in ("LH", "RH") else ""


def parcel_series(
    bold: Any, atlas: Any, *, labels: Any = None, networks: Any = None, resample: bool = False
) -> tuple[np.ndarray, pd.DataFrame]:
    """Mean over the voxels of each parcel, volume by volume.

    Parameters
    ----------
    bold : path or nibabel image
        Of one run.
    atlas : path or nibabel image
        One integer code a voxel, such as ``nilearn.datasets.fetch_atlas_schaefer_2018()["maps"]``; 0 is no parcel.
    labels : optional
        Names of the codes, as `brainalign.loaders.regions.read_labels` takes them.
    networks : mapping of parcel to network, DataFrame or path of a table with columns name and network, optional
        By default from the names, see `network_of`.
    resample : bool
        Bring the atlas onto the grid of the run (nearest neighbour) instead of refusing another one.

    Returns
    -------
    series : ndarray of float32 (n_volumes, n_parcels)
    units : DataFrame
        name, network ("" for none), n_voxels and the centre x, y, z in mm; in the order of the codes.

    Raises
    ------
    DataError
        When grids differ, the atlas holds no codes, or a network is given for no parcel present.
    """
    image = open_nifti(bold, verify=False)
    mask, voxels = volume_units(image, atlas=atlas, labels=labels, resample=resample)
    values = read_voxels(image, mask)
    codes, names = pd.factorize(voxels["roi"], sort=False)
    order = _in_order(names, labels)
    names, place = names[order], np.argsort(order)[codes]
    counts = np.bincount(place)
    series = np.stack([np.bincount(place, weights=one) / counts for one in np.atleast_2d(values)]).astype(np.float32)
    units = pd.DataFrame({"name": names.astype(str), "network": _networks(names, networks), "n_voxels": counts})
    for axis in ("x", "y", "z"):
        units[axis] = np.bincount(place, weights=voxels[axis].to_numpy(float)) / counts
    return series, units


def parcel_trials(
    bold: Any,
    events: Any,
    atlas: Any,
    *,
    n_volumes: int = 5,
    delay: float = 3.0,
    tr: float | None = None,
    **options: Any,
) -> Trials:
    """Parcels by volumes after each event of one run, without the run's mean and linear trend.

    Parameters
    ----------
    bold, atlas
        As in `parcel_series`.
    events : path or DataFrame
        See `brainalign.loaders.events.read_events`.
    n_volumes : int
    delay : float
        Seconds from the onset to the first volume, for the response to rise; the next volume after that is taken.
    tr : float, optional
        Seconds between volumes; by default what the header says.
    **options
        ``labels``, ``networks``, ``resample`` of `parcel_series`.

    Returns
    -------
    Trials
        (n_events, n_parcels, n_volumes), with times from the onset; give it its subject and run by
        ``trials.with_trials(subject="1", run=2)``. Events whose volumes are not all there are left out.

    Raises
    ------
    DataError
        When no event has all its volumes, or the TR is unknown.
    """
    image = open_nifti(bold, verify=False)
    zooms = image.header.get_zooms()
    tr = float(zooms[3]) if tr is None and len(zooms) > 3 else tr
    if not tr or not np.isfinite(tr) or tr <= 0 or n_volumes < 1 or delay < 0:
        raise DataError(
            "volumes cannot be placed in time",
            expected="tr > 0 seconds, n_volumes >= 1, delay >= 0",
            found=f"tr {tr}, n_volumes {n_volumes}, delay {delay}",
            fix="give tr=...",
        )
    series, units = parcel_series(image, atlas, **options)
    table = read_events(events, duration=tr * len(series))
    first = np.ceil((table["onset"].to_numpy(float) + delay) / tr - 1e-6).astype(int)
    whole = first + n_volumes <= len(series)
    if not whole.any():
        raise DataError(
            "no event has all its volumes",
            expected=f"{n_volumes} volumes from {delay} s after an onset",
            found=f"{len(series)} volumes, {len(table)} events",
            fix="ask for fewer volumes or a shorter delay, or give the events of this run",
        )
    from scipy.signal import detrend

    flat = detrend(series.astype(np.float64), axis=0).astype(np.float32)
    index = first[whole, None] + np.arange(n_volumes)
    step = {"step": "parcel_trials", "delay": delay, "detrended": "linear", "left_out": int((~whole).sum())}
    return Trials(
        flat[index].transpose(0, 2, 1),
        table[whole].reset_index(drop=True),
        units,
        times=delay + tr * np.arange(n_volumes),
        history=[step],
        info={"modality": "fmri", "tr": tr},
    )


def _in_order(names: Any, labels: Any) -> np.ndarray:
    """Order of the parcels by their code."""
    from brainalign.loaders.regions import read_labels

    if labels is None:
        return np.argsort([int(name) for name in names], kind="stable")
    rank = {name: code for code, name in read_labels(labels).items()}
    return np.argsort([rank[str(name)] for name in names], kind="stable")


def _networks(names: Any, given: Any) -> list[str]:
    if given is None:
        return [network_of(name) for name in names]
    if isinstance(given, Mapping):
        table = {str(name): str(network) for name, network in given.items()}
    else:
        read = read_table(given if isinstance(given, pd.DataFrame | str | PathLike) else pd.DataFrame(given))
        if not {"name", "network"} <= set(read):
            raise DataError(
                "the table of networks lacks a column",
                expected="name, network",
                found=list(read),
                fix="name the columns of the table so",
            )
        table = dict(zip(read["name"].astype(str), read["network"].fillna("").astype(str), strict=True))
    if not set(table) & {str(name) for name in names}:
        raise DataError(
            "no parcel of the atlas has a network",
            expected=[str(n) for n in names[:5]],
            found=[*table][:5],
            fix="give the table that belongs to this atlas",
        )
    return [table.get(str(name), "") for name in names]
