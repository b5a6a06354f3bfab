"""Training of MindEye and MindEye2 beside a bare loop of torch, and every system up to its table.

The loop knows no checkpoints, no early stopping, no parts of batches, no mixed precision: what the trainer costs on top
is seen. Rows have ``ours_steps_per_s`` and ``peer_steps_per_s`` besides. On a GPU a case in bfloat16 is added, whose
difference is that of precision.

Cases ``table_...`` fit a system on a simulated subject who saw drawn scenes, draw the pictures held out by the embedded
diffusion and score them; beside it stands the same table from true latents, which is what the generator and the judges
cost. Rows have ``fit_s``, ``table_s`` and, where there are steps, ``ours_steps_per_s``: in seconds of the processor on
a CPU (one thread, so that other work on the machine counts little), and of the clock on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import Arrays, Case, Side, main

BATCH, N_EPOCHS = 32, 2


def make(quick: bool) -> Arrays:
    """Voxels that follow latents, and which subject each sample belongs to."""
    rng = np.random.default_rng(0)
    n, n_voxels, width, hidden = (96, 200, 32, 64) if quick else (960, 4000, 512, 1024)
    latents = rng.standard_normal((n, width), dtype=np.float32)
    clean = latents @ rng.standard_normal((width, n_voxels), dtype=np.float32) / np.float32(np.sqrt(width))
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    return {"x": clean + noise, "y": latents, "subject": np.arange(n) % 2, "hidden": np.array(hidden)}


def parts(name: str, data: Arrays) -> tuple[Any, Any, dict[str, Any]]:
    """Network, loss and samples."""
    import brainalign.encoders as encoders
    from brainalign.learning import seeded

    encoder = getattr(encoders, name)(int(data["hidden"]), 2, dropout=0.0)
    encoder.target_shapes_ = {"latents": data["y"].shape[1:]}
    with seeded(0):
        network = encoder._build({"1": data["x"].shape[1], "2": data["x"].shape[1]})
    samples = {"x": data["x"], "subject": data["subject"], "stimulus": np.arange(len(data["x"]))}
    return network, encoder._loss(), samples | {"target/latents": data["y"]}


def outputs(network: Any, n_steps: int, started: float) -> Arrays:
    seconds = time.perf_counter() - started
    weights = torch.cat([one.detach().cpu().float().flatten() for one in network.parameters()])
    return {"weights": weights.numpy(), "steps": np.array(n_steps), "steps_per_s": np.array(n_steps / seconds)}


def one_step() -> None:
    """What torch imports with the first step is no part of a training."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimiser.step()


def by_trainer(name: str, build: Callable[[str, Arrays], Any] = parts, **changes: Any) -> Side:
    def prepare() -> Callable[[Any], Arrays]:
        from brainalign.learning import TrainOptions, train
        from brainalign.learning.setup import make_accelerator

        make_accelerator(TrainOptions())  # imports accelerate
        one_step()

        def run(built: Any) -> Arrays:
            network, loss, samples = built
            options = TrainOptions(n_epochs=N_EPOCHS, batch_size=BATCH, schedule="constant", warmup=0.0, **changes)
            started = time.perf_counter()
            made = train(network, loss, samples, options)
            return outputs(network, made.n_steps, started)

        return run

    return Side("train " + " ".join(changes.values()), prepare, partial(build, name))


