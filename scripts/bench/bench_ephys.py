"""Training of the encoders of signals beside a bare loop of torch around the same network and loss.

63 channels by 250 times to 1,024 latents, as in THINGS-EEG2 (NICE, ATM-S). The trainer may cost a tenth: the bar is a
ratio of 0.9 of processor seconds. Rows have ``ours_samples_per_s`` and ``peer_samples_per_s``, and ``share_reading``:
seconds of reading all batches once, over those of training on them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Arrays, Case, main
from bench_encoders import BATCH, by_loop, by_trainer, compare

ENCODERS: dict[str, dict[str, Any]] = {
    "TSConv": {},
    "ATM": {},
    "EEGNet": {},
    "ShallowConvNet": {},
}


def make(quick: bool) -> Arrays:
    """Signals (flat, as the trainer has them) and latents."""
    rng = np.random.default_rng(0)
    n, shape, width = (64, (8, 120), 32) if quick else (512, (63, 250), 1024)
    x = rng.standard_normal((n, shape[0] * shape[1]), dtype=np.float32)
    return {"x": x, "y": rng.standard_normal((n, width), dtype=np.float32), "shape": np.array(shape)}


def parts(name: str, data: Arrays) -> tuple[Any, Any, dict[str, Any]]:
    """Network, loss and samples."""
    import brainalign.encoders as encoders
    from brainalign.learning import seeded

    encoder = getattr(encoders, name)(**ENCODERS[name])
    encoder.target_shapes_ = {"latents": data["y"].shape[1:]}
    encoder.signals_ = {"1": tuple(int(one) for one in data["shape"])}
    with seeded(0):
        network = encoder._build({"1": data["x"].shape[1]})
    n = len(data["x"])
    samples = {"x": data["x"], "subject": np.zeros(n, dtype=np.int64), "stimulus": np.arange(n)}
    return network, encoder._loss(), samples | {"target/latents": data["y"]}


def samples_per_second(mine: Arrays, theirs: Arrays) -> dict[str, float]:
    """Of both sides; their weights differ only by where random numbers of dropout fall."""
    made = compare(mine, theirs)
    pace = {name.replace("steps", "samples"): BATCH * made.pop(name) for name in list(made) if name.endswith("per_s")}
    return {**made, **pace, "share_reading": reading_seconds() * pace["ours_samples_per_s"]}


def reading_seconds() -> float:
    """Seconds to read a sample as part of a batch, from arrays that are not resident."""
    from brainalign.learning.batches import Batches

    data = make(False)
    batches = Batches({"x": data["x"], "y": data["y"]}, BATCH)
    batches._data = {"x": data["x"], "y": data["y"]}
    started = time.perf_counter()
    for rows in batches:
        batches.read(rows)
    return (time.perf_counter() - started) / batches.n_samples


CASES = [
    Case(
        name.lower(),
        make,
        by_trainer(name, build=parts),
        by_loop(name, build=parts),
        samples_per_second,
        bars={"ratio": 0.9},
    )
    for name in ENCODERS
]

if __name__ == "__main__":
    main(CASES, str(Path(__file__)))
