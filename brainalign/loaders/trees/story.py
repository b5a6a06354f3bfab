"""Trees of people who heard the same story."""

from __future__ import annotations

import numpy as np

from brainalign.loaders.trees.planting import Planting

__all__ = ["plant_story_hubs"]


def plant_story_hubs(plan: Planting) -> None:
    """Hubs: a common course that every hub follows by a weight of its own, and noise of each person's.

    Truth: ``features`` (n_volumes, n_features), ``weights["everyone"]`` (n_hubs, n_features).
    """
    features, weights = plan.features(plan.fact("n_volumes")), plan.weights("everyone", plan.fact("n_hubs"))
    cells = np.empty((1, plan.fact("n_subjects")), dtype=object)
    for column, subject in enumerate(plan.spec.subjects):
        noise = plan.rng("own", subject).standard_normal((len(features), len(weights)))
        cells[0, column] = plan.respond(features, weights, subject) + noise
    plan.write("recording", {"weights": cells})
