"""A small experiment on simulated data: every kind of analysis, in seconds."""

from __future__ import annotations

from typing import Any

from brainalign.experiment import Experiment


def small(**changes: Any) -> Experiment:
    """40 scenes, two areas driven by pixels and by their own noise; decode, encode, encoding and rsa."""
    plain: dict[str, Any] = {
        "name": "small",
        "title": "Small <b>& quick</b>",
        "dataset": {
            "name": "simulated",
            "options": {"n_stimuli": 40, "model": "pixels:8", "n_repetitions": 2, "rois": {"V1": 12, "FFA": 12}},
        },
        "preprocessing": [{"step": "zscore", "by": "session"}],
        "latents": {"pixels": {"model": "pixels:8"}, "grey": {"model": "pixels:4:grey"}},
        "analyses": [
            {"kind": "encode", "name": "identify", "latents": ["pixels"], "within": "category", "n_splits": 4},
            {"kind": "decode", "name": "category", "label": "category", "n_splits": 4},
            {"kind": "encoding", "name": "layers", "latents": ["pixels", "grey"], "n_splits": 4},
            {"kind": "rsa", "name": "geometry", "latents": ["pixels", "grey"], "n_draws": 100},
        ],
    }
    return Experiment.model_validate({**plain, **changes})
