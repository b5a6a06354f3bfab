"""Natural Scenes Dataset: prepared single-trial betas of one subject, one region of any number of sessions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import row_blocks, sha256_array
from brainalign.cache import Cache
from brainalign.errors import DataError
from brainalign.loaders.datasets.nsd.betas import Session, find_session, read_session
from brainalign.loaders.datasets.nsd.design import nsd_stimuli, nsd_trials
from brainalign.loaders.datasets.nsd.regions import Region, hemispheres, nsd_region
from brainalign.loaders.datasets.shared import choose, dropped, nan_units
from brainalign.loaders.nifti import check_same_grid, open_nifti, read_volume
from brainalign.loaders.surface import read_hemispheres
from brainalign.spaces import SurfaceSpace
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_nsd"]


def load_nsd(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Name,
    space: str = "func1pt8mm",
    roi: str | Sequence[str] = "nsdgeneral",
    sessions: int | Sequence[int] | None = None,
    nan: str = "raise",
    cache: str | None = None,
) -> Trials:
    """Single-trial responses in per cent signal change.

    Only the voxels or vertices of the region are read (HDF5, MGH), or one volume at a time (NIfTI), so memory holds
    the region and little more. HDF5 is preferred where a session has both; it is also many times faster for a region.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    space : {"func1pt8mm", "fsaverage"}
        Volumes, or both hemispheres of fsaverage.
    roi : str or sequence of str
        A family of regions ("nsdgeneral", "prf-visualrois", "streams", "floc-faces"), a label in one ("V1v", "FFA-1"),
        or an area in halves ("V1"). Several are joined. On fsaverage: those of its own folder ("nsdgeneral",
        "streams").
    sessions : int or sequence of int, optional
        The first so many, or these. By default all that the release has; state `info["sessions_used"]` with a score,
        since work on copies made before the last sessions came out differs.
    nan : {"raise", "drop"}
        Some vertices of fsaverage are NaN in some sessions: refuse them, or leave out those that are NaN in any of the
        sessions loaded (the history says how many).
    cache : {None, "float32", "float16"}
        None returns an array in memory. Else responses stream to the cache (``$BRAINALIGN_CACHE``) in that precision
        and come back as a memory map; a second call opens it at once.

    Returns
    -------
    Trials
        `stimulus_id` is ``nsd-`` and the 0-based 73k id; `split` is "test" for the shared pictures; `ncsnr` and labels
        stand in `units`.

    Raises
    ------
    DataError
        When files are absent, damaged, on another grid or contradict the spec, or a region or session is unknown.
    """
    used = _sessions(spec, subject, sessions)
    choose(space, [*map(str, spec.values("space")), "fsaverage"], what="space")
    where: dict[str, Name] = {"subject": subject, "beta_version": spec.values("beta_version")[0]}
    region = nsd_region(spec, root, subject=subject, roi=roi, space=space)
    files = _files(spec, root, {"space": space, **where}, used)
    table = nsd_trials(spec, root, subject=subject, sessions=used)
    units = _with_ncsnr(spec, root, region, {"space": space, **where})
    reader = _Reader(spec, subject, region, files, nan)
    if cache is None:
        responses, bad = reader.in_memory()
    else:
        responses, bad = reader.in_cache(choose(cache, ["float32", "float16"], what="cache")[0])
    entry = spec.entry(files[0].kind)
    info = {"unit": entry.unit, "roi": region.rois, "sessions_used": used, "space": space, **where}
    stimuli = nsd_stimuli(spec, root, table["stimulus_id"].unique().tolist())
    history = [{"step": "load", "scale": entry.scale, "dtype": str(responses.dtype)}, *dropped(bad)]
    return Trials(responses, table, units[~bad], stimuli=stimuli, space=region.space, history=history, info=info)


def _with_ncsnr(spec: DatasetSpec, root: Path, region: Region, where: dict[str, Name]) -> pd.DataFrame:
    """Units with the noise ceiling of the release, where the copy has it."""
    if isinstance(region.space, SurfaceSpace):
        entities = {name: value for name, value in where.items() if name != "space"}
        sides = hemispheres(spec, root, "ncsnr_fsaverage", **entities)
        if not all(path.is_file() for path in sides.values()):
            return region.units
        return region.units.assign(ncsnr=read_hemispheres(sides, region.space, region.mask)[0])
    path = spec.path(root, "ncsnr", **where)
    if not path.is_file():
        return region.units
    image = open_nifti(path)
    check_same_grid(image, region.space, what="ncsnr", fix="take ncsnr and regions of one release")
    return region.units.assign(ncsnr=read_volume(image)[region.mask])


class _Reader:
    """Sessions one after the other into one array, without the units that are NaN in any of them."""

    def __init__(self, spec: DatasetSpec, subject: Name, region: Region, files: list[Session], nan: str) -> None:
        self.spec, self.subject, self.region, self.files, self.nan = spec, subject, region, files, nan
        self.n_trials = spec.fact("trials_per_session")
        self.shape = (len(files) * self.n_trials, len(region.units))

    def _fill(self, responses: np.ndarray) -> np.ndarray:
        """Read all sessions; which units are NaN."""
        for number, session in enumerate(self.files):
            rows = slice(number * self.n_trials, (number + 1) * self.n_trials)
            responses[rows] = read_session(self.spec, session, self.region, subject=self.subject)
        where = next(iter(self.files[0].files.values())).parent
        return nan_units(responses, self.region.units["name"], nan=self.nan, path=where)

    def in_memory(self) -> tuple[np.ndarray, np.ndarray]:
        """Responses, and which units they lack."""
        responses = np.empty(self.shape, dtype=np.float32)
        bad = self._fill(responses)
        return (responses[:, ~bad] if bad.any() else responses), bad

    def in_cache(self, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """The same as a memory map of the cache, made once per set of files, units, policy and precision."""
        cache = Cache()
        facts = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in self._stats()]
        scale, mask = self.spec.entry(self.files[0].kind).scale, sha256_array(self.region.mask)
        key = cache.key(what="nsd betas", files=facts, mask=mask, dtype=dtype, scale=scale, nan=self.nan)
        # The name is one that the cache sweeps up if this process is killed.
        with tempfile.TemporaryDirectory(prefix=".nsd-", suffix=".tmp", dir=cache.root) as folder:

            def make() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
                draft: Any = _draft(f"{folder}/all.npy", dtype, self.shape)
                bad = self._fill(draft)
                kept: Any = draft if not bad.any() else _draft(f"{folder}/kept.npy", dtype, (len(draft), (~bad).sum()))
                for rows in row_blocks(len(draft), 8 * len(bad)) if bad.any() else ():
                    kept[rows] = draft[rows][:, ~bad]
                kept.flush()
                return {"responses": kept, "bad": bad}, {"kind": "nsd betas", "shape": kept.shape}

            arrays = cache.get_or_make(key, make)[0]
        return arrays["responses"], np.asarray(arrays["bad"])

    def _stats(self) -> Iterator[tuple[Path, Any]]:
        for session in self.files:
            for path in session.files.values():
                resolved = path.resolve()
                yield resolved, resolved.stat()


def _draft(path: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)


def _sessions(spec: DatasetSpec, subject: Name, wanted: int | Sequence[int] | None) -> list[int]:
    n_sessions = spec.fact("sessions", subject)
    last = spec.fact("sessions_used", subject) if wanted is None else wanted
    numbers = list(range(1, last + 1)) if isinstance(last, int) else [int(one) for one in last]
    if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(1, n_sessions + 1)):
        raise DataError(
            f"subject {subject} has no such sessions",
            expected=f"different ones among 1 to {n_sessions}",
            found=wanted,
            fix="give a number, or a list of session numbers",
        )
    return numbers


def _files(spec: DatasetSpec, root: Path, where: dict[str, Name], sessions: list[int]) -> list[Session]:
    found = {session: find_session(spec, root, session=session, **where) for session in sessions}
    missing = [session for session, file in found.items() if file is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(sessions)} sessions have no betas",
            path=root / spec.relative("betas_hdf5", session=missing[0], **where),
            expected="betas of both hemispheres"
            if where["space"] == "fsaverage"
            else "betas as .hdf5, .nii or .nii.gz",
            found=f"none for sessions {missing[:8]}",
            fix="download them, or name the sessions that you have: sessions=37 takes the first 37",
        )
    return [file for file in found.values() if file is not None]
