"""One self-contained HTML report, and the plots that go into it."""

from brainalign.report.report import Report

__all__ = ["Report"]
