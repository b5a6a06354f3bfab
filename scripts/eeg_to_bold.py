"""BOLD from EEG in several simulated subjects: within a subject, leaving it out, from few volumes, and shuffled.

Bursts of alpha and of beta drive one region each, and a third follows nothing (`simulate_eeg_fmri`); all subjects have
the same bands and places. NeuroBOLT stands beside ridge regression on band power. With ``--write`` the
table goes into ``docs/signals.md``.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
from signal_subjects import DOCS, as_table, put, stamp

from brainalign.encoders import NeuroBOLT
from brainalign.encoders.neurobolt.bands import band_power
from brainalign.latents.base import Latents
from brainalign.loaders.ephys.bold import pair_bold
from brainalign.loaders.simulated.eeg_fmri import SITES, PairDesign, simulate_eeg_fmri
from brainalign.splits import contiguous_folds
from brainalign.trials import Trials
from brainalign.voxelwise import Ridge
from brainalign.voxelwise.inference import PermutationTest, shuffle_test

DESIGN = PairDesign(n_volumes=400, tr=1.0, window=8.0, sfreq=50.0, strength=4.0)
GAP, BLOCK, FEW, N_STRETCHES = 9, 20, 100, 4
BANDS = {"delta": (1, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 25)}
SIZES = {
    **{"width": 16, "patch": 50, "depth": 1, "n_heads": 2, "shortest": 50, "n_scales": 2},
    **{"spectral_depth": 1, "spectral_heads": 2, "dropout": 0.2},
}
TRAINING = {"n_epochs": 15, "learning_rate": 3e-3}
People = dict[str, Trials]


def people(n_subjects: int) -> tuple[People, Latents]:
    """Windows of each subject, and the BOLD of all their volumes."""
    windows, bold = {}, []
    for name in map(str, range(1, n_subjects + 1)):
        eeg, regions, _ = simulate_eeg_fmri(DESIGN, subject=name)
        options: dict[str, Any] = {"onsets": regions.index.to_numpy(), "window": DESIGN.window, "channels": SITES}
        windows[name], one = pair_bold((eeg, DESIGN.sfreq), regions, labels={"subject": name}, **options)
        bold.append(one)
    values, ids = np.concatenate([one.values for one in bold]), [name for one in bold for name in one.ids]
    return windows, Latents(values, ids, space="bold", meta=bold[0].meta)


def by_network(train: People, test: Trials, bold: Latents) -> np.ndarray:
    """Predictions of NeuroBOLT."""
    encoder = NeuroBOLT(SIZES, gap=GAP, unseen="shared", training=TRAINING).fit(train, bold)
    return encoder.predict(test).values


def by_ridge(train: People, test: Trials, bold: Latents) -> np.ndarray:
    """Predictions of ridge regression on band power, its penalties chosen by stretches of time."""
    power = {name: band_power(one, bands=BANDS).values for name, one in train.items()}
    features = np.concatenate(list(power.values()))
    targets = bold.at([one for trials in train.values() for one in trials.stimulus_ids])
    inner = [tuple(fold) for fold in contiguous_folds(len(features), gap=GAP)]
    return Ridge(cv=inner).fit(features, targets).predict(band_power(test, bands=BANDS).values)


SYSTEMS = {"NeuroBOLT": by_network, "ridge on band power": by_ridge}


def rows(windows: People, bold: Latents, system: Any) -> Iterator[tuple[str, list[PermutationTest]]]:
    """Tests of every subject under each protocol."""
    rolled = Latents(np.roll(bold.values, DESIGN.n_volumes // 2, axis=0), bold.ids, space="bold", meta=bold.meta)
    first = {name: one.select(np.arange(FEW)) for name, one in windows.items()}
    rest = {name: one.select(np.arange(FEW + GAP, len(one))) for name, one in windows.items()}

    def others(name: str) -> People:
        return {one: trials for one, trials in windows.items() if one != name}

    def tested(train: Any, tests: People) -> list[PermutationTest]:
        predicted = {name: system(train(name), one, bold) for name, one in tests.items()}
        return [shuffle_test(bold.at(one.stimulus_ids), predicted[name], chunk=BLOCK) for name, one in tests.items()]

    def in_stretches(truth: Latents) -> list[PermutationTest]:
        made = []
        for name, trials in windows.items():
            predicted = np.empty((len(trials), truth.values.shape[1]))
            for fold in contiguous_folds(len(trials), n_splits=N_STRETCHES, gap=GAP):
                train, test = ({name: trials.select(rows)} for rows in fold)
                predicted[fold.test] = system(train, test[name], truth)
            made.append(shuffle_test(truth.at(trials.stimulus_ids), predicted, chunk=BLOCK))
        return made

    yield "within", in_stretches(bold)
    yield "within, few", tested(lambda name: {name: first[name]}, rest)
    yield "leave one out", tested(others, windows)
    yield "all at once, few", tested(lambda name: others(name) | {name: first[name]}, rest)
    yield "within, BOLD of another time", in_stretches(rolled)


def _told(n_subjects: int) -> str:
    """What the table is of, in one paragraph."""
    best = np.sqrt(DESIGN.snr / (1 + DESIGN.snr))
    return (
        f"{stamp()}: {n_subjects} simulated subjects, {DESIGN.n_volumes} volumes each, "
        f"a window of {DESIGN.window:g} s at {DESIGN.sfreq:g} Hz. Bursts of alpha drive the first region, of beta the "
        "second, and nothing the third; all subjects share bands and places. Pearson r, mean over subjects, and in how "
        f"many driven regions q < 0.05 by shuffling blocks of {BLOCK} volumes; noise allows r = {best:.2f} at most. "
        f"Within a subject each of {N_STRETCHES} stretches is predicted from the others, {GAP} volumes apart; few are "
        f"the first {FEW} volumes, which predict the rest. As a control each subject's BOLD is rotated by half the "
        "recording. The network is small; the published one is larger and starts from pretrained weights."
    )


def main() -> None:
    """Read the command line, make the table, put it into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", action="append", choices=list(SYSTEMS), help="repeatable; all by default")
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCS.name}")
    options = parser.parse_args()
    windows, bold = people(options.subjects)
    table = []
    for name in options.system or list(SYSTEMS):
        for protocol, tests in rows(windows, bold, SYSTEMS[name]):
            r, q = np.array([one.statistic for one in tests]), np.array([one.q for one in tests])
            means = dict(zip(bold.meta["rois"], r.mean(axis=0).tolist(), strict=True))
            found = f"{(q[:, :2] < 0.05).sum()} of {q[:, :2].size}"
            table.append({"system": name, "trained": protocol, **means, "driven, q < 0.05": found})
            print(table[-1], flush=True)
    told = textwrap.fill(_told(options.subjects), 120, break_on_hyphens=False)
    text = f"{told}\n\n{as_table(table, tuple(table[0]))}"
    print(text)
    if options.write:
        put(text, "bold")


if __name__ == "__main__":
    main()
