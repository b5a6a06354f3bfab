"""The house rules of DESIGN.md, held by reading the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import brainalign
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "brainalign"

FLOORS = [
    ["errors", "arrays", "tables"],
    ["specs", "cache", "parallel"],
    ["scoring", "learning"],
    ["stimuli", "scenes", "spaces", "trials", "splits", "latents"],
    ["loaders", "voxelwise"],
    ["encoders", "bci"],
    ["reconstruction"],
    ["analysis", "report"],
    ["experiment"],
    ["cli"],
]
ONE_ROOM = [
    {"errors", "arrays", "tables"},
    {"specs", "cache", "parallel"},
    {"stimuli", "scenes", "spaces", "trials", "splits"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS, start=1) for room in rooms}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms of the package that a file imports, in functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("brainalign.")}
    return {room for room in found if room in FLOOR_OF}


def may_import(importer: str, imported: str) -> bool:
    same_room = importer == imported or any({importer, imported} <= room for room in ONE_ROOM)
    return same_room or FLOOR_OF[imported] < FLOOR_OF[importer]


def test_every_module_has_a_floor():
    unknown = {room_of(path) for path in SOURCES} - set(FLOOR_OF) - {"__init__", "__main__", "data_specs"}
    assert not unknown


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if room_of(path) not in ("__init__", "__main__")],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_imports_go_one_way(path):
    upward = {room for room in imported_rooms(path) if not may_import(room_of(path), room)}
    assert not upward, f"{path.name} on floor {FLOOR_OF[room_of(path)]} imports {upward}"


def test_the_import_rule_can_fail(tmp_path):
    hostile = tmp_path / "scoring.py"
    hostile.write_text("def f():\n    from brainalign.analysis import rsa\n")
    assert imported_rooms(hostile) == {"analysis"}
    assert not may_import("scoring", "analysis")


@pytest.mark.parametrize(
    "pattern",
    [
        r"allow_pickle\s*=\s*True",
        r"\bpickle\.loads?\(",
        r"weights_only\s*=\s*False",
        r"yaml\.load\(",
        r"trust_remote_code\s*=\s*True",
        r"\beval\(",
        r"shell\s*=\s*True",
    ],
)
def test_data_is_never_code(pattern):
    offenders = [
        f"{path.name}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line.replace(".eval(", "("))
    ]
    assert not offenders


def test_files_stay_readable():
    long = {str(path.relative_to(REPOSITORY)): n for path in SOURCES if (n := path.read_text().count("\n")) > 450}
    assert not long


def test_import_is_light_and_quick():
    code = (
        "import sys, time; start = time.perf_counter(); import brainalign; seconds = time.perf_counter() - start; "
        "heavy = {'torch', 'mne', 'nilearn', 'diffusers', 'open_clip', 'sklearn', 'matplotlib'} & set(sys.modules); "
        "print(seconds, heavy)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    assert all("set()" in run for run in runs), runs
    assert min(float(run.split()[0]) for run in runs) < 0.5


def test_public_names_resolve():
    assert len(brainalign.__all__) < 25
    for name in brainalign.__all__:
        assert getattr(brainalign, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = brainalign.nothing


def test_no_machine_path_in_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    hidden = re.compile(r"/work/(main|shared|venv|notes)|/root/|pypi\.org|files\.pythonhosted")
    offenders = []
    for name in listed.stdout.split("\n"):
        path = REPOSITORY / name
        if (
            path.suffix in {".py", ".md", ".yaml", ".toml", ".sh", ".j2"}
            and path.name != "test_architecture.py"
            and hidden.search(path.read_text())
        ):
            offenders.append(name)
    assert not offenders
