"""What a trained network says of a recording: how likely it is, what comes next, and which unit follows which."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from brainalign.encoders.neuroformer.network import Memory, NeuroformerNetwork
from brainalign.encoders.neuroformer.tokens import PAD, START, SpikeTokens, to_counts

__all__ = ["attention_edges", "attribution_edges", "log_likelihood", "sample_window"]


def log_likelihood(network: NeuroformerNetwork, x: torch.Tensor) -> torch.Tensor:
    """Log-probability of the counts of the last window given all before it, (n,), in nats."""
    tokens = network.window_tokens(x)
    time, unit = network.log_probabilities(tokens, network.states(tokens, network.memory(x)))
    return time.sum(dim=1) + unit.sum(dim=1)


def sample_window(
    network: NeuroformerNetwork, x: torch.Tensor, generators: list[np.random.Generator], max_spikes: int
) -> torch.Tensor:
    """Spikes drawn for the last window, (n, n_units, window); what `x` holds there of spikes is not looked at.

    Each sample draws from its own generator, so that samples do not depend on each other. A window that reaches
    `max_spikes` ends there.
    """
    memory, n = network.memory(x), len(x)
    unit = torch.full((n, 1), network.n_units + START, device=x.device)
    time = torch.full((n, 1), network.window + START, device=x.device)
    for number in range(max_spikes + 1):
        states, now = network.states(SpikeTokens(unit, time), memory)[:, -1], time[:, -1]
        over = (now == network.window) | (now == network.window + PAD)
        numbers = [(0.0, 0.0) if done else one.random(2) for one, done in zip(generators, over.tolist(), strict=True)]
        u = torch.tensor(np.array(numbers), device=x.device)
        then = _drawn(network.time_logits(states, now), u[:, 0])
        then = torch.where(over | (number == max_spikes), network.window, then)
        who = _drawn(network.unit_logits(states, then, now, unit[:, -1]), u[:, 1])
        spike = then < network.window
        last_unit = torch.where(spike, who, torch.where(over, network.n_units + PAD, network.n_units))
        last_time = torch.where(spike, then, torch.where(over, network.window + PAD, network.window))
        unit, time = torch.cat([unit, last_unit[:, None]], dim=1), torch.cat([time, last_time[:, None]], dim=1)
        if not bool(spike.any()):
            break
    return to_counts(SpikeTokens(unit, time), network.n_units, network.window)


def _drawn(logits: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """A choice of each row by a number between 0 and 1; never one that is ruled out."""
    shares = logits.double().softmax(dim=-1).cumsum(dim=-1)
    return (shares <= (u * shares[:, -1])[:, None]).sum(dim=-1).clamp(max=logits.shape[-1] - 1)


def attention_edges(network: NeuroformerNetwork, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention paid to each unit's past when each unit is predicted, and what even attention would pay.

    Both (n_units, n_units), the predicted unit first, summed over spikes, mean over heads and blocks.
    """
    tokens, memory = network.window_tokens(x), network.memory(x)
    kept: list[torch.Tensor] = []
    hooks = [
        block.to_context.register_forward_hook(  # type: ignore[union-attr]
            lambda module, given, _: kept.append(module.weights(*given).mean(dim=1))
        )
        for block in network.blocks
    ]
    try:
        network.states(tokens, memory)
    finally:
        for hook in hooks:
            hook.remove()
    n_spikes = memory.tokens.unit.shape[1]
    weights = torch.stack(kept).mean(dim=0)[:, :-1, :n_spikes]
    even = (memory.real / memory.real.sum(dim=1, keepdim=True))[:, None, :n_spikes].expand_as(weights)
    target, source = _one_hot(tokens.unit[:, 1:], network), _one_hot(memory.tokens.unit, network)
    both = [torch.einsum("nqi,nqk,nkj->ij", target, one.to(target.dtype), source) for one in (weights, even)]
    return both[0], both[1]


def attribution_edges(network: NeuroformerNetwork, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What spikes of each unit lose in log-probability without the past of each other, and how many spikes they are.

    Both (n_units, n_units), the predicted unit first, summed over the spikes that have the other unit in their history.
    """
    signals = network.signals(x)
    tokens = network.window_tokens(x)
    whole = _per_token(network, tokens, network.memory(x))
    gains, numbers = [], []
    for unit in range(network.n_units):
        rows = (signals[:, unit, : network.n_past].sum(dim=1) > 0).nonzero().squeeze(1)
        target = _one_hot(tokens.unit[rows, 1:], network)
        without = signals[rows].clone()
        without[:, unit, : network.n_past] = 0
        some = SpikeTokens(tokens.unit[rows], tokens.time[rows])
        lost = whole[rows] - _per_token(network, some, network.memory(without.flatten(1)))
        gains.append(torch.einsum("nq,nqi->i", lost, target))
        numbers.append(target.sum(dim=(0, 1)))
    return torch.stack(gains, dim=1), torch.stack(numbers, dim=1)


def _per_token(network: NeuroformerNetwork, tokens: SpikeTokens, memory: Memory) -> torch.Tensor:
    time, unit = network.log_probabilities(tokens, network.states(tokens, memory))
    return time + unit


def _one_hot(units: torch.Tensor, network: NeuroformerNetwork) -> torch.Tensor:
    """Which unit each token is, (n, length, n_units); none for marks."""
    known = units < network.n_units
    made = functional.one_hot(torch.where(known, units, 0), network.n_units).to(network.typical.dtype)
    return made * known[..., None]
