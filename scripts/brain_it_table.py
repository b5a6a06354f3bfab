"""What gated read-outs and the diffusion stage do for Brain-IT: the tables of docs/brain_it.md.

Second stage: embeddings of drawn scenes by the embedded CLIP drive the voxels of simulated subjects. Brain-IT is fitted
on some of the scenes and refined on the same through the embedded diffusion pipeline; beside it the first stage alone,
the first stage trained on for as many steps without the pipeline, and both stages with responses that belong to other
pictures. Errors of denoising are over the scenes held out, at three times and with one noise a scene, the same for all.

    python scripts/brain_it_table.py              # prints the table
    python scripts/brain_it_table.py --write      # and puts it into docs/brain_it.md
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

import brainalign as ba
from brainalign.encoders import BrainIT
from brainalign.latents.base import Latents
from brainalign.parallel import progress
from brainalign.reconstruction import load_generator

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "brain_it.md"
N_PICTURES, N_TRAIN = 120, 90
ROIS = dict.fromkeys(("V4", "LOC", "FFA", "PPA"), 30)
ROWS = ("first stage", "first stage, trained on without the pipeline", "both stages", "both stages, shuffled brain")


class Nothing:
    """The pipeline without its error, so that what is left of `refine` is the first stage trained on."""

    def __init__(self, generator: Any) -> None:
        self.name, self.accepts, self.frozen = generator.name, generator.accepts, generator.frozen
        self.latent_shape, self.alphas_cumprod = generator.latent_shape, generator.alphas_cumprod

    def diffusion_error(self, images: torch.Tensor, values: Any, times: Any, seeds: Any) -> torch.Tensor:
        """Zero for each sample."""
        return 0.0 * values["clip"].sum(dim=1)


def error_of(generator: Any, told: np.ndarray, images: Latents) -> float:
    """Mean error of denoising held-out pictures told predicted embeddings."""
    clean, n = torch.as_tensor(np.asarray(images.values)), len(told)
    found = []
    with torch.no_grad():
        for time_step in (350, 650, 950):
            times = torch.full((n,), time_step)
            found.append(generator.diffusion_error(clean, {"clip": torch.as_tensor(told)}, times, list(range(n))))
    return float(torch.stack(found).mean())


def measured(encoder: Any, test: Any, meaning: Latents, images: Latents, generator: Any) -> list[float]:
    """Identification, retrieval, error of denoising, and how much higher it is when told of another picture."""
    predicted = encoder.predict(test)
    truth, clean = meaning.select(predicted.ids), images.select(predicted.ids)
    own = error_of(generator, predicted.values, clean)
    other = error_of(generator, np.roll(predicted.values, 1, axis=0), clean)
    identified = ba.scoring.two_way_identification(predicted, truth).value
    return [identified, ba.scoring.retrieval(predicted, truth).value, own, other - own]


def one_subject(
    seed: int, scenes: tuple[Latents, Latents], generator: Any
) -> tuple[dict[str, list[float]], list[float]]:
    """All rows for one simulated subject, and the errors with true and with mean embeddings."""
    meaning, images = scenes
    trials, _ = ba.simulate_subject(meaning, seed=seed, n_repetitions=1, drift=0.0, n_dimensions=24, rois=ROIS)
    first = np.isin(trials.stimulus_ids, meaning.ids[:N_TRAIN])
    train, test = trials.select(trials=first), trials.select(trials=~first)
    order = np.arange(N_PICTURES)
    order[:N_TRAIN] = np.random.default_rng(seed).permutation(N_TRAIN)
    wrong = [Latents(one.values[order], one.ids, space=one.space, meta=one.meta) for one in scenes]

    def fitted(target: Latents) -> BrainIT:
        return BrainIT(8, 32, n_cross=1, embedding=16, seed=seed).fit(train, target)

    encoder = fitted(meaning)
    made = {
        ROWS[0]: encoder,
        ROWS[1]: encoder.refine(train, meaning, generator=Nothing(generator), images=images),
        ROWS[2]: encoder.refine(train, meaning, generator=generator, images=images),
        ROWS[3]: fitted(wrong[0]).refine(train, wrong[0], generator=generator, images=wrong[1]),
    }
    held = images.select(test.average("stimulus_id").stimulus_ids)
    mean = np.repeat(meaning.values[:N_TRAIN].mean(axis=0, keepdims=True), len(held), axis=0)
    bounds = [error_of(generator, np.asarray(one, np.float32), held) for one in (meaning.at(held.ids), mean)]
    return {row: measured(one, test, meaning, images, generator) for row, one in made.items()}, bounds


def table(n_subjects: int) -> str:
    """The table as markdown."""
    generator = load_generator("mini", device="cpu")
    pictures = ba.draw_scenes(N_PICTURES, seed=11)
    scenes = tuple(ba.extract(pictures, one, cache=False, device="cpu") for one in ("mini", "mini:vae"))
    started = time.process_time()
    numbers = progress(range(n_subjects), description="subjects")
    found = [one_subject(100 + number, scenes, generator) for number in numbers]
    spent = time.process_time() - started
    true, mean = np.mean([bounds for _, bounds in found], axis=0)
    lines = [
        f"Measured on {date.today()} ({platform.machine()}, CPU, {spent:.0f} s of CPU time) by",
        f"`scripts/brain_it_table.py`: {n_subjects} simulated subjects, {N_TRAIN} scenes to learn from,",
        f"{N_PICTURES - N_TRAIN} held out; mean and 95 % interval of the mean over subjects (t). Errors of denoising",
        f"are those of the pipeline on the scenes held out: {true:.3f} when told true embeddings, {mean:.3f} when",
        "told their mean.",
        "",
        f"| | two-way identification | retrieval, 1 of {N_PICTURES - N_TRAIN} | error of denoising |"
        " more when told of another scene |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in ROWS:
        values = np.array([rows[row] for rows, _ in found])
        half = student.ppf(0.975, n_subjects - 1) * values.std(axis=0, ddof=1) / np.sqrt(n_subjects)
        cells = [f"{one:.3f} ± {wide:.3f}" for one, wide in zip(values.mean(axis=0), half, strict=True)]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    change = np.array([np.subtract(rows[ROWS[2]], rows[ROWS[1]]) for rows, _ in found])
    half = student.ppf(0.975, n_subjects - 1) * change.std(axis=0, ddof=1) / np.sqrt(n_subjects)
    cells = [f"{one:+.3f} ± {wide:.3f}" for one, wide in zip(change.mean(axis=0), half, strict=True)]
    return "\n".join([*lines, f"| both stages less first stage trained on, by subject | {' | '.join(cells)} |"])


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    made = table(given.subjects)
    print(made)
    if given.write:
        text = DOCUMENT.read_text()
        marked = re.sub(
            r"(<!-- stage two -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}\n{made}\n\n{m[2]}", text, flags=re.S
        )
        DOCUMENT.write_text(marked)


if __name__ == "__main__":
    main()
