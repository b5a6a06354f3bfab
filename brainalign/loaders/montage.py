"""Channels and their references: average, named or bipolar, and the brain region of each.

Everything here works on an array ``(..., n_channels, n_times)`` beside its units table (name, type, region, x, y, z),
and returns both anew.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError, unknown
from brainalign.loaders.events import read_table

__all__ = ["attach_regions", "bipolar_pairs", "clean_names", "positions_of_names", "rereference"]

ELECTRIC = ("eeg", "ecog", "seeg", "dbs")
"""Channel types measured against a reference; MEG has none."""

INTRACRANIAL = ("ecog", "seeg", "dbs")
NO_REGION = "n/a"

_CONTACT = re.compile(r"^(?P<shaft>.*?\D)[\s_-]*?(?P<number>\d+)$")


def clean_names(names: Sequence[Any], *, path: str | PathLike[str] | None = None) -> list[str]:
    """Channel names without surrounding blanks or byte-order marks, in Unicode's composed form (NFC).

    Raises
    ------
    DataError
        When two channels then have the same name, or one has none.

    Examples
    --------
    >>> clean_names([" Fp1 ", "\\ufeffOz"])
    ['Fp1', 'Oz']
    """
    cleaned = [unicodedata.normalize("NFC", str(name)).strip("\ufeff \t\r\n\0") for name in names]
    repeated = sorted({name for name in cleaned if cleaned.count(name) > 1})
    if repeated or "" in cleaned:
        raise DataError(
            "channel names must be unique and not empty",
            path=path,
            expected=f"{len(cleaned)} different names",
            found=f"repeated: {repeated[:5]}" if repeated else "a channel without name",
            fix="rename the channels in the recording (mne.rename_channels) or in its header",
        )
    return cleaned


def positions_of_names(wanted: Sequence[str], known: Sequence[str], *, path: Any = None) -> list[int]:
    """Where each wanted channel stands; unknown ones are listed with the closest match.

    Examples
    --------
    >>> positions_of_names(["Oz"], ["Pz", "Oz"])
    [1]
    """
    places = {name: place for place, name in enumerate(known)}
    cleaned = clean_names(wanted)
    for name in cleaned:
        if name not in places:
            raise unknown("channel", name, known, path=path)
    return [places[name] for name in cleaned]


def bipolar_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Neighbouring contacts of each depth electrode: same shaft, consecutive numbers.

    Parameters
    ----------
    names : sequence of str
        A shaft followed by a contact number: ``A1``, ``LAH-03``, ``B'12``. Case and primes tell shafts apart.

    Returns
    -------
    list of (int, int)
        Positions of the two contacts, the lower number first; shafts in order of appearance. A missing number
        breaks the chain: ``A1, A2, A4`` gives one pair.

    Raises
    ------
    DataError
        When a name has no shaft or number, or two names mean the same contact (``A1`` and ``A01``).

    Examples
    --------
    >>> bipolar_pairs(["A1", "A2", "A4", "A5", "B1", "B2"])
    [(0, 1), (2, 3), (4, 5)]
    """
    shafts: dict[str, dict[int, int]] = {}
    for place, name in enumerate(names):
        match = _CONTACT.match(name)
        if match is None:
            raise DataError(
                f"channel '{name}' is not a contact of a depth electrode",
                expected="a shaft and a number, such as A1 or LAH-03",
                fix="leave it out with picks, or mark it with another channel type",
                found=name,
            )
        shaft, number = match["shaft"].rstrip(" _-"), int(match["number"])
        contacts = shafts.setdefault(shaft, {})
        if number in contacts:
            found = f"'{names[contacts[number]]}' and '{name}'"
            raise DataError(
                "two channels mean the same contact",
                expected="one channel a contact",
                found=found,
                fix="leave one of them out with picks",
            )
        contacts[number] = place
    return [
        (contacts[number], contacts[number + 1])
        for contacts in shafts.values()
        for number in sorted(contacts)
        if number + 1 in contacts
    ]


def rereference(
    data: np.ndarray, units: pd.DataFrame, reference: str | Sequence[str] | None
) -> tuple[np.ndarray, pd.DataFrame]:
    """Apply a reference to the electric channels (EEG, ECoG, sEEG, DBS); MEG and others stay as they are.

    Parameters
    ----------
    data : ndarray, shape (..., n_channels, n_times)
    units : DataFrame
        One row a channel: name, type, region, x, y, z.
    reference : "average", "bipolar", sequence of str or None
        "average" subtracts, within each channel type, the mean over its channels. "bipolar" replaces intracranial
        contacts by differences of neighbours (`bipolar_pairs`), placed midway. A list of channel names subtracts
        their mean and drops them.

    Returns
    -------
    data : ndarray
    units : DataFrame

    Raises
    ------
    DataError
        For an unknown reference or channel, or a bipolar reference of other than intracranial channels.
    """
    if reference is None:
        return data, units
    if isinstance(reference, str):
        makers = {"average": _average, "bipolar": _bipolar}
        if reference not in makers:
            raise unknown("reference", reference, makers, fix="one of these, None, or a list of channel names")
        return makers[reference](data, units)
    return _named(data, units, list(reference))


