"""`ShallowConvNet`: EEG and MEG to latents by learnt band power."""

from __future__ import annotations

from brainalign.encoders.ephys.base import SignalEncoder
from brainalign.learning.networks import ShallowNetwork

__all__ = ["ShallowConvNet"]


class ShallowConvNet(SignalEncoder):
    """Logarithm of the power of filters in time and space (Schirrmeister et al. 2017), and a linear map to latents.

    Power knows no sign: responses locked to the stimulus in phase are better read by `TSConv` or `EEGNet`. All
    parameters are those of `SignalEncoder`; ``sizes`` are those of `brainalign.learning.networks.ShallowNetwork`.

    Examples
    --------
    >>> ShallowConvNet({"pool": 30}).get_params()["sizes"]
    {'pool': 30}
    """

    _network = ShallowNetwork
