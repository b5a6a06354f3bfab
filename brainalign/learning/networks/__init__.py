"""Networks for signals of channels by times, each in a file of its own.

All are built as ``Network(n_channels, n_times, ...)`` and map (n, n_channels, n_times) to features (n, ``width``); a
head of the caller's makes classes or latents of these.
"""

from brainalign.learning.networks.channel_transformer import ChannelTransformer
from brainalign.learning.networks.eegnet import EEGNetwork
from brainalign.learning.networks.parcel_sequence import ParcelSequence
from brainalign.learning.networks.recurrent import RecurrentNetwork
from brainalign.learning.networks.shallow import ShallowNetwork
from brainalign.learning.networks.tsconv import ResidualHead, TSConvNetwork

__all__ = [
    "ChannelTransformer",
    "EEGNetwork",
    "ParcelSequence",
    "RecurrentNetwork",
    "ResidualHead",
    "ShallowNetwork",
    "TSConvNetwork",
]
