"""`TSConv`: EEG and MEG to latents by the temporal-spatial convolution of NICE."""

from __future__ import annotations

from typing import Any, Self

from brainalign.encoders.ephys.base import SignalEncoder
from brainalign.learning.networks import TSConvNetwork

__all__ = ["TSConv"]


class TSConv(SignalEncoder):
    """Temporal filters, an average over times, spatial filters, and a residual head into latent space.

    Song et al. 2024, "Decoding natural images from EEG for object recognition" (NICE). There the images' latents go
    through a learnt map in training, which is left out when the gallery is searched; here they are contrasted as they
    are. All parameters are those of `SignalEncoder`; ``sizes`` are those of
    `brainalign.learning.networks.TSConvNetwork`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> latents = rng.standard_normal((200, 4)).astype("float32")
    >>> X = (latents @ rng.standard_normal((4, 5)))[:, :, None] * np.sin(np.arange(60) / 5)
    >>> X += rng.standard_normal(X.shape)
    >>> encoder = TSConv({"pool": 9, "n_filters": 8}, training={"n_epochs": 10}).fit(X[:150], latents[:150])
    >>> encoder.predict(X[150:]).shape, encoder.score(X[150:], latents[150:]) > 0.5
    ((50, 4), True)
    """

    _network = TSConvNetwork
    _residual_head = True

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The schedule of NICE, for a GPU: 200 epochs of batches of 1000, from the means of four repetitions."""
        training = {"n_epochs": 200, "batch_size": 1000, "learning_rate": 2e-4, "schedule": "constant", "warmup": 0.0}
        return cls(**({"training": {**training, "weight_decay": 0.0, "device": "auto"}} | changes))
