"""Masked modelling: which tokens are hidden, and the loss that hides each token once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from brainalign.errors import DataError

__all__ = ["random_mask", "symmetric_masked_loss"]


def random_mask(
    n_samples: int, n_tokens: int, share: float = 0.5, *, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Hide ``round(share * n_tokens)`` random tokens of each sample, at least one and never all.

    Returns
    -------
    tensor of bool (n_samples, n_tokens)
        On the CPU; True is hidden.

    Raises
    ------
    DataError
        When there are fewer than two tokens, or the share is not between 0 and 1.

    Examples
    --------
    >>> random_mask(3, 10, 0.3).sum(dim=1).tolist()
    [3, 3, 3]
    """
    if n_tokens < 2 or not 0 < share < 1:
        raise DataError(
            "masked modelling hides some tokens and shows others",
            expected="at least 2 tokens, a share between 0 and 1",
            found=f"{n_tokens} tokens, share {share}",
        )
    n_hidden = min(max(1, round(share * n_tokens)), n_tokens - 1)
    ranks = torch.rand(n_samples, n_tokens, generator=generator).argsort(dim=1).argsort(dim=1)
    return ranks < n_hidden


def symmetric_masked_loss(
    logits: Callable[[torch.Tensor], torch.Tensor], codes: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the codes of hidden tokens, once with a mask and once with its complement.

    Jiang et al. 2024, "Large brain model for learning generic representations with tremendous EEG data in BCI", §2.3,
    as Du-IN takes it: every token of every sample is predicted exactly once.

    Parameters
    ----------
    logits : callable
        ``logits(mask)``, (n, n_tokens, n_codes), with the tokens of a mask (n, n_tokens) hidden.
    codes, mask : tensor (n, n_tokens)

    Returns
    -------
    tensor (n,)
        Mean over the tokens of each sample.
    """
    hidden = torch.where(mask[:, :, None], logits(mask), logits(~mask))
    return functional.cross_entropy(hidden.transpose(1, 2), codes, reduction="none").mean(dim=1)
