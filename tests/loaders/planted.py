"""Whether responses are the planted ones, stimulus by stimulus, and not those of other stimuli."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from brainalign.trials import Trials


def assert_planted(trials: Trials, clean: Mapping[str, np.ndarray], *, noise: float = 0.2) -> None:
    """Each trial is its stimulus' planted response plus noise of that size; with the stimuli rotated it is not."""
    wanted = np.array([clean[one] for one in trials.stimulus_ids])
    rest = np.asarray(trials.responses, dtype=np.float64) - wanted
    assert 0.8 * noise < rest.std() < 1.2 * noise
    names = sorted(set(trials.stimulus_ids))
    other = dict(zip(names, names[1:] + names[:1], strict=True))
    rotated = np.array([clean[other[one]] for one in trials.stimulus_ids])
    assert (trials.responses - rotated).std() > 3 * noise


def copy_with(path, change):
    """Rewrite a text file through a function of its lines."""
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def weights_found(features: np.ndarray, responses: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Correlation of the planted weights with those of least squares; the same with stimuli shuffled over trials."""
    found = []
    for rows in (np.arange(len(features)), np.random.default_rng(0).permutation(len(features))):
        design = np.column_stack([features[rows], np.ones(len(features))])
        fitted = np.linalg.lstsq(design, responses, rcond=None)[0][:-1]
        found.append(float(np.corrcoef(fitted.ravel(), weights.T.ravel())[0, 1]))
    return found[0], found[1]
