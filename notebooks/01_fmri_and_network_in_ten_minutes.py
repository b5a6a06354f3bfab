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
# # fMRI and a network, in ten minutes
#
# Someone lies in a scanner and looks at pictures; a network looks at the same pictures. Do brain and network see
# alike? This notebook asks in both directions, network → brain and brain → network, and every number comes with the
# noise ceiling that says how good it could have become.
#
# Everything runs offline: the pictures are drawn, the network came with pip, and the brain is simulated, so that we
# know the truth and can see whether it is found.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import brainalign as ba
from brainalign.analysis import decoding, rsa
from brainalign.encoders import LinearEncoder
from brainalign.report import plots
from brainalign.voxelwise import Ridge

# %% [markdown]
# ## 1. Pictures
# Drawn scenes: one object each, of eight categories. Colour, size, place and background vary independently of what
# is shown.

# %%
scenes = ba.draw_scenes(160, seed=0)
rows = [
    (category, [scenes.image(one) for one in table.index[:8]]) for category, table in scenes.table.groupby("category")
]
plots.image_grid(rows)

# %%
scenes.caption(scenes.ids[0]), scenes.caption(scenes.ids[1])

# %% [markdown]
# ## 2. What a network makes of them
# Three depths of EfficientNet-lite0, each averaged over the picture. `Latents` know which row belongs to which
# stimulus, and where they came from.

# %%
layers = ba.extract(scenes, "offline:efficientnet_lite0", layers=["blocks.0", "blocks.3", "blocks.6"], pool="mean")
early, middle, late = layers["blocks.0"], layers["blocks.3"], layers["blocks.6"]
layers

# %% [markdown]
# ## 3. A brain that looks at them
# The simulated subject's V1 follows the early layer, V4 the middle one, FFA the late one. Every picture is shown four
# times, in two sessions. With your own recording this cell is `ba.load_fmri(...)`, see notebook 3; all else stays.

# %%
trials, truth = ba.simulate_subject(
    {"V1": early, "V4": middle, "FFA": late}, stimuli=scenes, n_repetitions=4, n_sessions=2, n_dimensions=8, seed=0
)
trials = trials.zscore("session")
trials

# %% [markdown]
# How well could any model do? The repetitions tell: what differs between showings of the same picture is noise. The
# ceiling is the share of variance that is not.

# %%
ceiling = trials.noise_ceiling()
print(f"largest error of the estimated ceiling: {np.abs(ceiling - truth.noise_ceiling).max():.2f}")
plots.glass_brain(trials.to_nifti(ceiling), label="noise ceiling of a single trial")

# %% [markdown]
# ## 4. Network → brain
# Split first. `ba.split` keeps all showings of a picture on one side: otherwise a model could recognise the picture
# and recall its noise. Then one ridge regression per layer, each voxel with its own penalty.

# %%
train, test = ba.split(trials, by="stimulus_id", test_size=0.25, seed=0)
models = {name: Ridge().fit(latents, train) for name, latents in layers.items()}
scores = {name: model.score_units(layers[name], test, n_permutations=200) for name, model in models.items()}

table = pd.DataFrame(
    [
        {"layer": name, "ROI": roi, **score.summary(f"roi == '{roi}'").to_row()}
        for name, score in scores.items()
        for roi in ("V1", "V4", "FFA")
    ]
)
plots.score_by_group(table, x="layer", series="ROI", label="mean r on new pictures")

# %% [markdown]
# Each area is best explained by the layer it was made from, and comes close to its ceiling (the short bars). Voxel by
# voxel, for the late layer:

# %%
best = scores["blocks.6"]
plots.unit_scores(best.r, ceiling=np.sqrt(best.ceiling), title="late layer → every voxel")

# %%
plots.glass_brain(trials.to_nifti(best.r), label="r")

# %% [markdown]
# ## 5. Brain → network
# The other way round: from the voxels to the late layer. Then we ask the prediction which of the forty test pictures
# was seen.

# %%
encoder = LinearEncoder().fit(train, late)
predicted = encoder.predict(test)  # Latents: one row for each picture seen
truth_there = late.select(predicted.ids)

retrieval = ba.scoring.retrieval(predicted, truth_there)
identification = ba.scoring.two_way_identification(predicted, truth_there)
plots.score_bars([retrieval, identification])

# %%
similarity = ba.scoring.similarity(predicted.flat(), truth_there.flat())
ranked = np.argsort(-similarity, axis=1)
shown = range(10)
rows = [("seen", [scenes.image(predicted.ids[n]) for n in shown])]
rows += [(f"choice {k + 1}", [scenes.image(predicted.ids[ranked[n, k]]) for n in shown]) for k in range(3)]
plots.image_grid(rows)

# %% [markdown]
# ## 6. Which category?
# A linear classifier on FFA, tested on pictures it never saw.

# %%
category = decoding.decode(trials.select(units="roi == 'FFA'"), "category", by="stimulus_id")
title = f"accuracy {category.score.value:.2f}, chance {category.score.chance:.2f}"
plots.confusion_matrix(category.confusion, category.classes, title=title)

# %% [markdown]
# ## 7. Geometry
# Finally without any fitting: which pictures are alike to an area, and which to a layer?

# %%
mean = trials.average("stimulus_id")
order = list(mean.stimulus_ids)
brain = {roi: rsa.rdm(mean.select(units=f"roi == '{roi}'").responses) for roi in ("V1", "V4", "FFA")}
network = {name: rsa.rdm(latents.at(order).astype(float)) for name, latents in layers.items()}
agreement = pd.DataFrame(
    rsa.compare(np.stack(list(brain.values())), np.stack(list(network.values()))),
    index=list(brain),
    columns=list(network),
)
agreement.round(2)

# %%
by_category = np.argsort([scenes.table.category[one] for one in order], kind="stable")
square = rsa.to_square(brain["FFA"])[np.ix_(by_category, by_category)]
names = [scenes.table.category[order[n]] for n in by_category]
plots.rdm(square, labels=names, ranked=True, title="FFA")

# %% [markdown]
# ## 8. One file to hand on
# The report stands alone: send it, open it anywhere.

# %%
facts = {"trials": trials.n_trials, "voxels": trials.n_units}
report = ba.Report("A simulated subject and EfficientNet-lite0", facts=facts)
report.add_scores([retrieval, identification, category.score])
report.section("Layers and areas").add_figure(plots.score_by_group(table, x="layer", series="ROI", label="mean r"))
path = report.save(Path(tempfile.mkdtemp()) / "report.html")
print(path)

# %% [markdown]
# **Next:** `02_eeg.py` follows the same pictures through time; `03_bring_your_own_data.py` starts from files on disk.
