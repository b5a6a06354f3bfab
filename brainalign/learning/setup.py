"""What a training stands on: the optimiser, accelerate's handle on the device, and the choice of algorithms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from brainalign.arrays import resolve_device
from brainalign.errors import DataError
from brainalign.learning.options import TrainOptions

__all__ = ["make_accelerator", "make_optimiser", "only_deterministic"]


def make_optimiser(model: torch.nn.Module, options: TrainOptions) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) with weight decay on matrices only.

    Parameters with fewer than two dimensions (biases, norms, scales), and those named in the model's set
    ``no_weight_decay``, if it has one, are not shrunk.
    """
    spared = set(getattr(model, "no_weight_decay", ()))
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    if not named:
        raise DataError("nothing to train: no parameter of this network needs a gradient")
    plain = [one for name, one in named if one.ndim < 2 or name in spared]
    shrunk = [one for name, one in named if one.ndim >= 2 and name not in spared]
    groups = [{"params": shrunk, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=options.learning_rate)


def make_accelerator(options: TrainOptions) -> Any:
    """A fresh Accelerator: its state is shared by all of a process, and would keep the last device and precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    device = resolve_device(options.device)
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = "no" if options.precision == "float32" else options.precision
    if precision == "fp16" and device == "cpu":
        raise DataError("fp16 needs a GPU", fix="precision='bf16' or 'float32'")
    made = Accelerator(cpu=device == "cpu", mixed_precision=precision)
    if made.num_processes > 1:
        raise DataError("a training runs in one process", found=f"{made.num_processes} processes")
    return made


@contextmanager
def only_deterministic(wanted: bool) -> Iterator[None]:
    """Take only algorithms that give the same bits twice, if that is wanted, inside a ``with`` block."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
