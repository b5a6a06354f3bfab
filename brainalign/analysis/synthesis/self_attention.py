"""Self-attention guidance: away from the picture whose attended parts are blurred (Hong et al. 2023, ICCV)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from brainalign.errors import DataError

__all__ = ["middle_attention", "self_attention_push"]

_WIDTH, _SIGMA = 9, 1.0


def self_attention_push(generator: Any, x: Tensor, t: int, condition: Any) -> Tensor:
    """What the guess of the noise gains per unit of scale: eps(x) - eps(x with attended parts blurred).

    Parts are attended where the middle of the network looks more than on average (the attention a place gets, summed
    over queries and averaged over heads, passes 1); the guess of the clean picture is blurred there and noised as x was
    (eq. 13 to 16 of the paper). Told nothing where guidance tells something, as its eq. 25 has it. Two passes of the
    denoiser, without gradients.

    Parameters
    ----------
    generator : Diffusion
    x : Tensor, shape (n, channels, height, width)
    t : int
    condition : object
        What `generator.condition` gave.

    Raises
    ------
    DataError
        When the network has no attention in its middle.
    """
    free = getattr(condition, "free", None)
    told = type(condition)(led=free) if free else condition
    share = generator.alphas_cumprod[t].to(x)
    with torch.no_grad():
        with _heard(middle_attention(generator)) as heard:
            noise = generator.denoise(x, t, told, guidance=1.0).to(x)
        clean = (x - (1 - share).sqrt() * noise) / share.sqrt()
        attended = interpolate(_attended(heard[0], x.shape).to(x), x.shape[-2:])
        blurred = attended * _blur(clean) + (1 - attended) * clean
        degraded = share.sqrt() * blurred + (1 - share).sqrt() * noise
        return noise - generator.denoise(degraded, t, told, guidance=1.0).to(x)


def middle_attention(generator: Any) -> Any:
    """The first self-attention in the middle of a generator's network.

    Raises
    ------
    DataError
        When there is none.
    """
    unet = getattr(getattr(generator, "pipeline", None), "unet", None)
    for block in getattr(getattr(unet, "mid_block", None), "attentions", None) or []:
        if hasattr(block, "transformer_blocks"):
            return block.transformer_blocks[0].attn1
    raise DataError(
        f"{generator.name} has no self-attention in its middle",
        expected="a network like Stable Diffusion's",
        fix="Guided(self_attention=0.0)",
    )


@contextmanager
def _heard(attention: Any) -> Iterator[list[Tensor]]:
    """The attention (n, heads, queries, keys) of the last pass, computed beside it: no processor is exchanged."""
    heard: list[Tensor] = []

    def listen(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        hidden = given[0] if given else named["hidden_states"]
        query, key = (module.head_to_batch_dim(one(hidden)) for one in (module.to_q, module.to_k))
        heard[:] = [module.get_attention_scores(query, key).unflatten(0, (len(hidden), -1))]

    handle = attention.register_forward_pre_hook(listen, with_kwargs=True)
    try:
        yield heard
    finally:
        handle.remove()


def _attended(scores: Tensor, shape: torch.Size) -> Tensor:
    """(n, 1, height, width) of the network's middle: 1 where more than its share of attention goes."""
    places = scores.mean(1).sum(1) > 1
    height = round((places.shape[1] * shape[-2] / shape[-1]) ** 0.5)
    return places.reshape(len(places), 1, height, -1)


def _blur(x: Tensor) -> Tensor:
    away = torch.arange(_WIDTH, device=x.device, dtype=x.dtype) - _WIDTH // 2
    weights = torch.exp(-0.5 * (away / _SIGMA) ** 2)
    kernel = weights.outer(weights) / weights.sum() ** 2
    padded = pad(x, [_WIDTH // 2] * 4, mode="reflect")
    return conv2d(padded, kernel.expand(x.shape[1], 1, _WIDTH, _WIDTH), groups=x.shape[1])
