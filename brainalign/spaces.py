"""The way back to the brain: from values per unit to a NIfTI image, surface maps or an MNE Evoked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError

__all__ = ["SensorSpace", "Space", "SurfaceSpace", "VolumeSpace", "space_from_dict"]


def _need(units: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [column for column in columns if column not in units]
    if missing:
        raise DataError(
            f"units have no column {missing} and cannot go back to {what}",
            expected=list(columns),
            found=list(units.columns),
        )


def _per_unit(values: Any, n_units: int) -> np.ndarray:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim not in (1, 2) or array.shape[-1] != n_units:
        raise DataError("one value per unit is needed", expected=f"(..., {n_units})", found=array.shape)
    return array


@dataclass(frozen=True, eq=False)
class VolumeSpace:
    """A voxel grid; the units table holds integer columns ``i, j, k``.

    Parameters
    ----------
    shape : tuple of 3 int
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "affine", np.asarray(self.affine, dtype=np.float64))
        if len(self.shape) != 3 or self.affine.shape != (4, 4):
            raise DataError(
                "not a voxel grid", expected="3 sizes, affine (4, 4)", found=(self.shape, self.affine.shape)
            )

    def units(self, mask: np.ndarray) -> pd.DataFrame:
        """Units table (name, i, j, k and x, y, z in mm) of the voxels where `mask` (shape of the grid) is true."""
        if np.shape(mask) != self.shape:
            raise DataError("mask and grid differ", expected=self.shape, found=np.shape(mask))
        ijk = np.argwhere(mask)
        xyz = ijk @ self.affine[:3, :3].T + self.affine[:3, 3]
        table = pd.DataFrame(ijk, columns=["i", "j", "k"]).join(pd.DataFrame(xyz, columns=["x", "y", "z"]))
        table.insert(0, "name", [f"{i}-{j}-{k}" for i, j, k in ijk])
        return table

    def to_nifti(self, values: Any, units: pd.DataFrame, *, fill: float = 0.0) -> Any:
        """Image of values (n_units,) or (n_maps, n_units); voxels without a unit hold `fill`."""
        import nibabel

        _need(units, ("i", "j", "k"), "a volume")
        array = _per_unit(values, len(units))
        volume = np.full(self.shape + array.shape[:-1], fill, dtype=np.float32)
        volume[units["i"].to_numpy(int), units["j"].to_numpy(int), units["k"].to_numpy(int)] = array.T
        return nibabel.Nifti1Image(volume, self.affine)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {"kind": "volume", "shape": list(self.shape), "affine": self.affine.tolist()}


@dataclass(frozen=True)
class SurfaceSpace:
    """Two hemispheres; the units table holds ``hemi`` ("left" or "right") and ``vertex``."""

    n_vertices: Mapping[str, int]

    def to_gifti(self, values: Any, units: pd.DataFrame) -> dict[str, Any]:
        """One GIFTI image a hemisphere of values (n_units,) or (n_maps, n_units); other vertices hold NaN."""
        import nibabel

        _need(units, ("hemi", "vertex"), "a surface")
        array = np.atleast_2d(_per_unit(values, len(units)))
        images = {}
        for hemi, n_vertices in self.n_vertices.items():
            here = (units["hemi"] == hemi).to_numpy()
            maps = np.full((len(array), n_vertices), np.nan, dtype=np.float32)
            maps[:, units.loc[here, "vertex"].to_numpy(int)] = array[:, here]
            arrays = [nibabel.gifti.GiftiDataArray(one, intent="NIFTI_INTENT_ESTIMATE") for one in maps]
            images[hemi] = nibabel.gifti.GiftiImage(darrays=arrays)
        return images

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {"kind": "surface", "n_vertices": dict(self.n_vertices)}


@dataclass(frozen=True)
class SensorSpace:
    """Channels of EEG, MEG or intracranial recordings; the units table holds ``name``, ``type`` and x, y, z in metres.

    Parameters
    ----------
    sfreq : float
        Sampling rate of the responses in hertz.
    coordinate_frame : str
        As MNE names it: "head", "mni_tal", "unknown", ...
    montage : str, optional
        A standard montage of MNE whose layout suits plots, where the file gave no positions.
    """

    sfreq: float
    coordinate_frame: str = "head"
    montage: str | None = None

    def info(self, units: pd.DataFrame) -> Any:
        """The `mne.Info` of these channels, with positions where they are known."""
        import mne

        kinds = units["type"].tolist() if "type" in units else ["eeg"] * len(units)
        info = mne.create_info(units["name"].tolist(), self.sfreq, kinds, verbose="error")
        if {"x", "y", "z"} <= set(units.columns):
            for channel, position in zip(info["chs"], units[["x", "y", "z"]].to_numpy(float), strict=True):
                if np.isfinite(position).all():
                    channel["loc"][:3] = position
        elif self.montage:
            info.set_montage(self.montage, on_missing="ignore", verbose="error")
        return info

    def to_evoked(self, values: Any, units: pd.DataFrame, times: np.ndarray, *, n_averages: int = 1) -> Any:
        """An `mne.EvokedArray` of values (n_channels, n_times) or (n_channels,)."""
        import mne

        array = np.asarray(values, dtype=np.float64)
        array = array[:, None] if array.ndim == 1 else array
        start = float(times[0]) if times is not None and len(times) else 0.0
        if array.shape[0] != len(units):
            raise DataError("one row per channel is needed", expected=len(units), found=array.shape)
        return mne.EvokedArray(array, self.info(units), tmin=start, nave=n_averages, verbose="error")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {
            "kind": "sensors",
            "sfreq": self.sfreq,
            "coordinate_frame": self.coordinate_frame,
            "montage": self.montage,
        }


Space = VolumeSpace | SurfaceSpace | SensorSpace

_KINDS: dict[str, Any] = {"volume": VolumeSpace, "surface": SurfaceSpace, "sensors": SensorSpace}


def space_from_dict(plain: Mapping[str, Any] | None) -> Space | None:
    """The reverse of ``space.to_dict()``."""
    if plain is None:
        return None
    fields = dict(plain)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise DataError("unknown kind of space", expected=list(_KINDS), found=kind)
    return _KINDS[kind](**fields)
