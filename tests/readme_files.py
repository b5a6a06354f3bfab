"""Files of the names that the README uses, small and made on the spot."""

from __future__ import annotations

from pathlib import Path

import mne
import nibabel
import numpy as np
import pandas as pd

from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec


def write_own_data(folder: Path) -> DatasetSpec:
    """Write the fMRI and EEG files that the README names, and a tiny NSD under data/nsd, whose spec is returned."""
    rng = np.random.default_rng(0)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    bold = nibabel.Nifti1Image((1000 + rng.standard_normal((6, 6, 4, 80))).astype(np.float32), affine)
    bold.header.set_zooms((3, 3, 3, 2.0))
    bold.header.set_xyzt_units("mm", "sec")
    nibabel.save(bold, folder / "bold.nii.gz")
    mask = np.zeros((6, 6, 4), np.uint8)
    mask[1:5, 1:5, 1:3] = 1
    atlas = mask.astype(np.int16)
    atlas[3:] *= 2
    nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "brain.nii.gz")
    nibabel.save(nibabel.Nifti1Image(atlas, affine), folder / "rois.nii.gz")
    onsets = np.arange(10, 130, 12.0)
    table = pd.DataFrame({"onset": onsets, "duration": 2.0, "trial_type": ["face", "house"] * 5})
    table.to_csv(folder / "events.tsv", sep="\t", index=False)
    info = mne.create_info(["Cz", "Pz", "Oz"], 100.0, "eeg", verbose="error")
    raw = mne.io.RawArray(1e-6 * rng.standard_normal((3, 16000)), info, verbose="error")
    raw.save(folder / "sub-01_raw.fif", verbose="error")
    (folder / "data").mkdir()
    return make_tree(DatasetSpec.load("nsd"), folder / "data" / "nsd", subjects=[1]).spec
