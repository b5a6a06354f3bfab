"""A training as a checkpoint, and back: weights, optimiser, schedule, position in the data, random generators."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from brainalign.errors import DataError
from brainalign.learning.checkpoints import flatten, unflatten
from brainalign.learning.randomness import random_state, set_random_state

if TYPE_CHECKING:
    from brainalign.learning.run import Run

__all__ = ["Progress", "identity", "read_snapshot", "write_snapshot"]


@dataclass
class Progress:
    """All that a training is besides tensors; written into every checkpoint."""

    step: int = 0
    accumulate: int = 1
    best_loss: float | None = None
    best_epoch: int = 0
    stopped: bool = False
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def identity(run: Run) -> dict[str, Any]:
    """What must be the same for a checkpoint to belong to this run."""
    options = run.options.to_dict()
    options.pop("checkpoint_every")
    shapes = {name: list(one.shape) for name, one in run.original.state_dict().items()}
    validation = None if run.validation is None else run.validation.fingerprint()
    return {"options": options, "weights": shapes, "data": run.data.fingerprint(), "validation": validation}


def write_snapshot(run: Run) -> None:
    """Add a checkpoint of the run as it stands."""
    assert run.store is not None
    moments = {
        f"{number}/{name}": torch.as_tensor(value)
        for number, values in run.optimiser.state_dict()["state"].items()
        for name, value in values.items()
    }
    tensors = flatten(model=run.original.state_dict(), optimiser=moments, random=random_state(), best=run.best)
    run.add_up()
    scaler = run.accelerator.scaler
    plain = {
        "progress": asdict(run.state),
        "identity": run.identity,
        "n_threads": torch.get_num_threads(),
        "scaler": None if scaler is None else scaler.state_dict(),
    }
    run.store.write(run.state.step, tensors, plain)


def read_snapshot(run: Run) -> None:
    """Go back to the newest checkpoint, if there is one."""
    found = run.store.read() if run.store else None
    if run.store is None or found is None:
        if run.store:
            run.store.set_metrics([])
        return
    tensors, plain = found
    differing = [name for name, value in run.identity.items() if plain["identity"].get(name) != value]
    if differing:
        raise DataError(
            f"this folder holds a run with other {' and '.join(differing)}",
            path=run.store.root,
            expected=plain["identity"]["options"] if "options" in differing else None,
            fix="train into another folder, or delete this one to begin anew",
        )
    if plain["n_threads"] != torch.get_num_threads():
        warnings.warn(
            f"this run began with {plain['n_threads']} threads and resumes with {torch.get_num_threads()}: "
            "the last bits may differ from those of an uninterrupted run",
            stacklevel=3,
        )
    run.state = Progress(**plain["progress"])
    run.original.load_state_dict(unflatten(tensors, "model"))
    run.best = unflatten(tensors, "best")
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in unflatten(tensors, "optimiser").items():
        number, _, name = key.partition("/")
        moments.setdefault(int(number), {})[name] = value
    run.optimiser.load_state_dict({"state": moments, "param_groups": run.optimiser.state_dict()["param_groups"]})
    if run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(plain["scaler"])
    set_random_state(unflatten(tensors, "random"))
    run.store.set_metrics(run.state.history)
