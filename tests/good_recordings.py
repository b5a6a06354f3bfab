"""Small recordings of every kind, all of them good, and the public calls that read them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mne
import nibabel
import numpy as np
import pandas as pd

import brainalign as ba
from brainalign.loaders.trees import Tree, make_tree
from brainalign.loaders.trees.writers import write_edf

__all__ = ["AFFINE", "SECONDS", "SHAPE", "Copy", "make_latents", "make_trials", "save_volume", "write_good_recordings"]

TR, N_VOLUMES, SHAPE = 2.0, 60, (4, 5, 3)
SECONDS = TR * N_VOLUMES
AFFINE = np.diag([-2.0, 2.0, 2.5, 1.0])


def save_volume(path: Path, data: np.ndarray, *, affine: np.ndarray = AFFINE) -> None:
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    if data.ndim == 4:
        image.header["pixdim"][4] = TR
    nibabel.save(image, path)


def write_good_recordings(folder: Path) -> tuple[Tree, Tree]:
    """One run of fMRI, ten seconds of EEG as FIF and EDF, a tiny NSD and a tiny Du-IN."""
    rng = np.random.default_rng(0)
    series = rng.normal(500, 5, (*SHAPE, N_VOLUMES)).astype(np.float32)
    save_volume(folder / "bold.nii.gz", series)
    save_volume(folder / "bold.nii", series)
    save_volume(folder / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    save_volume(folder / "atlas.nii.gz", rng.integers(1, 3, SHAPE).astype(np.int16))
    onset = 4 + 11.0 * np.arange(10)
    table = pd.DataFrame({"onset": onset, "duration": 2.0, "stimulus_id": [f"picture-{n}" for n in range(10)]})
    table.to_csv(folder / "events.tsv", sep="\t", index=False)
    data = rng.standard_normal((3, 1000))
    info = mne.create_info(["O1", "Oz", "O2"], 100.0, "eeg")
    mne.io.RawArray(data * 1e-6, info, verbose="error").save(folder / "eeg_raw.fif", verbose="error")
    write_edf(folder / "eeg.edf", {"data": data, "ch_names": info["ch_names"], "sfreq": 100})
    table = pd.DataFrame({"onset": [1.0, 3.0, 6.0], "duration": 0.0, "stimulus_id": ["cat", "dog", "cat"]})
    table.to_csv(folder / "eeg_events.tsv", sep="\t", index=False)
    return make_tree("nsd", folder / "nsd", subjects=[1]), make_tree("du_in", folder / "du_in")


@dataclass
class Copy:
    """A copy of the good recordings, and the calls that read it."""

    root: Path
    nsd_spec: ba.DatasetSpec
    du_in_spec: ba.DatasetSpec

    def fmri(self, bold: str = "bold.nii.gz", **options: object) -> ba.Trials:
        given = {"events": self.root / "events.tsv", "mask": self.root / "mask.nii.gz", **options}
        return ba.load_fmri(self.root / bold, **given)

    def eeg(self, recording: str = "eeg_raw.fif", **options: object) -> ba.Trials:
        given = {"events": self.root / "eeg_events.tsv", "tmin": -0.1, "tmax": 0.5, **options}
        return ba.load_ephys(self.root / recording, **given)

    def nsd(self, **options: object) -> ba.Trials:
        return ba.load(self.nsd_spec, root=self.root / "nsd", subject=1, **options)

    def du_in(self) -> ba.Trials:
        return ba.load(self.du_in_spec, root=self.root / "du_in")

    def cut(self, name: str, share: float) -> None:
        """Keep this share of a file; a share of 1 loses its last byte."""
        path = self.root / name
        content = path.read_bytes()
        path.write_bytes(content[: min(math.floor(share * len(content)), len(content) - 1)])

    def change_table(self, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        path = self.root / name
        change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False)

    def change_volume(self, name: str, change: Callable[[np.ndarray], None]) -> None:
        data = np.asarray(nibabel.load(self.root / name).dataobj).copy()
        change(data)
        save_volume(self.root / name, data)


def make_trials(**columns: object) -> ba.Trials:
    """Forty trials of twenty pictures, ten runs, two classes."""
    rng = np.random.default_rng(1)
    table = {"stimulus_id": [f"picture-{n}" for n in range(20)] * 2, "run": np.repeat(np.arange(10), 4)}
    table |= {"label": np.tile(["face", "house"], 20), **columns}
    return ba.Trials(rng.standard_normal((40, 6)), pd.DataFrame(table), pd.DataFrame({"roi": ["V1"] * 3 + ["FFA"] * 3}))


def make_latents(trials: ba.Trials) -> ba.Latents:
    ids = sorted(set(trials.stimulus_ids))
    return ba.Latents(np.random.default_rng(2).standard_normal((len(ids), 4)), ids, space="toy")
