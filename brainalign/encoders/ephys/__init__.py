"""EEG, MEG and sEEG: preprocessing with a fit scope, and encoders of signals of channels by times."""

from brainalign.encoders.ephys.regions import RegionChannels
from brainalign.encoders.ephys.repetitions import AverageRepetitions, average_repetitions
from brainalign.encoders.ephys.scaling import ChannelScaler
from brainalign.encoders.ephys.whitening import MVNN, noise_covariance

__all__ = [
    "MVNN",
    "AverageRepetitions",
    "ChannelScaler",
    "RegionChannels",
    "average_repetitions",
    "noise_covariance",
]
