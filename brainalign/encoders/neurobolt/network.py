"""The two branches of NeuroBOLT: spectra at several window lengths, and patches of channels by time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from brainalign.errors import DataError
from brainalign.learning.blocks import TransformerBlock, sinusoids

__all__ = ["NeuroBOLTNetwork", "PatchBranch", "SpectralBranch"]


class SpectralBranch(nn.Module):
    """Amplitude spectra of windows of several lengths, brought to common steps of time and added.

    A window of length L is taken whole, next to the one before, without overlap or taper:
    ``|sum_t x_t exp(-2 pi i f t / L)| / sqrt(L)``. Amplitudes become vectors by a linear map for each length, windows
    become steps by another, and attention of linear cost runs over all channels and steps.

    Parameters
    ----------
    n_channels, n_times : int
    width : int
    n_scales, shortest : int
        Window lengths are ``shortest * 2**i`` samples for i below `n_scales`; there are as many steps as windows of
        the shortest.
    depth, n_heads : int
    dropout : float

    Raises
    ------
    DataError
        When the longest window does not fit whole into `n_times`.

    Examples
    --------
    >>> branch = SpectralBranch(3, 64, width=8, n_scales=3, shortest=8, depth=1, n_heads=2)
    >>> [tuple(one.shape) for one in branch.spectra(torch.zeros(2, 3, 64))]
    [(2, 3, 8, 5), (2, 3, 4, 9), (2, 3, 2, 17)]
    >>> branch(torch.zeros(2, 3, 64)).shape
    torch.Size([2, 8])
    """

    no_weight_decay = frozenset({"channels"})

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        *,
        width: int = 200,
        n_scales: int = 4,
        shortest: int = 100,
        depth: int = 4,
        n_heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.lengths = [shortest * 2**number for number in range(n_scales)]
        _check_whole(n_times, self.lengths[-1], f"the longest of {n_scales} spectral windows")
        self.n_steps = n_times // shortest
        self.to_width = nn.ModuleList([nn.Linear(length // 2 + 1, width) for length in self.lengths])
        self.to_steps = nn.ModuleList([nn.Linear(n_times // length, self.n_steps) for length in self.lengths])
        self.channels = nn.Parameter(0.02 * torch.randn(n_channels, 1, width))
        self.steps: torch.Tensor
        self.register_buffer("steps", sinusoids(self.n_steps, width), persistent=False)
        self.blocks = nn.Sequential(
            *[TransformerBlock(width, n_heads, dropout=dropout, linear=True) for _ in range(depth)]
        )
        self.norm = nn.LayerNorm(width)

    def spectra(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Amplitudes (n, n_channels, n_windows, length // 2 + 1) of signals (n, n_channels, n_times), by length."""
        return [torch.fft.rfft(x.unflatten(2, (-1, length)), norm="ortho").abs() for length in self.lengths]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mean token, (n, width), of signals (n, n_channels, n_times)."""
        tokens: torch.Tensor | float = 0.0
        for spectrum, to_width, to_steps in zip(self.spectra(x), self.to_width, self.to_steps, strict=True):
            tokens = tokens + to_steps(to_width(spectrum).transpose(2, 3)).transpose(2, 3)
        return self.norm(self.blocks((tokens + self.channels + self.steps).flatten(1, 2)).mean(dim=1))


class PatchBranch(nn.Module):
    """Stretches of each channel as tokens, which know their channel and time, in a transformer.

    The encoder of LaBraM (Jiang et al. 2024): three convolutions over each stretch, the first of 15 samples at every
    eighth, then learnt codes of channel and time. Blocks are those of `brainalign.learning.blocks`.

    Parameters
    ----------
    n_channels, n_times : int
    width : int
    patch : int
        Samples of a stretch. Where its convolved form, ``8 * ceil(patch / 8)`` numbers, is not `width` long, a linear
        map makes it so.
    depth, n_heads : int
    dropout : float

    Raises
    ------
    DataError
        When stretches do not fit whole into `n_times`.

    Examples
    --------
    >>> PatchBranch(3, 64, width=16, patch=16, depth=1, n_heads=2)(torch.zeros(2, 3, 64)).shape
    torch.Size([2, 16])
    """

    FILTERS, KERNEL, STRIDE = 8, 15, 8
    no_weight_decay = frozenset({"channels", "times"})

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        *,
        width: int = 200,
        patch: int = 200,
        depth: int = 12,
        n_heads: int = 10,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _check_whole(n_times, patch, "a patch")
        self.patch = patch
        first = nn.Conv1d(1, self.FILTERS, self.KERNEL, stride=self.STRIDE, padding=self.KERNEL // 2)
        others = [nn.Conv1d(self.FILTERS, self.FILTERS, 3, padding=1) for _ in range(2)]
        layers = [(one, nn.GroupNorm(4, self.FILTERS), nn.GELU()) for one in (first, *others)]
        self.convolutions = nn.Sequential(*[layer for three in layers for layer in three])
        n_made = self.FILTERS * -(-patch // self.STRIDE)
        self.to_width = nn.Identity() if n_made == width else nn.Linear(n_made, width)
        self.channels = nn.Parameter(0.02 * torch.randn(n_channels, 1, width))
        self.times = nn.Parameter(0.02 * torch.randn(n_times // patch, width))
        self.blocks = nn.Sequential(*[TransformerBlock(width, n_heads, dropout=dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mean token, (n, width), of signals (n, n_channels, n_times)."""
        patches = x.unflatten(2, (-1, self.patch))
        made = self.convolutions(patches.flatten(0, 2)[:, None]).flatten(1)
        tokens = self.to_width(made).unflatten(0, patches.shape[:3]) + self.channels + self.times
        return self.norm(self.blocks(tokens.flatten(1, 2)).mean(dim=1))


