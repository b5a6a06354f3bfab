"""`train`: the one trainer of all networks.

accelerate handles device, mixed precision and gradient scaling; order, schedule, checkpoints and early stopping are
done here, so that a training killed at any moment resumes to the same bits (at a fixed number of threads).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch

from brainalign.learning.checkpoints import Checkpoints
from brainalign.learning.options import TrainOptions
from brainalign.learning.randomness import seeded
from brainalign.learning.run import Loss, Run
from brainalign.learning.setup import only_deterministic
from brainalign.learning.snapshots import read_snapshot

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What came of a training.

    Parameters
    ----------
    model : torch.nn.Module
        The network that was given, trained, in evaluation mode, on the CPU; with validation data it holds the
        weights of the best epoch.
    history : list of dict
        One entry an epoch, as in ``metrics.jsonl``: step, epoch, loss, validation_loss, learning_rate, ...
    best_epoch : int
        The last one where nothing was validated.
    n_steps : int
        Taken, all interruptions included.
    accumulate : int
        Parts per batch at the end (more than asked for if memory ran out).
    """

    model: torch.nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    n_steps: int
    accumulate: int


def train(
    model: torch.nn.Module,
    loss: Loss,
    data: Mapping[str, Any],
    options: TrainOptions | None = None,
    *,
    validation: Mapping[str, Any] | None = None,
    folder: str | PathLike[str] | None = None,
) -> TrainResult:
    """Train a network.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place. Parameters that need no gradient stay frozen.
    loss : callable
        ``loss(model, batch)`` returns the mean loss of the samples of a batch, or a dict with it under "loss" and
        other means that are written down. A `Batch` maps names to tensors and knows its `rows` and the `progress`
        of the training. A loss that compares the samples of a batch is a `WholeBatchLoss`.
    data : mapping of str to array
        Training samples, see `brainalign.learning.batches.Batches`; memory maps are read batch by batch.
    options : TrainOptions
    validation : mapping of str to array, optional
        Held-out part of the *training* data, for early stopping; test data have no place here.
    folder : path-like, optional
        Where checkpoints and ``metrics.jsonl`` go. A folder that holds a checkpoint of the same run is resumed (a
        finished one is read), of another run refused.

    Returns
    -------
    TrainResult

    Raises
    ------
    DataError
        When data do not fit together, the loss is not finite, memory runs out for a single sample, or the folder
        holds another run or a damaged checkpoint.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> with seeded(0):
    ...     net = torch.nn.Linear(1, 1)
    >>> def squared(model, batch):
    ...     return ((model(batch["x"]) - batch["y"]) ** 2).mean()
    >>> options = TrainOptions(batch_size=16, learning_rate=0.1, weight_decay=0.0)
    >>> made = train(net, squared, {"x": x, "y": 2 * x}, options)
    >>> round(net.weight.item(), 2)
    2.0
    """
    options = options or TrainOptions()
    store = None if folder is None else Checkpoints(folder)
    with store.held() if store else nullcontext(), seeded(options.seed), only_deterministic(options.deterministic):
        run = Run(model, loss, options, data, validation, store)
        try:
            read_snapshot(run)
            run.loop()
        finally:
            run.release()
        if run.best:
            model.load_state_dict(run.best)
        state = run.state
        return TrainResult(model, state.history, state.best_epoch, state.step, state.accumulate)
