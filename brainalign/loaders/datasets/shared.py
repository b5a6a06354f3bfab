"""What the loaders of released fMRI data share: facts held against the spec, text by line, masks, block means."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import row_blocks
from brainalign.errors import DataError, unknown
from brainalign.loaders.damage import AGAIN, absent, damaged
from brainalign.loaders.events import events_from_labels
from brainalign.specs import find_inside

__all__ = [
    "agree", "block_means", "choose", "drop_nan", "dropped", "nan_units", "one_file", "pictures_by_name", "read_lines",
    "standard_run",
]  # fmt: skip

_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def agree(what: str, *, path: Any, expected: Any, found: Any, fix: str | None = None) -> None:
    """Raise `DataError` unless a file holds what the spec, or another file, says."""
    if expected != found:
        raise DataError(
            what,
            path=path,
            expected=expected,
            found=found,
            fix=fix or "download or copy the file again, or correct the spec if your release differs",
        )


def one_file(root: Path, *patterns: str, without: str | None = None) -> Path:
    """The one file that matches the first pattern that matches at all.

    Parameters
    ----------
    root : Path
    *patterns : str
        Relative, each component may hold ``*``; tried in this order.
    without : str, optional
        Files whose name holds this are passed over.

    Raises
    ------
    DataError
        When none or several match.
    """
    for pattern in patterns:
        found = [path for path in find_inside(root, pattern) if without is None or without not in path.name]
        if len(found) == 1:
            return found[0]
        if found:
            names = [path.relative_to(root).as_posix() for path in found]
            fix = "give the one folder that holds it as root"
            raise DataError(f"{len(found)} files match", path=root, expected=f"one '{pattern}'", found=names, fix=fix)
    expected, fix = " or ".join(patterns), "check root and subject, or download the file"
    raise DataError("a file is missing", path=root, expected=expected, found="none", fix=fix)


def choose(wanted: str | Sequence[str] | None, known: Sequence[str], *, what: str) -> list[str]:
    """The names wanted as a list (all by default); an unknown one raises `DataError` with the closest."""
    names = list(known) if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in known:
            raise unknown(what, name, known)
    if not names:
        raise DataError(
            f"no {what} chosen", expected=list(known), found=wanted, fix="name one, or leave it out for all"
        )
    return names


def read_lines(path: str | PathLike[str]) -> list[str]:
    """Lines of a UTF-8 text file that are not blank, stripped.

    Raises
    ------
    DataError
        When the file is absent, empty or no text.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, "a readable text file in UTF-8", error) from error
    lines = [line for line in lines if line]
    if not lines:
        raise DataError("file is empty", path=path, expected="one line per row", found="0 lines", fix=AGAIN)
    return lines


def block_means(
    series: np.ndarray, labels: Sequence[str], runs: Sequence[Any], *, tr: float, delay: float = 0.0, rest: str = "rest"
) -> tuple[np.ndarray, pd.DataFrame, list[dict[str, Any]]]:
    """Mean over the volumes of each block, every voxel detrended and z-scored within its run first.

    Both use all volumes of a run, rest included, and no label; a voxel that does not vary becomes zero.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_units)
    labels : sequence of str, length n_volumes
        A block is a stretch of the same label within a run.
    runs : sequence, length n_volumes
    tr : float
        Seconds per volume.
    delay : float
        Seconds by which the volumes that count lag behind the labels; rounded to volumes. What would lie beyond the
        run is left out.
    rest : str
        The label that is no block.

    Returns
    -------
    responses : ndarray of float32, shape (n_blocks, n_units)
    trials : DataFrame
        label, run, onset (seconds from the start of the run), n_volumes.
    history : list of dict
    """
    names, run_of = np.asarray(labels).astype(str), np.asarray(runs)
    lag = round(delay / tr)
    if not 0 <= delay <= 30:
        raise DataError("delay is out of range", expected="0 to 30 s", found=delay, fix="give seconds, as 5.0")
    means, rows = [], []
    for run in dict.fromkeys(run_of.tolist()):
        here = np.flatnonzero(run_of == run)
        scaled = standard_run(series[here])
        for start, length, label in events_from_labels(names[here], tr=1, rest=rest).itertuples(index=False):
            block = scaled[start + lag : start + length + lag]
            if len(block):
                means.append(block.mean(axis=0))
                rows.append({"label": label, "run": str(run), "onset": float(start * tr), "n_volumes": len(block)})
    if not rows:
        expected, fix = f"labels other than '{rest}'", "take the file of labels that goes with the recording"
        raise DataError("no block in these labels", expected=expected, found=sorted(set(names)), fix=fix)
    history: list[dict[str, Any]] = [
        {"step": "detrend", "by": ["run"], "order": 1},
        {"step": "zscore", "by": ["run"], "fit": "all volumes"},
        {"step": "block mean", "delay": lag * tr},
    ]
    return np.asarray(means, dtype=np.float32), pd.DataFrame(rows), history


