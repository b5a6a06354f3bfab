"""Artefacts on disk: whole or absent, hashed on writing, checked on reading, safe for two processes.

An artefact is a folder of ``.npy`` files and one ``manifest.json`` with the sha256, shape and dtype of each.
It is written to a temporary folder, synced and moved into place, so a kill at any moment leaves the earlier
version or none, never half of one. Nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from brainalign.arrays import sha256_file
from brainalign.errors import DataError

__all__ = [
    "Cache",
    "atomic_folder",
    "atomic_write_bytes",
    "atomic_write_text",
    "read_artefact",
    "to_json",
    "write_artefact",
]

MANIFEST = "manifest.json"
_STALE_SECONDS = 24 * 3600


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def to_json(value: Any, **options: Any) -> str:
    """Canonical JSON (sorted keys) of plain data, numpy scalars and arrays, paths and sets."""
    return json.dumps(value, sort_keys=True, default=_plain, **options)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def atomic_write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file so that a reader finds the old content or the new, never a part."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)
    return target


def atomic_write_text(path: str | os.PathLike[str], content: str) -> Path:
    """Write UTF-8 text as `atomic_write_bytes` does."""
    return atomic_write_bytes(path, content.encode())


def _hidden(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{suffix}")


def _lock(folder: Path) -> FileLock:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(_hidden(folder, "lock"))


def _recover(folder: Path) -> None:
    """Put an earlier version back if a kill fell between the two moves of `atomic_folder`."""
    old = _hidden(folder, "old")
    if not folder.exists() and old.exists():
        os.replace(old, folder)


@contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a temporary folder inside the ``with`` block; it takes the place of `folder` only if all went well.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "result"
    >>> with atomic_folder(target) as draft:
    ...     _ = (draft / "a.txt").write_text("done")
    >>> (target / "a.txt").read_text()
    'done'
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        yield draft
        for path in draft.rglob("*"):
            if path.is_file():
                _sync_file(path)
        os.chmod(draft, 0o755)
        with _lock(target):
            _recover(target)
            old = _hidden(target, "old")
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                os.replace(target, old)
            os.replace(draft, target)
            _sync_folder(target.parent)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_artefact(folder: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Path:
    """Write named arrays and their metadata as one folder, whole or absent.

    Parameters
    ----------
    folder : path-like
        Replaced as a whole when it exists.
    arrays : mapping of str to ndarray
        Memory maps are streamed, not loaded.
    meta : mapping
        Anything JSON can hold.

    Returns
    -------
    Path
        The folder.
    """
    with atomic_folder(folder) as draft:
        manifest: dict[str, Any] = {"meta": dict(meta), "arrays": {}}
        for name, array in arrays.items():
            file = f"{name}.npy"
            array = np.asanyarray(array)
            if array.dtype.hasobject:
                raise DataError(f"array '{name}' holds Python objects", expected="numbers or fixed-width text")
            np.save(draft / file, array, allow_pickle=False)
            manifest["arrays"][name] = {
                "file": file,
                "sha256": sha256_file(draft / file),
                "shape": list(array.shape),
                "dtype": array.dtype.str,
            }
        (draft / MANIFEST).write_text(to_json(manifest, indent=1))
    return Path(folder)


def read_artefact(
    folder: str | os.PathLike[str], *, mmap: bool = True, verify: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_artefact` wrote, refusing anything that is not exactly what was written.

    Parameters
    ----------
    folder : path-like
    mmap : bool
        Open arrays as read-only memory maps.
    verify : bool
        Check each file's sha256.

    Returns
    -------
    arrays : dict of str to ndarray
    meta : dict

    Raises
    ------
    DataError
        When the folder, its manifest or an array is missing, damaged or altered.
    """
    root = Path(folder)
    if not root.exists():
        with _lock(root):
            _recover(root)
    manifest_path = root / MANIFEST
    try:
        manifest = json.loads(manifest_path.read_text())
        entries, meta = manifest["arrays"], manifest["meta"]
    except FileNotFoundError as error:
        raise DataError("no artefact here", path=root, expected=MANIFEST, found="nothing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("damaged manifest", path=manifest_path, found=str(error), fix="make it again") from error
    return {name: _read_array(root, entry, mmap=mmap, verify=verify) for name, entry in entries.items()}, meta


def _read_array(root: Path, entry: Mapping[str, Any], *, mmap: bool, verify: bool) -> np.ndarray:
    path = root / Path(entry["file"]).name
    if not path.is_file():
        raise DataError("an array of this artefact is missing", path=path, fix="make it again")
    if verify and (found := sha256_file(path)) != entry["sha256"]:
        raise DataError(
            "content differs from what was written",
            path=path,
            expected=f"sha256 {entry['sha256'][:12]}",
            found=found[:12],
            fix="delete the folder and make it again",
        )
    return np.load(path, mmap_mode="r" if mmap and 0 not in entry["shape"] else None, allow_pickle=False)


class Cache:
    """Content-addressed store of artefacts.

    Parameters
    ----------
    root : path-like, optional
        Default ``$BRAINALIGN_CACHE``, else ``~/.cache/brainalign``.

    Examples
    --------
    >>> import tempfile
    >>> cache = Cache(tempfile.mkdtemp())
    >>> key = cache.key(model="clip", layer=3)
    >>> arrays, meta = cache.get_or_make(key, lambda: ({"x": np.arange(3)}, {"made": True}))
    >>> arrays["x"].tolist(), meta
    ([0, 1, 2], {'made': True})
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        default = os.environ.get("BRAINALIGN_CACHE") or Path.home() / ".cache" / "brainalign"
        self.root = Path(root or default).expanduser()
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sweep()

    def _sweep(self) -> None:
        """Remove drafts that a killed process left more than a day ago."""
        limit = time.time() - _STALE_SECONDS
        for draft in self.root.glob(".*.tmp"):
            try:
                if draft.stat().st_mtime < limit:
                    shutil.rmtree(draft, ignore_errors=True)
            except FileNotFoundError:
                continue

    @staticmethod
    def key(**parts: Any) -> str:
        """Hash named plain values into a key; the same values give the same key on every machine."""
        return hashlib.sha256(to_json(parts).encode()).hexdigest()

    def path(self, key: str) -> Path:
        """Folder of an entry, present or not."""
        if not key or not all(character.isalnum() or character in "-_" for character in key):
            raise DataError("not a cache key", expected="letters, digits, '-' and '_'", found=key)
        return self.root / key

    def get(self, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and metadata of an entry, or None when it is absent; a damaged entry raises `DataError`."""
        folder = self.path(key)
        return read_artefact(folder) if (folder / MANIFEST).exists() else None

    def put(self, key: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Path:
        """Store an entry."""
        return write_artefact(self.path(key), arrays, meta)

    def get_or_make(
        self, key: str, make: Callable[[], tuple[Mapping[str, np.ndarray], Mapping[str, Any]]]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return an entry, computing it once even when several processes ask at the same time."""
        if (found := self.get(key)) is not None:
            return found
        with FileLock(self.root / f".{key}.making.lock"):
            if (found := self.get(key)) is None:
                self.put(key, *make())
                found = self.get(key)
        assert found is not None
        return found
