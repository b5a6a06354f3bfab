"""What pip gives a user: a wheel with the specs, the demo and the report's templates, that needs no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; it comes with the dev extra")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        wheel.extractall(out / "site")
    return out / "site"


def test_the_wheel_holds_what_is_not_code(unpacked):
    shipped = {path.name for path in (REPOSITORY / "data_specs").glob("*.yaml")}
    assert {path.name for path in (unpacked / "brainalign" / "data_specs").glob("*.yaml")} == shipped
    assert (unpacked / "brainalign" / "experiment" / "demo.yaml").is_file()
    assert list((unpacked / "brainalign" / "report").rglob("*.j2"))
    assert not list(unpacked.rglob("test_*.py"))


def test_the_installed_package_finds_its_files(unpacked, tmp_path):
    code = (
        f"import brainalign; assert brainalign.__file__.startswith({str(unpacked)!r}), brainalign.__file__\n"
        "from brainalign.specs import list_specs\n"
        "from brainalign.experiment import demo_file, load_experiment\n"
        "print(len(list_specs()), load_experiment(demo_file()).name)"
    )
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == [str(len(list((REPOSITORY / "data_specs").glob("*.yaml")))), "demo"]
