"""`TrainOptions`: how a network is trained, as plain data that can be written down and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from brainalign.errors import DataError, closest

__all__ = ["TrainOptions"]

SCHEDULES = ("constant", "cosine", "one_cycle")
PRECISIONS = ("float32", "bf16", "fp16")


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Parameters
    ----------
    n_epochs : int
    batch_size : int
        Samples per step.
    learning_rate : float
        The highest one.
    weight_decay : float
        Of AdamW, on matrices only: vectors (biases, norms) are not shrunk.
    schedule : {"cosine", "one_cycle", "constant"}
        Of the learning rate over steps, see `rate_at`.
    warmup : float
        Share of all steps in which the rate rises.
    clip : float or None
        Largest norm of the gradient.
    accumulate : int
        Parts into which a batch is cut, one on the device at a time; the gradient is that of the whole batch.
    split_on_oom : bool
        When the device runs out of memory, double `accumulate` and take the step again. Right for losses that are
        means over samples; those that compare the samples of a batch must be a `WholeBatchLoss`.
    drop_last : bool
        Leave out the last, smaller batch of an epoch.
    patience : int or None
        Stop after this many epochs without a better validation loss; None trains to the end.
    precision : {"float32", "bf16", "fp16"}
        Of the forward and backward pass; weights stay float32.
    device : {"cpu", "auto", "cuda", "mps"}
    deterministic : bool
        Take only algorithms that give the same bits twice (slower on a GPU; on a CPU they do anyhow).
    checkpoint_every : int or None
        Steps between checkpoints; None writes one per epoch.
    seed : int
        Of the order of samples and of whatever is random in the network or its loss.

    Raises
    ------
    DataError
        When a value makes no sense.

    Examples
    --------
    >>> options = TrainOptions(schedule="one_cycle", learning_rate=0.01)
    >>> round(options.rate_at(0, 100), 6), max(options.rate_at(step, 100) for step in range(100))
    (0.0004, 0.01)
    """

    n_epochs: int = 50
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: float = 0.1
    clip: float | None = 1.0
    accumulate: int = 1
    split_on_oom: bool = True
    drop_last: bool = False
    patience: int | None = None
    precision: str = "float32"
    device: str = "cpu"
    deterministic: bool = False
    checkpoint_every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in {"schedule": SCHEDULES, "precision": PRECISIONS}.items():
            if getattr(self, name) not in known:
                raise DataError(f"unknown {name} {getattr(self, name)!r}.", expected=known)
        for name in ("n_epochs", "batch_size", "accumulate", "patience", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and (value != int(value) or value < 1):
                raise DataError(f"{name} must be a whole number of at least 1", found=value)
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise DataError(f"{name} must be positive", found=value)
        if not (0 <= self.warmup < 1 and 0 <= self.weight_decay < math.inf and self.seed >= 0):
            raise DataError(
                "an option is out of range",
                expected="0 <= warmup < 1, weight_decay >= 0, seed >= 0",
                found=f"warmup={self.warmup}, weight_decay={self.weight_decay}, seed={self.seed}",
            )

    @classmethod
    def of(cls, given: Mapping[str, Any] | None, **defaults: Any) -> TrainOptions:
        """Options from a mapping over other defaults; an unknown name is refused."""
        known = [field.name for field in fields(cls)]
        for name in given or {}:
            if name not in known:
                raise DataError(f"no training option '{name}'.{closest(name, known)}", expected=known)
        return cls(**(defaults | dict(given or {})))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def rate_at(self, step: int, n_steps: int) -> float:
        """Learning rate of a step.

        "constant" and "cosine" rise linearly over the warm-up, then stay, or fall to zero along half a cosine.
        "one_cycle" rises from 1/25 of the highest rate and falls to 1e-4 of where it began, both along half a
        cosine (Smith & Topin 2019; the rates of torch's OneCycleLR).
        """
        top = self.learning_rate
        if self.schedule == "one_cycle":
            peak, low = self.warmup * n_steps - 1, top / 25
            if step <= peak:
                return _anneal(low, top, step / peak if peak > 0 else 1.0)
            return _anneal(top, low / 1e4, (step - peak) / max(n_steps - 1 - peak, 1e-9))
        n_rising = int(self.warmup * n_steps)
        if step < n_rising:
            return top * (step + 1) / (n_rising + 1)
        if self.schedule == "constant":
            return top
        return _anneal(top, 0.0, (step - n_rising) / (n_steps - n_rising))


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
