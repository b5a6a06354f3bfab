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
# # Ask a voxel what it likes
#
# In words, in pictures, and by taking it away. A simulated subject sees drawn scenes; one region prefers faces, one
# houses. What is asked of its voxels is asked again of shuffled ones, and every answer is judged by something that took
# no part in it. The last part asks voxels of a real visual cortex. With real models the calls are the same
# (`"open_clip:..."` for `"mini"`, `"unclip:..."` for the generator); the same in the shell: `brainalign caption`,
# `brainalign synthesize`, `brainalign ablate`.

# %%
# %matplotlib inline
from dataclasses import replace

import numpy as np
import pandas as pd

import brainalign as ba
from brainalign.analysis import DecodingTasks, ablate_regions, captions, synthesis
from brainalign.encoders import LinearEncoder
from brainalign.errors import DataError
from brainalign.report import plots
from brainalign.voxelwise import Ridge

# %% [markdown]
# ## 1. A recording with the truth known

# %%
prefers = {"FFA": "category == 'face'", "PPA": "category == 'house'"}
trials, truth = ba.load(
    "simulated", model="mini", n_stimuli=240, n_repetitions=2, n_dimensions=2, rois={"FFA": 20, "PPA": 20},
    prefers=prefers,
)
shown = trials.stimuli.table.loc[list(trials.stimulus_ids), "category"]
trials = trials.with_trials(category=shown.to_numpy())
clip = ba.extract(trials.stimuli, "mini")
train, test = ba.split(trials, by="stimulus_id", test_size=0.25, seed=0)
model = Ridge().fit(clip, train)
trials

# %% [markdown]
# ## 2. In words
# The weights of each voxel point to where in the space of pictures it is driven most, but not to a place where pictures
# are. A softmax over a bank of natural pictures brings them there; the nearest caption of another bank says it.

# %%
bank = ba.extract(ba.draw_scenes(500, seed=101), "mini")
others = ba.draw_scenes(500, seed=102)
sentences = {one: others.caption(one) for one in others.ids}
known = captions.TextBank(ba.extract_text(sentences, "mini"), sentences)
said = captions.caption(model, bank, known, units=trials)
said.table().groupby("roi").head(2)[["roi", "caption"]]

# %% [markdown]
# Are the captions true? What a caption shares with those of pictures that were held out is taken for the voxel's
# predicted response to them, by another text model. Beside it, the captions of shuffled weights.

# %%
shuffled = captions.caption(np.random.default_rng(0).permuted(model.coef_.T, axis=1), bank, known, units=trials)
judged = {
    name: captions.score_captions(some, test, "offline:minilm", n_permutations=99)
    for name, some in {"captions": said, "shuffled weights": shuffled}.items()
}
plots.score_bars([replace(one.summary, name=name) for name, one in judged.items()], title="caption score")

# %% [markdown]
# Back on the brain: how much more each voxel speaks for faces than for other things.

# %%
categories = captions.category_scores(
    said.embeddings, {name: [f"a photo of a {name}"] for name in ("face", "house", "food", "tool", "plant", "word")}
)
faces = (categories["face"] - categories.mean(axis=1)).to_numpy()
plots.brain_slices(said.to_nifti(faces - faces.mean()), label="face (cosine)")

# %%
profiles = captions.region_profiles(said, categories, n_draws=500)
profiles.pivot(index="region", columns="category", values="share")

# %% [markdown]
# Is a region one thing? Parts are found in one half of the stimuli and tested in the other. These regions were planted
# whole; two of them taken together come apart.

# %%
halves = {"FFA": "roi == 'FFA'", "both": None}
parts = {name: captions.subdivide(clip, train, bank, where=where, n_permutations=200) for name, where in halves.items()}
pd.DataFrame({name: {"stability": one.stability, "p": one.p_stable} for name, one in parts.items()})

# %% [markdown]
# ## 3. In pictures
# A guide is fitted on one half of the stimuli and leads a diffusion model; a judge on the other half says what the
# pictures would do. Below them the natural pictures that the guide likes best, of 300 that neither has seen.

