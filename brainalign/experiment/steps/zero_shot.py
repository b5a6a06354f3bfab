"""Classes that were never trained on, told apart by the text embeddings of their names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from brainalign.analysis.decoding import zero_shot_decode
from brainalign.encoders import LinearEncoder
from brainalign.errors import DataError
from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import ZeroShot
from brainalign.latents import extract_text
from brainalign.report import plots
from brainalign.report.report import Report

__all__ = ["compute", "show"]


def compute(analysis: ZeroShot, context: Context) -> StepResult:
    """Leave two classes out, learn responses to text embeddings from the others, tell the two apart."""
    trials = context.chosen(analysis)
    classes = sorted(trials.trials[analysis.label].unique())
    if missing := [one for one in classes if one not in analysis.texts]:
        raise DataError(f"no text for class {missing[0]!r}", expected=classes, found=sorted(analysis.texts))
    texts = {one: analysis.texts[one] for one in classes}
    embeddings = extract_text(texts, analysis.model, cache=context.cache)
    encoder = LinearEncoder(rescale=False)
    found = zero_shot_decode(trials, embeddings, analysis.label, encoder=encoder, seed=context.experiment.seed)
    score = replace(found.score, name=f"{analysis.label} told apart, never trained on")
    facts = {"classes": list(found.classes), "per_class": found.per_class().to_dict(), "texts": texts}
    return StepResult({f"{analysis.name}/accuracy": score}, {"confusion": found.confusion}, facts)


def show(report: Report, analysis: ZeroShot, result: StepResult, context: Context) -> None:
    """For each pair of classes, how often the left-out trials fell to the right one."""
    classes = result.facts["classes"]
    named = [f"{one} ({result.facts['texts'][one]})" for one in classes]
    figure = plots.confusion_matrix(np.asarray(result.arrays["confusion"]), named)
    report.add_figure(
        figure,
        f"Trials of two classes that were left out of training, decided between the text embeddings ({analysis.model}) "
        "of their names. Rows: the true class; columns: the decided one.",
    )
