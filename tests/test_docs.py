"""The recipes in docs/: they compile, and every call in them names arguments that there are."""

from __future__ import annotations

import ast
import inspect
import re

import joblib
import pytest

import brainalign
from brainalign.experiment import run_experiment
from brainalign.splits import folds
from brainalign.voxelwise.many import Encodings, encode_many
from brainalign.voxelwise.scores import UnitScores
from tests.conftest import REPOSITORY

KNOWN = {
    "encode_many": encode_many,
    "scores": Encodings.scores,
    "table": Encodings.table,
    "to_nifti": UnitScores.to_nifti,
    "parallel_config": joblib.parallel_config,
    "run_experiment": run_experiment,
    "extract": brainalign.extract,
    "folds": folds,
}
BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in sorted((REPOSITORY / "docs").glob("*.md"))
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL))
]


def calls_of(block):
    """Every call to one of the known functions: name, number of positional arguments, names of the others."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name in KNOWN:
                yield name, len(node.args), [keyword.arg for keyword in node.keywords]


def fits(name, n_positional, keywords):
    method = "." in KNOWN[name].__qualname__
    inspect.signature(KNOWN[name]).bind(*[None] * (n_positional + method), **dict.fromkeys(keywords))


@pytest.mark.parametrize("block", BLOCKS)
def test_calls_name_arguments_that_there_are(block):
    for call in calls_of(block):
        fits(*call)


def test_a_call_that_does_not_fit_is_found():
    (call,) = calls_of("encode_many(subjects, spaces, folds=5)")
    with pytest.raises(TypeError, match="folds"):
        fits(*call)


def test_the_recipe_says_what_it_needs():
    called = {name for block in BLOCKS for name, *_ in calls_of(block.values[0])}
    assert {"encode_many", "scores", "parallel_config", "run_experiment"} <= called
