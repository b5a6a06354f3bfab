"""Losses that compare the samples of a batch, with a gradient that does not change when the batch is cut into parts.

The network runs part by part without gradient; the loss of all outputs together gives a gradient at each output; then
each part runs again, with the same random numbers, and takes its gradient through the network (Gao et al. 2021,
"Scaling deep contrastive learning batch size under memory limited setup").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from brainalign.learning.batches import Batch
from brainalign.learning.randomness import Generators

__all__ = ["WholeBatchLoss", "backward_in_parts", "values_in_parts"]


class WholeBatchLoss(ABC):
    """A loss in three steps, of which only the second holds the network."""

    def prepare(self, batch: Batch) -> Batch:
        """Once per whole batch, before the network: mixing of samples, for instance. Returns a batch, changes none."""
        return batch

    @abstractmethod
    def outputs(self, model: Any, batch: Batch) -> Mapping[str, torch.Tensor]:
        """What the network makes of some samples: tensors with a row a sample (losses by sample, too)."""

    @abstractmethod
    def compare(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> Any:
        """The loss from the outputs of the whole batch: a number, or a dict with it under "loss"."""


def backward_in_parts(
    loss: WholeBatchLoss, model: torch.nn.Module, batch: Batch, n_parts: int, accelerator: Any
) -> dict[str, torch.Tensor]:
    """Add the gradient of a whole batch, with one of `n_parts` of it in the network at a time; returns the losses."""
    batch = loss.prepare(batch)
    parts = np.array_split(np.arange(len(batch.rows)), min(n_parts, len(batch.rows)))
    if len(parts) == 1:
        with accelerator.autocast():
            values = _named(loss.compare(loss.outputs(model, batch), batch))
        accelerator.backward(values["loss"])
        return {name: value.detach() for name, value in values.items()}
    states, made = [], []
    with torch.no_grad(), accelerator.autocast():
        for part in parts:
            states.append(Generators.now())
            made.append(dict(loss.outputs(model, _rows(batch, part))))
    joined = {name: torch.cat([one[name] for one in made]).requires_grad_() for name in made[0]}
    with accelerator.autocast():
        values = _named(loss.compare(joined, batch))
    slopes = dict(
        zip(joined, torch.autograd.grad(values["loss"], list(joined.values()), allow_unused=True), strict=True)
    )
    after = Generators.now()
    for part, state in zip(parts, states, strict=True):
        state.put_back()
        index = torch.as_tensor(part, device=next(iter(joined.values())).device)
        with accelerator.autocast():
            again = loss.outputs(model, _rows(batch, part))
        pulls = [
            (again[name].float() * slope[index].float()).sum() for name, slope in slopes.items() if slope is not None
        ]
        accelerator.backward(torch.stack(pulls).sum())
    after.put_back()
    return {name: value.detach() for name, value in values.items()}


def values_in_parts(
    loss: WholeBatchLoss, model: torch.nn.Module, batch: Batch, n_parts: int, accelerator: Any
) -> dict[str, torch.Tensor]:
    """Losses of a whole batch, without gradient."""
    batch = loss.prepare(batch)
    parts = np.array_split(np.arange(len(batch.rows)), min(n_parts, len(batch.rows)))
    with torch.no_grad(), accelerator.autocast():
        made = [loss.outputs(model, _rows(batch, part)) for part in parts]
        joined = {name: torch.cat([one[name] for one in made]) for name in made[0]}
        return _named(loss.compare(joined, batch))


def _rows(batch: Batch, part: np.ndarray) -> Batch:
    if len(part) == len(batch.rows):
        return batch
    made = Batch()
    for name, tensor in batch.items():
        made[name] = tensor[torch.as_tensor(part, device=tensor.device)]
    made.rows, made.progress = batch.rows[part], batch.progress
    return made


def _named(values: Any) -> dict[str, torch.Tensor]:
    return dict(values) if isinstance(values, Mapping) else {"loss": values}
