"""Run the shipped experiments; write their scores into docs/measured.md and the headlines among them into the README.

    python scripts/measure.py [--out runs/measure] [--into FOLDER] [--only NAME ...]

Real recordings are found through BRAINALIGN_DATA; an experiment whose recording is absent is left out, by name.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from brainalign.errors import DataError
from brainalign.experiment import run_experiment
from brainalign.scoring.score import Score

_SOURCES = "public recordings and, in experiments named `simulated_...`, from a simulated brain"
HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

SHOWN = {
    "digits69": {
        "six_or_nine/accuracy": "fMRI, V1-V3: six or nine?",
        "identify/pixels/two-way": "fMRI, V1-V3: which of two pictures, from predicted pixels",
        "identify/pixels/two-way within": "the same, two pictures of one class",
    },
    "haxby_category": {
        "category/accuracy": "fMRI, one slice: which of eight categories",
        "zero_shot/accuracy": "the same, which of two categories that were never trained on",
    },
    "images92": {
        "geometry/EVC/pixels": "fMRI, 15 people: geometry of early visual cortex, pixels",
        "geometry/IT/efficientnet blocks.5": "geometry of IT, the best of 7 layers of EfficientNet-lite",
    },
    "images92_rsa": {
        "layers/IT/animacy": "fMRI, 15 people: geometry of IT, animate or not",
        "networks/IT/efficientnet": "geometry of IT, layers of EfficientNet-lite mixed on other pictures",
        "networks/IT/vgg16": "the same, layers of VGG16",
        "regions_of_12/distances": "EVC or IT, from the geometry of 12 pictures in a person left out",
    },
    "fingers7t_rsa": {
        "people/M1/muscle": "fMRI, 7 people: geometry of five fingers in M1, muscle model",
        "people/M1/natural statistics": "the same, model of natural hand use",
        "people/M1/muscle - natural statistics": "muscle model less that of natural hand use",
    },
    "digits69_captions": {
        "captions/caption score": "fMRI, V1-V3: captions of voxels (six or nine) before held-out digits",
        "captions/caption score, shuffled weights": "control: shuffled weights",
    },
    "digits69_reconstruction": {
        "linear/pixels/two-way": "fMRI, V1-V3: which of two, from the picture made; linear encoder, pixels",
        "linear/pixels/two-way, within label": "the same, two pictures of one class",
        "linear/vae/two-way": "linear encoder, latents of the autoencoder",
        "linear/clip/two-way": "linear encoder, CLIP vectors",
        "mindeye2/pixels/two-way": "MindEye2, pixels",
        "mindeye2/pixels/two-way, within label": "the same, two pictures of one class",
        "mindeye2/vae/two-way": "MindEye2, latents of the autoencoder",
        "mindeye2/clip/two-way": "MindEye2, CLIP vectors",
        "brain_it/pixels/two-way": "Brain-IT, pixels",
        "brain_it/pixels/two-way, within label": "the same, two pictures of one class",
        "brain_it/vae/two-way": "Brain-IT, latents of the autoencoder",
        "brain_it/clip/two-way": "Brain-IT, CLIP vectors",
        "linear/pixels/nearest training picture/two-way": "control: the nearest training picture",
        "linear/pixels/shuffled brain/two-way": "control: shuffled brains (n of them), linear encoder, pixels",
        "linear/pixels/PixCorr": "pixel correlation of the pictures made (PixCorr), linear encoder, pixels",
        "linear/pixels/nearest training picture/PixCorr": "control: the nearest training picture",
        "linear/pixels/SSIM": "structural similarity (SSIM), linear encoder, pixels",
        "linear/pixels/nearest training picture/SSIM": "control: the nearest training picture",
        "linear/pixels/AlexNet(2)": "which of two for AlexNet, layer 2, linear encoder, pixels",
        "linear/pixels/nearest training picture/AlexNet(2)": "control: the nearest training picture",
        "linear/pixels/AlexNet(5)": "the same, layer 5, linear encoder, pixels",
        "linear/pixels/nearest training picture/AlexNet(5)": "control: the nearest training picture",
        "linear/pixels/brain correlation, all": "brain correlation of the pictures made, linear encoder, pixels",
    },
    "simulated_reconstruction": {
        "pictures/linear-layout/pixels two-way": "simulated, drawn scenes: which of two, from the one made",
        "pictures/linear-layout/top-1 of layout": "the same, found among 50 by the predicted latents",
        "pictures/linear-layout/nearest training picture/pixels two-way": "control: the nearest training picture",
        "pictures/linear-layout/shuffled brain/pixels two-way": "control: a shuffled brain",
        "pictures/mindeye2/EfficientNet-lite (offline)": "which of two for EfficientNet-lite, MindEye2 and diffusion",
        "pictures/mindeye2/nearest training picture/EfficientNet-lite (offline)": "control: nearest training picture",
        "pictures/mindeye2/shuffled brain/EfficientNet-lite (offline)": "control: a shuffled brain",
    },
    "simulated_eeg_reconstruction": {
        "pictures/tsconv/EfficientNet-lite (offline)": "simulated EEG: which of two for EfficientNet-lite, TSConv",
        "pictures/tsconv/two-way of meaning": "the same, by the predicted latents",
        "pictures/tsconv/nearest training picture/EfficientNet-lite (offline)": "control: the nearest training picture",
        "pictures/tsconv/shuffled brain/EfficientNet-lite (offline)": "control: a shuffled brain",
        "where/window 100 to 200 ms": "latents from 100 to 200 ms alone, ridge",
        "where/window -150 to -50 ms": "the same, before the picture",
    },
    "simulated_ablation": {
        "regions/red": "simulated, regions for faces, red and left: red or not (AUC)",
        "regions/red without V4": "what that loses without the region for red",
        "regions/red without FFA": "the same without the region for faces",
    },
    "simulated_captions": {
        "captions/named": "simulated, regions for four categories: the planted one in a voxel's caption",
        "captions/named, shuffled weights": "control: shuffled weights",
    },
    "simulated_synthesis": {
        "pictures/guided-told/category": "pictures made for each region: the planted category read off them",
        "pictures/prior/category": "by the latent prior",
        "pictures/optimal/category": "the latent that a decoder has for each region, shown",
        "pictures/guided-alone/category": "by the gradient alone",
        "pictures/guided-told/response, meaning": "response in SD, judge on other data (ceiling: natural, 99 %)",
        "pictures/prior/response, other": "judge on another network too, which sees redrawn pictures; latent prior",
        "pictures/prior at 0/response, other": "by it, the prior at scale 0 (above: 12)",
        "pictures/prior at 1/response, other": "by it, the prior at scale 1",
        "pictures/prior at 2/response, other": "by it, the prior at scale 2",
        "pictures/guided-told/response, other": "by it, the gradient at scale 30, told an embedding",
        "pictures/guided-told-strong/response, other": "by it, the gradient at scale 100, told an embedding",
        "pictures/best natural pictures/response, other": "by it, the natural pictures that the guide ranks best",
    },
    "story_segments": {
        "segments/shared space": "fMRI, 36 people hear a story: ten volumes found in the others, correlated components",
        "segments/units as they are": "the same, hubs as they are",
        "segments/random phases": "control: random phases",
    },
    "spikes_decoding": {
        "velocity/ridge/vel_x": "spikes of M1: velocity to the right (R²), ridge regression",
        "velocity/ridge/vel_y": "the same, upwards",
        "velocity/network/vel_x": "velocity to the right, small convolutional network",
        "velocity/network/vel_y": "the same, upwards",
        "velocity/network, rotated/vel_x": "control: velocity of another time, network",
        "velocity_tokens/neuroformer/vel_x": "velocity to the right, transformer over spikes (Neuroformer)",
        "velocity_tokens/neuroformer/vel_y": "the same, upwards",
    },
    "simulated_circuit": {
        "couplings/attribution": "simulated circuit: coupled pairs of units told (AUC), attribution in a Neuroformer",
        "couplings/attention": "the same, from its attention",
        "couplings/glm": "the same, Poisson GLM, the kind of model that made the spikes",
        "couplings/correlation": "the same, lagged correlation",
        "couplings/attribution, shifted": "control: attribution, units shifted apart in time",
    },
    "simulated_neurobolt": {
        "bold/neurobolt/thalamus": "simulated EEG and BOLD: r of a region driven by alpha, small NeuroBOLT",
        "bold/neurobolt/motor": "the same, driven by beta",
        "bold/neurobolt/ventricle": "the same, driven by nothing",
        "bold/neurobolt, another time/motor": "control: BOLD of another time",
        "bold/ridge/thalamus": "driven by alpha, ridge on band power",
        "bold/ridge/motor": "the same, driven by beta",
    },
    "meg_sample": {"modality/accuracy": "MEG: heard or seen?"},
    "muse_n170": {
        "runs/1/auc": "EEG, four dry electrodes: face or house (AUC), subject 1, in runs left out",
        "runs/2/auc": "the same, subject 2",
        "runs/3/auc": "the same, subject 3",
        "stretches/11/auc": "the same, subject 11, in stretches of its one run",
    },
    "muse_chosen": {
        "runs/1/auc": "the same with settings chosen inside the training trials, all trials scored, subject 1",
        "runs/2/auc": "the same, subject 2",
        "runs/3/auc": "the same, subject 3",
        "stretches/11/auc": "the same, subject 11, in stretches of its one run",
    },
    "eegmmidb_time": {
        "fists_or_feet/auc": "EEG: imagined fists or feet (AUC), ShallowConvNet, in runs left out",
        "fists_or_feet/accuracy": "the same, accuracy",
        "chosen/accuracy": "the same, CSP and tangent spaces that did best inside the training runs",
    },
    "eegmmidb_pseudo_online": {
        "fists_feet/ts_lr": "EEG, 1 person: fists or feet imagined, leaving one run out",
        "left_right/ts_lr": "the same, left or right fist",
        "online/ts_lr/nmcc": "fists, feet or idle along the runs (normalised MCC), blocks of time",
        "online/ts_lr/nmcc, shuffled (leaks)": "control: the published shuffled folds, which leak",
    },
    "ssvep_exo": {
        "within_session/cca_lda": "EEG, 6 people: which flicker or rest, within a session",
        "cross_session/cca_lda": "the same, trained on the other session",
        "cross_subject/cca_lda": "the same, trained on other people",
    },
}

HEADLINES = {
    ("digits69", SHOWN["digits69"]["identify/pixels/two-way"]): None,
    ("digits69_reconstruction", SHOWN["digits69_reconstruction"]["mindeye2/pixels/two-way"]): (
        "the same, from the picture that MindEye2 makes"
    ),
    ("digits69_reconstruction", SHOWN["digits69_reconstruction"]["linear/pixels/nearest training picture/two-way"]): (
        "control: the nearest training picture"
    ),
    ("images92_rsa", SHOWN["images92_rsa"]["layers/IT/animacy"]): None,
    ("story_segments", SHOWN["story_segments"]["segments/shared space"]): None,
    ("spikes_decoding", SHOWN["spikes_decoding"]["velocity/network/vel_x"]): (
        "spikes of M1: velocity to the right (R²), small convolutional network"
    ),
    ("spikes_decoding", SHOWN["spikes_decoding"]["velocity/ridge/vel_x"]): "the same, ridge regression",
    ("meg_sample", SHOWN["meg_sample"]["modality/accuracy"]): None,
    ("muse_n170", SHOWN["muse_n170"]["runs/1/auc"]): None,
    ("eegmmidb_pseudo_online", SHOWN["eegmmidb_pseudo_online"]["fists_feet/ts_lr"]): None,
    ("eegmmidb_pseudo_online", SHOWN["eegmmidb_pseudo_online"]["online/ts_lr/nmcc"]): None,
    ("eegmmidb_pseudo_online", SHOWN["eegmmidb_pseudo_online"]["online/ts_lr/nmcc, shuffled (leaks)"]): None,
    ("ssvep_exo", SHOWN["ssvep_exo"]["cross_subject/cca_lda"]): (
        "EEG, 6 people: which flicker or rest, trained on other people"
    ),
    ("simulated_reconstruction", SHOWN["simulated_reconstruction"]["pictures/linear-layout/pixels two-way"]): None,
    ("simulated_captions", SHOWN["simulated_captions"]["captions/named"]): None,
}
"""Rows of the README: experiment and text of docs/measured.md, and another text where that leans on the row above."""


def main() -> int:
    """Run, print the table, and write it and its headlines between the markers of the two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/measure"))
    parser.add_argument("--into", type=Path, default=HERE.parent, help="folder of README.md and docs/measured.md")
    parser.add_argument("--only", nargs="+", choices=list(SHOWN), help="leave the rows of all others as they stand")
    options = parser.parse_args()
    whole, readme = options.into / "docs" / "measured.md", options.into / "README.md"
    standing = _between(whole)
    rows = []
    for name, wanted in SHOWN.items():
        if options.only and name not in options.only:
            rows += [line for line in standing.splitlines() if f"| `{name}`" in line]
            continue
        try:
            scores = run_experiment(HERE / "experiments" / f"{name}.yaml", out=options.out / name).scores
        except DataError as error:
            print(f"{name} left out: {error.what}", file=sys.stderr)
            continue
        date = f" ({datetime.now(UTC):%Y-%m-%d})" if options.only else ""
        rows += [_row(name, told, scores[score], date) for score, told in wanted.items()]
    if not rows:
        print("no recording found: set BRAINALIGN_DATA", file=sys.stderr)
        return 1
    caption = standing.strip().splitlines()[0] if options.only else _caption()
    print(_write(whole, caption, rows))
    _write(readme, caption, headlines(rows))
    return 0


def headlines(rows: list[str]) -> list[str]:
    """Rows of the README out of those of the whole table."""
    found = []
    for (name, told), other in HEADLINES.items():
        row = next((row for row in rows if row.startswith(f"| {told} |") and f"| `{name}`" in row), None)
        if row is not None:
            found.append(row.replace(f"| {told} |", f"| {other or told} |"))
    return found


def _between(path: Path) -> str:
    return path.read_text().split(BEGIN)[1].split(END)[0]


def _write(path: Path, caption: str, rows: list[str]) -> str:
    table = "\n".join(
        [caption, "", "| what | value [95 %] | chance | ceiling | n | experiment |", "|" + "---|" * 6, *rows]
    )
    before, rest = path.read_text().split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")
    return table


def _row(name: str, told: str, score: Score, date: str) -> str:
    ceiling = "–" if score.ceiling is None else f"{score.ceiling:.2f}"
    value = f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
    return f"| {told} | {value} | {score.chance:.3g} | {ceiling} | {score.n} | `{name}`{date} |"


def _caption() -> str:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, no GPU"
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"Made by `python scripts/measure.py` on {date} ({machine}) from {_SOURCES}."


if __name__ == "__main__":
    sys.exit(main())