def standard_run(series: np.ndarray) -> np.ndarray:
    """One run's series (n_volumes, n_units) less a straight line, over its standard deviation; flat ones become 0."""
    series = np.asarray(series, dtype=np.float64)
    size = np.abs(series).max(axis=0)
    line = np.linspace(-1.0, 1.0, len(series))[:, None]
    series = series - series.mean(axis=0)
    series -= line * (line * series).sum(axis=0) / max(np.square(line).sum(), 1e-12)
    spread = series.std(axis=0)
    flat = spread <= 1e-10 * np.maximum(size, 1.0)
    return np.where(flat, 0.0, series / np.where(flat, 1.0, spread))


def drop_nan(
    responses: np.ndarray, units: pd.DataFrame, *, nan: str, path: Any
) -> tuple[np.ndarray, pd.DataFrame, list[dict[str, Any]]]:
    """Apply a policy to units that are NaN in any trial: "raise" or "drop" (which the history then tells).

    Raises
    ------
    DataError
        When there are such units and the policy is "raise", when no unit is left, or the policy is unknown.
    """
    bad = nan_units(responses, units["name"], nan=nan, path=path)
    if not bad.any():
        return responses, units, []
    return responses[:, ~bad], units[~bad], dropped(bad)


def nan_units(responses: np.ndarray, names: pd.Series, *, nan: str, path: Any) -> np.ndarray:
    """Which units are NaN in any trial, (n_units,) of bool; raises as `drop_nan` does."""
    if nan not in ("raise", "drop"):
        raise unknown("nan policy", nan, ["raise", "drop"])
    bad = np.zeros(responses.shape[1], dtype=bool)
    for rows in row_blocks(len(responses), responses.shape[1] * 4):
        bad |= ~np.isfinite(responses[rows]).all(axis=0)
    if bad.all() or (bad.any() and nan == "raise"):
        raise DataError(
            f"{int(bad.sum())} of {len(bad)} units are NaN in some trials",
            path=path,
            expected="finite responses",
            found=f"first {names[bad].head(5).tolist()}",
            fix="nan='drop' leaves these units out",
        )
    return bad


def dropped(bad: np.ndarray) -> list[dict[str, Any]]:
    """The step to record, where there were such units."""
    return [{"step": "drop units", "why": "NaN in some trials", "n": int(bad.sum())}] if bad.any() else []


def pictures_by_name(folder: str | PathLike[str], names: Sequence[str], *, stems: bool = False) -> dict[str, Path]:
    """Find pictures by file name (or stem) anywhere below a folder.

    Raises
    ------
    DataError
        When one is absent, or two different files share a name.
    """
    root = Path(folder)
    found: dict[str, Path] = {}
    if not root.is_dir():
        raise absent(root, "a folder of pictures", kind="folder")
    wanted = set(names)
    for path in sorted(root.rglob("*")):
        name = path.stem if stems else path.name
        if name in wanted and path.suffix.lower() in _PICTURE_SUFFIXES:
            if name in found:
                what, both = f"two pictures are called '{name}'", [str(found[name]), str(path)]
                raise DataError(what, path=root, expected="one", found=both, fix="give the folder of one of the two")
            found[name] = path
    missing = [name for name in names if name not in found]
    if missing:
        what, fix = f"{len(missing)} pictures are absent", "download the rest, or give the folder above them"
        raise DataError(what, path=root, expected=f"{len(wanted)} pictures", found=f"none of {missing[:5]}", fix=fix)
    return found
