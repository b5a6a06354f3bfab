"""Experiments: one YAML file, run step by step, resumable, ending in a report."""

from __future__ import annotations

from brainalign.experiment.run import Run, demo_file, report_run, run_experiment
from brainalign.experiment.schema import Experiment, load_experiment

__all__ = ["Experiment", "Run", "demo_file", "load_experiment", "report_run", "run_experiment"]
