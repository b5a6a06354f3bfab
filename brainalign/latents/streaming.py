"""Batches into memory-mapped files: resumable after a kill, and smaller batches when memory runs out."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from brainalign.arrays import row_blocks
from brainalign.cache import atomic_write_text, to_json
from brainalign.errors import DataError

__all__ = ["Draft", "stream"]

CHECKPOINT_SECONDS = 2.0
"""Least time between two marks of what is finished."""

# The CPU allocator and MPS raise a plain RuntimeError.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")

log = logging.getLogger(__name__)


class Draft:
    """An array that is filled batch by batch, on disk when it has a folder, else in memory.

    ``progress.json`` marks how many units of work are finished. It is written after their values were flushed, so
    that a killed process can be resumed from the mark; the array's shape is known from the first batch on.
    """

    def __init__(self, folder: Path | None, n_rows: int, dtype: str) -> None:
        self._folder, self._n_rows, self._dtype = folder, n_rows, np.dtype(dtype)
        self._values: np.ndarray | None = None
        self.done = 0
        self._resume()

    @property
    def values(self) -> np.ndarray:
        """What has been written, (n_rows, \\*space)."""
        assert self._values is not None, "nothing was written yet"
        return self._values

    def _resume(self) -> None:
        mark = self._folder and self._folder / "progress.json"
        if mark is None or not mark.is_file():
            return
        try:
            found = json.loads(mark.read_text())
            values = np.load(mark.with_name("values.npy"), mmap_mode="r+", allow_pickle=False)
        except (OSError, ValueError) as error:
            log.warning("starting afresh: %s cannot be resumed (%s)", mark.parent, error)
            return
        if len(values) == self._n_rows and values.dtype == self._dtype:
            self._values, self.done = values, int(found["done"])

    def write(self, rows: Sequence[int], values: np.ndarray) -> None:
        """Put one batch into its rows."""
        if self._values is None:
            self._values = self._allocate(values.shape[1:])
        if values.shape[1:] != self._values.shape[1:]:
            raise DataError("batches differ in shape", expected=self._values.shape[1:], found=values.shape[1:])
        self._values[np.asarray(rows)] = values

    def _allocate(self, space: tuple[int, ...]) -> np.ndarray:
        shape = (self._n_rows, *space)
        if self._folder is None:
            return np.empty(shape, self._dtype)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        path = self._folder / "values.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=self._dtype, shape=shape)

    def checkpoint(self, done: int) -> None:
        """Mark `done` units of work as finished, once their values are safely on disk."""
        self.done = done
        if self._folder is not None and isinstance(self._values, np.memmap):
            self._values.flush()
            atomic_write_text(self._folder / "progress.json", to_json({"done": done}))

    def repeat_rows(self, source: np.ndarray) -> None:
        """Copy row ``source[i]`` to row ``i`` wherever they differ: the same picture under another id."""
        copies = np.flatnonzero(source != np.arange(len(source)))
        row_bytes = int(np.prod(self.values.shape[1:], dtype=np.int64)) * self._dtype.itemsize
        for block in row_blocks(len(copies), row_bytes):
            self.values[copies[block]] = self.values[source[copies[block]]]

    def remove(self) -> None:
        """Delete the files."""
        self._values = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def stream(
    drafts: Mapping[str, Draft],
    compute: Callable[[Sequence[int]], Mapping[str, np.ndarray]],
    rows: Sequence[int],
    *,
    batch_size: int,
    description: str,
) -> None:
    """Compute `rows` in batches and write each output into the draft of its name, from the earliest mark on.

    When memory runs out the batch is halved, down to one, and the same rows are tried again.

    Raises
    ------
    DataError
        When one single row does not fit into memory.
    """
    start = min(draft.done for draft in drafts.values())
    marked = time.monotonic()
    with tqdm(total=len(rows), initial=start, desc=description, disable=not sys.stderr.isatty()) as bar:
        while start < len(rows):
            batch = rows[start : start + batch_size]
            outputs = _within_memory(compute, batch)
            if outputs is None:
                batch_size = max(1, len(batch) // 2)
                log.warning("out of memory with %d at a time: going on with %d", len(batch), batch_size)
                continue
            for name, draft in drafts.items():
                draft.write(batch, outputs[name])
            start += len(batch)
            bar.update(len(batch))
            if time.monotonic() - marked >= CHECKPOINT_SECONDS or start == len(rows):
                for draft in drafts.values():
                    draft.checkpoint(start)
                marked = time.monotonic()


def _within_memory(compute: Callable[[Sequence[int]], Any], batch: Sequence[int]) -> Any:
    """The outputs, or None when they did not fit into memory (the failed frames are gone by then)."""
    import torch

    try:
        return compute(batch)
    except (MemoryError, RuntimeError) as error:
        is_typed = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_typed and not any(words in str(error).lower() for words in _MEMORY_WORDS):
            raise
        if len(batch) == 1:
            raise DataError(
                f"out of memory with a single stimulus: {error}",
                fix="use a smaller model, fewer layers at once, pool='mean', or device='cpu'",
            ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
