"""One file per kind of analysis: `compute` does it, `show` reports it, `unit_maps` has its values per unit.

What a report needs may stand in a file of its own beside it, such as ``captions_report``; `tables` become files.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from brainalign.experiment.context import Context
from brainalign.experiment.folder import StepResult
from brainalign.experiment.schema import Analysis
from brainalign.report.report import Report

__all__ = ["compute", "show", "tables", "unit_maps"]


def _module(analysis: Analysis) -> Any:
    return import_module(f"brainalign.experiment.steps.{analysis.kind}")


def compute(analysis: Analysis, context: Context) -> StepResult:
    """Do one analysis."""
    return _module(analysis).compute(analysis, context)


def unit_maps(analysis: Analysis, result: StepResult, context: Context) -> dict[str, np.ndarray]:
    """Values per unit to be kept as files, by name; many analyses have none."""
    module = _module(analysis)
    return module.unit_maps(analysis, result, context) if hasattr(module, "unit_maps") else {}


def tables(analysis: Analysis, result: StepResult, context: Context) -> dict[str, pd.DataFrame]:
    """Tables to be kept as files, by name; many analyses have none."""
    module = _module(analysis)
    return module.tables(analysis, result, context) if hasattr(module, "tables") else {}


def show(report: Report, analysis: Analysis, result: StepResult, context: Context) -> None:
    """Add one analysis' section to the report."""
    report.section(analysis.title or analysis.name.replace("_", " "), analysis.text)
    _module(analysis).show(report, analysis, result, context)
