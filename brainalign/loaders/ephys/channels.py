"""Which channels are read, which are unfit, and what is done to their signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import Recording
from brainalign.loaders.ephys.signals import band_limit, high_gamma_envelope
from brainalign.loaders.montage import ELECTRIC, attach_regions, clean_names, positions_of_names, rereference

__all__ = ["Channels", "Fitness", "plan_channels"]

DATA_TYPES = ("mag", "grad", "eeg", "csd", "seeg", "ecog", "dbs", "hbo", "hbr")
_GROUPS = {"meg": ("mag", "grad"), "data": DATA_TYPES, "fnirs": ("hbo", "hbr")}
_MEG_DEVICE = 1  # FIFF's code for the frame of the helmet


@dataclass(frozen=True)
class Channels:
    """The channels to read from one recording, and how to prepare what was read.

    Parameters
    ----------
    rows : list of int
        Channels of the recording to read: those asked for, and those that the reference needs.
    units : DataFrame
        Name, type and x, y, z (metres) of each.
    wanted : list of str
        Names asked for.
    frame : str
        Coordinate frame of the positions, as MNE names it.
    """

    rows: list[int]
    units: pd.DataFrame
    wanted: list[str]
    frame: str

    def prepare(
        self, data: np.ndarray, good: np.ndarray, sfreq: float, options: EphysOptions
    ) -> tuple[np.ndarray, pd.DataFrame]:
        """Reference and filter data (..., n_rows, n_times); `good` marks the channels fit for use."""
        data, units = data[..., good, :], self.units[good].reset_index(drop=True)
        units = attach_regions(units, options.regions, column=options.region_column)
        data, units = rereference(data, units, options.reference)
        if options.reference != "bipolar":
            keep = np.flatnonzero(units["name"].isin(self.wanted))
            data, units = data[..., keep, :], units.iloc[keep].reset_index(drop=True)
        if not len(units):
            raise DataError(
                "no channel is left",
                expected=self.wanted[:8],
                fix="look at picks, reference and nan",
                found="none of them",
            )
        if not (options.l_freq is options.h_freq is options.notch is None):
            data = band_limit(data, sfreq, l_freq=options.l_freq, h_freq=options.h_freq, notch=options.notch)
        if options.high_gamma is not None:
            data = high_gamma_envelope(data, sfreq, options.high_gamma, envelope=options.envelope)
        return data, units


def plan_channels(recording: Recording, options: EphysOptions) -> Channels:
    """Choose the channels of a recording by type, name and mark."""
    table, frame = _channel_table(recording, options.channel_type)
    names = table["name"].tolist()
    chosen = _choose(table, options.picks, bads=options.bads, path=recording.path)
    extra: list[int] = []
    if options.reference == "average":
        extra = np.flatnonzero(table["type"].isin(ELECTRIC) & ~table["bad"]).tolist()
    elif not isinstance(options.reference, str | None):
        extra = positions_of_names(options.reference, names, path=recording.path)
    rows = sorted({*chosen, *extra})
    units = table.iloc[rows].drop(columns="bad").reset_index(drop=True)
    return Channels(rows, units, [names[row] for row in chosen], frame)


def _channel_table(recording: Recording, channel_type: str | None) -> tuple[pd.DataFrame, str]:
    data = recording.data
    kinds = data.get_channel_types()
    if channel_type is not None:
        if channel_type not in DATA_TYPES:
            raise unknown("channel type", channel_type, DATA_TYPES)
        kinds = [channel_type if kind == "eeg" else kind for kind in kinds]
    positions = np.array([channel["loc"][:3] for channel in data.info["chs"]], dtype=np.float64).reshape(-1, 3)
    # MNE writes unknown positions as NaN, older files as the origin.
    nowhere = ~np.isfinite(positions).all(axis=1) | (positions == 0).all(axis=1)
    positions[nowhere] = np.nan
    table = pd.DataFrame(
        {
            "name": clean_names(data.ch_names, path=recording.path),
            "type": kinds,
            "bad": np.isin(data.ch_names, data.info["bads"]),
        }
    )
    table[["x", "y", "z"]] = positions
    return table, "unknown" if nowhere.all() else _frame(data, int(np.flatnonzero(~nowhere)[0]))


def _frame(data: Any, channel: int) -> str:
    """Coordinate frame of the positions: of the helmet, or as the montage says."""
    if int(data.info["chs"][channel]["coord_frame"]) == _MEG_DEVICE:
        return "meg"
    montage = data.get_montage()
    return "head" if montage is None else str(montage.get_positions()["coord_frame"])


def _choose(table: pd.DataFrame, picks: str | Sequence[str] | None, *, bads: str, path: Any) -> list[int]:
    """Rows asked for by type or name, in the order of the recording."""
    good = (~table["bad"] | (bads == "keep")).to_numpy()
    asked = ["data"] if picks is None else [picks] if isinstance(picks, str) else list(picks)
    kinds_here = set(table["type"])
    chosen: set[int] = set()
    names: list[str] = []
    for one in asked:
        if one in _GROUPS or one in kinds_here:
            chosen.update(np.flatnonzero(table["type"].isin(_GROUPS.get(one, (one,))) & good).tolist())
        else:
            names.append(one)
    chosen.update(positions_of_names(names, table["name"].tolist(), path=path))
    if not chosen:
        found = table["type"].value_counts().to_dict()
        raise DataError(
            "no channel left to read",
            path=path,
            expected=f"good channels of {asked}",
            found=found,
            fix="choose others with picks, or keep bad ones with bads='keep'",
        )
    return sorted(chosen)


class Fitness:
    """Finds channels with NaN or infinity, or that never vary, over one or several blocks of data."""

    def __init__(self, n_channels: int) -> None:
        self.spoilt = np.zeros(n_channels, dtype=bool)
        self.low = np.full(n_channels, np.inf)
        self.high = np.full(n_channels, -np.inf)

    def look_at(self, data: np.ndarray) -> None:
        """Take in data (n_channels, n_times) or (n_trials, n_channels, n_times)."""
        over = (0, 2) if data.ndim == 3 else (1,)
        low, high = data.min(axis=over), data.max(axis=over)
        self.spoilt |= ~(np.isfinite(low) & np.isfinite(high))
        self.low, self.high = np.fmin(self.low, low), np.fmax(self.high, high)

    def good(self, names: list[str], policy: str, path: Any) -> np.ndarray:
        """Mask of the fit channels; under the policy "raise", unfit ones raise."""
        flat = ~self.spoilt & (self.low == self.high)
        unfit = self.spoilt | flat
        if unfit.any() and policy == "raise":
            listed = [name for name, bad in zip(names, unfit, strict=True) if bad][:5]
            raise DataError(
                f"channels with NaN or without any variation: {listed}",
                path=path,
                expected="finite, varying channels",
                found=f"{int(self.spoilt.sum())} with NaN, {int(flat.sum())} flat, of {len(names)}",
                fix="nan='drop' leaves them out; or choose channels with picks",
            )
        return ~unfit
