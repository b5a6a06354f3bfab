"""A diffusion model whose every answer is known: noised mixtures of Gaussians, denoised exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from brainalign.errors import DataError

__all__ = ["GaussianMixture"]


class GaussianMixture:
    """The generator protocol of guidance on a mixture of Gaussians with diagonal covariance, exactly.

    Under x = sqrt(a) x0 + sqrt(1 - a) noise, component k is N(sqrt(a) m_k, a v_k + 1 - a), so that the best guess of
    the noise is sqrt(1 - a) times the responsibility-weighted (x - sqrt(a) m_k) / (a v_k + 1 - a).

    Parameters
    ----------
    means : Tensor, shape (n_components, channels, height, width)
    variances : Tensor, broadcast to the same shape
    weights : Tensor, shape (n_components,), optional
        Equal by default.
    decoder : callable, optional
        Latents to pictures; by default they are the pictures.

    Examples
    --------
    >>> mixture = GaussianMixture(torch.zeros(1, 1, 1, 2), torch.ones(1))
    >>> x = torch.ones(1, 1, 1, 2)
    >>> bool(torch.allclose(mixture.denoise(x, 500, None), (1 - mixture.alphas_cumprod[500]).sqrt() * x))
    True
    """

    name = "a mixture of Gaussians"
    device = torch.device("cpu")

    def __init__(
        self,
        means: Tensor,
        variances: Tensor,
        weights: Tensor | None = None,
        *,
        decoder: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if means.ndim != 4 or not bool((torch.as_tensor(variances) > 0).all()):
            raise DataError("a mixture needs means of pictures and positive variances",
                            expected="(n_components, channels, height, width)", found=tuple(means.shape))  # fmt: skip
        self.means = means
        self.variances = torch.as_tensor(variances, dtype=means.dtype).expand_as(means)
        share = torch.ones(len(means), dtype=means.dtype) if weights is None else weights
        self.log_weights = (share / share.sum()).log()
        # Stable Diffusion's schedule.
        self.alphas_cumprod = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
        self._decoder = decoder

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return tuple(self.means.shape[1:])

    @property
    def accepts(self) -> tuple[Any, ...]:
        """Nothing: these pictures are told by no latent."""
        return ()

    def condition(self, values: Mapping[str, Any], seeds: list[int] | None = None) -> None:
        """Nothing to be told."""

    def denoise(self, x: Tensor, t: Any, condition: Any, *, guidance: float | None = None) -> Tensor:
        """The expected noise in `x` (n, channels, height, width) at time `t`."""
        share = self.alphas_cumprod[int(t)].to(x)
        spread = share * self.variances.to(x) + 1 - share
        away = x[:, None] - share.sqrt() * self.means.to(x)
        log = self.log_weights.to(x) - 0.5 * (away**2 / spread + spread.log()).flatten(2).sum(2)
        weights = log.softmax(1)[:, :, None, None, None]
        return (1 - share).sqrt() * (weights * away / spread).sum(1)

    def decode(self, z: Tensor) -> Tensor:
        """Pictures of latents."""
        return z if self._decoder is None else self._decoder(z)
