"""Spikes of motor cortex during reaching (Perich, Miller et al.), binned, with the cursor beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.loaders.containers import hdf5_dataset, open_hdf5, readable
from brainalign.loaders.damage import AGAIN
from brainalign.loaders.datasets.shared import agree
from brainalign.specs import DatasetSpec, Name
from brainalign.trials import Trials

__all__ = ["load_spikes_reaching"]

_KINEMATICS = ("pos", "vel", "acc")
_EDGE = 1e-9
"""Bins by which a time may fall short of an edge by rounding: 0.15 s belongs to the fourth bin of 0.05 s."""


def load_spikes_reaching(spec: DatasetSpec, root: Path, *, subject: Name, bin_width: float = 0.05) -> Trials:
    """Spike counts in bins that follow each other without a gap; every bin is a row with a stimulus id of its own.

    Parameters
    ----------
    spec, root, subject
        As `brainalign.load` gives them.
    bin_width : float
        Seconds; at least one sample of the cursor must fall into each bin.

    Returns
    -------
    Trials
        (n_bins, n_units) counts. Beside each bin: ``onset`` (s), the means of ``pos_x`` ... ``acc_y`` within it and of
        ``speed``, and the reach it belongs to (``reach``, -1 between reaches; ``direction`` of its target in radians).
        Neighbouring bins depend on each other: cross-validate with ``by="contiguous"`` and a gap.

    Raises
    ------
    DataError
        When the file is damaged, its parts do not fit each other, or a bin holds no sample of the cursor.
    """
    path = spec.path(root, "recording")
    wanted = [str(array.key) for array in spec.entry("recording").contents]
    with open_hdf5(path) as file, readable(path):
        content = {key: np.asarray(hdf5_dataset(file, key, path)[()]) for key in wanted}
    _check(content, spec, path)
    n_bins = int(spec.fact("seconds") / bin_width + _EDGE) if bin_width > 0 else 0
    if n_bins < 2:
        raise DataError(
            "bin_width leaves no bins",
            expected=f"0 < bin_width < {spec.fact('seconds') / 2} s",
            found=bin_width,
            fix="give seconds, such as 0.05",
        )
    texts = [one.decode() if isinstance(one, bytes) else str(one) for one in content["units/id"]]
    names = [text.removeprefix("group_electrode_group_") for text in texts]  # leaves M1/elec0/unit_0
    units = pd.DataFrame({"name": names, "region": [name.split("/")[0] for name in names]})
    table = pd.DataFrame(
        {"stimulus_id": [f"bin-{number:05d}" for number in range(n_bins)], "subject": subject or spec.subjects[0]}
    )
    table["onset"] = np.arange(n_bins) * bin_width
    return Trials(
        _counts(content, n_bins, bin_width),
        pd.concat([table, _cursor(content, n_bins, bin_width, path), _reaches(content, table["onset"])], axis=1),
        units,
        info={"bin_width": bin_width},
        history=[{"step": "bin spikes", "bin_width": bin_width}],
    )


def _check(content: dict[str, np.ndarray], spec: DatasetSpec, path: Path) -> None:
    """Refuse parts that do not fit each other, before anything is counted."""
    n_spikes = len(content["spikes/timestamps"])
    expected = {key: spec.shape_of(array) for array in spec.entry("recording").contents if (key := str(array.key))}
    expected |= {"spikes/timestamps": (n_spikes,), "spikes/unit_index": (n_spikes,)}
    found = {key: content[key].shape for key in expected}
    agree("spikes, units, cursor and reaches do not match", path=path, expected=expected, found=found)
    for key in ("spikes/timestamps", "cursor/timestamps", *(f"cursor/{kind}" for kind in _KINEMATICS)):
        check_finite(content[key], name=key, path=path)
    index = content["spikes/unit_index"]
    if n_spikes and not 0 <= index.min() <= index.max() < spec.fact("n_units"):
        found_range = (int(index.min()), int(index.max()))
        raise DataError(
            "a spike of an unknown unit",
            path=path,
            expected=f"0 to {spec.fact('n_units') - 1}",
            found=found_range,
            fix=AGAIN,
        )


def _bins(times: np.ndarray, n_bins: int, bin_width: float) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each time, and which times fall into any."""
    bins = np.floor(times / bin_width + _EDGE).astype(int)
    return bins, (bins >= 0) & (bins < n_bins)


def _counts(content: dict[str, np.ndarray], n_bins: int, bin_width: float) -> np.ndarray:
    bins, inside = _bins(content["spikes/timestamps"], n_bins, bin_width)
    n_units = len(content["units/id"])
    flat = bins[inside] * n_units + content["spikes/unit_index"][inside]
    return np.bincount(flat, minlength=n_bins * n_units).reshape(n_bins, n_units).astype(np.float32)


def _cursor(content: dict[str, np.ndarray], n_bins: int, bin_width: float, path: Path) -> pd.DataFrame:
    """Mean of every kinematic variable in each bin."""
    bins, inside = _bins(content["cursor/timestamps"], n_bins, bin_width)
    counts = np.bincount(bins[inside], minlength=n_bins)
    if not counts.all():
        raise DataError(
            "a bin holds no sample of the cursor",
            path=path,
            expected="at least one in each bin",
            found=f"{int((counts == 0).sum())} of {n_bins} bins without, first bin {int(counts.argmin())}",
            fix="take a larger bin_width",
        )
    samples = {
        f"{kind}_{axis}": content[f"cursor/{kind}"][:, column]
        for kind in _KINEMATICS
        for column, axis in enumerate("xy")
    }
    samples["speed"] = np.hypot(samples["vel_x"], samples["vel_y"])
    means = {name: np.bincount(bins[inside], values[inside], n_bins) / counts for name, values in samples.items()}
    return pd.DataFrame(means)


def _reaches(content: dict[str, np.ndarray], onsets: pd.Series) -> pd.DataFrame:
    """The reach in which each bin begins."""
    start, end = content["trials/start"], content["trials/end"]
    last = np.searchsorted(start, onsets, side="right") - 1
    inside = (last >= 0) & (onsets < end[np.maximum(last, 0)])
    reach = np.where(inside, last, -1)
    direction = np.where(inside, content["trials/target_dir"][reach], np.nan)
    return pd.DataFrame({"reach": reach, "direction": direction, "valid": inside & content["trials/is_valid"][reach]})