def _average(data: np.ndarray, units: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    referenced = data.copy()
    for kind in set(units["type"]) & set(ELECTRIC):
        rows = np.flatnonzero(units["type"] == kind)
        if rows.size < 2:
            raise DataError(
                f"an average over one {kind} channel leaves nothing",
                fix="reference=None",
                expected="two channels or more",
                found=1,
            )
        referenced[..., rows, :] -= data[..., rows, :].mean(axis=-2, keepdims=True)
    if not set(units["type"]) & set(ELECTRIC):
        _no_electric(units)
    return referenced, units


def _named(data: np.ndarray, units: pd.DataFrame, names: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    rows = positions_of_names(names, units["name"].tolist())
    electric = units["type"].isin(ELECTRIC).to_numpy()
    if not rows or not electric[rows].all():
        _no_electric(units.iloc[rows])
    referenced = data.copy()
    referenced[..., electric, :] -= data[..., rows, :].mean(axis=-2, keepdims=True)
    kept = np.setdiff1d(np.arange(len(units)), rows)
    return referenced[..., kept, :], units.iloc[kept].reset_index(drop=True)


def _no_electric(units: pd.DataFrame) -> None:
    found = f"channels of type {sorted(set(units['type']))}" if len(units) else "no channels"
    raise DataError("a reference needs electric channels", expected=list(ELECTRIC), found=found, fix="reference=None")


def _bipolar(data: np.ndarray, units: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    others = sorted(set(units["type"]) - set(INTRACRANIAL))
    if others:
        raise DataError(
            "a bipolar reference is defined for intracranial contacts",
            expected=f"channels of type {list(INTRACRANIAL)}",
            found=others,
            fix="picks='seeg'; where the file format knows only EEG (EDF), channel_type='seeg'",
        )
    pairs = bipolar_pairs(units["name"].tolist())
    if not pairs:
        raise DataError(
            "no two neighbouring contacts",
            found=units["name"].tolist()[:8],
            fix="reference=None",
            expected="contacts of consecutive numbers on a shaft",
        )
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    return data[..., first, :] - data[..., second, :], _between(units, first, second)


def _between(units: pd.DataFrame, first: np.ndarray, second: np.ndarray) -> pd.DataFrame:
    """Units of the differences: joined names, midpoints, and the region that both share."""
    one, other = units.iloc[first].reset_index(drop=True), units.iloc[second].reset_index(drop=True)
    made = one.copy()
    made["name"] = one["name"] + "-" + other["name"]
    made[["x", "y", "z"]] = (one[["x", "y", "z"]].to_numpy(float) + other[["x", "y", "z"]].to_numpy(float)) / 2
    if "region" in units:
        both = zip(one["region"], other["region"], strict=True)
        made["region"] = [a if a == b else f"{a}/{b}" for a, b in both]
    return made


def attach_regions(
    units: pd.DataFrame,
    regions: Mapping[str, str] | pd.DataFrame | str | PathLike[str] | None,
    *,
    column: str = "region",
) -> pd.DataFrame:
    """Give every channel its brain region.

    Parameters
    ----------
    units : DataFrame
        With a column ``name``.
    regions : mapping, DataFrame, path or None
        ``{channel: region}``, or a table (BIDS ``electrodes.tsv``) with ``name`` and `column`. It may describe more
        channels than there are; channels it leaves out get "n/a".
    column : str
        Which column of the table names the region: an atlas column such as ``"Destrieux"``.

    Raises
    ------
    DataError
        When the table lacks the columns, repeats a name, or knows none of the channels.
    """
    if regions is None:
        return units.assign(region=NO_REGION) if "region" not in units else units
    path = None if isinstance(regions, Mapping | pd.DataFrame) else regions
    if isinstance(regions, Mapping):
        regions = pd.DataFrame({"name": list(regions), column: list(regions.values())})
    table = read_table(regions, ["name", column])
    labels = pd.Series(table[column].to_numpy(dtype=object), index=clean_names(table["name"].tolist(), path=path))
    if not set(labels.index) & set(units["name"]):
        raise DataError(
            "the region table knows none of the channels",
            path=path,
            expected=units["name"].tolist()[:5],
            found=labels.index.tolist()[:5],
            fix="give the table of this recording, with its channel names",
        )
    found = labels.reindex(units["name"]).to_numpy(dtype=object)
    return units.assign(region=[NO_REGION if pd.isna(label) else str(label) for label in found])
