"""Writes the pickled dictionaries that some datasets are released as. Only tests may: the library never pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def write_npy_dict(path: Path, content: dict[str, Any]) -> None:
    """Save a dictionary as a 0-d object array, as THINGS-EEG2 does."""
    array = np.empty((), dtype=object)
    array[()] = content
    np.save(path, array, allow_pickle=True)
