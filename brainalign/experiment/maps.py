"""Values per unit as files of the run: NIfTI for volumes, GIFTI for surfaces, FIF for sensors."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from brainalign.cache import atomic_write_bytes
from brainalign.spaces import SensorSpace, SurfaceSpace, VolumeSpace
from brainalign.trials import Trials

__all__ = ["write_maps"]


def write_maps(folder: Path, trials: Trials, values: Mapping[str, np.ndarray]) -> list[Path]:
    """Write each map whole or not at all; nothing where the units have no way back to the brain.

    Parameters
    ----------
    folder : Path
        Made when absent.
    trials : Trials
        Whose units and space the values belong to.
    values : mapping of name to ndarray, shape (n_units,)

    Returns
    -------
    list of Path
    """
    written = []
    for name, one in values.items():
        for suffix, content in _contents(trials, one).items():
            path = folder / f"{re.sub(r'[^A-Za-z0-9.]+', '_', name).strip('_')}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_bytes(path, content)
            written.append(path)
    return written


def _contents(trials: Trials, values: np.ndarray) -> dict[str, bytes]:
    """Bytes of the files of one map, by what follows their name."""
    if isinstance(trials.space, VolumeSpace):
        image = trials.space.to_nifti(values, trials.units, fill=np.nan)
        return {".nii.gz": gzip.compress(image.to_bytes(), mtime=0)}
    if isinstance(trials.space, SurfaceSpace):
        images = trials.space.to_gifti(values, trials.units)
        return {f".{hemi}.func.gii": image.to_bytes() for hemi, image in images.items()}
    if isinstance(trials.space, SensorSpace):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "map-ave.fif"
            trials.space.to_evoked(values, trials.units, np.zeros(1)).save(path, verbose="error")
            return {"-ave.fif": path.read_bytes()}
    return {}