class NeuroBOLTNetwork(nn.Module):
    """Both branches, added: ``GELU(patches(x) + spectra(x))``.

    Parameters
    ----------
    n_channels, n_times : int
    width : int
        Of all tokens.
    patch, depth, n_heads : int
        See `PatchBranch`.
    shortest, n_scales, spectral_depth, spectral_heads : int
        See `SpectralBranch`.
    dropout : float

    Raises
    ------
    DataError
        When a size is below 1, or windows or patches do not fit whole into `n_times`.

    Examples
    --------
    >>> sizes = {"width": 16, "patch": 16, "depth": 1, "n_heads": 2, "shortest": 8, "n_scales": 2}
    >>> NeuroBOLTNetwork(3, 64, **sizes, spectral_depth=1, spectral_heads=2)(torch.zeros(2, 3, 64)).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        n_channels: int,
        n_times: int,
        *,
        width: int = 200,
        patch: int = 200,
        depth: int = 12,
        n_heads: int = 10,
        shortest: int = 100,
        n_scales: int = 4,
        spectral_depth: int = 4,
        spectral_heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        least = {"width": width, "patch": patch, "n_heads": n_heads, "shortest": shortest, "n_scales": n_scales}
        least |= {"spectral_heads": spectral_heads}
        wrong = min(least.values()) < 1 or min(depth, spectral_depth) < 0 or width % n_heads or width % spectral_heads
        if wrong or not 0 <= dropout < 1:
            raise DataError(
                "these sizes make no network",
                expected="sizes of at least 1, width a multiple of both numbers of heads, 0 <= dropout < 1",
                found={**least, "depth": depth, "spectral_depth": spectral_depth, "dropout": dropout},
            )
        self.width = width
        like: dict[str, Any] = {"width": width, "dropout": dropout}
        spectral: dict[str, Any] = {"depth": spectral_depth, "n_heads": spectral_heads}
        self.spectra = SpectralBranch(n_channels, n_times, n_scales=n_scales, shortest=shortest, **spectral, **like)
        self.patches = PatchBranch(n_channels, n_times, patch=patch, depth=depth, n_heads=n_heads, **like)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (n, width) of signals (n, n_channels, n_times)."""
        return functional.gelu(self.patches(x) + self.spectra(x))


def _check_whole(n_times: int, length: int, what: str) -> None:
    if n_times % length:
        raise DataError(
            f"{what} does not fit whole into the window of EEG",
            expected=f"a multiple of {length} samples",
            found=f"{n_times} samples",
            fix="another window or sampling rate, or other sizes: patch, shortest, n_scales",
        )
