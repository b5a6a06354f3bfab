"""EEG, MEG and intracranial recordings: whatever MNE reads, and BIDS folders, to time-resolved `Trials`."""

from brainalign.loaders.ephys.bids import load_bids_ephys
from brainalign.loaders.ephys.load import load_ephys
from brainalign.loaders.ephys.options import EphysOptions

__all__ = ["EphysOptions", "load_bids_ephys", "load_ephys"]
