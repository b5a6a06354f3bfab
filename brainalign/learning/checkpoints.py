"""Checkpoints of a training: atomic, hashed, without pickle; the last two are kept.

``run/checkpoints/step-000000120/`` holds ``state.safetensors`` (tensors, and plain values as JSON in its header) and
``state.sha256``. A folder appears whole or not at all, so the newest one is always good unless the disk damaged it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from brainalign.arrays import sha256_file
from brainalign.cache import atomic_folder, atomic_write_text, to_json
from brainalign.errors import DataError

__all__ = ["Checkpoints", "flatten", "unflatten"]

STATE, DIGEST = "state.safetensors", "state.sha256"
N_KEPT = 2


def flatten(**groups: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name the tensors of several groups ``group/name``."""
    return {f"{group}/{name}": tensor for group, some in groups.items() for name, tensor in some.items()}


def unflatten(tensors: Mapping[str, torch.Tensor], group: str) -> dict[str, torch.Tensor]:
    """The tensors of one group.

    Examples
    --------
    >>> unflatten(flatten(a={"x": torch.zeros(1)}, b={}), "a")
    {'x': tensor([0.])}
    """
    return {name.removeprefix(f"{group}/"): one for name, one in tensors.items() if name.startswith(f"{group}/")}


class Checkpoints:
    """Checkpoints and metrics of one run in one folder.

    Parameters
    ----------
    folder : path-like
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.root = Path(folder)
        self.folder = self.root / "checkpoints"
        self.metrics_path = self.root / "metrics.jsonl"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Own the folder; a second process that trains into it is refused.

        Raises
        ------
        DataError
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / ".lock", timeout=0):
                for draft in self.folder.glob(".*.tmp"):  # left by a kill; nobody else writes here
                    shutil.rmtree(draft, ignore_errors=True)
                yield
        except Timeout as error:
            raise DataError("another process is training into this folder", path=self.root) from error

    def steps(self) -> list[Path]:
        """Checkpoints present, oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if path.is_dir())

    def write(self, step: int, tensors: Mapping[str, torch.Tensor], plain: Mapping[str, Any]) -> None:
        """Add a checkpoint, then remove all but the last two."""
        # Tied weights share memory, which safetensors refuses: each gets its own copy, and both read back the same.
        own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        with atomic_folder(self.folder / f"step-{step:09d}") as draft:
            save_file(own, draft / STATE, metadata={"plain": to_json(plain)})
            (draft / DIGEST).write_text(sha256_file(draft / STATE))
        for old in self.steps()[:-N_KEPT]:
            shutil.rmtree(old)
            old.with_name(f".{old.name}.lock").unlink(missing_ok=True)

    def read(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Tensors and plain values of the newest checkpoint, or None where there is none.

        Raises
        ------
        DataError
            When it is damaged, altered or foreign.
        """
        steps = self.steps()
        if not steps:
            return None
        path = steps[-1] / STATE
        try:
            expected, found = (steps[-1] / DIGEST).read_text(), sha256_file(path)
        except OSError as error:
            raise DataError("not a checkpoint of this library", path=steps[-1], found=str(error)) from error
        if expected != found:
            raise DataError(
                "this checkpoint is not what was written",
                path=path,
                expected=f"sha256 {expected[:12]}",
                found=found[:12],
                fix="delete its folder: training resumes from the one before it",
            )
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
                return tensors, json.loads((file.metadata() or {})["plain"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise DataError("not a checkpoint of this library", path=path, found=str(error)) from error

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``."""
        with open(self.metrics_path, "a", encoding="utf-8") as file:
            file.write(to_json(line) + "\n")

    def set_metrics(self, lines: list[dict[str, Any]]) -> None:
        """Replace ``metrics.jsonl``: what a killed run wrote after its last checkpoint happens again."""
        atomic_write_text(self.metrics_path, "".join(to_json(line) + "\n" for line in lines))
