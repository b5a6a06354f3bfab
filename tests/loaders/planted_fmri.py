"""A small fMRI recording on disk whose single-trial responses are known."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np
import pandas as pd

SHAPE, TR, N_VOLUMES, N_TRIALS = (6, 5, 4), 1.5, 160, 20
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -8], [0, 0, 3, -6], [0, 0, 0, 1]])


def response_to(onset, duration):
    """Answer to one event sampled at the volumes: a gamma difference convolved on a grid of 0.1 s."""
    from scipy.stats import gamma

    step = 0.1
    lags = np.arange(0, 32, step)
    hrf = gamma.pdf(lags, 6) - gamma.pdf(lags, 16) / 6
    fine = np.zeros(int(N_VOLUMES * TR / step) + 1)
    fine[int(onset / step) : int((onset + duration) / step)] = 1
    return np.interp(np.arange(N_VOLUMES) * TR, np.arange(len(fine)) * step, np.convolve(fine, hrf)[: len(fine)])


@dataclass
class Subject:
    bold: list
    events: list
    mask: str
    atlas: str
    amplitudes: np.ndarray
    inside: np.ndarray
    codes: np.ndarray


def save(path, data, tr=None):
    image = nibabel.Nifti1Image(data, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    if tr:
        image.header["pixdim"][4] = tr
    nibabel.save(image, path)
    return str(path)


def make_subject(folder, *, duration=2.0, gap=11.0, noise=4.0, seed=0, drive=None):
    """Two runs with a planted response per trial and voxel, in 2 % of the baseline; at random, or driven by features.

    `drive` has a row of features (N_TRIALS, n_features) a picture, by its number.
    """
    rng = np.random.default_rng(seed)
    inside = rng.random(SHAPE) < 0.5
    codes = np.where(rng.random(SHAPE) < 0.5, 3, 7).astype(np.int16)
    amplitudes = rng.normal(size=(2, N_TRIALS, inside.sum()))
    orders = [rng.permutation(N_TRIALS) for _ in range(2)]
    if drive is not None:
        amplitudes = np.stack([drive[order] for order in orders]) @ rng.normal(size=(drive.shape[1], inside.sum()))
    bold, events = [], []
    for run, order in enumerate(orders):
        onset = (4 + gap * np.arange(N_TRIALS) + rng.uniform(0, 2, N_TRIALS)).round(1)
        courses = np.stack([response_to(one, duration) for one in onset], axis=1)
        courses /= courses.max()
        series = rng.normal(0, 1, (*SHAPE, N_VOLUMES)) * noise + rng.uniform(400, 600, SHAPE)[..., None]
        series[inside] += 10 * (courses @ amplitudes[run]).T + np.linspace(0, 20, N_VOLUMES)
        bold.append(save(folder / f"run-{run + 1}_bold.nii.gz", series.astype(np.float32), TR))
        names = [f"picture{number:02d}" for number in order]
        table = pd.DataFrame({"onset": onset, "duration": duration, "trial_type": "image", "stimulus_id": names})
        events.append(str(folder / f"run-{run + 1}_events.tsv"))
        table.to_csv(events[-1], sep="\t", index=False)
    mask = save(folder / "mask.nii.gz", inside.astype(np.uint8))
    atlas = save(folder / "atlas.nii.gz", codes)
    return Subject(bold, events, mask, atlas, amplitudes.reshape(2 * N_TRIALS, -1), inside, codes)
