"""Natural Scenes Dataset: prepared single-trial betas of one subject, one region of any number of sessions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.arrays import sha256_array
from brainalign.cache import Cache
from brainalign.errors import DataError
from brainalign.loaders.datasets.nsd.betas import beta_file, read_betas
from brainalign.loaders.datasets.nsd.design import nsd_stimuli, nsd_trials
from brainalign.loaders.datasets.nsd.regions import nsd_units
from brainalign.loaders.datasets.shared import agree, choose
from brainalign.loaders.nifti import open_nifti, read_volume
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_nsd"]


def load_nsd(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Name,
    roi: str | Sequence[str] = "nsdgeneral",
    sessions: int | Sequence[int] | None = None,
    cache: str | None = None,
) -> Trials:
    """Single-trial responses in per cent signal change.

    Only the voxels of the region are read (HDF5), or one volume at a time (NIfTI), so memory holds the region and
    little more. HDF5 is preferred where a session has both; it is also many times faster for a region.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    roi : str or sequence of str
        A family of regions ("nsdgeneral", "prf-visualrois", "streams", "floc-faces"), a label in one ("V1v", "FFA-1"
        where the copy has the release's colour tables), or an area in halves ("V1"). Several are joined.
    sessions : int or sequence of int, optional
        The first so many, or these. By default all that the release has; state `info["sessions_used"]` with a score,
        since work on copies made before the last sessions came out differs.
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
        When files are absent, damaged or contradict the spec, or a region or session is unknown.
    """
    used = _sessions(spec, subject, sessions)
    where = {"subject": subject, "space": spec.values("space")[0], "beta_version": spec.values("beta_version")[0]}
    mask, units, space, rois = nsd_units(spec, root, subject=subject, roi=roi)
    files = _files(spec, root, where, used)
    table = nsd_trials(spec, root, subject=subject, sessions=used)
    ncsnr = spec.path(root, "ncsnr", **where)
    if ncsnr.is_file():
        image = open_nifti(ncsnr)
        agree("ncsnr on another grid", path=ncsnr, expected=mask.shape, found=tuple(image.shape))
        units["ncsnr"] = read_volume(image)[mask]
    reader = _Reader(spec, subject, mask, files)
    if cache is None:
        responses = reader.in_memory()
    else:
        responses = reader.in_cache(choose(cache, ["float32", "float16"], what="cache")[0])
    info = {"unit": spec.entry("betas_hdf5").unit, "roi": rois, "sessions_used": used, **where}
    stimuli = nsd_stimuli(spec, root, table["stimulus_id"].unique().tolist())
    history = [{"step": "load", "scale": spec.entry("betas_hdf5").scale, "dtype": str(responses.dtype)}]
    return Trials(responses, table, units, stimuli=stimuli, space=space, history=history, info=info)


class _Reader:
    """Sessions one after the other into one array."""

    def __init__(self, spec: DatasetSpec, subject: Name, mask: np.ndarray, files: list[tuple[str, Path]]) -> None:
        self.spec, self.subject, self.mask, self.files = spec, subject, mask, files
        self.n_trials = spec.fact("trials_per_session")
        self.shape = (len(files) * self.n_trials, int(mask.sum()))

    def _fill(self, responses: np.ndarray) -> None:
        for number, (kind, path) in enumerate(self.files):
            rows = slice(number * self.n_trials, (number + 1) * self.n_trials)
            responses[rows] = read_betas(self.spec, kind, path, self.mask, subject=self.subject)

    def in_memory(self) -> np.ndarray:
        responses = np.empty(self.shape, dtype=np.float32)
        self._fill(responses)
        return responses

    def in_cache(self, dtype: str) -> np.ndarray:
        """The same as a memory map of the cache, made once per set of files, voxels and precision."""
        cache = Cache()
        facts = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in self._stats()]
        scale = self.spec.entry("betas_hdf5").scale
        key = cache.key(what="nsd betas", files=facts, mask=sha256_array(self.mask), dtype=dtype, scale=scale)
        # The name is one that the cache sweeps up if this process is killed.
        with tempfile.TemporaryDirectory(prefix=".nsd-", suffix=".tmp", dir=cache.root) as folder:

            def make() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
                draft: Any = np.lib.format.open_memmap(f"{folder}/responses.npy", "w+", np.dtype(dtype), self.shape)
                self._fill(draft)
                draft.flush()
                return {"responses": draft}, {"kind": "nsd betas", "shape": self.shape}

            return cache.get_or_make(key, make)[0]["responses"]

    def _stats(self) -> Iterator[tuple[Path, Any]]:
        for _, path in self.files:
            resolved = path.resolve()
            yield resolved, resolved.stat()


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


def _files(spec: DatasetSpec, root: Path, where: dict[str, Name], sessions: list[int]) -> list[tuple[str, Path]]:
    found = {session: beta_file(spec, root, session=session, **where) for session in sessions}
    missing = [session for session, file in found.items() if file is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(sessions)} sessions have no betas",
            path=root / spec.relative("betas_hdf5", session=missing[0], **where),
            expected="betas as .hdf5, .nii or .nii.gz",
            found=f"none for sessions {missing[:8]}",
            fix="download them, or name the sessions that you have: sessions=37 takes the first 37",
        )
    return [file for file in found.values() if file is not None]
