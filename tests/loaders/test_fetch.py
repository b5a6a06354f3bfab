"""Fetching: the right function with the right arguments, and a clear refusal where there is none."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from brainalign.errors import DataError, SpecError
from brainalign.loaders import fetch as module
from brainalign.loaders.check import check_dataset
from brainalign.loaders.fetch import fetch
from brainalign.loaders.trees import make_tree
from brainalign.specs import DatasetSpec, list_specs


class Recorder:
    """Stands for a library's `datasets` module and notes its calls."""

    def __init__(self, *, fails: Exception | None = None) -> None:
        self.calls: list[tuple] = []
        self.fails = fails

    def _call(self, *call: object) -> None:
        self.calls.append(call)
        if self.fails is not None:
            raise self.fails

    def fetch_haxby(self, **options: object) -> None:
        self._call("haxby", options)
        make_tree("haxby2001", Path(str(options["data_dir"])) / "haxby2001", subjects=options["subjects"])

    def fetch_miyawaki2008(self, **options: object) -> None:
        self._call("miyawaki", options)

    def BNCI2014_001(self) -> Recorder:
        return self

    def data_path(self, subject: int, path: str) -> list[str]:
        self._call("bnci", subject, path, os.environ["MNE_DATASETS_BNCI_PATH"])
        return [f"{path}/MNE-bnci-data/database/001-2014/A{subject:02d}{part}.mat" for part in "TE"]


@pytest.fixture
def library(monkeypatch):
    """Put a recorder in the place of nilearn's and MOABB's datasets."""

    def install(**options: Exception) -> Recorder:
        recorder = Recorder(**options)
        for package in ("nilearn", "moabb"):
            fake = types.ModuleType(package)
            fake.datasets = recorder  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, package, fake)
        return recorder

    return install


def test_haxby_through_nilearn(library, tmp_path):
    recorder = library()
    root = fetch("haxby2001", tmp_path / "new", subjects=["2"])
    assert recorder.calls == [("haxby", {"data_dir": str(tmp_path / "new"), "subjects": [2], "verbose": 0})]
    assert root == tmp_path / "new" / "haxby2001"
    spec = DatasetSpec.load("haxby2001").shrunk(subjects=[2])
    assert check_dataset(spec, root).ok


def test_miyawaki_and_bci_iv_2a(library, tmp_path):
    recorder = library()
    assert fetch("miyawaki2008", tmp_path) == tmp_path / "miyawaki2008"
    assert fetch("bci_iv_2a", tmp_path, subjects=[1, 3]) == tmp_path / "MNE-bnci-data" / "database"
    root = str(tmp_path)
    assert recorder.calls[1:] == [("bnci", 1, root, root), ("bnci", 3, root, root)]


def test_the_environment_is_left_as_it_was(library, tmp_path, monkeypatch):
    library(fails=OSError("no route to host"))
    monkeypatch.delenv("MNE_DATASETS_BNCI_PATH", raising=False)
    for before in (None, "/elsewhere"):
        if before:
            monkeypatch.setenv("MNE_DATASETS_BNCI_PATH", before)
        with pytest.raises(DataError):
            fetch("bci_iv_2a", tmp_path, subjects=[1])
        assert os.environ.get("MNE_DATASETS_BNCI_PATH") == before


@pytest.mark.parametrize(
    "error", [OSError("Network is unreachable"), ConnectionError("refused"), ValueError("hash of the file differs")]
)
def test_a_failed_download_is_told_plainly(library, tmp_path, error):
    library(fails=error)
    with pytest.raises(DataError, match="could not download haxby2001") as caught:
        fetch("haxby2001", tmp_path)
    assert str(error) in str(caught.value)
    assert "mend" in str(caught.value)
    assert not isinstance(caught.value, SpecError)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "moabb", None)
    with pytest.raises(DataError, match="moabb is not installed"):
        fetch("bci_iv_2a", tmp_path)


@pytest.mark.parametrize("name", [name for name in list_specs() if DatasetSpec.load(name).fetcher is None])
def test_datasets_without_a_fetcher_say_how_to_get_them(tmp_path, name):
    spec = DatasetSpec.load(name)
    with pytest.raises(SpecError, match="cannot be downloaded") as caught:
        fetch(name, tmp_path / "none")
    for part in (spec.access.how, spec.access.kind, str(spec.licence.value), spec.access.url or ""):
        assert part in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_every_fetcher_of_a_spec_is_on_the_list_and_nothing_else_runs(tmp_path):
    named = {DatasetSpec.load(name).fetcher for name in list_specs()} - {None}
    assert named == set(module._FETCHERS)
    text = Path(module.__file__).parents[2].joinpath("data_specs", "haxby2001.yaml").read_text()
    hostile = tmp_path / "hostile.yaml"
    hostile.write_text(text.replace("nilearn.fetch_haxby", "nilearn.system"))
    with pytest.raises(SpecError, match="not on brainalign's list"):
        fetch(hostile, tmp_path)


def test_the_listed_functions_exist_in_the_installed_libraries():
    nilearn = pytest.importorskip("nilearn.datasets")
    moabb = pytest.importorskip("moabb.datasets")
    for name in module._FETCHERS:
        package, function = name.split(".")
        assert callable(getattr({"nilearn": nilearn, "moabb": moabb}[package], function))


def test_unknown_names_and_subjects(tmp_path):
    with pytest.raises(SpecError, match="Did you mean 'haxby2001'"):
        fetch("haxby", tmp_path)
    with pytest.raises(SpecError, match="no subject 9"):
        fetch("haxby2001", tmp_path, subjects=[9])
