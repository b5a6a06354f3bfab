"""The networks of Du-IN: fused channels to tokens, an autoencoder through discrete codes, and heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from brainalign.errors import DataError
from brainalign.learning import Batch
from brainalign.learning.adapters import SubjectAdapters
from brainalign.learning.blocks import Attention, sinusoids
from brainalign.learning.masking import random_mask, symmetric_masked_loss
from brainalign.learning.quantise import VectorQuantiser, perplexity

__all__ = ["Autoencoder", "Backbone", "DuINNetwork", "Sizes", "autoencoder_loss", "masked_loss"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a `DuINNetwork`, as in `DuIN`."""

    n_fused: int
    segment: int
    stride: int
    n_filters: int
    n_kept: int
    depth: int
    decoder_depth: int
    n_heads: int
    head_width: int
    expansion: int
    n_codes: int
    code_width: int
    decay: float
    hidden: int
    dropout: float

    @property
    def width(self) -> int:
        """Of a token: what is kept of a segment, filter by step."""
        return self.n_kept * (self.segment // self.stride)


class Fusion(nn.Module):
    """Channels of each subject to as many fused ones for all, by a linear map of its own at every time."""

    def __init__(self, n_features: Mapping[str, int], n_times: int, n_fused: int) -> None:
        super().__init__()
        self.n_times = n_times
        self.adapters = SubjectAdapters({name: n // n_times for name, n in n_features.items()}, n_fused)

    def forward(self, x: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
        """Flat responses (n, n_channels * n_times) to (n, n_times, n_fused)."""
        rows = x.unflatten(1, (-1, self.n_times)).transpose(1, 2)
        made = self.adapters(rows.flatten(0, 1), subject.repeat_interleave(self.n_times))
        return made.unflatten(0, (len(x), self.n_times))


class Segments(nn.Module):
    """Tokens of segments of time: three convolutions with batch norm inside each segment."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.segment = sizes.segment
        n, kept, stride = sizes.n_filters, sizes.n_kept, sizes.stride
        self.layers = nn.Sequential(
            nn.Conv1d(sizes.n_fused, n, 2 * stride - 1, stride, padding=stride - 1), nn.BatchNorm1d(n), nn.GELU(),
            nn.Conv1d(n, n, 3, padding=1), nn.BatchNorm1d(n), nn.GELU(),
            nn.Conv1d(n, kept, 3, padding=1), nn.BatchNorm1d(kept), nn.GELU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n_times, n_fused) to (n, n_segments, width)."""
        parts = x.unflatten(1, (-1, self.segment))
        made = self.layers(parts.flatten(0, 1).transpose(1, 2))
        return made.flatten(1).unflatten(0, parts.shape[:2])


class Block(nn.Module):
    """Transformer block with its norms after the sums (Vaswani et al. 2017)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, inner = sizes.width, sizes.expansion * sizes.width
        self.attention = Attention(width, sizes.n_heads, head_width=sizes.head_width, dropout=sizes.dropout, norm=False)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Dropout(sizes.dropout), nn.Linear(inner, width)
        )
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x + self.dropout(self.attention(x)))
        return self.second(x + self.dropout(self.feed_forward(x)))


class Backbone(nn.Module):
    """Responses to tokens in their context; some tokens may be hidden."""

    no_weight_decay = frozenset({"hidden"})

    def __init__(self, n_features: Mapping[str, int], n_times: int, sizes: Sizes) -> None:
        super().__init__()
        self.fusion = Fusion(n_features, n_times, sizes.n_fused)
        self.segments = Segments(sizes)
        self.n_tokens = n_times // sizes.segment
        self.places: torch.Tensor
        self.register_buffer("places", sinusoids(self.n_tokens, sizes.width), persistent=False)
        self.hidden = nn.Parameter(0.02 * torch.randn(sizes.width))
        self.blocks = nn.Sequential(*[Block(sizes) for _ in range(sizes.depth)])

    def forward(self, x: torch.Tensor, subject: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (n, n_tokens, width); those of a mask (n, n_tokens) are replaced before they meet the others."""
        tokens = self.segments(self.fusion(x, subject))
        if mask is not None:
            tokens = torch.where(mask[:, :, None], self.hidden, tokens)
        return self.blocks(tokens + self.places)


class Autoencoder(nn.Module):
    """Signals through discrete codes and back: van den Oord et al. 2017, on tokens of fused channels."""

    def __init__(self, n_features: Mapping[str, int], n_times: int, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, self.n_times = sizes, n_times
        self.backbone = Backbone(n_features, n_times, sizes)
        width, n, stride = sizes.width, sizes.n_filters, sizes.stride
        self.to_code = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, sizes.code_width))
        self.quantiser = VectorQuantiser(sizes.n_codes, sizes.code_width, decay=sizes.decay, revive=0.05)
        self.from_code = nn.Linear(sizes.code_width, width)
        self.decoder = nn.Sequential(*[Block(sizes) for _ in range(sizes.decoder_depth)])
        n_steps = sizes.segment // stride
        self.to_segment = nn.Sequential(
            nn.ConvTranspose1d(width, n, 3, padding=1), nn.GELU(),
            nn.ConvTranspose1d(n, n, 3, padding=1), nn.GELU(),
            nn.ConvTranspose1d(n, n, n_steps, n_steps), nn.GELU(),
            nn.ConvTranspose1d(n, n, 9, padding=4), nn.GELU(),
            nn.ConvTranspose1d(n, sizes.n_fused, 2 * stride - 1, stride, padding=stride - 1, output_padding=stride - 1),
        )  # fmt: skip
        self.outward = nn.ModuleList()
        for n_flat in n_features.values():
            self.add_subject(n_flat)

    def add_subject(self, n_features: int) -> None:
        """A fresh map from fused channels back to those of a further subject."""
        self.outward.append(nn.Linear(self.sizes.n_fused, n_features // self.n_times))

    def codes(self, x: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
        """Number of the code of each token, (n, n_tokens)."""
        return self.quantiser.nearest(self.to_code(self.backbone(x, subject)))

    def forward(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        """Error of the reconstruction and commitment, (n,) each, and the codes, (n, n_tokens)."""
        made = self.quantiser(self.to_code(self.backbone(x, subject)))
        tokens = self.decoder(self.from_code(made.values) + self.backbone.places)
        parts = self.to_segment(tokens.flatten(0, 1)[:, :, None])
        fused = parts.unflatten(0, tokens.shape[:2]).transpose(2, 3).flatten(1, 2)
        return {"error": self.error(fused, x, subject), "commitment": made.commitment.mean(dim=1), "index": made.index}

    def error(self, fused: torch.Tensor, x: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
        """Mean squared error over the channels that a subject has, (n,)."""
        truth, made = x.unflatten(1, (-1, self.n_times)).transpose(1, 2), fused.new_zeros(len(x))
        for number in subject.unique().tolist():
            rows = (subject == number).nonzero()[:, 0]
            guess = self.outward[number](fused[rows])
            errors = (guess - truth[rows, :, : guess.shape[2]]).square().flatten(1).mean(dim=1)
            made = made.index_add(0, rows, errors.to(made.dtype))
        return made


class DuINNetwork(nn.Module):
    """The backbone that names words, and where codes are learnt, the autoencoder that gives them.

    Parameters
    ----------
    n_features : mapping of str to int
        Channels by times of each subject.
    n_times : int
    n_out : mapping of str to int
        Outputs of each target.
    sizes : Sizes
    codes : bool
        Build the autoencoder.

    Raises
    ------
    DataError
        When a trial holds no whole number of segments.
    """

    def __init__(
        self, n_features: Mapping[str, int], n_times: int, n_out: Mapping[str, int], sizes: Sizes, *, codes: bool = True
    ) -> None:
        super().__init__()
        if n_times % sizes.segment or sizes.segment % sizes.stride:
            raise DataError(
                "trials hold no whole number of segments, or segments no whole number of strides",
                expected=f"a multiple of {sizes.segment} times, itself a multiple of {sizes.stride}",
                found=f"{n_times} times",
                fix="cut trials with trials.select(times=...), or change segment and stride",
            )
        self.autoencoder = Autoencoder(n_features, n_times, sizes) if codes else None
        self.backbone = Backbone(n_features, n_times, sizes)
        self.to_codes = nn.Linear(sizes.width, sizes.n_codes) if codes else None
        self.n_out = dict(n_out)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(self.backbone.n_tokens * sizes.width, sizes.hidden), nn.GELU(),
            nn.Dropout(sizes.dropout), nn.Linear(sizes.hidden, sum(n_out.values())),
        )  # fmt: skip

    def heads(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits of each target, (n, n_out)."""
        made = self.head(self.backbone(x, subject)).split(list(self.n_out.values()), dim=1)
        return dict(zip(self.n_out, made, strict=True))

    def begin_from_autoencoder(self) -> None:
        """Take over what the autoencoder's backbone learnt, and leave the autoencoder as it is from here on."""
        assert self.autoencoder is not None
        self.backbone.load_state_dict(self.autoencoder.backbone.state_dict())
        self.autoencoder.requires_grad_(False)

    def add_subject(self, subject: str, n_features: int) -> None:
        """Give a further subject its maps."""
        n_channels = n_features // self.backbone.fusion.n_times
        self.backbone.fusion.adapters.add_subject(subject, n_channels)
        if self.autoencoder is not None:
            self.autoencoder.backbone.fusion.adapters.add_subject(subject, n_channels)
            self.autoencoder.add_subject(n_features)

    def train(self, mode: bool = True) -> DuINNetwork:
        """As of any module, but statistics of a frozen batch norm stay: they are the other subjects'."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d) and not module.weight.requires_grad:
                module.eval()
        return self

    def own(self, subject: str) -> nn.Module:
        """The map that names words by one subject's channels."""
        return self.backbone.fusion.adapters.of(subject)


def autoencoder_loss(commitment: float) -> object:
    """Reconstruction and commitment; codes follow by moving averages."""

    def loss(model: Autoencoder, batch: Batch) -> dict[str, torch.Tensor]:
        made = model(batch["x"], batch["subject"])
        error, bound = made["error"].mean(), made["commitment"].mean()
        used = perplexity(made["index"], len(model.quantiser.codes))
        return {"loss": error + commitment * bound, "error": error, "commitment": bound, "perplexity": used}

    return loss


def masked_loss(share: float) -> object:
    """Codes of hidden tokens, each hidden once."""

    def loss(model: DuINNetwork, batch: Batch) -> dict[str, torch.Tensor]:
        x, subject, autoencoder, to_codes = batch["x"], batch["subject"], model.autoencoder, model.to_codes
        assert autoencoder is not None and to_codes is not None
        autoencoder.eval()  # its codes are given
        with torch.no_grad():
            codes = autoencoder.codes(x, subject)
        mask = random_mask(len(x), model.backbone.n_tokens, share).to(x.device)
        each = symmetric_masked_loss(lambda hidden: to_codes(model.backbone(x, subject, hidden)), codes, mask)
        return {"loss": each.mean()}

    return loss