# %%
guiding, judging = ba.split(trials, by="stimulus_id", test_size=0.5, seed=0)
guide, judge = (
    synthesis.PictureEncoder(Ridge().fit(clip, half), "mini", units=trials, device="cpu") for half in (guiding, judging)
)
natural = ba.draw_scenes(300, seed=103)
led = synthesis.Guided(
    scale=30.0, steps=10, solver="ddim", lead_from=0.05, guidance=2.0, through_network=False,
    prior=synthesis.PlugAndPlay(bank),
)
generator = ba.load_generator("mini", device="cpu", steps=10)
rows, made = [], {}
for region in prefers:
    where = f"roi == '{region}'"
    made[region] = synthesis.synthesize(guide, where, generator=generator, n=5, seed=0, sampler=led)
    inside = (trials.units["roi"] == region).to_numpy()
    best = np.argsort(-guide.predict(natural)[:, inside].mean(axis=1))[:5]
    rows.append((f"made for {region}", [made[region].image(one) for one in made[region].ids]))
    rows.append(("best natural", [natural.image(natural.ids[row]) for row in best]))
plots.image_grid(rows)

# %% [markdown]
# The ceiling is the 99th percentile of natural pictures. A judge on the guide's own network can be deceived by what
# deceives the guide (`same_network`): the experiment `simulated_synthesis` asks one on another network too.

# %%
verdicts = {
    region: synthesis.judge_synthesis(some, f"roi == '{region}'", guide=guide, judge=judge, natural=natural)
    for region, some in made.items()
}
pd.DataFrame(
    {region: {"response (SD)": one.summary.value, "99 % of natural": one.summary.ceiling, "beats": one.beats_natural}
     for region, one in verdicts.items()}
)  # fmt: skip

# %% [markdown]
# ## 4. By taking it away
# The other way round: decode, silence a region, decode again. Which picture it was is lost a little with either; the
# attribute that a region was planted to carry is lost with that region alone.

# %%
encoder = LinearEncoder().fit(train, {"picture": clip})
tasks = DecodingTasks(train, {"picture": clip}, {"face": prefers["FFA"], "house": prefers["PPA"]})
losses = ablate_regions(encoder, test, tasks, by="roi", seed=0)
table = losses.table()
plots.layer_region_map(
    table.pivot(index="task", columns="region", values="loss"),
    significant=table.assign(sure=table["q"] < 0.05).pivot(index="task", columns="region", values="sure"),
    label="loss of decoding",
)

# %%
losses.dissociations().query("q < 0.05")

# %% [markdown]
# ## 5. A real visual cortex
# One person, 100 handwritten sixes and nines, V1 to V3 (`digits69`). No network that reads is needed: captions lie where
# their pictures do, and what a voxel likes is itself a picture. (`images92` has pictures too, but comes as RDMs: there
# are no voxels to ask.)

# %%
try:
    digits = ba.load("digits69")
except DataError as error:
    digits = None
    print(f"This part is left out: digits69 is not here.\n{error}")

# %%
answers = {}
if digits is not None:
    pixels = ba.extract(digits.stimuli, "pixels:28:grey")
    seen, held_out = ba.split(digits, by="stimulus_id", test_size=0.25, seed=0)
    areas = seen.select(units="roi in ['V1', 'V2', 'V3']")
    digit_bank = pixels.select(dict.fromkeys(seen.stimulus_ids))
    lines = captions.TextBank(digit_bank, {one: digits.stimuli.caption(one) for one in digit_bank.ids})
    real = Ridge().fit(pixels, areas)
    liked = captions.caption(real, digit_bank, lines, units=areas)
    dealt = captions.caption(np.random.default_rng(0).permuted(real.coef_.T, axis=1), digit_bank, lines, units=areas)
    for name, some in {"voxels of V1 to V3": liked, "shuffled weights": dealt}.items():
        answers[name] = captions.score_captions(some, held_out, "offline:minilm", n_permutations=99)
    print({name: str(one.summary) for name, one in answers.items()})

# %% [markdown]
# The voxels whose caption predicts best, and what they like: the picture that their weights become among natural digits.

# %%
if answers:
    order = np.argsort(-answers["voxels of V1 to V3"].r)[:10]
    likes = liked.embeddings.flat()[order].reshape(-1, 28, 28)
    grey = (255 * likes / likes.max(axis=(1, 2), keepdims=True)).clip(0, 255).astype(np.uint8)
    names = [f"{liked.units['roi'].iloc[row]}: {liked.texts[row].split()[-1]}" for row in order]
    figure = plots.image_grid([("likes", list(grey))], columns=names)
figure if answers else None
