"""Training of the encoders of signals beside a bare loop of torch around the same network, loss and samples.

Sizes are those of the data each was made for: 63 channels by 250 times to 1,024 latents as in THINGS-EEG2, ten channels
of three seconds at 1,000 Hz and 61 words as in Du-IN, 1,024 parcels by 5 volumes to two latents of 768 as in WAVE.
Encoders that learn from signals alone first have a case for that, too. Batches are of 32, which is harder on the
trainer than the larger ones of some defaults.

The trainer may cost a tenth: the bar is a ratio of 0.9 of processor seconds. Rows have ``ours_samples_per_s`` and
``peer_samples_per_s``, samples in a processor second, and ``share_reading``: what reading all batches takes of the
training where samples are too many to be resident.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from _harness import Arrays, Case, Side, main
from bench_encoders import BATCH, N_EPOCHS, by_loop, by_trainer

HOMES = ("brainalign.encoders.pretrained", "brainalign.encoders.network", "brainalign.voxelwise.lag_network")
"""Where encoders call the trainer."""

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "signals": {"x": (63, 250), "y": (1024,)},
    "words": {"x": (10, 3000), "label": (61,)},
    "states": {"x": (100, 60), "label": (4,)},
    "parcels": {"x": (1024, 5), "image": (768,), "text": (768,)},
    "modalities": {"eeg": (63, 250), "meg": (271, 200), "fmri": (6000,), "y": (1024,)},
    "lags": {"x": (2900,), "y": (2,)},
}
SMALL: dict[str, dict[str, tuple[int, ...]]] = {
    "signals": {"x": (8, 120), "y": (16,)},
    "words": {"x": (4, 200), "label": (3,)},
    "states": {"x": (12, 20), "label": (3,)},
    "parcels": {"x": (30, 5), "image": (8,), "text": (8,)},
    "modalities": {"eeg": (8, 120), "meg": (9, 110), "fmri": (40,), "y": (16,)},
    "lags": {"x": (40,), "y": (2,)},
}
N_BATCHES = {"signals": 3, "modalities": 3, "words": 6, "states": 1, "lags": 64}
"""Of an epoch where they are not 8: all cases together take less than six minutes of processor time."""


def make(kind: str, quick: bool) -> Arrays:
    """Random samples; the network does not know."""
    rng = np.random.default_rng(0)
    n = (2 if quick else N_BATCHES.get(kind, 8)) * BATCH
    shapes = (SMALL if quick else SHAPES)[kind]
    data = {name: rng.standard_normal((n, *shape), dtype=np.float32) for name, shape in shapes.items()}
    return {name: one.argmax(axis=1) if name == "label" else one for name, one in data.items()}


class StoppedError(Exception):
    """An encoder was about to train."""


def parts(fit: Callable[[Arrays], Any], number: int, data: Arrays) -> tuple[Any, Any, dict[str, Any]]:
    """Network, loss and samples that a fit hands to the trainer, the first or a later time."""
    calls: list[Any] = []

    def catch(network: Any, loss: Any, samples: Any, *_: Any, **__: Any) -> Any:
        calls.append((network, loss, samples))
        if len(calls) > number:
            raise StoppedError
        return mock.Mock(history=[], best_epoch=0)

    with ExitStack() as stack:
        for home in HOMES:
            stack.enter_context(mock.patch(f"{home}.train", catch))
        try:
            fit(data)
        except StoppedError:
            return calls[-1]
    raise RuntimeError("this fit does not train")


def reading_seconds(samples: Mapping[str, Any]) -> float:
    """Processor seconds to read every batch of an epoch as the encoder hands it over, nothing being resident."""
    from brainalign.learning import batches

    with mock.patch.object(batches, "RESIDENT_BYTES", 0):
        made = batches.Batches(samples, BATCH)
    started = time.process_time()
    for rows in made:
        made.read(rows)
    return time.process_time() - started


def read_too(side: Side) -> Side:
    """The same side, whose outputs also tell the share of reading."""
    read: list[float] = []

    def build(data: Arrays) -> Any:
        assert side.build is not None
        made = side.build(data)
        read.append(reading_seconds(made[2]))
        return made

    def prepare() -> Callable[[Any], Arrays]:
        train = side.prepare()

        def run(built: Any) -> Arrays:
            started = time.process_time()
            made = train(built)
            return made | {"share_reading": np.array(N_EPOCHS * read[-1] / (time.process_time() - started))}

        return run

    return Side(side.name, prepare, build)


def compare(mine: Arrays, theirs: Arrays) -> dict[str, float]:
    """Largest difference of weights, samples taken, and the share of reading."""
    return {
        "max_abs_diff": float(np.abs(mine["weights"] - theirs["weights"]).max()),
        "samples": int(mine["steps"]) * BATCH,
        "share_reading": float(mine["share_reading"]),
    }


# -- what each encoder is fitted to ---------------------------------------------------------------------------------


def encoder(name: str, **options: Any) -> Any:
    from brainalign.encoders.registry import encoder_class

    return encoder_class(name)(validation=0.0, **options)


def to_latents(name: str, data: Arrays) -> Any:
    return encoder(name).fit(data["x"], data["y"])


def to_image_and_text(data: Arrays) -> Any:
    return encoder("WAVE").fit(data["x"], {"image": data["image"], "text": data["text"]})


def to_labels(name: str, data: Arrays) -> Any:
    return encoder(name).fit(data["x"], np.array([f"{label:03d}" for label in data["label"]]))


def from_modalities(data: Arrays) -> Any:
    """All recordings show the same stimuli."""
    import pandas as pd

    from brainalign.latents.base import Latents
    from brainalign.trials import Trials

    ids = [f"{row:04d}" for row in range(len(data["y"]))]
    made = {}
    for name in ("eeg", "meg", "fmri"):
        times = np.arange(data[name].shape[2]) / 250 if data[name].ndim == 3 else None
        made[f"{name}-1"] = Trials(data[name], pd.DataFrame({"stimulus_id": ids}), times=times)
    return encoder("UnifiedEncoder").fit(made, Latents(data["y"], ids, space="benchmark"))


def from_lags(data: Arrays) -> Any:
    from brainalign.voxelwise import LagNetwork

    every = np.arange(len(data["x"]))
    return LagNetwork(10, cv=[(every[BATCH:], every[:BATCH])]).fit(data["x"], data["y"])


FITS: dict[str, tuple[str, Callable[[Arrays], Any], int]] = {
    **{name.lower(): ("signals", partial(to_latents, name), 0)
       for name in ("TSConv", "ATM", "EEGNet", "ShallowConvNet")},
    "du_in_codes": ("words", partial(to_labels, "DuIN"), 0),
    "du_in_mask": ("words", partial(to_labels, "DuIN"), 1),
    "du_in": ("words", partial(to_labels, "DuIN"), 2),
    "brain_mae_windows": ("states", partial(to_labels, "BrainMAE"), 0),
    "brain_mae": ("states", partial(to_labels, "BrainMAE"), 1),
    "wave": ("parcels", to_image_and_text, 0),
    "unified": ("modalities", from_modalities, 0),
    "lag_network": ("lags", from_lags, 0),
}  # fmt: skip

CASES = [
    Case(
        name,
        partial(make, kind),
        read_too(by_trainer(name, build=lambda _, data, fit=fit, number=number: parts(fit, number, data))),
        by_loop(name, build=lambda _, data, fit=fit, number=number: parts(fit, number, data)),
        compare,
        bars={"ratio": 0.9},
        turns=3,
    )
    for name, (kind, fit, number) in FITS.items()
]

if __name__ == "__main__":
    main(CASES, str(Path(__file__)))
