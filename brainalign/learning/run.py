"""`Run`: the loop of a training, epoch by epoch, batch by batch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from brainalign.errors import DataError
from brainalign.learning.batches import Batch, Batches
from brainalign.learning.checkpoints import Checkpoints
from brainalign.learning.options import TrainOptions
from brainalign.learning.randomness import Generators, seeded
from brainalign.learning.setup import make_accelerator, make_optimiser
from brainalign.learning.snapshots import Progress, identity, write_snapshot
from brainalign.learning.whole_batch import WholeBatchLoss, backward_in_parts, values_in_parts
from brainalign.parallel import progress

__all__ = ["Loss", "Run"]

Loss = Callable[[torch.nn.Module, Batch], Any] | WholeBatchLoss


class Run:
    """One training, from its first step or from where it was interrupted."""

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        options: TrainOptions,
        data: Mapping[str, Any],
        validation: Mapping[str, Any] | None,
        store: Checkpoints | None,
    ) -> None:
        self.loss, self.options, self.store = loss, options, store
        self.accelerator = make_accelerator(options)
        device = self.accelerator.device
        plain = make_optimiser(model.to(device), options)
        # Without gradients to scale, what accelerate puts around an optimiser only costs time at every step.
        self.optimiser = plain if self.accelerator.scaler is None else self.accelerator.prepare(plain)
        self.model, self.original = self.accelerator.prepare(model), model
        self.data = Batches(data, options.batch_size, device=device, seed=options.seed, drop_last=options.drop_last)
        self.validation = None
        if validation is not None:
            self.validation = Batches(validation, options.batch_size, device=device)
        if options.patience is not None and validation is None:
            raise DataError("early stopping needs validation data", fix="give validation=..., or patience=None")
        self.n_steps = options.n_epochs * self.data.n_batches
        self.best: dict[str, torch.Tensor] = {}
        self.recent: list[tuple[int, dict[str, torch.Tensor]]] = []
        self.state = Progress(accumulate=min(options.accumulate, self.data.batch_size))
        self.identity = identity(self) if store else {}

    # -- the loop -----------------------------------------------------------------------------------------------

    def loop(self) -> None:
        """Take the steps that are left."""
        steps = range(self.state.step, self.n_steps)
        started = time.monotonic()
        for step in progress(steps, description="training", total=len(steps)):
            if self.state.stopped:
                break
            epoch, number = divmod(step, self.data.n_batches)
            self._step(self.data.rows(epoch, number), step)
            self.state.step = step + 1
            ends = number + 1 == self.data.n_batches
            if ends:
                self._end_epoch(epoch, time.monotonic() - started)
            every = self.options.checkpoint_every
            if self.store and ((step + 1) % every == 0 if every and not self._done else ends):
                write_snapshot(self)

    @property
    def _done(self) -> bool:
        return self.state.stopped or self.state.step == self.n_steps

    def _step(self, rows: np.ndarray, step: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.rate_at(step, self.n_steps)
        self.model.train()
        means = self._until_it_fits(partial(self._backward, rows, step))
        if self.options.clip is not None:
            means["gradient_norm"] = self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.recent.append((len(rows), means))

    def _backward(self, rows: np.ndarray, step: int) -> dict[str, torch.Tensor]:
        """Gradient of the mean loss over `rows`, taken in parts."""
        if isinstance(self.loss, WholeBatchLoss):
            batch = self.data.read(rows, step / self.n_steps)
            return backward_in_parts(self.loss, self.model, batch, self.state.accumulate, self.accelerator)
        means: dict[str, torch.Tensor] = {}
        for part in np.array_split(rows, min(self.state.accumulate, len(rows))):
            share = len(part) / len(rows)
            values = self._values(self.data.read(part, step / self.n_steps))
            self.accelerator.backward(values["loss"] * share)
            for name, value in values.items():
                means[name] = means.get(name, 0.0) + value.detach() * share
        return means

    def _values(self, batch: Batch) -> dict[str, torch.Tensor]:
        assert not isinstance(self.loss, WholeBatchLoss)
        with self.accelerator.autocast():
            values = self.loss(self.model, batch)
        return dict(values) if isinstance(values, Mapping) else {"loss": values}

    def _until_it_fits(self, work: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Do `work`; where memory runs out, cut batches into twice as many parts and do it again."""
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        before = Generators.now()
        while True:
            try:
                return work()
            except RuntimeError as error:
                short = isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)
                if not short or not self.options.split_on_oom:
                    raise
                if self.state.accumulate >= self.data.batch_size:
                    raise DataError(
                        "memory of the device does not suffice for a single sample",
                        found=str(error).splitlines()[0],
                        fix="a smaller network, precision='bf16', or device='cpu'",
                    ) from error
            # Outside the handler: until it is left, the traceback keeps the tensors of the failed step alive.
            self.optimiser.zero_grad()
            clear_device_cache(garbage_collection=True)
            before.put_back()
            self.state.accumulate = min(2 * self.state.accumulate, self.data.batch_size)
            warnings.warn(f"out of memory: batches go in {self.state.accumulate} parts from here", stacklevel=2)

    def add_up(self) -> None:
        """Move the means of recent steps from the device into the sums of the epoch, in one go per name."""
        for name in self.recent[0][1] if self.recent else ():
            values = torch.stack([means[name].float() for _, means in self.recent]).tolist()
            for (n_rows, _), value in zip(self.recent, values, strict=True):
                self.state.sums[name] = self.state.sums.get(name, 0.0) + value * n_rows
        self.recent = []

    # -- epochs -------------------------------------------------------------------------------------------------

    def _end_epoch(self, epoch: int, seconds: float) -> None:
        n_seen = min(self.data.n_batches * self.data.batch_size, self.data.n_samples)
        line: dict[str, Any] = {"step": self.state.step, "epoch": epoch}
        self.add_up()
        line |= {name: total / n_seen for name, total in self.state.sums.items()}
        self.state.sums = {}
        if not np.isfinite(line["loss"]):
            raise DataError(
                f"the loss is not finite in epoch {epoch}",
                found=line["loss"],
                fix="a smaller learning_rate, clip=1.0, or precision='float32'",
            )
        if self.validation is not None:
            line |= {f"validation_{name}": value for name, value in self._validate().items()}
            self._compare(epoch, line["validation_loss"])
        else:
            self.state.best_epoch = epoch
        line |= {"learning_rate": self.optimiser.param_groups[0]["lr"], "seconds": round(seconds, 3)}
        self.state.history.append(line)
        if self.store:
            self.store.add_metrics(line)

    def _validate(self) -> dict[str, float]:
        """Mean losses over the validation samples, with the same random numbers in every epoch."""
        assert self.validation is not None
        totals: dict[str, float] = {}
        self.model.eval()
        with torch.no_grad(), seeded(self.options.seed):
            for rows in self.validation:
                for name, mean in self._until_it_fits(partial(self._evaluate, rows)).items():
                    totals[name] = totals.get(name, 0.0) + mean.item() * len(rows)
        return {name: total / self.validation.n_samples for name, total in totals.items()}

    def _evaluate(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        assert self.validation is not None
        if isinstance(self.loss, WholeBatchLoss):
            batch = self.validation.read(rows, self.state.step / self.n_steps)
            return values_in_parts(self.loss, self.model, batch, self.state.accumulate, self.accelerator)
        means: dict[str, Any] = {}
        for part in np.array_split(rows, min(self.state.accumulate, len(rows))):
            values = self._values(self.validation.read(part, self.state.step / self.n_steps))
            for name, value in values.items():
                means[name] = means.get(name, 0.0) + value.detach() * (len(part) / len(rows))
        return means

    def _compare(self, epoch: int, loss: float) -> None:
        state = self.state
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.best_epoch = loss, epoch
            self.best = {name: one.detach().clone() for name, one in self.original.state_dict().items()}
        elif self.options.patience is not None and epoch - state.best_epoch >= self.options.patience:
            state.stopped = True

    # -- the end ------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Take off what accelerate put around the network."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.original.to("cpu").eval()
