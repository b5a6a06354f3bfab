"""The network of Neuroformer: spikes one after the other in the light of a history, and what a window tells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from brainalign.encoders.neuroformer.tokens import N_MARKS, PAD, SpikeTokens, to_tokens
from brainalign.errors import DataError
from brainalign.learning import Batch, WholeBatchLoss
from brainalign.learning.blocks import SwiGLU, TransformerBlock, sinusoids
from brainalign.learning.losses import info_nce, mse

__all__ = ["Memory", "NeuroformerLoss", "NeuroformerNetwork", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a `NeuroformerNetwork`, as in `Neuroformer`."""

    window: int
    width: int
    n_context: int
    depth: int
    history_depth: int
    n_heads: int
    hidden: int
    contrast_width: int
    dropout: float


@dataclass(frozen=True)
class Memory:
    """What a window is read in the light of: vectors (n, n_keys, width), spikes of the history first, and which count.

    `tokens` are those spikes; keys after them belong to the context.
    """

    keys: torch.Tensor
    real: torch.Tensor
    tokens: SpikeTokens


class SpikeEmbedding(nn.Module):
    """A vector for each unit at each bin: the sum of one of either, and what a gated layer makes of both together."""

    def __init__(self, n_units: int, n_bins: int, width: int) -> None:
        super().__init__()
        self.n_units, self.n_bins = n_units, n_bins
        self.unit, self.time = nn.Embedding(n_units + N_MARKS, width), nn.Embedding(n_bins + N_MARKS, width)
        self.together = SwiGLU(width, 2)

    def table(self) -> torch.Tensor:
        """(n_units + marks, n_bins + marks, width): there are fewer pairs than tokens, so each is made once a batch."""
        pairs = self.unit.weight[:, None] + self.time.weight
        return pairs + self.together(pairs)

    def forward(self, tokens: SpikeTokens) -> torch.Tensor:
        index = tokens.unit * (self.n_bins + N_MARKS) + tokens.time
        return functional.embedding(index, self.table().flatten(0, 1))


