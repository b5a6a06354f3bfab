# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your own data
#
# You have files: a NIfTI series and events, an EEG recording and events, a folder of pictures. This notebook loads
# such files into `Trials`, after which everything in the first two notebooks applies. It first writes a small example
# to a temporary folder; with your own data, skip part 0 and change the paths.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import mne
import nibabel
import numpy as np
import pandas as pd

import brainalign as ba
from brainalign.errors import DataError
from brainalign.report import plots
from brainalign.voxelwise import Ridge

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 0. Files to play with
# Sixty-four pictures, four fMRI runs and an EEG recording of a simulated subject who saw them.

# %%
scenes = ba.draw_scenes(64, seed=0)
(folder / "pictures").mkdir()
for one in scenes:
    scenes.image(one).save(folder / "pictures" / f"{one}.png")

late = ba.extract(scenes, "offline:efficientnet_lite0", layers="blocks.6", pool="mean")["blocks.6"]

# %%
TR, SPACING, N_RUNS = 2.0, 6.0, 4
brain, _ = ba.simulate_subject(
    late, rois={"V1": 60, "FFA": 60}, n_repetitions=3, n_sessions=1, n_runs=N_RUNS, ceiling=(0.4, 0.8), drift=0
)
rng = np.random.default_rng(0)
ijk = brain.units[["i", "j", "k"]].to_numpy()
grid, place = tuple(np.ptp(ijk, axis=0) + 1), tuple((ijk - ijk.min(axis=0)).T)
affine = brain.space.affine.copy()
affine[:3, 3] += affine[:3, :3] @ ijk.min(axis=0)

seconds = np.arange(0, 30, TR)
response_shape = seconds**5 * np.exp(-seconds) / 120 - seconds**15 * np.exp(-seconds) / 7.8e12

for run in range(1, N_RUNS + 1):
    shown = brain.select(f"run == {run}")
    onsets = 8.0 + SPACING * np.arange(shown.n_trials)
    series = np.zeros((int((onsets[-1] + 24) / TR), brain.n_units))
    series[(onsets / TR).astype(int)] = 10 + 5 * shown.responses
    series = np.apply_along_axis(np.convolve, 0, series, response_shape)[: len(series)]
    volumes = np.full((*grid, len(series)), 10.0)
    volumes[place] = 1000 + (series + 0.3 * rng.standard_normal(series.shape)).T
    image = nibabel.Nifti1Image(volumes.astype(np.float32), affine)
    image.header.set_zooms((4.0, 4.0, 4.0, TR))
    nibabel.save(image, folder / f"run-{run}_bold.nii.gz")
    events = pd.DataFrame({"onset": onsets, "duration": 2.0, "stimulus_id": shown.stimulus_ids})
    events.to_csv(folder / f"run-{run}_events.tsv", sep="\t", index=False)

labels = np.zeros(grid, dtype=np.int16)
labels[place] = np.where(brain.units["roi"] == "V1", 1, 2)
nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "areas.nii.gz")
nibabel.save(nibabel.Nifti1Image((labels > 0).astype(np.uint8), affine), folder / "mask.nii.gz")

# %%
scalp, _ = ba.simulate_subject(late, modality="eeg", n_repetitions=6, ceiling=(0.3, 0.4), drift=0)
recording = mne.io.RawArray(
    np.concatenate(list(scalp.responses), axis=1), scalp.space.info(scalp.units), verbose="error"
)
recording.save(folder / "subject_raw.fif", verbose="error")
onsets = 0.2 + 0.81 * np.arange(scalp.n_trials)
category = scenes.table.category.reindex(scalp.stimulus_ids).to_numpy()
events = pd.DataFrame({"onset": onsets, "duration": 0.5, "stimulus_id": scalp.stimulus_ids, "category": category})
events.to_csv(folder / "subject_events.tsv", sep="\t", index=False)
sorted(path.name for path in folder.iterdir())

# %% [markdown]
# ## 1. Pictures
# A folder of files; a file's name is its id.

# %%
pictures = ba.Stimuli.from_folder(folder / "pictures", "*.png")
plots.image_grid([("first ten", [pictures.image(one) for one in pictures.ids[:10]])])

