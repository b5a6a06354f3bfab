"""Everything that can be asked of `load_ephys` besides where and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.loaders.ephys.signals import ENVELOPES
from brainalign.loaders.options import Options

__all__ = ["EphysOptions"]

_CHOICES = {
    "nan": ("raise", "drop"),
    "edges": ("raise", "drop"),
    "bads": ("drop", "keep"),
    "envelope": ENVELOPES,
}


@dataclass(frozen=True)
class EphysOptions(Options):
    """Options of `brainalign.load_ephys`, in the order in which they are applied.

    Parameters
    ----------
    picks : str, sequence of str or None
        Channel types (``"eeg"``, ``"meg"``, ``"seeg"``, ...) or names; None takes every data channel.
    bads : str
        Channels marked bad: "drop", or "keep". Channels picked by name are always kept.
    channel_type : str, optional
        What EEG-typed channels really are ("seeg", "ecog"): some formats (EDF) know only EEG.
    regions : mapping, DataFrame or path, optional
        Brain region of each channel: ``{name: region}`` or a table such as ``electrodes.tsv``.
    region_column : str
        Its column, e.g. an atlas.
    nan : str
        Channels that are flat or hold NaN: "raise", or "drop" (in all runs; named in the history).
    reference : "average", "bipolar", sequence of str or None
        See `brainalign.loaders.montage.rereference`. The average is over all good channels, picked or not.
    notch, l_freq, h_freq : float, optional
        See `brainalign.loaders.ephys.signals.band_limit`; on the continuous recording.
    high_gamma : (float, float), optional
        Band in hertz, e.g. ``(70, 150)``: the responses become its envelope.
    envelope : str
        "log" (decibels), "amplitude" (volts) or "ratio" (1 is the baseline's mean; needs `baseline`).
    event_id : mapping or sequence of str, optional
        ``{name: code}`` for integer events, or the names to keep. Each must occur.
    reject_by_annotation : bool
        Leave out trials that overlap a stretch annotated ``BAD_...``.
    edges : str
        Trials whose window leaves the recording: "raise", or "drop".
    resample : float, optional
        New sampling rate in hertz; see `brainalign.loaders.ephys.signals.Resampler`.
    baseline : (float or None, float or None), optional
        Seconds; its mean is subtracted from each trial.
    """

    picks: str | Sequence[str] | None = None
    bads: str = "drop"
    channel_type: str | None = None
    regions: Mapping[str, str] | pd.DataFrame | str | PathLike[str] | None = None
    region_column: str = "region"
    nan: str = "raise"
    reference: str | Sequence[str] | None = None
    notch: float | Sequence[float] | None = None
    l_freq: float | None = None
    h_freq: float | None = None
    high_gamma: tuple[float, float] | None = None
    envelope: str = "log"
    event_id: Mapping[str, int] | Sequence[str] | None = None
    reject_by_annotation: bool = True
    edges: str = "raise"
    resample: float | None = None
    baseline: tuple[float | None, float | None] | None = None

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise unknown(name, value, known)
        if self.envelope == "ratio" and self.high_gamma is not None and self.baseline is None:
            raise DataError(
                "envelope='ratio' divides by a baseline",
                expected="baseline=(first, last)",
                found="no baseline",
                fix="give baseline, or envelope='log'",
            )
        if isinstance(self.event_id, str):
            object.__setattr__(self, "event_id", (self.event_id,))

    def record(self) -> dict[str, Any]:
        """What was asked for beyond the defaults, as plain data for the history."""
        asked = {}
        for name, value in asdict(self).items():
            if name == "regions" or value == getattr(EphysOptions, name, None):
                continue
            plain = isinstance(value, str | int | float | bool)
            asked[name] = dict(value) if isinstance(value, Mapping) else value if plain else list(value)
        return asked