def by_loop(name: str, device: str = "cpu", build: Callable[[str, Arrays], Any] = parts) -> Side:
    def prepare() -> Callable[[Any], Arrays]:
        from brainalign.learning import Batch, TrainOptions, WholeBatchLoss, seeded
        from brainalign.learning.setup import make_optimiser

        one_step()

        def run(built: Any) -> Arrays:
            network, loss, samples = built
            started = time.perf_counter()
            tensors = {key: torch.from_numpy(values[:]).to(device) for key, values in samples.items()}
            optimiser = make_optimiser(network.to(device).train(), TrainOptions())
            n, step = len(samples["x"]), 0
            n_steps = N_EPOCHS * (n // BATCH)
            with seeded(0):
                for epoch in range(N_EPOCHS):
                    order = np.random.default_rng([0, epoch]).permutation(n)
                    for rows in np.split(order, n // BATCH):
                        index = torch.from_numpy(rows).to(device)
                        batch = Batch({key: values[index] for key, values in tensors.items()})
                        batch.rows, batch.progress = rows, step / n_steps
                        if isinstance(loss, WholeBatchLoss):
                            batch = loss.prepare(batch)
                            values = loss.compare(loss.outputs(network, batch), batch)
                        else:
                            values = loss(network, batch)
                        (values["loss"] if isinstance(values, dict) else values).backward()
                        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                        optimiser.step()
                        optimiser.zero_grad()
                        step += 1
            return outputs(network, step, started)

        return run

    return Side(f"bare loop on {device}", prepare, partial(build, name))


def compare(mine: Arrays, theirs: Arrays) -> dict[str, float]:
    """Largest difference of weights, and the pace of both."""
    return {
        "max_abs_diff": float(np.abs(mine["weights"] - theirs["weights"]).max()),
        "ours_steps_per_s": float(mine["steps_per_s"]),
        "peer_steps_per_s": float(theirs["steps_per_s"]),
    }


SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("LinearEncoder", {}),
    "mindeye": ("MindEye", {"hidden": 256, "n_blocks": 2}),
    "mindeye2": ("MindEye2", {"hidden": 256, "n_blocks": 2}),
    "brain_it": ("BrainIT", {"n_clusters": 16, "width": 64, "embedding": 16}),
}
JUDGES = {"pixels two-way": "pixels:16", "EfficientNet-lite": "offline:efficientnet_lite0"}


def make_recording(quick: bool) -> Arrays:
    """Responses of a subject whom the embedded CLIP drives, its latents, and what was shown."""
    import brainalign as ba

    scenes = ba.draw_scenes(40 if quick else 240, seed=0)
    latents = ba.extract(scenes, "mini", cache=False, device="cpu")
    rois = {"LOC": 60} if quick else {"LOC": 500, "FFA": 500}
    trials, _ = ba.simulate_subject(latents, rois=rois, n_repetitions=1, n_dimensions=24, ceiling=(0.5, 0.9), seed=0)
    pictures = np.stack([scenes.array(one) for one in trials.stimulus_ids])
    return {"x": trials.matrix(), "y": latents.at(trials.stimulus_ids), "pictures": pictures}


def to_table(name: str | None, device: str = "cpu") -> Side:
    """A system up to its table; without a name, the table from true latents."""

    def prepare() -> Callable[[Arrays], Arrays]:
        import pandas as pd

        import brainalign as ba
        from brainalign.encoders.registry import encoder_class
        from brainalign.reconstruction import load_generator, reconstruction_table

        load_generator("mini", device=device)  # imports diffusers
        for model in JUDGES.values():
            ba.latents.load_model(model, device="cpu")

        clock = time.process_time if device == "cpu" else time.perf_counter

        def run(data: Arrays) -> Arrays:
            started = clock()
            ids = [f"s{row:03d}" for row in range(len(data["x"]))]
            latents, n_train = ba.Latents(data["y"], ids, space="mini"), round(0.75 * len(ids))
            trials = ba.Trials(data["x"], pd.DataFrame({"stimulus_id": ids}))
            seen = ba.Stimuli.from_arrays(data["pictures"], ids)
            train, test = (trials.select(trials=np.arange(len(ids)) < n_train),
                           trials.select(trials=np.arange(len(ids)) >= n_train))  # fmt: skip
            predicted, pace, fit_s = latents.select(ids[n_train:]), 0.0, 0.0
            if name is not None:
                kind, params = SYSTEMS[name]
                training = {"training": {"device": device}} if name != "linear" else {}
                encoder = encoder_class(kind)(**params, **training).fit(train, latents)
                fit_s = clock() - started
                steps = [one["step"] for one in getattr(encoder, "history_", []) if "step" in one]
                pace, predicted = max(steps, default=0) / fit_s, encoder.predict(test)
            generator = load_generator("mini", device=device, steps=10)
            made = generator.generate(predicted)
            table = reconstruction_table(
                made, seen.select(ids[n_train:]), protocol="benchmark", metrics=[], judges=JUDGES
            )
            values = np.array([score.value for score in table.scores.values()], dtype=float)
            seconds = np.array([fit_s, clock() - started, pace])
            return {"values": values, "seconds": seconds}

        return run

    return Side(f"{name or 'true latents'} to the table on {device}", prepare)


def compare_tables(mine: Arrays, theirs: Arrays) -> dict[str, float]:
    """How far the table lies from that of true latents, and where the time went."""
    fit_s, table_s, pace = mine["seconds"].tolist()
    difference = float(np.abs(mine["values"] - theirs["values"]).max())
    return {"max_abs_diff": difference, "fit_s": fit_s, "table_s": table_s, "ours_steps_per_s": pace}


case = partial(Case, make=make, compare=compare)
CASES = [
    case(name=one.lower(), ours=by_trainer(one), peer=by_loop(one)) for one in ("MindEye", "MindEye2")
]  # fmt: skip
for place in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
    CASES += [
        Case(
            name=f"table_{one}" + ("" if place == "cpu" else "_cuda"),
            make=make_recording,
            ours=to_table(one, place),
            peer=to_table(None, place),
            compare=compare_tables,
        )
        for one in SYSTEMS
    ]
if torch.cuda.is_available():
    for one in ("MindEye", "MindEye2"):
        peer = by_loop(one, "cuda")
        CASES.append(case(name=f"{one.lower()}_cuda", ours=by_trainer(one, device="cuda"), peer=peer))
        side = by_trainer(one, device="cuda", precision="bf16")
        CASES.append(case(name=f"{one.lower()}_cuda_bf16", ours=side, peer=peer))

if __name__ == "__main__":
    main(CASES, str(Path(__file__)))
