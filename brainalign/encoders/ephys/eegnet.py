"""`EEGNet`: EEG and MEG to latents by few parameters."""

from __future__ import annotations

from brainalign.encoders.ephys.base import SignalEncoder
from brainalign.learning.networks import EEGNetwork

__all__ = ["EEGNet"]


class EEGNet(SignalEncoder):
    """Separable convolutions in time and over channels (Lawhern et al. 2018), and a linear map into latent space.

    All parameters are those of `SignalEncoder`; ``sizes`` are those of `brainalign.learning.networks.EEGNetwork`.

    Examples
    --------
    >>> EEGNet({"kernel": 32}, temperature=0.1).get_params()["sizes"]
    {'kernel': 32}
    """

    _network = EEGNetwork
