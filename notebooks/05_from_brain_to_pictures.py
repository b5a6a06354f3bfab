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
# # From a brain to pictures
#
# A simulated subject sees drawn scenes. A ridge decoder learns the way from voxels to the latents of an autoencoder and
# of a joint image-text space, and what it predicts for new scenes is turned into pictures. Beside them stand the
# controls without which a reconstruction says little: the same generator fed with true latents, a shuffled brain, noise,
# and the nearest training picture. With your own data, replace part 1.

# %%
# %matplotlib inline
import brainalign as ba
from brainalign.encoders import LinearEncoder, roi_optimal
from brainalign.reconstruction import control_pictures, reconstruction_table
from brainalign.reconstruction.simple import simple_generator
from brainalign.report import plots

# %% [markdown]
# ## 1. A recording, and latents of what was seen
# Early visual cortex follows the autoencoder of the embedded mini models, higher areas its CLIP. Real models go by their
# names: `"vae:stabilityai/sd-vae-ft-mse"`, `"open_clip:ViT-H-14/laion2b_s32b_b79k"`.

# %%
scenes = ba.draw_scenes(180, seed=0)
low, clip = ba.extract(scenes, "mini:vae", device="cpu"), ba.extract(scenes, "mini", device="cpu")
driven = {"V1": low, "FFA": clip, "PPA": clip}
trials, truth = ba.simulate_subject(
    driven, stimuli=scenes, n_repetitions=2, rois={"V1": 300, "FFA": 60, "PPA": 60}, n_dimensions=60,
    ceiling=(0.5, 0.8), drift=0,
)
train, test = ba.split(trials, by="stimulus_id", test_size=40, seed=0)
trials

# %% [markdown]
# ## 2. Brain to latents
# One decomposition of the responses serves every target; the spread of predictions is learnt from training samples that
# were held out, so that one picture can be decoded alone.

# %%
latents = {"low": low, "clip": clip}
encoder = LinearEncoder().fit(train, latents)
predicted = encoder.predict(test)
ba.scoring.retrieval(predicted["clip"], clip.select(predicted["clip"].ids))

# %% [markdown]
# ## 3. Latents to pictures, with controls

# %%
generator = simple_generator("decode", latents, train)
pictures = generator.generate(predicted, seed=0)
controls = control_pictures(encoder, generator, train, test, latents, seed=0)
shown = pictures.ids[:8]
rows = [("seen", scenes), ("from the brain", pictures), *controls.items()]
plots.image_grid([(name, [one.image(i) for i in shown]) for name, one in rows])

# %%
reconstruction_table(pictures, test.stimuli.select(pictures.ids), protocol="40 new scenes", controls=controls, metrics=["PixCorr", "SSIM"])

# %% [markdown]
# ## 4. What a region stands for
# A pattern that is active in one region alone, through the decoder's weights: the latent of that region, and the
# training pictures nearest to it.

# %%
best = roi_optimal(encoder, {"FFA": "roi == 'FFA'", "PPA": "roi == 'PPA'"}, units=trials)
centred = clip.flat() - clip.flat().mean(axis=0)
nearest = ((best["clip"].flat() - clip.flat().mean(axis=0)) @ centred.T).argsort(axis=1)[:, ::-1][:, :8]
plots.image_grid([(name, [scenes.image(clip.ids[i]) for i in row]) for name, row in zip(best["clip"].ids, nearest)])

# %% [markdown]
# ## 5. Keep it
# The encoder is a folder of two files, without pickle. The same in the shell: `brainalign fit`, `brainalign reconstruct`,
# `brainalign score`.

# %%
encoder.save("decoder")
ba.load_encoder("decoder")
