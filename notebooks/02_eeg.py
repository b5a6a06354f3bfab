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
# # EEG: the same questions, through time
#
# Electrodes answer *when*. This notebook follows pictures through a simulated EEG (32 electrodes) and a few
# depth-electrode contacts (sEEG): when does category appear, when does a network's view of the picture, and how does
# that compare with the onsets that were planted?

# %%
# %matplotlib inline
import numpy as np

import brainalign as ba
from brainalign.analysis import decoding
from brainalign.encoders import LinearEncoder
from brainalign.report import plots
from brainalign.voxelwise import Ridge

# %% [markdown]
# ## 1. A recording
# Occipital electrodes follow an early layer of the network, temporal and parietal ones a late layer. A real recording
# comes from `ba.load_ephys(...)` (notebook 3) and is used in the same way.

# %%
scenes = ba.draw_scenes(160, seed=0)
layers = ba.extract(scenes, "offline:efficientnet_lite0", layers=["blocks.0", "blocks.6"], pool="mean")
early, late = layers["blocks.0"], layers["blocks.6"]

trials, truth = ba.simulate_subject(
    {"occipital": early, "temporal": late, "parietal": late},
    modality="eeg",
    stimuli=scenes,
    n_repetitions=6,
    ceiling=(0.3, 0.4),
    n_dimensions=8,
    seed=0,
)
print(trials)
print("planted onsets:", truth.onsets)

# %% [markdown]
# ## 2. The average response
# `to_evoked` leads back to MNE, with electrode positions, so that all of MNE's tools are at hand.

# %%
evoked = trials.to_evoked()
moments = [0.0, 0.1, 0.17, 0.3, 0.5]
at = [int(np.abs(trials.times - moment).argmin()) for moment in moments]
plots.topomap(
    1e6 * evoked.data[:, at], evoked.info, titles=[f"{1000 * moment:.0f} ms" for moment in moments], label="µV"
)

# %% [markdown]
# How much of a single trial is signal? From the repetitions, for every channel and time:

# %%
ceiling = trials.noise_ceiling()
order = np.argsort(trials.units["region"].to_numpy(), kind="stable")
plots.channel_map(
    ceiling[order], trials.times, names=trials.units["name"].to_numpy()[order], label="noise ceiling of a trial"
)

# %% [markdown]
# ## 3. When can the category be read out?
# At each time point a classifier learns faces against words from all electrodes, and is tested on pictures it has
# never seen.

# %%
two = trials.select(trials.stimuli.table.category.reindex(trials.stimulus_ids).isin(["face", "word"]).to_numpy())
category = decoding.decode_over_time(two, "category", by="stimulus_id", estimator="lda")
plots.time_course(
    category.times,
    category.values,
    interval=(category.low, category.high),
    chance=category.chance,
    label="accuracy, faces against words",
)

# %% [markdown]
# ## 4. Network → EEG
# The same ridge regression as for voxels; every channel at every time is one target. "Best possible" is the noise
# ceiling for averages of six trials: how well a perfect model would do.

# %%
train, test = ba.split(trials, by="stimulus_id", test_size=0.25, seed=0)
layer_scores = {
    name: Ridge().fit(latents, train).score_units(latents, test, n_permutations=0)
    for name, latents in {"early layer": early, "late layer": late}.items()
}


def over_time(region):
    here = (trials.units["region"] == region).to_numpy()
    curves = {name: scores.r[here].mean(axis=0) for name, scores in layer_scores.items()}
    curves["best possible"] = np.sqrt(trials.noise_ceiling(6)[here].mean(axis=0))
    return plots.time_course(trials.times, curves, chance=0.0, label=f"r, {region} electrodes")


over_time("occipital")

# %%
over_time("temporal")

# %% [markdown]
# The early layer comes first, at the back of the head; the late layer follows at the side. That is what was planted:

# %%
{name: f"{1000 * onset:.0f} ms" for name, onset in truth.onsets.items()}

# %% [markdown]
# ## 5. EEG → network
# Half a second of EEG predicts the late layer; which of the forty test pictures was it?

# %%
window = (0.05, 0.5)
encoder = LinearEncoder().fit(train.select(times=window), late)
predicted = encoder.predict(test.select(times=window))
plots.score_bars(
    [
        ba.scoring.retrieval(predicted, late.select(predicted.ids), top=5),
        ba.scoring.two_way_identification(predicted, late.select(predicted.ids)),
    ]
)

# %% [markdown]
# ## 6. Depth electrodes
# The same call with `modality="seeg"` gives shafts of contacts and high-gamma envelopes. Only the contacts inside a
# source answer; the ceilings show which, and when.

# %%
depth, depth_truth = ba.simulate_subject(late, modality="seeg", stimuli=scenes, n_repetitions=4, seed=1)
plots.channel_map(depth.noise_ceiling(), depth.times, names=depth.units["name"], label="noise ceiling of a trial")

# %%
clear = depth.noise_ceiling().max(axis=1) > 0.15
found = depth.units[clear].groupby("shaft").agg(contacts=("name", ", ".join), region=("region", "first"))
found.assign(planted_onset=[f"{1000 * depth_truth.onsets[shaft]:.0f} ms" for shaft in found.index])

# %% [markdown]
# **Next:** `03_bring_your_own_data.py` does all this from files.
