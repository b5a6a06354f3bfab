"""Names of encoders, and where each lives: the only way from a name in a file to code."""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import Any

from brainalign.errors import DataError, unknown

__all__ = ["ENCODERS", "encoder_class", "register_encoder"]

ENCODERS: dict[str, str] = {
    "ATM": "brainalign.encoders.ephys.atm",
    "BrainIT": "brainalign.encoders.brain_it",
    "BrainMAE": "brainalign.encoders.brain_mae",
    "EEGNet": "brainalign.encoders.ephys.eegnet",
    "DuIN": "brainalign.encoders.du_in",
    "LinearEncoder": "brainalign.encoders.linear",
    "MindEye": "brainalign.encoders.mindeye",
    "MindEye2": "brainalign.encoders.mindeye",
    "NeuroBOLT": "brainalign.encoders.neurobolt",
    "Neuroformer": "brainalign.encoders.neuroformer",
    "ShallowConvNet": "brainalign.encoders.ephys.shallow",
    "TSConv": "brainalign.encoders.ephys.tsconv",
    "UnifiedEncoder": "brainalign.encoders.unified",
    "WAVE": "brainalign.encoders.wave",
}
"""Module of each encoder that ships with brainalign."""

_registered: dict[str, type] = {}


def register_encoder(encoder: type) -> type:
    """Class decorator that lets `load_encoder` find an encoder defined outside brainalign, by its name.

    Raises
    ------
    DataError
        When the name belongs to another encoder.
    """
    name = encoder.__name__
    if name in ENCODERS or _registered.get(name, encoder) is not encoder:
        raise DataError(f"an encoder named '{name}' exists already", fix="choose another class name")
    _registered[name] = encoder
    return encoder


def encoder_class(name: Any, *, path: str | PathLike[str] | None = None) -> type:
    """The encoder of this name; `path` is the file that names it, for the error.

    Raises
    ------
    DataError
        When no encoder has the name; nothing is imported that is not listed.
    """
    name = str(name)
    if name in _registered:
        return _registered[name]
    if name not in ENCODERS:
        raise unknown("encoder", name, sorted([*ENCODERS, *_registered]), path=path)
    return getattr(import_module(ENCODERS[name]), name)
