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
# # Geometries: comparing brains and networks without fitting anything
#
# Which pictures are alike to a region, and which to a layer? Dissimilarity matrices (RDMs) answer both in the same
# units, so that brains and networks can be compared as they are. This notebook does so on two real recordings, and
# says with every number how sure it is and how good it could have become.

# %%
# %matplotlib inline
import tempfile

import numpy as np
import pandas as pd

import brainalign as ba
from brainalign.analysis import rsa
from brainalign.errors import DataError
from brainalign.loaders.trees import make_tree
from brainalign.report import plots


def load(name, **options):
    """The recording where BRAINALIGN_DATA has it; otherwise a planted stand-in of the same layout, said aloud."""
    try:
        return ba.load(name, **options)
    except DataError:
        print(f"'{name}' is not here (set BRAINALIGN_DATA): a small SYNTHETIC stand-in is used, results mean nothing")
        tree = make_tree(name, tempfile.mkdtemp())
        return ba.load(tree.spec, root=tree.root, **options)


# %% [markdown]
# ## 1. Fifteen people, 92 pictures
# Early visual cortex (EVC) and inferior temporal cortex (IT); this data set comes as RDMs.

# %%
brains = load("images92")
ids = list(brains.stimulus_ids)
icons = [np.asarray(brains.stimuli.image(one).resize((48, 48))) for one in ids]
plots.rdm_grid({name: d.mean(axis=0) for name, d in brains.rdms.items()}, icons=icons, ranked=True)

# %% [markdown]
# ## 2. Models
# Pixels, three depths of a network, and one that knows only what is animate. All are joined by the id of the picture.

# %%
layers = ba.extract(
    brains.stimuli, "offline:efficientnet_lite0", layers=["blocks.1", "blocks.3", "blocks.5"], pool="mean"
)
pixels = ba.extract(brains.stimuli, "pixels:32")
animate = brains.stimuli.table.animate.loc[ids].to_numpy()
models = {"pixels": rsa.rdm(pixels.select(ids)), **{name: rsa.rdm(one.select(ids)) for name, one in layers.items()}}
models["animacy"] = rsa.from_square((animate[:, None] != animate[None]).astype(float))
list(models)

# %% [markdown]
# ## 3. Which model has the geometry of which region?
# Intervals and tests hold for new people *and* new pictures: both are drawn in the bootstrap, and its variance is
# corrected for counting noise twice. The grey band is the noise ceiling: what the true geometry would reach.

# %%
results = {
    region: rsa.evaluate(d, models, method="spearman", bootstrap="both", n_draws=300)
    for region, d in brains.rdms.items()
}
results["IT"].table().round(3)

# %%
table = results["IT"].table().reset_index()
plots.model_bars(
    table,
    pairs=results["IT"].pairs(),
    subjects=results["IT"].subject_scores[:, [list(models).index(name) for name in table["model"]]],
    ceiling=results["IT"].ceiling,
    label="Spearman",
    title="IT",
)

# %%
values = pd.DataFrame({region: one.table()["value"] for region, one in results.items()}).loc[list(models)]
sure = pd.DataFrame({region: one.table()["q_zero"] < 0.05 for region, one in results.items()})
plots.layer_region_map(values, significant=sure, ceiling={region: one.ceiling[0] for region, one in results.items()})

# %% [markdown]
# In the real recordings early cortex goes with the pixels, IT with what is animate and with a late layer; none reaches
# the ceiling.

# %%
plots.mds(brains.rdms["IT"].mean(axis=0), icons=icons, title="IT")

# %% [markdown]
# ## 4. Topology: which region is it?
# The region of a person left out, recognised by the mean of the others, from all distances or only from who is a
# neighbour of whom (`rgtm`).

# %%
stacked = np.stack(list(brains.rdms.values()), axis=1)
summaries = {"distances": stacked, "RGTM 0.2-0.8": rsa.rgtm(stacked), "graph": rsa.rgtm(stacked, low=0.5, high=0.5)}
pd.Series({name: rsa.identify_regions(d).accuracy for name, d in summaries.items()}, name="accuracy (chance 0.5)")

# %% [markdown]
# ## 5. Fingers: from responses, across runs
# Distances of noisy patterns are never zero. Crossnobis distances multiply differences of *different runs*, so that
# noise averages out. Seven people moved five fingers in a 7 T scanner; two models come with the data.

# %%
people = [load("fingers7t", subject=subject) for subject in (1, 2, 3)]
hands = np.stack([rsa.rdm(one, metric="crossnobis", labels="stimulus_id", groups="run") for one in people])
fingers = np.unique(people[0].stimulus_ids)
given = {name: pd.DataFrame(d) for name, d in people[0].info["model_rdms"].items()}
hand_models = {name: rsa.from_square(d.loc[fingers, fingers].to_numpy()) for name, d in given.items()}
result = rsa.evaluate(hands, hand_models, method="whitened_cosine", bootstrap="subjects", n_draws=300)
result.pairs(correct="holm").round(3)

# %%
result.plot().figure

# %% [markdown]
# ## 6. Everywhere: a searchlight
# An RDM around every voxel, compared with a model and forgotten. The brain is simulated, so that we know where the
# model should be found: V1 follows it, FFA does not.

# %%
scenes = ba.draw_scenes(40, seed=0)
features = ba.extract(scenes, "pixels:8")
other = ba.Latents(np.random.default_rng(0).standard_normal((40, 8)), scenes.ids, space="unrelated")
trials, _ = ba.simulate_subject(
    {"V1": features, "FFA": other}, stimuli=scenes, n_repetitions=3, rois={"V1": 60, "FFA": 60}, seed=0
)
order = np.unique(trials.stimulus_ids)
found = rsa.searchlight(trials, {"pixels": rsa.rdm(features.select(order))}, radius_mm=6)
plots.glass_brain(found.map(), label="Spearman with the pixel model")

# %% [markdown]
# The same works along the cortex (`rsa.surface_neighbours`) and over sensors and time; `found.map()` is then a GIFTI
# image or an MNE Evoked, and `found.plot()` a first look. Whole experiments with reports: `brainalign run scripts/experiments/images92_rsa.yaml` and
# `fingers7t_rsa.yaml`.