# %% [markdown]
# ## 2. fMRI
# One 4-D image and one events table for each run, a mask, an atlas. `model="lss"` estimates every trial on its own
# (least squares, separate); `"lsa"`, `"block"` and ready-made `"beta"` images are the alternatives. An events table
# needs `onset`, `duration`, and `stimulus_id` (or BIDS' `stim_file` or `trial_type`).

# %%
runs = range(1, N_RUNS + 1)
voxels = ba.load_fmri(
    [folder / f"run-{run}_bold.nii.gz" for run in runs],
    events=[folder / f"run-{run}_events.tsv" for run in runs],
    mask=folder / "mask.nii.gz",
    atlas=folder / "areas.nii.gz",
    labels={1: "V1", 2: "FFA"},
    model="lss",
).with_stimuli(pictures)
voxels = voxels.zscore("run")
voxels

# %% [markdown]
# `Trials` are two tables around an array. Select by asking them:

# %%
voxels.trials.head(3)

# %%
voxels.select("run <= 2", units="roi == 'FFA'")

# %% [markdown]
# ### Which voxels follow the network?

# %%
train, test = ba.split(voxels, by="stimulus_id", test_size=0.25, seed=0)
scores = Ridge().fit(late, train).score_units(late, test)
plots.glass_brain(voxels.to_nifti(scores.r), label="r on new pictures")

# %%
scores.summary()

# %% [markdown]
# `scores.to_nifti("r.nii.gz")` writes the map for any viewer; `voxels.save("my_trials")` keeps the trials, and
# `ba.Trials.open("my_trials")` opens them again without reading them into memory.

# %%
scores.to_nifti(folder / "r.nii.gz")
voxels.save(folder / "my_trials")
ba.Trials.open(folder / "my_trials")

# %% [markdown]
# ## 3. EEG, MEG, depth electrodes
# Whatever MNE reads: FIF, EDF, BrainVision, EEGLAB, ... Filters and references are options, and are recorded.

# %%
epochs = ba.load_ephys(
    folder / "subject_raw.fif",
    events=folder / "subject_events.tsv",
    tmin=-0.15,
    tmax=0.55,
    h_freq=30.0,
    reference="average",
    baseline=(None, 0.0),
)
print(epochs)
epochs.history

# %%
moments = [0.1, 0.2, 0.35]
evoked = epochs.to_evoked()
plots.topomap(
    1e6 * evoked.data[:, evoked.time_as_index(moments)],
    evoked.info,
    titles=[f"{1000 * moment:.0f} ms" for moment in moments],
    label="µV",
)

# %%
seen, new = ba.split(epochs, by="stimulus_id", test_size=0.25, seed=0)
r = Ridge().fit(late, seen).score_units(late, new, n_permutations=0).r
plots.channel_map(r, epochs.times, names=epochs.units["name"], label="network → EEG, r on new pictures")

# %% [markdown]
# ## 4. When something is wrong
# Nothing is repaired in silence: input that does not fit is refused with one message that says what was expected,
# what was found, and how to mend it. A mask from another grid:

# %%
other = nibabel.Nifti1Image(np.ones((10, 10, 10), np.uint8), np.eye(4))
try:
    ba.load_fmri(folder / "run-1_bold.nii.gz", events=folder / "run-1_events.tsv", mask=other)
except DataError as error:
    print(error)

# %% [markdown]
# Events in milliseconds:

# %%
wrong = pd.read_csv(folder / "subject_events.tsv", sep="\t")
wrong["onset"] *= 1000
try:
    ba.load_ephys(folder / "subject_raw.fif", events=wrong)
except DataError as error:
    print(error)

# %% [markdown]
# And the mistake that no file shows: the same picture in train and test.

# %%
model = Ridge().fit(late, train)
try:
    model.score_units(late, voxels)
except DataError as error:
    print(error)

# %% [markdown]
# ## 5. Other ways in
# - Public datasets: `ba.load("nsd", root="~/data/nsd", subject=1)`; `brainalign check nsd ~/data/nsd` says what is
#   missing from your copy.
# - BIDS folders: `brainalign.loaders.load_bids_fmri`.
# - Arrays you already have:

# %%
table = pd.DataFrame({"stimulus_id": ["cat", "dog", "cat"], "run": [1, 1, 2]})
ba.Trials(rng.standard_normal((3, 5)), table)
