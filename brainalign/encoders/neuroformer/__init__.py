"""Neuroformer: spikes as tokens, one after the other; behaviour, generation and connectivity read from them."""

from brainalign.encoders.neuroformer.encoder import Neuroformer
from brainalign.encoders.neuroformer.regressor import NeuroformerRegressor
from brainalign.encoders.neuroformer.tokens import SpikeTokens, to_counts, to_tokens
from brainalign.encoders.neuroformer.windows import bin_spikes, spike_windows

__all__ = [
    "Neuroformer",
    "NeuroformerRegressor",
    "SpikeTokens",
    "bin_spikes",
    "spike_windows",
    "to_counts",
    "to_tokens",
]
