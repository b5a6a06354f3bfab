"""Latents of any shape as tokens, on a common scale, and the loss between tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from brainalign.arrays import row_blocks
from brainalign.errors import DataError

__all__ = ["TokenTarget", "as_tokens", "coarsest_scale", "targets_of", "token_contrast"]


@dataclass(frozen=True, eq=False)
class TokenTarget:
    """How one latent space is cut into tokens.

    Parameters
    ----------
    shape : tuple of int
        Of the latents of one picture: () or (d,) are one token, (n_tokens, d) are tokens, (c, h, w) are h × w tokens of
        c channels.
    sizes : tuple of int
        Tokens of each scale, for latents that hold several; one number otherwise.
    whole : bool
        Latents of any shape are one token.
    """

    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    whole: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(n_tokens, n_channels)."""
        return token_size(self.shape, whole=self.whole)

    @classmethod
    def of(
        cls, values: Any, *, sizes: Sequence[int] | None = None, name: str = "latents", whole: bool = False
    ) -> TokenTarget:
        """For latents (n, \\*shape)."""
        n_tokens, _ = token_size(tuple(values.shape[1:]), whole=whole)
        sizes = (n_tokens,) if sizes is None or whole else tuple(int(size) for size in sizes)
        if sum(sizes) != n_tokens or min(sizes) < 1:
            raise DataError(f"scales of '{name}' do not add up", expected=f"{n_tokens} tokens", found=sizes)
        return cls(tuple(values.shape[1:]), sizes, whole)

    def learn_scale(self, values: Any, *, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n_tokens, n_channels) of training latents (n, \\*shape), and SD around it, one number a scale.

        Read in blocks.

        Raises
        ------
        DataError
            When something is not finite.
        """
        total, squares = np.zeros(self.size), np.zeros(self.size)
        blocks = [np.arange(len(values))[rows] for rows in row_blocks(len(values), 8 * int(np.prod(self.size)))]
        for rows in blocks:
            total += self.as_tokens(values[rows]).sum(axis=0, dtype=np.float64)
        mean = total / len(values)
        if not np.isfinite(mean).all():
            raise DataError(
                f"Y contains NaN or infinity (target '{name}')",
                expected="finite numbers",
                fix="leave out the stimuli that have none",
            )
        for rows in blocks:
            squares += np.square(self.as_tokens(values[rows]) - mean).sum(axis=0)
        spread = np.empty((self.size[0], 1))
        for scale in self.scales():
            spread[scale] = math.sqrt(squares[scale].mean() / len(values))
        return mean.astype(np.float32), np.where(spread > 0, spread, 1.0).astype(np.float32)

    def scales(self) -> list[slice]:
        """Where the tokens of each scale lie."""
        return _slices(self.sizes)

    def as_tokens(self, values: Any) -> Any:
        """Latents (n, \\*shape), an array or a tensor, as tokens (n, n_tokens, n_channels)."""
        return values.reshape(len(values), 1, -1) if self.whole else as_tokens(values)

    def from_tokens(self, tokens: Any) -> Any:
        """Latents (n, \\*shape) from tokens (n, n_tokens, n_channels), an array or a tensor."""
        values = tokens.swapaxes(1, 2) if len(self.shape) == 3 and not self.whole else tokens
        return values.reshape(len(tokens), *self.shape)


def targets_of(values: Mapping[str, Any], y: Any, *, whole: bool, n_tokens: Any) -> dict[str, TokenTarget]:
    """How each latent space is cut; `y` tells of those that hold several scales.

    Raises
    ------
    DataError
        When `n_tokens` names too few scales.
    """
    given = y if isinstance(y, Mapping) else {"latents": y}
    made = {}
    for name, one in values.items():
        sizes = getattr(given[name], "meta", {}).get("tokens_per_scale")
        made[name] = TokenTarget.of(one, sizes=sizes, name=name, whole=whole)
        if not isinstance(n_tokens, int) and len(made[name].sizes) > len(n_tokens):
            raise DataError(
                f"n_tokens names fewer scales than '{name}' has",
                expected=f"a number, or at least {len(made[name].sizes)}",
                found=list(n_tokens),
            )
    return made


def token_size(shape: tuple[int, ...], *, whole: bool = False) -> tuple[int, int]:
    """(n_tokens, n_channels) of latents of a shape; one token where they are taken whole.

    Examples
    --------
    >>> token_size((768,)), token_size((256, 1664)), token_size((4, 8, 8))
    ((1, 768), (256, 1664), (64, 4))
    """
    if len(shape) < 2 or whole:
        return 1, int(np.prod(shape, dtype=int))
    if len(shape) == 3:
        return shape[1] * shape[2], shape[0]
    return int(np.prod(shape[:-1])), shape[-1]


def as_tokens(values: Any) -> Any:
    """Latents (n, \\*shape), an array or a tensor, as tokens (n, n_tokens, n_channels)."""
    if values.ndim == 4:
        return values.reshape(*values.shape[:2], -1).swapaxes(1, 2)
    return values.reshape(len(values), *token_size(tuple(values.shape[1:])))


def coarsest_scale(y: Any) -> Any:
    """Of the first latent space its coarsest scale, where it holds several; None otherwise."""
    first = next(iter(y.values())) if isinstance(y, Mapping) else y
    sizes = getattr(first, "meta", {}).get("tokens_per_scale")
    if not sizes or len(sizes) == 1:
        return None
    return type(first)(first.values[:, -int(sizes[-1]) :], first.ids, space=f"{first.space}, coarsest scale")


def _slices(sizes: Sequence[int]) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def token_contrast(
    predicted: torch.Tensor, true: torch.Tensor, pictures: torch.Tensor, *, temperature: float = 0.1
) -> torch.Tensor:
    """InfoNCE from predicted to true tokens: each against the same token of the other pictures in the batch.

    Parameters
    ----------
    predicted, true : tensor, shape (n, n_tokens, n_channels)
        Compared by cosine.
    pictures : tensor of int, shape (n,)
        Which picture each row shows; rows of the same one are not held against each other.
    temperature : float

    Returns
    -------
    tensor, scalar
        ``-mean_it log(exp(s_itt) / sum_j exp(s_ijt))`` over pictures i and tokens t, s the cosine over the temperature;
        log n for a guess.

    Examples
    --------
    >>> tokens = torch.eye(4)[:, None]
    >>> token_contrast(tokens, tokens, torch.arange(4)).item() < 0.01
    True
    """
    left = functional.normalize(predicted, dim=-1).transpose(0, 1)
    right = functional.normalize(true, dim=-1).transpose(0, 1)
    logits = left @ right.transpose(1, 2) / temperature
    same = pictures[:, None] == pictures
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -math.inf)
    return functional.cross_entropy(
        logits.flatten(0, 1), torch.arange(len(pictures)).repeat(len(logits)).to(logits.device)
    )