class NeuroformerNetwork(nn.Module):
    """Flat trials (n, n_channels * n_times), counts of units first and courses of a context last.

    The spikes of the last `window` bins are predicted one by one: the bin of the next from those before it, which
    attend to themselves, to the spikes of the earlier bins and to the context, and the unit from these and the bin.

    Parameters
    ----------
    n_channels, n_times : int
    n_out : mapping of str to int
        Outputs of each behaviour.
    sizes : Sizes
    """

    typical: torch.Tensor

    def __init__(self, n_channels: int, n_times: int, n_out: Mapping[str, int], sizes: Sizes) -> None:
        super().__init__()
        width, window = sizes.width, sizes.window
        self.n_channels, self.n_times, self.window, self.n_context = n_channels, n_times, window, sizes.n_context
        self.n_units, self.n_past = n_channels - sizes.n_context, n_times - window
        self.dropout, self.n_out = sizes.dropout, dict(n_out)
        self.present = SpikeEmbedding(self.n_units, window, width)
        self.past = SpikeEmbedding(self.n_units, self.n_past, width)

        def block(**options: Any) -> TransformerBlock:
            return TransformerBlock(width, sizes.n_heads, dropout=sizes.dropout, expansion=2, **options)

        self.history_blocks = nn.ModuleList([block() for _ in range(sizes.history_depth)])
        self.blocks = nn.ModuleList([block(cross=True, causal=True) for _ in range(sizes.depth)])
        self.norm = nn.LayerNorm(width)
        self.to_time = nn.Linear(width, window + 1)
        self.next_time = nn.Embedding(window + 1, width)
        self.refine = SwiGLU(width, 2)
        self.to_unit = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.n_units))
        # Numbers of spikes in a trial and in its last window; learnt from the training trials, to keep sums near 1.
        self.register_buffer("typical", torch.ones(2))
        self.context = nn.Linear(sizes.n_context, width) if sizes.n_context else None
        self.places: torch.Tensor
        self.register_buffer("places", sinusoids(n_times, width), persistent=False)
        n_all = sum(n_out.values())
        self.direct = nn.Linear(2 * width, n_all) if n_all else None
        self.indirect = _perceptron(2 * width, sizes.hidden, n_all, sizes.dropout) if n_all else None
        n_other = sizes.n_context * n_times or n_all
        self.other = _perceptron(n_other, sizes.hidden, sizes.contrast_width, 0.0) if n_other else None
        self.own_side = nn.Linear(width, sizes.contrast_width) if n_other else None

    # -- input --------------------------------------------------------------------------------------------------

    def signals(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n_channels, n_times)."""
        return x.unflatten(1, (self.n_channels, self.n_times))

    def counts(self, x: torch.Tensor) -> torch.Tensor:
        """Spikes, (n, n_units, n_times) of int64."""
        return self.signals(x)[:, : self.n_units].round().long()

    def memory(self, x: torch.Tensor) -> Memory:
        """The spikes before the window, and the context of the whole trial."""
        tokens = to_tokens(self.counts(x)[:, :, : self.n_past])
        keys, real = self.past(tokens), tokens.time != self.n_past + PAD
        if self.training and self.dropout:  # of whole spikes: marks are always seen
            real = real & ((torch.rand(real.shape, device=x.device) >= self.dropout) | (tokens.time >= self.n_past))
        for block in self.history_blocks:
            keys = block(keys, None, real)
        if self.context is not None:
            courses = self.context(self.signals(x)[:, self.n_units :].transpose(1, 2)) + self.places
            keys, real = torch.cat([keys, courses], dim=1), functional.pad(real, (0, self.n_times), value=True)
        return Memory(keys, real, tokens)

    # -- spikes one after the other -----------------------------------------------------------------------------

    def window_tokens(self, x: torch.Tensor) -> SpikeTokens:
        """The spikes to be predicted."""
        return to_tokens(self.counts(x)[:, :, self.n_past :])

    def states(self, tokens: SpikeTokens, memory: Memory) -> torch.Tensor:
        """(n, length, width); each knows its token and those before it."""
        states = functional.dropout(self.present(tokens), self.dropout, self.training)
        for block in self.blocks:
            states = block(states, memory.keys, memory.real)
        return self.norm(states)

    def time_logits(self, states: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
        """Bin of the next spike, (..., window + 1), the last for the end; `now` is the bin of the last spike."""
        bins = torch.arange(self.window + 1, device=now.device)
        earliest = torch.where(now < self.window, now, 0)  # spikes are in order
        return self.to_time(states).masked_fill(bins < earliest[..., None], -math.inf)

    def unit_logits(
        self, states: torch.Tensor, then: torch.Tensor, now: torch.Tensor, unit: torch.Tensor
    ) -> torch.Tensor:
        """Unit of the next spike in bin `then`, (..., n_units), after a spike of `unit` in bin `now`."""
        states = states + self.next_time(then)
        logits = self.to_unit(states + self.refine(states))
        least = torch.where((then == now) & (now < self.window), unit, 0)  # within a bin, spikes go by unit
        return logits.masked_fill(torch.arange(self.n_units, device=now.device) < least[..., None], -math.inf)

    def log_probabilities(self, tokens: SpikeTokens, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the bin and of the unit of each token after the first, (n, length - 1); 0 where there is none."""
        now, then = tokens.time[:, :-1], tokens.time[:, 1:]
        states, real, spike = states[:, :-1], then != self.window + PAD, then < self.window
        bins = then.clamp(max=self.window)  # padding becomes the end, which is never ruled out
        units = torch.where(spike, tokens.unit[:, 1:], self.n_units - 1)
        time = self.time_logits(states, now).log_softmax(dim=-1).gather(-1, bins[..., None]).squeeze(-1)
        logits = self.unit_logits(states, bins, now, tokens.unit[:, :-1])
        unit = logits.log_softmax(dim=-1).gather(-1, units[..., None]).squeeze(-1)
        return time * real, unit * spike

    # -- what a window tells ------------------------------------------------------------------------------------

    def summary(self, x: torch.Tensor) -> torch.Tensor:
        """Sum of the vectors of all spikes of a trial, (n, width), without the context."""
        tables = [one.table()[: self.n_units, : one.n_bins] for one in (self.past, self.present)]
        counts = functional.dropout(self.signals(x)[:, : self.n_units], self.dropout, self.training)
        return counts.flatten(1) @ torch.cat(tables, dim=1).flatten(0, 1) / self.typical[0]

    def behaviour(self, summary: torch.Tensor, tokens: SpikeTokens, states: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each behaviour, (n, n_out), from the sum over spikes and from the state at the end of the window."""
        if self.direct is None or self.indirect is None:
            return {}
        last = (tokens.time != self.window + PAD).sum(dim=1) - 1
        x = torch.cat([summary, states[torch.arange(len(last), device=last.device), last]], dim=1)
        made = (self.direct(x) + self.indirect(x)).split(list(self.n_out.values()), dim=1)
        return dict(zip(self.n_out, made, strict=True))

    def heads(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Behaviour of trials."""
        tokens = self.window_tokens(x)
        return self.behaviour(self.summary(x), tokens, self.states(tokens, self.memory(x)))

    def aligned(self, summary: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Spikes, and a flat context or the behaviours, in the space where they are contrasted."""
        if self.other is None or self.own_side is None:
            raise DataError("there is nothing to align spikes with", fix="n_context, or fit with a behaviour")
        return self.own_side(summary), self.other(other)

    # -- subjects -----------------------------------------------------------------------------------------------

    def add_subject(self, subject: str, n_features: int) -> None:
        """Units are those of one subject; their number was checked."""

    def own(self, subject: str) -> nn.Module:
        """All of it."""
        return self


def _perceptron(n_in: int, hidden: int, n_out: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Linear(n_in, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, n_out))


@dataclass
class NeuroformerLoss(WholeBatchLoss):
    """Surprise at the spikes, contrast of spikes with the context or else the behaviour, and its squared error.

    Parameters
    ----------
    weights : mapping
        Of "spikes", "contrast" and "behaviour".
    temperature : float
    """

    weights: Mapping[str, float]
    temperature: float

    def outputs(self, model: NeuroformerNetwork, batch: Batch) -> dict[str, torch.Tensor]:
        x = batch["x"]
        tokens, summary = model.window_tokens(x), model.summary(x)
        states = model.states(tokens, model.memory(x))
        made = {}
        if self.weights["spikes"]:
            time, unit = model.log_probabilities(tokens, states)
            made["time"], made["unit"] = (-one.sum(dim=1) / (1 + model.typical[1]) for one in (time, unit))
        errors = [
            mse(one, batch[f"target/{name}"].flatten(1))
            for name, one in model.behaviour(summary, tokens, states).items()
        ]
        if errors and self.weights["behaviour"]:
            made["behaviour"] = torch.stack(errors).mean(dim=0)
        if model.other is not None and self.weights["contrast"]:
            other = (
                model.signals(x)[:, model.n_units :].flatten(1)
                if model.n_context
                else torch.cat([batch[f"target/{name}"].flatten(1) for name in model.n_out], dim=1)
            )
            made["own"], made["other"] = model.aligned(summary, other)
        return made

    def compare(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
        made = {name: outputs[name].mean() for name in ("time", "unit", "behaviour") if name in outputs}
        if "own" in outputs:
            made["contrast"] = info_nce(outputs["own"], outputs["other"], self.temperature, labels=batch["stimulus"])
        weights = {"time": self.weights["spikes"], "unit": self.weights["spikes"], **self.weights}
        return {"loss": torch.stack([weights[name] * one for name, one in made.items()]).sum(), **made}
