"""How few trials of a new subject suffice: transfer of a model of other subjects against training from scratch.

Simulated subjects see scenes; an offline network's embedding of the scenes drives their voxels. Encoders are
fitted on the first subjects, then transferred to the last one from its first trials, and scored on stimuli that no
subject was trained on. Writes ``docs/transfer.md``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import brainalign as ba
from brainalign.encoders import BrainIT, LinearEncoder, MindEye2
from brainalign.latents import Latents
from brainalign.trials import Trials

DOCS = Path(__file__).resolve().parents[1] / "docs" / "transfer.md"
COLUMNS = ("trials", "system", "transferred", "from scratch", "ridge from scratch", "transferred, shuffled brain")


def mindeye2() -> MindEye2:
    """Small, for vectors."""
    return MindEye2(128, 1, dropout=0.1, prior_depth=0, training={"n_epochs": 20})


def brain_it() -> BrainIT:
    """Its defaults."""
    return BrainIT()


SYSTEMS: dict[str, Callable[[], Any]] = {"MindEye2": mindeye2, "BrainIT": brain_it}


def subjects(n_stimuli: int, n_subjects: int) -> tuple[Latents, dict[str, Trials]]:
    """Embeddings of drawn scenes (their first principal dimensions), and one recording a subject."""
    pictures = ba.draw_scenes(n_stimuli, seed=0)
    latents = ba.extract(pictures, "offline:conse")
    made = {}
    for number in range(n_subjects):
        rois = {"V1": 30 + 5 * number, "V4": 40, "FFA": 30, "PPA": 30 + 3 * number}
        trials, _ = ba.simulate_subject(latents, modality="fmri", seed=number, rois=rois)
        made[str(number + 1)] = trials.average("stimulus_id").with_trials(subject=str(number + 1))
    return latents, made


def shuffled(trials: Trials) -> Trials:
    """Responses no longer belong to their stimuli."""
    order = np.random.default_rng(0).permutation(len(trials))
    return Trials(trials.responses[order], trials.trials, trials.units)


def rows(sizes: list[int], systems: list[str], n_stimuli: int, n_subjects: int) -> list[dict[str, Any]]:
    """One row a system and size: mean correlation over latent dimensions, on held-out stimuli."""
    latents, people = subjects(n_stimuli, n_subjects)
    held = set(latents.ids[-n_stimuli // 4 :])
    first = {name: one.select(~np.isin(one.stimulus_ids, list(held))) for name, one in people.items()}
    newcomer = str(n_subjects)
    test = people[newcomer].select(np.isin(people[newcomer].stimulus_ids, list(held)))
    learnt = first.pop(newcomer)
    table = []
    for system in systems:
        trained = SYSTEMS[system]().fit(first, latents)
        for n in sizes:
            few = learnt.select(np.arange(len(learnt)) < n)
            table.append(
                {
                    "trials": n,
                    "system": system,
                    "transferred": trained.transfer(few, latents).score(test, latents),
                    "from scratch": SYSTEMS[system]().fit(few, latents).score(test, latents),
                    "ridge from scratch": LinearEncoder().fit(few, latents).score(test, latents),
                    "transferred, shuffled brain": trained.transfer(shuffled(few), latents).score(test, latents),
                }
            )
            print(table[-1], flush=True)
    return table


def main() -> None:
    """Read the command line, make the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 40, 80, 150])
    parser.add_argument("--system", action="append", choices=list(SYSTEMS), help="repeatable; all by default")
    parser.add_argument("--stimuli", type=int, default=400)
    parser.add_argument("--subjects", type=int, default=4, help="the last one is new")
    parser.add_argument("--out", type=Path, default=DOCS)
    options = parser.parse_args()
    made = rows(options.sizes, options.system or list(SYSTEMS), options.stimuli, options.subjects)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    lines = [
        "# Transfer to a new subject",
        "",
        f"Made by `python scripts/transfer_table.py` on {datetime.date.today().isoformat()} ({machine}): simulated",
        f"subjects; {options.subjects - 1} of them fitted on, one new; correlation over latent dimensions on",
        f"{options.stimuli // 4} stimuli that no subject was trained on.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in made:
        cells = [f"{row[name]:.3f}" if isinstance(row[name], float) else str(row[name]) for name in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
