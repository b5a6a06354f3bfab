"""The network behind the encoders of signals: what is a subject's own, the shared body, a head for each target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from brainalign.errors import DataError, unknown
from brainalign.learning import Batch, WholeBatchLoss
from brainalign.learning.adapters import SubjectAdapters
from brainalign.learning.losses import info_nce, mse

__all__ = ["ContrastLoss", "SignalNetwork", "SubjectTokens"]

SHARED_SHARE = 0.1
"""Share of the training samples that take the shared token instead of their subject's, so that it is learnt."""

_LEGACY_SCALE = 2.6593
"""ln(1 / 0.07), which the published ATM-S multiplies cosines by without the exponential."""


class SignalNetwork(nn.Module):
    """Signals of any subject to every target, (n, n_flat) by name.

    Parameters
    ----------
    body : module (n, n_channels, n_times) -> (n, width)
    heads : mapping of target to module (n, width) -> (n, n_flat)
    n_channels : mapping of str to int
        Channels of each subject.
    shape : (int, int)
        Channels and times that the body takes.
    front : module, optional
        Called before the body with signals and the token of the subject.
    adapter : {None, "channels", "token"}
    """

    def __init__(
        self,
        body: nn.Module,
        heads: Mapping[str, nn.Module],
        n_channels: Mapping[str, int],
        shape: tuple[int, ...],
        *,
        front: nn.Module | None = None,
        adapter: str | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.body, self.front = body, front
        self.names, self.heads = tuple(heads), nn.ModuleList(heads.values())
        self.maps = SubjectAdapters({}, shape[0]) if adapter == "channels" else None
        self.tokens = SubjectTokens(shape[1]) if adapter == "token" else None
        for name, n in n_channels.items():
            self.add_subject(name, n * shape[1])

    def forward(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.features(x, subject)
        return {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}

    def features(self, x: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
        """What the body makes of flat signals (n, n_channels * n_times)."""
        signals = x.unflatten(1, (-1, self.shape[1]))
        if self.maps is not None:  # rows of the map are samples: every time of every trial
            rows = signals.transpose(1, 2).flatten(0, 1)
            mapped = self.maps(rows, subject.repeat_interleave(self.shape[1]))
            signals = mapped.unflatten(0, (len(x), -1)).transpose(1, 2)
        if self.front is not None:
            signals = self.front(signals, None if self.tokens is None else self.tokens(subject))
        return self.body(signals)

    def train(self, mode: bool = True) -> SignalNetwork:
        """As of any module, but statistics of a frozen batch norm stay: they are the other subjects'."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    def add_subject(self, subject: str, n_features: int) -> None:
        """Give a further subject what is its own; it starts where the others' signals would go in."""
        n_channels = n_features // self.shape[1]
        if self.maps is not None:
            self.maps.add_subject(subject, n_channels)
            self.maps.set_map(subject, torch.eye(n_channels, self.shape[0]), torch.zeros(self.shape[0]))
        elif n_channels != self.shape[0]:
            raise DataError(
                f"subject '{subject}' has another number of channels",
                expected=self.shape[0],
                found=n_channels,
                fix="select the channels that all have, or adapter='channels'",
            )
        if self.tokens is not None:
            self.tokens.add_subject(subject)

    def own(self, subject: str) -> nn.Module:
        """What belongs to one subject alone."""
        if self.maps is not None:
            return self.maps.of(subject)
        if self.tokens is not None:
            return self.tokens.of(subject)
        raise DataError(
            "nothing in this network belongs to one subject alone",
            fix="fit with adapter='channels' (or ATM with 'token'), or transfer with freeze_shared=False",
        )


class SubjectTokens(nn.Module):
    """A vector for each subject, and one for all others.

    Examples
    --------
    >>> tokens = SubjectTokens(4)
    >>> tokens.add_subject("1")
    >>> tokens.eval()(torch.tensor([0, 1])).shape
    torch.Size([2, 4])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.shared = nn.Parameter(0.02 * torch.randn(width))
        self.subjects: tuple[str, ...] = ()
        self.own = nn.ModuleList()

    def add_subject(self, subject: str) -> None:
        """Give a further subject a token, which starts as the shared one."""
        token = nn.Embedding(1, self.width)
        with torch.no_grad():
            token.weight.copy_(self.shared)
        self.own.append(token)
        self.subjects = (*self.subjects, subject)

    def of(self, subject: str) -> nn.Module:
        """What holds the token of one subject."""
        return self.own[self.subjects.index(subject)]

    def forward(self, subject: torch.Tensor) -> torch.Tensor:
        """Tokens (n, width) of subjects by number; the number after the last is that of a subject never seen."""
        table = torch.cat([*(one.weight for one in self.own), self.shared[None]])  # type: ignore[misc]
        if self.training:
            unknown = torch.rand(len(subject), device=subject.device) < SHARED_SHARE
            subject = torch.where(unknown, len(self.own), subject)
        return table[subject]


@dataclass
class ContrastLoss(WholeBatchLoss):
    """Contrast of every target with its prediction, and their squared error where that is asked for.

    Parameters
    ----------
    weights : mapping of target to float
    regression : float
        Weight of the squared error beside the contrast.
    temperature : float
    legacy : bool
        The published slip of ATM-S: predictions are not normalised, and cosines are multiplied by ln(1 / 0.07) where
        its exponential was meant.
    """

    weights: Mapping[str, float]
    regression: float
    temperature: float
    legacy: bool = False

    @classmethod
    def over(
        cls, targets: Iterable[str], weights: Mapping[str, float] | None, regression: float, temperature: float
    ) -> Self:
        """The loss over some targets, all of one weight where none is given.

        Raises
        ------
        DataError
            When a weight is given for another target, or a number is out of range.
        """
        equal = dict.fromkeys(targets, 1.0)
        equal = {name: 1 / len(equal) for name in equal}
        for name in weights or {}:
            if name not in equal:
                raise unknown("target", name, equal)
        if not (temperature > 0 and regression >= 0):
            raise DataError("an option is out of range", expected="temperature > 0, regression >= 0")
        return cls(equal | dict(weights or {}), regression, temperature)

    def outputs(self, model: SignalNetwork, batch: Batch) -> dict[str, torch.Tensor]:
        return model(batch["x"], batch["subject"])

    def compare(self, outputs: Mapping[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
        contrast: Any = 0.0
        error: Any = 0.0
        for name, predicted in outputs.items():
            target = batch[f"target/{name}"]
            contrast = contrast + self.weights[name] * self._contrast(predicted, target, batch["stimulus"])
            if self.regression:
                error = error + self.weights[name] * mse(predicted, target).mean()
        return {"loss": contrast + self.regression * error, "contrast": contrast}

    def _contrast(self, predicted: torch.Tensor, target: torch.Tensor, stimulus: torch.Tensor) -> torch.Tensor:
        if not self.legacy:
            return info_nce(predicted, target, self.temperature, labels=stimulus)
        logits = _LEGACY_SCALE * predicted @ nn.functional.normalize(target, dim=1).T
        right = torch.arange(len(logits), device=logits.device)
        return (nn.functional.cross_entropy(logits, right) + nn.functional.cross_entropy(logits.T, right)) / 2
