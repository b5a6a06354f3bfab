"""One file per kind of analysis: `compute` does it, `show` puts its result into the report."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Analysis
from brainalign.report.report import Report

__all__ = ["compute", "show"]


def _module(analysis: Analysis) -> Any:
    return import_module(f"brainalign.experiment.steps.{analysis.kind}")


def compute(analysis: Analysis, context: Context) -> StepResult:
    """Do one analysis."""
    return _module(analysis).compute(analysis, context)


def show(report: Report, analysis: Analysis, result: StepResult, context: Context) -> None:
    """Add one analysis' section to the report."""
    report.section(analysis.title or analysis.name.replace("_", " "), analysis.text)
    _module(analysis).show(report, analysis, result, context)
