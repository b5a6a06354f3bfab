"""Energy of a piece of work, where codecarbon is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

__all__ = ["measured_energy"]

_COUNTRY = "CODECARBON_COUNTRY_ISO_CODE"


@contextmanager
def measured_energy() -> Iterator[dict[str, float]]:
    """Fill the yielded mapping with ``energy_kwh`` of the ``with`` block; with nothing where codecarbon is absent.

    ``carbon_g`` (grams of CO2 equivalent) comes with it where the variable ``CODECARBON_COUNTRY_ISO_CODE`` names the
    country whose electricity is used; nothing is looked up on the network.
    """
    found: dict[str, float] = {}
    if find_spec("codecarbon") is None:
        yield found
        return
    tracker, task = _tracker(), uuid4().hex
    tracker.start_task(task)
    try:
        yield found
    finally:
        spent = tracker.stop_task(task)
        found["energy_kwh"] = float(spent.energy_consumed)
        if os.environ.get(_COUNTRY):
            found["carbon_g"] = 1000 * float(spent.emissions)


@cache
def _tracker() -> Any:
    from codecarbon import OfflineEmissionsTracker

    # Energy does not depend on the country; codecarbon asks for one all the same.
    country = os.environ.get(_COUNTRY) or "USA"
    return OfflineEmissionsTracker(country_iso_code=country, save_to_file=False, log_level="error")
