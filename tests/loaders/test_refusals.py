"""Every refusal of the loaders and specs is written with what was expected, what was found and how to mend it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SOURCES = [path for room in ("loaders", "specs") for path in sorted((REPOSITORY / "brainalign" / room).rglob("*.py"))]
ERRORS = {"DataError", "SpecError", "LeakageError"}


def incomplete(source: str) -> list[int]:
    """Lines of errors that are made without one of the three."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in ERRORS]
    return [call.lineno for call in made if not {"expected", "found", "fix"} <= {word.arg for word in call.keywords}]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY / "brainalign")))
def test_refusals_are_whole(path: Path) -> None:
    assert incomplete(path.read_text()) == []


def test_the_rule_can_fail() -> None:
    assert incomplete("raise DataError('no')\nraise SpecError('no', expected=1, found=2, fix='three')") == [1]
