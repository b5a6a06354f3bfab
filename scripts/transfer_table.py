"""How well does a system take in a new subject from one session? The table of docs/transfer.md.

Embeddings of drawn scenes by the embedded CLIP drive the voxels of simulated subjects, who share the preferred
directions of their regions and nothing else: voxels, tuning around those directions, noise and pictures of the session
are each subject's own. Every system is trained on three subjects, then takes in new ones from one session of few
pictures, and is compared with the same system trained on that session alone, with ridge on it, and with a transfer from
a session whose responses belong to other pictures. All are scored on pictures that no subject was trained on.

    python scripts/transfer_table.py                  # prints the table
    python scripts/transfer_table.py --write          # and puts it into docs/transfer.md
    python scripts/transfer_table.py --system BrainIT --quick
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t
from sklearn.base import clone

import brainalign as ba
from brainalign.encoders import BrainIT, LinearEncoder, MindEye2
from brainalign.latents.base import Latents
from brainalign.reconstruction.controls import shuffle_pairing

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "transfer.md"
N_PICTURES, N_TEST = 400, 100
ROIS = ("V1", "V4", "EBA", "FFA", "PPA", "VWFA")
SYSTEMS: dict[str, Callable[[], Any]] = {
    "MindEye2": lambda: MindEye2(128, 1, prior_depth=0),
    "BrainIT": lambda: BrainIT(contrast=0.3),
}
Way = Callable[[Any], Any]


def world(n_new: int) -> tuple[Latents, dict[str, Any], list[str]]:
    """Latents, the trials of all subjects by name, and the new ones among them."""
    latents = ba.extract(ba.draw_scenes(N_PICTURES, seed=0), "mini", cache=False, device="cpu")
    rng = np.random.default_rng(0)
    preferred = {roi: rng.standard_normal(latents.shape[1]) for roi in ROIS}
    new = [f"new{number}" for number in range(n_new)]
    how: dict[str, Any] = {"n_repetitions": 2, "drift": 0.0, "directions": preferred, "n_dimensions": 24}
    subjects = {}
    for seed, name in enumerate(["1", "2", "3", *new]):
        trials, _ = ba.simulate_subject(latents, seed=seed, **how)
        subjects[name] = trials.with_trials(subject=name)
    return latents, subjects, new


def showing(trials: Any, ids: Any) -> Any:
    """The trials of some pictures."""
    return trials.select(trials=np.isin(trials.stimulus_ids, list(ids)))


def measure(encoder: Any, test: Any, latents: Latents) -> dict[str, float]:
    """Retrieval, identification and correlation on test pictures."""
    predicted = encoder.predict(test)
    truth = latents.select(predicted.ids)
    return {
        "retrieval": ba.scoring.retrieval(predicted, truth).value,
        "identification": ba.scoring.two_way_identification(predicted, truth).value,
        "correlation": encoder.score(test, latents),
    }


def ways_of(name: str, known: dict[str, Any], latents: Latents) -> dict[str, Way]:
    """From a session to a fitted encoder; a shuffled brain goes the first of them.

    A session of twenty pictures has none to spare: MindEye2 gives a tenth of them away to choose its epoch unless told
    not to, which holds it back most where it starts from scratch.
    """
    several, alone = SYSTEMS[name]().fit(known, latents), SYSTEMS[name]()
    ways: dict[str, Way] = {}
    if isinstance(several, MindEye2):
        ways[f"{name}, transfer in closed form"] = lambda trials: several.align(trials, latents, reference=known)
        alone.set_params(validation=0.0), several.set_params(validation=0.0)
    ways[f"{name}, transfer"] = lambda trials: several.transfer(trials, latents)
    first = next(iter(ways.values()))
    return ways | {
        f"{name}, from scratch": lambda trials: clone(alone).fit(trials, latents),
        f"{name}, transfer of a shuffled brain": lambda trials: first(shuffle_pairing(trials)),
        "ridge, from scratch": lambda trials: LinearEncoder().fit(trials, latents),
    }


def rows_of(name: str, sizes: list[int], n_new: int) -> list[dict[str, Any]]:
    """One row for each size of the session and way to learn from it: means over new subjects, gain over scratch."""
    latents, subjects, new = world(n_new)
    train_ids, test_ids = latents.ids[:-N_TEST], latents.ids[-N_TEST:]
    started = time.process_time()
    ways = ways_of(name, {one: showing(subjects[one], train_ids) for one in "123"}, latents)
    print(f"{name}: {time.process_time() - started:.0f} s of CPU on three subjects", flush=True)
    made = []
    for size in sizes:
        session = {
            one: showing(subjects[one], np.random.default_rng([size, row]).permutation(train_ids)[:size])
            for row, one in enumerate(new)
        }
        found: dict[str, dict[str, np.ndarray]] = {}
        for way, learn in ways.items():
            started = time.process_time()
            fitted = {one: learn(trials) for one, trials in session.items()}
            seconds = (time.process_time() - started) / len(new)
            scores = [measure(fitted[one], showing(subjects[one], test_ids), latents) for one in new]
            found[way] = {key: np.array([one[key] for one in scores]) for key in scores[0]}
            made.append({"pictures": size, "way": way, "cpu_s": seconds} | {k: v.mean() for k, v in found[way].items()})
            print(made[-1], flush=True)
        for row in made[-len(ways) :]:
            if "transfer" in row["way"]:  # of a shuffled brain too: it must lose
                gain = found[row["way"]]["correlation"] - found[f"{name}, from scratch"]["correlation"]
                row["gain"], row["half"] = gain.mean(), half_width(gain)
    return made


def half_width(values: np.ndarray) -> float:
    """Of the 95 % t interval of a mean over subjects; NaN for a single one."""
    if len(values) < 2:
        return float("nan")
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def as_table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = (
        "| pictures | learnt by | retrieval of 100 | two-way identification | correlation | gain over scratch | CPU s |"
    )
    lines = [head, "|---|---|---|---|---|---|---|"]
    for row in rows:
        gain = f"{row['gain']:+.3f} ± {row['half']:.3f}" if "gain" in row else "–"
        lines.append(
            f"| {row['pictures']} | {row['way']} | {row['retrieval']:.2f} | {row['identification']:.3f} "
            f"| {row['correlation']:.3f} | {gain} | {row['cpu_s']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=SYSTEMS, action="append", help="default: all")
    parser.add_argument("--subjects", type=int, default=5, help="new ones")
    parser.add_argument("--quick", action="store_true", help="one new subject and one size of the session")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    options = parser.parse_args()
    sizes, n_new = ([40], 1) if options.quick else ([20, 40, 80], options.subjects)
    seen: dict[tuple[int, str], dict[str, Any]] = {}
    for name in options.system or SYSTEMS:
        for row in rows_of(name, sizes, n_new):
            seen.setdefault((row["pictures"], row["way"]), row)
    table = as_table([seen[key] for key in sorted(seen)])
    stamp = (
        f"Made by `python scripts/transfer_table.py --write` on {date.today()} ({platform.machine()}, {os.cpu_count()} "
        f"cores, no GPU); {n_new} new subjects."
    )
    print(table)
    if options.write:
        inside = f"<!-- transfer: begin -->\n{stamp}\n\n{table}\n<!-- transfer: end -->"
        marked = r"<!-- transfer: begin -->.*<!-- transfer: end -->"
        DOCUMENT.write_text(re.sub(marked, lambda _: inside, DOCUMENT.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
