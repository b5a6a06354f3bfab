"""EEG of several simulated subjects: within a subject, leaving it out, all at once, and what a little data gains.

Subjects share sources and electrodes, but not exactly: each has its own mixture of the sources' time courses over the
scalp on top of a common one. Encoders find the picture seen among those held out. With ``--write`` the table goes into
``docs/signals.md``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

import brainalign as ba
from brainalign.analysis.decoding import score_subjects
from brainalign.encoders import ATM, EEGNet, TSConv
from brainalign.latents import Latents
from brainalign.trials import Trials

DOCS = Path(__file__).resolve().parents[1] / "docs" / "signals.md"
TRAINING = {"n_epochs": 20, "batch_size": 32, "learning_rate": 5e-3}
SIZES = {"n_filters": 12, "kernel": 5, "pool": 9, "dropout": 0.3}
SYSTEMS: dict[str, Any] = {
    "TSConv": TSConv(SIZES, unseen="shared", training=TRAINING),
    "ATM": ATM(SIZES, {"n_heads": 2, "hidden": 64}, unseen="shared", training=TRAINING),
    "EEGNet": EEGNet({"kernel": 13, "pools": (2, 4)}, unseen="shared", training=TRAINING),
}
COLUMNS = ("system", "within", "leave one out", "all at once", "within, few", "all at once, few", "shuffled")


def people(n_stimuli: int, n_subjects: int, own: float, seed: int = 0) -> tuple[Latents, dict[str, Trials]]:
    """Latents, and one recording a subject: a common response plus `own` times one of its own."""
    rng = np.random.default_rng(seed)
    latents = Latents(rng.standard_normal((n_stimuli, 8)), [f"p{n:03d}" for n in range(n_stimuli)], space="simulated")
    options = {"modality": "eeg", "n_repetitions": 1, "sfreq": 50.0, "drift": 0.0, "ceiling": (0.6, 0.7)}
    common, _ = ba.simulate_subject(latents, seed=1000 * seed + 100, **options)
    order = np.argsort(common.stimulus_ids.astype(str))
    made = {}
    for number in range(1, n_subjects + 1):
        mine, truth = ba.simulate_subject(latents, seed=1000 * seed + number, **options)
        signal = truth.signal.at(common.stimulus_ids)
        noise = mine.responses - truth.signal.at(mine.stimulus_ids)
        responses = common.responses + own * signal + noise
        made[str(number)] = Trials(
            responses[order].astype(np.float32),
            common.trials.iloc[order].assign(subject=str(number)),
            common.units,
            times=common.times,
            space=common.space,
        )
    return latents, made


def shuffled(trials: Trials) -> Trials:
    """Responses no longer belong to their stimuli."""
    return trials.with_responses(trials.responses[np.random.default_rng(0).permutation(len(trials))])


def mean(scores: dict[str, Any], names: list[str]) -> float:
    """2-way accuracy, mean over subjects."""
    return float(np.mean([scores[name]["2-way top-1"].value for name in names]))


def row(system: str, latents: Latents, everyone: dict[str, Trials], few: int) -> dict[str, Any]:
    """One system under every protocol; the last subject also with `few` training trials."""
    n = len(latents)
    test_ids = list(latents.ids[-n // 4 :])
    held = {name: one.select(np.isin(one.stimulus_ids, test_ids)) for name, one in everyone.items()}
    learnt = {name: one.select(~np.isin(one.stimulus_ids, test_ids)) for name, one in everyone.items()}
    last = list(everyone)[-1]
    little = {**learnt, last: learnt[last].select(np.arange(len(learnt[last])) < few)}
    encoder, names = SYSTEMS[system], list(everyone)
    only = {last: held[last]}
    return {
        "system": system,
        "within": mean(score_subjects(encoder, learnt, held, latents), names),
        "leave one out": mean(score_subjects(encoder, learnt, held, latents, protocol="loso"), names),
        "all at once": mean(score_subjects(encoder, learnt, held, latents, protocol="joint"), names),
        "within, few": mean(score_subjects(encoder, {last: little[last]}, only, latents), [last]),
        "all at once, few": mean(score_subjects(encoder, little, held, latents, protocol="joint"), [last]),
        "shuffled": mean(score_subjects(encoder, {last: shuffled(learnt[last])}, only, latents), [last]),
    }


def stamp() -> str:
    """What made a table, when and where."""
    command = " ".join(["python", f"scripts/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return f"Made by `{command}` on {datetime.date.today().isoformat()} ({platform.machine()}, {os.cpu_count()} cores)"


def as_table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """Markdown; numbers with two digits."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for one in rows:
        cells = [f"{one[name]:.2f}" if isinstance(one[name], float) else str(one[name]) for name in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def put(text: str, part: str) -> None:
    """Replace what stands between the marks of a part of ``docs/signals.md``."""
    inside = f"<!-- {part}: begin -->\n{text}\n<!-- {part}: end -->"
    marked = f"<!-- {part}: begin -->.*<!-- {part}: end -->"
    DOCS.write_text(re.sub(marked, lambda _: inside, DOCS.read_text(), flags=re.S))


def main() -> None:
    """Read the command line, make the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", action="append", choices=list(SYSTEMS), help="repeatable; all by default")
    parser.add_argument("--stimuli", type=int, default=240)
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--few", type=int, default=30)
    parser.add_argument("--own", type=float, default=1.0, help="a subject's own response beside the common one")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCS.name}")
    options = parser.parse_args()
    latents, everyone = people(options.stimuli, options.subjects, options.own)
    rows = []
    for system in options.system or list(SYSTEMS):
        rows.append(row(system, latents, everyone, options.few))
        print(rows[-1], flush=True)
    text = f"""{stamp()}:
{options.subjects} simulated subjects whose EEG is a common response to the latents of {options.stimuli}
pictures plus one of their own (weight {options.own:g}), in single trials. Which of two pictures that nobody
was trained on (chance 0.5), mean over subjects; with few training trials
({options.few}), and with responses shuffled among pictures, for the last subject.

{as_table(rows, COLUMNS)}"""
    print(text)
    if options.write:
        put(text, "subjects")


if __name__ == "__main__":
    main()
