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
# # BCI: from a raw EEG file to a pseudo-online report
#
# A brain-computer interface sees a stream, not trials: most of the time nothing is meant, and a decision must come all
# the time. This notebook takes EEG files of imagined movement, decodes cut trials first, then judges the same pipelines
# as they would run, and ends in a report and in MOABB.

# %%
# %matplotlib inline
import tempfile
import warnings
from pathlib import Path

import mne
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

import brainalign as ba
from brainalign.bci import (
    PseudoOnline,
    PseudoOnlineParadigm,
    as_moabb_dataset,
    build_pipeline,
    compare_pipelines,
    evaluate_pipelines,
)
from brainalign.loaders.registry import data_root
from brainalign.loaders.trees import make_tree
from brainalign.report import Report, plots

folder = data_root() / "eegmmidb_s001"
if not folder.is_dir():
    print("SYNTHETIC recording: set BRAINALIGN_DATA to a folder that holds eegmmidb_s001 for a real one")
    folder = make_tree("eegmmidb_s001", tempfile.mkdtemp()).root

# %% [markdown]
# ## 1. Raw files
# Three runs of two minutes: imagined movement of both fists (T1) or both feet (T2), rest (T0) between. Anything that MNE
# reads will do; events may be annotations, a trigger channel, a table or an MNE event file.

# %%
runs = [mne.io.read_raw(folder / f"S001R{run:02d}.edf", verbose="error") for run in (6, 10, 14)]
middle = ("C", "Fc", "Cp")  # over the hand and foot areas
keep = [name for name in runs[0].ch_names if name.rstrip(".").rstrip("0123456789z") in middle]
runs = [raw.load_data(verbose="error").pick(keep) for raw in runs]
print(runs[0], runs[0].annotations.count(), sep="\n")

# %% [markdown]
# ## 2. Trials first
# The usual question: given that a movement is imagined now, which one? Runs are left out whole.

# %%
trials = ba.load_ephys(runs, events=["annotations"] * 3, event_id=["T1", "T2"], tmin=0.5, tmax=4.0, l_freq=8.0, h_freq=30.0)
labels, groups = trials.trials["stimulus_id"].to_numpy(dtype=str), trials.trials["run"].to_numpy()
for name in ("csp_lda", "ts_lr", "mdm"):
    scores = cross_val_score(build_pipeline(name), 1e6 * trials.responses, labels, cv=LeaveOneGroupOut(), groups=groups)
    print(f"{name:8} {scores.mean():.2f} (chance 0.5)")

# %% [markdown]
# ## 3. As it would run
# Windows of two seconds, every half second, over the whole runs. Time outside the tasks is a class of its own. The
# filter runs forward only, folds are blocks of time, and training windows stay a window's length away from the test.

# %%
online = PseudoOnline(window=2.0, step=0.5, task=4.0, band=(8.0, 30.0))
names = {"T1": "fists", "T2": "feet"}
tables = []
for raw in runs:
    table = raw.annotations.to_data_frame(time_format=None)
    table = table.assign(trial_type=table["description"].astype(str).map(names)).dropna(subset="trial_type")
    tables.append(table[["onset", "duration", "trial_type"]].reset_index(drop=True))
results = {name: online.evaluate(runs, tables, build_pipeline(name)) for name in ("ts_lr", "mdm")}
results["ts_lr"].table()[["score", "value", "low", "high", "chance", "n"]]

# %%
plots.score_bars([one for name, one in results["ts_lr"].scores.items() if name in ("nmcc", "balanced_accuracy")])

# %% [markdown]
# What was decided along the first run, beside the truth:

# %%
windows = results["ts_lr"].windows
plots.decision_timeline(windows[windows["run"] == 0])

# %% [markdown]
# ## 4. Why blocks of time
# Neighbouring windows share most of their samples. Shuffled folds put one into training and the next into test, and the
# score flatters; the published protocol did so, and is there for comparison only.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    shuffled = PseudoOnline(window=2.0, step=0.5, task=4.0, band=(8.0, 30.0), protocol="shuffled")
    leaky = shuffled.evaluate(runs, tables, build_pipeline("ts_lr"))
print(next(str(one.message) for one in caught if "leak" in str(one.message)))
print(f"blocks of time {results['ts_lr'].scores['nmcc'].value:.2f}, shuffled {leaky.scores['nmcc'].value:.2f}")

# %% [markdown]
# ## 5. The same inside MOABB
# The runs become a MOABB dataset, the windows a MOABB paradigm. Results of each fold go into a folder as they are made,
# under a key that holds folds, seed, scorer and data, so that a run that was stopped goes on.

# %%
source = {1: {1: dict(enumerate(zip(runs, tables, strict=True)))}}
dataset = as_moabb_dataset(source, code="FistsFeet2004", interval=(0.0, 4.0), events=["fists", "feet"])
paradigm = PseudoOnlineParadigm(8.0, 30.0, window=2.0, step=0.5)
pipelines = {name: build_pipeline(name) for name in ("ts_lr", "mdm")}
store = tempfile.mkdtemp()
table = evaluate_pipelines([dataset], pipelines, paradigm, protocol="pseudo_online", store=store)
table.groupby("pipeline")[["score", "score_balanced_accuracy", "fit_seconds"]].mean()

# %% [markdown]
# ## 6. The report

# %%
report = Report("Fists, feet or nothing?", subtitle="Three runs of one person, judged as they would run.")
for name, result in results.items():
    report.add_scores(list(result.scores.values()), title=name)
    first = result.windows[result.windows["run"] == 0]
    report.add_figure(plots.decision_timeline(first), "Truth and decision along the first run.")
report.section("Do the pipelines differ?").add_table(compare_pipelines(table))
print(report.save(Path(tempfile.mkdtemp()) / "report.html").name)
