"""How well does a system take in a new subject from one session? A table for docs/brain_it.md.

Simulated subjects share the preferred directions of their regions and nothing else: voxels, tuning around those
directions, noise and pictures of the session are each subject's own. Every system is trained on three subjects, then
takes in a fourth from one session of few pictures, and is compared with the same system trained on that session alone,
and with ridge on it. All are scored on pictures that no subject was trained on.

    python scripts/brain_it_transfer.py                  # prints the table
    python scripts/brain_it_transfer.py --write          # and puts it into docs/brain_it.md
    python scripts/brain_it_transfer.py --system BrainIT --quick
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import brainalign as ba
from brainalign.encoders import BrainIT, LinearEncoder
from brainalign.latents.base import Latents

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "brain_it.md"
N_PICTURES, N_TEST, N_FEATURES = 400, 100, 16
ROIS = ("V1", "V4", "EBA", "FFA", "PPA", "VWFA")


@dataclass(frozen=True)
class System:
    """A system that can take in a subject.

    Parameters
    ----------
    make : callable
        Builds it, unfitted.
    transfer : callable
        ``transfer(fitted, trials, latents)`` returns one that also knows the subject of the trials.
    """

    make: Callable[[], Any]
    transfer: Callable[[Any, Any, Any], Any]


SYSTEMS = {
    "BrainIT": System(lambda: BrainIT(contrast=0.3), lambda fitted, trials, latents: fitted.transfer(trials, latents)),
}


def world(quick: bool) -> tuple[Latents, dict[str, Any], list[str]]:
    """Latents, the trials of all subjects by name, and the new ones among them."""
    rng = np.random.default_rng(0)
    ids = [f"picture{number:03d}" for number in range(N_PICTURES)]
    latents = Latents(rng.standard_normal((N_PICTURES, N_FEATURES)).astype(np.float32), ids, space="simulated")
    preferred = {roi: rng.standard_normal(N_FEATURES) for roi in ROIS}
    new = [f"new{number}" for number in range(1 if quick else 3)]
    subjects = {}
    for seed, name in enumerate(["1", "2", "3", *new]):
        trials, _ = ba.simulate_subject(latents, seed=seed, n_repetitions=2, drift=0.0, directions=preferred)
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


def rows_of(name: str, system: System, sizes: list[int], quick: bool) -> list[dict[str, Any]]:
    """One row for each size of the session and way to learn from it, the mean over new subjects."""
    latents, subjects, new = world(quick)
    train_ids, test_ids = latents.ids[:-N_TEST], latents.ids[-N_TEST:]
    started = time.process_time()
    several = system.make().fit({one: showing(subjects[one], train_ids) for one in "123"}, latents)
    pretraining = time.process_time() - started
    made = []
    for size in sizes:
        session = {
            one: showing(subjects[one], np.random.default_rng([size, row]).permutation(train_ids)[:size])
            for row, one in enumerate(new)
        }
        ways: dict[str, Callable[[Any], Any]] = {
            f"{name}, transfer": lambda trials: system.transfer(several, trials, latents),
            f"{name}, from scratch": lambda trials: system.make().fit(trials, latents),
            "ridge, from scratch": lambda trials: LinearEncoder().fit(trials, latents),
        }
        for way, learn in ways.items():
            started = time.process_time()
            fitted = {one: learn(trials) for one, trials in session.items()}
            seconds = (time.process_time() - started) / len(new)
            scores = [measure(fitted[one], showing(subjects[one], test_ids), latents) for one in new]
            means = {key: np.mean([one[key] for one in scores]) for key in scores[0]}
            spread = np.ptp([one["correlation"] for one in scores])
            made.append({"pictures": size, "way": way, **means, "range": spread, "cpu_s": seconds})
            print(made[-1], flush=True)
    print(f"{name}: {pretraining:.0f} s of CPU on three subjects")
    return made


def as_table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = "| pictures | learnt by | retrieval of 100 | two-way identification | correlation (range) | CPU s |"
    lines = [head, "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['pictures']} | {row['way']} | {row['retrieval']:.2f} | {row['identification']:.3f} "
        f"| {row['correlation']:.2f} ({row['range']:.2f}) | {row['cpu_s']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=SYSTEMS, action="append", help="default: all")
    parser.add_argument("--quick", action="store_true", help="one new subject and one size of the session")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    arguments = parser.parse_args()
    sizes = [40] if arguments.quick else [20, 40, 80]
    seen: dict[tuple[int, str], dict[str, Any]] = {}
    for name in arguments.system or SYSTEMS:
        for row in rows_of(name, SYSTEMS[name], sizes, arguments.quick):
            seen.setdefault((row["pictures"], row["way"]), row)
    table = as_table([seen[key] for key in sorted(seen)])
    stamp = (
        f"Made by `python scripts/brain_it_transfer.py --write` on {date.today()} ({platform.machine()}, CPU, no GPU)."
    )
    print(table)
    if arguments.write:
        text = DOCUMENT.read_text()
        inside = f"<!-- transfer: begin -->\n{stamp}\n\n{table}\n<!-- transfer: end -->"
        marked = r"<!-- transfer: begin -->.*<!-- transfer: end -->"
        DOCUMENT.write_text(re.sub(marked, lambda _: inside, text, flags=re.S))


if __name__ == "__main__":
    main()
