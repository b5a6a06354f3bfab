"""`ATM`: EEG and MEG to latents by attention among channels, then the convolution of NICE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from brainalign.encoders.ephys.base import SignalEncoder
from brainalign.encoders.ephys.network import ContrastLoss, SignalNetwork
from brainalign.learning.networks import ChannelTransformer, TSConvNetwork

__all__ = ["ATM"]


class ATM(SignalEncoder):
    """ATM-S: a channel transformer with a token for the subject, the temporal-spatial convolution, a residual head.

    Li et al. 2024, "Visual decoding and reconstruction via EEG embeddings with guided diffusion". The published code
    does not normalise predictions, and multiplies cosines by ln(1 / 0.07) instead of 1 / 0.07; both are right here
    unless `legacy` is True.

    Parameters
    ----------
    sizes : mapping, optional
        Of `brainalign.learning.networks.TSConvNetwork`.
    attention : mapping, optional
        Sizes of `brainalign.learning.networks.ChannelTransformer`.
    adapter : {"token", "channels", None}
        With "token", a tenth of the training samples take a token that stands for any subject, with which
        ``unseen="shared"`` predicts.
    legacy : bool
        Train with the published slip.
    unseen, target_weights, regression, temperature, centre, validation, repetitions, training, seed
        See `SignalEncoder`.

    Examples
    --------
    >>> ATM(attention={"n_heads": 2}).adapter
    'token'
    """

    _residual_head = True

    def __init__(
        self,
        sizes: Mapping[str, Any] | None = None,
        attention: Mapping[str, Any] | None = None,
        *,
        adapter: str | None = "token",
        unseen: str = "refuse",
        target_weights: Mapping[str, float] | None = None,
        regression: float = 0.0,
        temperature: float = 0.07,
        centre: bool = False,
        legacy: bool = False,
        validation: float = 0.1,
        repetitions: str = "input",
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            sizes,
            adapter=adapter,
            unseen=unseen,
            target_weights=target_weights,
            regression=regression,
            temperature=temperature,
            centre=centre,
            validation=validation,
            repetitions=repetitions,
            training=training,
            seed=seed,
        )
        self.attention = attention
        self.legacy = legacy

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The schedule of the paper, from single trials; fit it to ``{"image": ..., "text": ...}``."""
        training = {"n_epochs": 40, "batch_size": 64, "learning_rate": 3e-4, "schedule": "constant", "warmup": 0.0}
        given: dict[str, Any] = {
            "training": {**training, "device": "auto"},
            "target_weights": {"image": 0.99, "text": 0.01},
        }
        return cls(**(given | changes))

    def _adapters(self) -> tuple[str | None, ...]:
        return ("token", "channels", None)

    def _build(self, n_voxels: Mapping[str, int]) -> SignalNetwork:
        shape = next(iter(self.signals_.values()))
        front = self._made(ChannelTransformer, shape, dict(self.attention or {}))
        body = self._made(TSConvNetwork, shape, dict(self.sizes or {}))
        return self._with_heads(body, n_voxels, shape, front)

    def _loss(self) -> ContrastLoss:
        return replace(super()._loss(), legacy=self.legacy)
