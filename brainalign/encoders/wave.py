"""`WAVE`: sequences of parcels of the whole brain to image and text latents, by contrast."""

from __future__ import annotations

from typing import Any, Self

from brainalign.encoders.ephys.base import SignalEncoder
from brainalign.learning.networks import ParcelSequence

__all__ = ["WAVE"]


class WAVE(SignalEncoder):
    """A causal transformer over volumes of parcels, with a contrastive head for each latent space.

    WAVE, arXiv 2411.07121. Trials hold parcels by volumes, such as `brainalign.loaders.parcels.parcel_trials` makes;
    fit to ``{"image": latents, "text": latents}``. Parcels of an atlas
    are the same for all subjects, so that with ``unseen="shared"`` a subject never seen is predicted too.
    `brainalign.analysis.ablate` with ``by="network"`` tells what each functional network adds, and
    `brainalign.analysis.decode_imagery` reads imagery. All parameters are those of `SignalEncoder`; ``sizes`` are those
    of `brainalign.learning.networks.ParcelSequence`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> latents = rng.standard_normal((160, 6)).astype("float32")
    >>> X = (latents @ rng.standard_normal((6, 20)))[:, :, None] * np.array([0.2, 1.0, 0.6])
    >>> X += rng.standard_normal(X.shape)
    >>> sizes = {"width": 32, "depth": 1, "n_heads": 2}
    >>> encoder = WAVE(sizes, training={"n_epochs": 20, "learning_rate": 0.005}).fit(X[:120], latents[:120])
    >>> encoder.predict(X[120:]).shape, encoder.score(X[120:], latents[120:]) > 0.5
    ((40, 6), True)
    """

    _network = ParcelSequence

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """Sizes and schedule of the paper's code, for a GPU: 50000 steps of 16 samples there."""
        training = {"batch_size": 16, "learning_rate": 1e-5, "weight_decay": 0.03, "device": "auto"}
        sizes: dict[str, Any] = {"width": 768, "depth": 6, "n_heads": 12, "parcel_dropout": 0.2, "shuffle": 0.5}
        given: dict[str, Any] = {"sizes": sizes, "training": training}
        return cls(**(given | changes))
