"""What joint training over modalities gives to people of whom there is little data.

Three people with EEG (see ``signal_subjects.py``), one seen by other sensors over other times ("MEG"), and two with
fMRI. The last of EEG and the last of fMRI have a few training trials only. Each is decoded by a ridge map and by
`UnifiedEncoder` from its own trials, with the others of its modality, and with everyone; the last column trains with
everyone while the responses of those two are shuffled among their pictures. With ``--write`` the table goes into
``docs/signals.md``.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from signal_subjects import as_table, people, put, shuffled, stamp

import brainalign as ba
from brainalign.encoders import LinearEncoder, UnifiedEncoder
from brainalign.latents import Latents
from brainalign.scoring import two_way_identification
from brainalign.trials import Trials

LITTLE = ("eeg-3", "fmri-2")
COLUMNS = ("little data of", "ridge, alone", "alone", "with its modality", "with everyone", "gain", "shuffled")
SIZES: dict[str, Any] = {
    **{"width": 32, "rank": 16, "n_fused": 8, "n_experts": 2, "dropout": 0.2},
    "signal": {"kernel": 5, "pool": 9, "n_filters": 8, "dropout": 0.2},
}
BATCH, N_EPOCHS = 48, 20


def recordings(n_stimuli: int, seed: int) -> tuple[Latents, dict[str, Trials]]:
    """Latents of pictures, and everyone's single trials of them by name."""
    latents, eeg = people(n_stimuli, 4, 1.0, seed)
    made = {f"eeg-{name}": one for name, one in eeg.items() if name != "4"}
    mix = np.random.default_rng([seed, 1]).standard_normal((eeg["4"].n_units, 48)) / np.sqrt(eeg["4"].n_units)
    later = eeg["4"].select(times=(-0.1, 0.6))
    sensors = np.einsum("nct,cs->nst", later.responses, mix).astype(np.float32)
    made["meg-1"] = Trials(sensors, later.trials, times=later.times)
    for number in (1, 2):
        made[f"fmri-{number}"], _ = ba.simulate_subject(
            latents, rois={"V1": 40, "FFA": 40}, n_repetitions=1, ceiling=(0.2, 0.4), seed=1000 * seed + 50 + number
        )
    return latents, {name: one.with_trials(subject=name) for name, one in made.items()}


def encoder(n_samples: int, n_most: int) -> UnifiedEncoder:
    """With as many steps for few samples as for many."""
    per_epoch = -(-n_samples // BATCH)
    n_epochs = round(N_EPOCHS * -(-n_most // BATCH) / per_epoch)
    return UnifiedEncoder(**SIZES, training={"n_epochs": n_epochs, "batch_size": BATCH, "learning_rate": 5e-3})


def rows(n_stimuli: int, few: int, seed: int) -> list[dict[str, Any]]:
    """Share of pairs identified for each person with little data, by what was trained on."""
    latents, everyone = recordings(n_stimuli, seed)
    tested = np.array(latents.ids[-n_stimuli // 4 :])
    held = {name: everyone[name].select(np.isin(everyone[name].stimulus_ids, tested)) for name in LITTLE}
    learnt = {name: one.select(~np.isin(one.stimulus_ids, tested)) for name, one in everyone.items()}
    for name in LITTLE:
        learnt[name] = learnt[name].select(np.arange(len(learnt[name])) < few)
    n_most = sum(len(one) for one in learnt.values())

    def scored(fitted: Any, name: str) -> float:
        return float(two_way_identification(fitted.predict(held[name]), latents.select(list(tested))).value)

    def trained(chosen: dict[str, Trials]) -> UnifiedEncoder:
        return encoder(sum(map(len, chosen.values())), n_most).fit(chosen, latents)

    joint = trained(learnt)
    control = trained({**learnt, **{name: shuffled(learnt[name]) for name in LITTLE}})
    made = []
    for name in LITTLE:
        kin = {one: trials for one, trials in learnt.items() if one.split("-")[0] == name.split("-")[0]}
        made.append(
            {
                "little data of": name,
                "ridge, alone": scored(LinearEncoder().fit(learnt[name], latents), name),
                "alone": scored(trained({name: learnt[name]}), name),
                "with its modality": scored(trained(kin), name),
                "with everyone": scored(joint, name),
                "shuffled": scored(control, name),
            }
        )
        made[-1]["gain"] = made[-1]["with everyone"] - made[-1]["alone"]
        print(seed, made[-1], flush=True)
    return made


def summary(parts: list[dict[str, Any]], few: int) -> list[dict[str, Any]]:
    """Mean over seeds with the smallest and the largest."""
    made = []
    for name in LITTLE:
        own = [one for one in parts if one["little data of"] == name]
        row: dict[str, Any] = {"little data of": f"{name.split('-')[0]} ({few} trials)"}
        for column in COLUMNS[1:]:
            values = [one[column] for one in own]
            row[column] = f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
        made.append(row)
    return made


def main() -> None:
    """Read the command line, make the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stimuli", type=int, default=200)
    parser.add_argument("--few", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--write", action="store_true", help="put the table into docs/signals.md")
    options = parser.parse_args()
    started = time.process_time()
    parts = [row for seed in range(options.seeds) for row in rows(options.stimuli, options.few, seed)]
    text = f"""{stamp()}, {time.process_time() - started:.0f} s of processor time:
{options.seeds} simulations of three people with EEG, one with other sensors over other times, two with fMRI, in single
trials of {options.stimuli} pictures, a quarter held out from everyone. Share of pairs of those in which the right one
is told (chance 0.5) for the people with little data, mean over simulations (smallest to largest). Networks take the
same number of steps; the gain is that of everyone over alone.

{as_table(summary(parts, options.few), COLUMNS)}"""
    print(text)
    if options.write:
        put(text, "modalities")


if __name__ == "__main__":
    main()
