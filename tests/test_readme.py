"""Every command and example of the README runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import brainalign
from brainalign.cli import app
from brainalign.specs import DatasetSpec
from tests.conftest import REPOSITORY, data_root

README = (REPOSITORY / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def commands() -> list[str]:
    lines = [line[2:].split("#")[0].strip() for block in blocks("console") for line in block.splitlines()]
    return [line for line in lines if line]


def test_make_knows_the_targets():
    targets = [command.split()[1] for command in commands() if command.startswith("make ")]
    assert {"demo", "test"} <= set(targets)
    for target in [*targets, "test-all", "lint", "bench"]:
        told = subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr


OURS = [one for one in commands() if one.startswith("brainalign ")]
IN_ONE_FOLDER = [one for one in OURS if "runs/decoder" in one]


# Smaller ones of these stand in tests/experiment/test_voxel_commands.py.
LONG = ("brainalign caption", "brainalign synthesize", "brainalign ablate")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(one, marks=[pytest.mark.slow] if one.startswith(LONG) else [])
        for one in OURS
        if one not in IN_ONE_FOLDER
    ],
)
def test_commands_run(command, tmp_path, monkeypatch):
    arguments = shlex.split(command)[1:]
    if "../shared" in command and not data_root().exists():
        pytest.skip(f"'{command}' reads real recordings, which are not at {data_root()}")
    monkeypatch.setenv("BRAINALIGN_DATA", str(data_root()))
    arguments = [str(data_root() / Path(one).name) if one.startswith("../shared") else one for one in arguments]
    arguments = [str(REPOSITORY / one) if one.startswith("scripts/") else one for one in arguments]
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


def test_commands_that_follow_each_other_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(IN_ONE_FOLDER) == 3
    for command in IN_ONE_FOLDER:
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, result.output
    assert "shuffled brain" in result.output


def test_the_example_runs(capsys):
    example = next(block for block in blocks("python") if "draw_scenes" in block)
    assert len(example.strip().splitlines()) <= 13
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "retrieval top-1" in printed and "FFA" in printed


def test_your_own_data(tmp_path, monkeypatch):
    """The three loaders of the README on files of the names it gives."""
    from tests.readme_files import write_own_data

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny = write_own_data(tmp_path)
    # The tree is a small copy of the layout: its own spec stands in for that of the released sizes.
    monkeypatch.setattr(DatasetSpec, "load", lambda name: tiny)
    example = next(block for block in blocks("python") if "load_fmri" in block and "draw_scenes" not in block)
    found = []
    namespace = {"ba": brainalign}
    for line in example.splitlines():
        if line and not line.startswith("#"):
            exec(line, namespace)
            found.append(namespace["trials"])
    assert [one.times is None for one in found] == [True, False, True]
    assert all(np.isfinite(one.responses).all() for one in found)


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (REPOSITORY / target).exists(), target
