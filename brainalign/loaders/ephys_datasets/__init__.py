"""Published EEG, MEG and intracranial data sets in the layout of their release, a file each."""

from brainalign.loaders.ephys_datasets.bci_iv_2a import load_bci_iv_2a
from brainalign.loaders.ephys_datasets.du_in import load_du_in
from brainalign.loaders.ephys_datasets.podcast_ecog import load_podcast_ecog
from brainalign.loaders.ephys_datasets.things_meg import load_things_meg

__all__ = ["load_bci_iv_2a", "load_du_in", "load_podcast_ecog", "load_things_meg"]
