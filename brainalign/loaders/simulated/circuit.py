"""A simulated circuit: units that excite and inhibit each other after a lag, and the couplings that were planted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.errors import DataError
from brainalign.trials import Trials

__all__ = ["Circuit", "load_simulated_circuit", "simulate_circuit"]

BIN_WIDTH = 0.01
MAX_LAG = 3
EXCITING = 0.7
"""Share of the couplings that excite."""
AFTER_A_SPIKE = -2.0
"""What a unit's own spike adds to its log rate in the next bin."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """What was planted.

    Parameters
    ----------
    coupling : array (n_units, n_units)
        What a spike of a unit (column) adds to the log rate of another (row); 0 on the diagonal.
    lags : array (n_units, n_units)
        Bins until it does.
    rates : array (n_units,)
        Hertz, of each unit by itself.
    """

    coupling: NDArray[np.float64]
    lags: NDArray[np.int64]
    rates: NDArray[np.float64]


def simulate_circuit(
    n_units: int = 12,
    seconds: float = 200.0,
    *,
    density: float = 0.15,
    strength: float = 1.5,
    rate: float = 10.0,
    seed: int = 0,
) -> tuple[Trials, Circuit]:
    """Spikes of units that follow each other's by a generalised linear model, in bins of 10 ms.

    A unit fires in a bin with the probability ``1 - exp(-rate)`` of a Poisson process whose log rate is the unit's own
    and what spikes of others add after one to three bins; it is less ready to fire in the bin after its own spike.

    Parameters
    ----------
    n_units : int
    seconds : float
    density : float
        Share of the ordered pairs that are coupled, at random; seven in ten excite, the others inhibit.
    strength : float
        Of a coupling, in log rate.
    rate : float
        Mean over units, which have between half and one and a half of it, in hertz.
    seed : int

    Returns
    -------
    trials : Trials
        (n_bins, n_units) of 0 and 1, with an ``onset``; ``info["coupling"]`` holds the couplings.
    truth : Circuit

    Raises
    ------
    DataError
        When there are fewer than two units, no bins, or no pair is coupled, or all are.

    Examples
    --------
    >>> trials, truth = simulate_circuit(5, 20.0, density=0.3)
    >>> trials.shape, int((truth.coupling != 0).sum())
    ((2000, 5), 6)
    """
    n_bins, n_pairs = round(seconds / BIN_WIDTH), n_units * (n_units - 1)
    n_coupled = round(density * n_pairs)
    if n_units < 2 or n_bins <= MAX_LAG or not 0 < n_coupled < n_pairs or not 0 < rate < 1 / BIN_WIDTH:
        raise DataError(
            "no such circuit",
            expected=f"two units, {MAX_LAG + 1} bins, some pairs coupled and some not, a rate below 100 Hz",
            found=f"n_units={n_units}, seconds={seconds}, density={density}, rate={rate}",
            fix="change the one that is out of range",
        )
    wiring, firing = (np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(2))
    pairs = np.flatnonzero(~np.eye(n_units, dtype=bool).ravel())
    flat, lags = np.zeros(n_units**2), wiring.integers(1, MAX_LAG + 1, (n_units, n_units))
    chosen = wiring.permutation(pairs)[:n_coupled]
    flat[chosen] = strength * np.where(wiring.permutation(n_coupled) < round(EXCITING * n_coupled), 1.0, -1.0)
    coupling = flat.reshape(n_units, n_units)
    rates = rate * wiring.uniform(0.5, 1.5, n_units)
    at_lag = np.stack([coupling * (lags == lag) for lag in range(1, MAX_LAG + 1)], axis=2)
    at_lag[np.arange(n_units), np.arange(n_units), 0] = AFTER_A_SPIKE
    weights, own = at_lag.reshape(n_units, -1), np.log(rates * BIN_WIDTH)
    spikes, draws = np.zeros((n_bins + MAX_LAG, n_units)), firing.random((n_bins, n_units))
    for number in range(n_bins):
        before = spikes[number : number + MAX_LAG][::-1].T.ravel()
        spikes[number + MAX_LAG] = draws[number] < -np.expm1(-np.exp(own + weights @ before))
    table = pd.DataFrame({"stimulus_id": [f"bin-{number:06d}" for number in range(n_bins)]})
    table["onset"] = np.arange(n_bins) * BIN_WIDTH
    info = {"dataset": "simulated_circuit", "seed": seed, "bin_width": BIN_WIDTH, "coupling": coupling.tolist()}
    units = pd.DataFrame({"name": [f"unit-{number:02d}" for number in range(n_units)]})
    return Trials(spikes[MAX_LAG:].astype(np.float32), table, units, info=info), Circuit(coupling, lags, rates)


def load_simulated_circuit(
    spec: Any, root: Path, *, subject: Any = None, n_units: int = 12, seconds: float = 200.0, **options: Any
) -> tuple[Trials, Circuit]:
    """The simulated circuit as a data set; options are those of `simulate_circuit`, and nothing is read."""
    return simulate_circuit(n_units, seconds, **options)
