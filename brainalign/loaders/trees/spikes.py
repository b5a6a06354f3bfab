"""Trees of spike recordings."""

from __future__ import annotations

import numpy as np

from brainalign.loaders.trees.planting import Planting

__all__ = ["plant_spikes_reaching"]


def plant_spikes_reaching(plan: Planting) -> None:
    """Reaching: a wandering cursor, and Poisson units whose log rate follows its velocity.

    Truth: ``velocity`` (n_samples, 2) in units of its SD; ``weights[subject]`` (n_units, 3), of which the first two
    columns weigh it; ``spikes`` (times, units).
    """
    n_samples, n_units, n_reaches = (plan.fact(name) for name in ("n_samples", "n_units", "n_reaches"))
    times = np.arange(n_samples) / plan.fact("sfreq")
    rng = plan.rng("cursor")
    speeds, phases = rng.uniform(1, 4, (8, 1, 2)), rng.uniform(0, 2 * np.pi, (8, 1, 2))
    angles = speeds * times[:, None] + phases
    position, velocity = np.sin(angles).sum(axis=0), (speeds * np.cos(angles)).sum(axis=0)
    drive = velocity / velocity.std(axis=0)
    weights = plan.weights(plan.spec.subjects[0], n_units)
    rate = np.exp(2.5 + 0.7 * drive @ weights[:, :2].T)  # spikes a second
    counts = plan.rng("spikes").poisson(rate / plan.fact("sfreq"))
    sample, unit = np.nonzero(counts)
    repeats = counts[sample, unit]
    spikes = np.repeat(times[sample] + 0.004, repeats)
    edges = np.linspace(0.5, plan.fact("seconds") - 0.5, n_reaches + 1)
    content = {
        "spikes/timestamps": spikes,
        "spikes/unit_index": np.repeat(unit, repeats),
        "units/id": np.array([f"group_electrode_group_M1/elec{n}/unit_{n}".encode() for n in range(n_units)]),
        "cursor/timestamps": times,
        "cursor/pos": position,
        "cursor/vel": velocity,
        "cursor/acc": -(speeds**2 * np.sin(angles)).sum(axis=0),
        "trials/start": edges[:-1],
        "trials/end": edges[1:] - 0.2,
        "trials/target_dir": np.resize(np.linspace(-np.pi, np.pi, 9)[1:], n_reaches),
        "trials/is_valid": np.ones(n_reaches, dtype=bool),
    }
    plan.write("recording", content)
    plan.truth |= {"velocity": drive, "spikes": (spikes, np.repeat(unit, repeats))}
