"""Specs: what they state, what they refuse, and that nothing outside a dataset's folder is ever opened."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from brainalign.errors import DataError, SpecError
from brainalign.specs import DatasetSpec, dataset, find_inside, list_specs, read_yaml, resolve_inside
from brainalign.specs.schema import FileEntry, placeholders
from tests.conftest import REPOSITORY

MINIMAL = """
id: small
title: Small
version: "1"
modality: fmri
loader: fmri
sources: {me: this test}
licence: {value: unknown, source: me, confidence: unverified}
access: {kind: local, how: none, source: me, confidence: verified}
cite: {value: nobody, source: me, confidence: verified}
facts:
  subjects: {value: [1, 2], source: me, confidence: verified}
  sessions: {value: {1: 2, 2: 1}, source: me, confidence: verified}
  grid: {value: {1: [3, 4], 2: [5, 6]}, source: me, confidence: paper}
files:
  bold:
    pattern: "sub-{subject:02d}/ses-{session}/bold.npy"
    format: npy
    shape: ["grid[0]", "grid[1]", n_free, null]
    source: me
    confidence: verified
"""

OPENED: list[str] = []
WATCHING = False


def _watch(event: str, arguments: tuple) -> None:
    if WATCHING and event in ("open", "os.listdir", "os.scandir"):
        OPENED.append(str(arguments[0]))


sys.addaudithook(_watch)  # cannot be taken off again, hence the switch


@pytest.fixture
def opened():
    """Every path that is opened or listed while the test runs."""
    global WATCHING
    OPENED.clear()
    WATCHING = True
    yield OPENED
    WATCHING = False


def spec_with(old: str = "", new: str = "") -> DatasetSpec:
    return DatasetSpec.from_dict(yaml.safe_load(MINIMAL.replace(old, new)))


# What the shipped specs say


@pytest.mark.parametrize("name", list_specs())
def test_every_statement_has_a_source_and_a_confidence(name):
    spec = DatasetSpec.load(name)
    assert spec.id == name
    for statement in spec.statements():
        assert spec.sources[statement.source]
        assert statement.confidence in ("verified", "paper", "unverified")
        if spec.sources[statement.source].startswith("recalled"):
            assert statement.confidence == "unverified"


@pytest.mark.parametrize("name", list_specs())
def test_every_shape_and_path_of_a_spec_can_be_resolved(name, tmp_path):
    for spec in (DatasetSpec.load(name), DatasetSpec.load(name).shrunk()):
        for entry in spec.files:
            for subject in spec.subjects:
                assert all(path.is_relative_to(tmp_path) for path in spec.paths(tmp_path, entry, subject=subject))
                for array in spec.files[entry].contents:
                    shape = spec.shape_of(array, subject)
                    assert shape is None or all(not isinstance(n, int) or n > 0 for n in shape)


def test_counts_agree_with_each_other():
    """The notes give totals and parts separately: the one is the oracle of the other."""
    nsd, bold, fmri = (DatasetSpec.load(name) for name in ("nsd", "bold5000", "things_fmri"))
    assert sum(nsd.fact("sessions", s) for s in nsd.subjects) * nsd.fact("trials_per_session") == nsd.fact("trials")
    n_repeated = bold.fact("n_repeated")
    assert bold.fact("n_stimuli") - n_repeated + 4 * (n_repeated - 1) + 3 == bold.fact("trials")
    n_test = fmri.fact("n_test_images") * fmri.fact("repeats")
    assert fmri.fact("n_train_images") + n_test == fmri.fact("trials")
    meg, eeg, bci = (DatasetSpec.load(name) for name in ("things_meg", "things_eeg2", "bci_iv_2a"))
    assert meg.fact("n_concepts") * 12 == meg.fact("n_train_images")
    assert eeg.fact("n_train_concepts") * 10 == eeg.fact("n_train_images")
    assert bci.fact("runs") * bci.fact("trials_per_run") == bci.fact("trials_per_session")


def test_nsd_paths_and_shapes_are_the_released_ones(tmp_path):
    spec = DatasetSpec.load("nsd")
    (path,) = spec.paths(tmp_path, "betas_hdf5", subject="5", session=12)
    folder = "nsddata_betas/ppdata/subj05/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    assert str(path.relative_to(tmp_path)) == f"{folder}/betas_session12.hdf5"
    assert spec.shape_of(spec.files["betas_hdf5"], 5) == (750, 78, 97, 79)
    assert spec.files["betas_hdf5"].scale == 300
    assert len(spec.paths(tmp_path, "betas_hdf5", subject=4)) == 30
    other = spec.path(tmp_path, "betas_hdf5", subject=1, session=1, space="func1mm", beta_version="fithrf")
    assert "func1mm/betas_fithrf/" in str(other)


def test_specs_travel_in_the_wheel_and_are_found_there(tmp_path, monkeypatch):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["data_specs"] == "brainalign/data_specs"
    package = tmp_path / "site-packages" / "brainalign"
    (package / "specs").mkdir(parents=True)
    (package / "data_specs").mkdir()
    (package / "data_specs" / "small.yaml").write_text(MINIMAL)
    monkeypatch.setattr(dataset, "__file__", str(package / "specs" / "dataset.py"))
    assert list_specs() == ["small"]
    assert DatasetSpec.load("small").title == "Small"


# What a spec may not be


def test_unknown_names_are_refused_with_the_closest():
    with pytest.raises(SpecError, match="Did you mean 'haxby2001'"):
        DatasetSpec.load("haxby2010")
    spec = spec_with()
    with pytest.raises(SpecError, match="Did you mean 'bold'"):
        spec.paths("/nowhere", "bald")
    with pytest.raises(SpecError, match="Did you mean 'sessions'"):
        spec.fact("session")
    with pytest.raises(SpecError, match="no subject 3"):
        list(spec.expand("bold", subject=3))
    with pytest.raises(SpecError, match="no placeholder"):
        list(spec.expand("bold", hemisphere="lh"))
    with pytest.raises(SpecError, match="has no fact"):
        spec.shrunk(n_sessions=2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: Small", "title: Small\ncode: print(1)", "code"),
        ("modality: fmri", "modality: telepathy", "modality"),
        ("loader: fmri", "loader: os.system", "loader"),
        ('version: "1"', 'version: "1"\nfetcher: os.system', "fetcher"),
        ("source: me, confidence: paper", "source: me", "facts.grid.confidence"),
        ("source: me, confidence: paper", "source: me, confidence: sure", "facts.grid.confidence"),
        ("source: me, confidence: paper", "source: hearsay, confidence: paper", "hearsay"),
        ("subjects: {value: [1, 2]", "subjects: {value: 2", "facts.subjects"),
        ("ses-{session}", "ses-{session.__class__}", "placeholder"),
        ("ses-{session}", "ses-{session!r}", "placeholder"),
        ("ses-{session}", "ses-{0}", "placeholder"),
        ("ses-{session}", "run-{run}", "no values for placeholder"),
        ("ses-{session}", "..", "leaves its folder"),
        ("sub-{subject:02d}/", "/sub-{subject:02d}/", "absolute"),
        ("sub-{subject:02d}/", "C:/sub-{subject:02d}/", "absolute"),
        ("sub-{subject:02d}/", "~/sub-{subject:02d}/", "absolute"),
        ("sub-{subject:02d}/", "sub-{subject:02d}\\\\", "backslash"),
        ("sub-{subject:02d}/", "sub\\0-{subject:02d}/", "control character"),
        ("shape:", "axes: [x, y]\n    shape:", "2 axes named for a shape of 4"),
        ("title: Small", "title: Small\ntiny: {nothing: 3}", "tiny replaces"),
    ],
)
def test_a_spec_with_a_fault_is_refused_by_name(tmp_path, old, new, message):
    path = tmp_path / "bad.yaml"
    assert old in MINIMAL
    path.write_text(MINIMAL.replace(old, new, 1))
    with pytest.raises(SpecError, match=message) as caught:
        DatasetSpec.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch SENTINEL']",
        "a: !!python/name:os.system",
        "!!python/object/new:os.system ['touch SENTINEL']",
        "a: !!binary aGVsbG8=",
        "a: !mine 3",
        "a: 2023-08-20",
        "a: &x [1]\nb: *x",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]",
        "a: 1\na: 2",
        "a: {b: 1, b: 2}",
        "<<: {a: 1}",
        "- just\n- a list",
        "",
        "a: [1",
        "a: " + "[" * 5000,
        "a: " + "9" * 5000,
        "---\na: 1\n---\nb: 2",
    ],
    ids=range(17),
)
def test_yaml_is_plain_or_refused(tmp_path, text):
    sentinel = tmp_path / "sentinel"
    path = tmp_path / "bad.yaml"
    path.write_text(text.replace("SENTINEL", str(sentinel)))
    with pytest.raises(SpecError, match=r"bad\.yaml"):
        read_yaml(path)
    assert not sentinel.exists()


def test_yaml_files_are_capped_and_must_be_text(tmp_path):
    path = tmp_path / "big.yaml"
    path.write_text("a: " + "x" * 2000)
    assert read_yaml(path)["a"] == "x" * 2000
    with pytest.raises(SpecError, match="too large"):
        read_yaml(path, max_bytes=1000)
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(SpecError, match="cannot read"):
        read_yaml(path)
    with pytest.raises(SpecError, match="cannot read"):
        read_yaml(tmp_path / "absent.yaml")


def test_specs_are_frozen():
    spec = spec_with()
    with pytest.raises(ValidationError):
        spec.title = "other"


# Paths


HOSTILE = ["../secret", "a/../../secret", "/etc/passwd", "~/x", "C:\\x", "C:/x", "a\\b", "a\0b", "a\nb", "", " ", ".."]


def test_the_watch_sees_what_is_opened(tmp_path, opened):
    find_inside(tmp_path, "*.npy")
    assert str(tmp_path) in opened


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_refused_before_anything_is_opened(tmp_path, opened, text):
    with pytest.raises(SpecError):
        resolve_inside(tmp_path, text)
    with pytest.raises(SpecError):
        find_inside(tmp_path, text)
    assert opened == []


@pytest.mark.parametrize("value", ["../..", "..", "1/../../2", "/etc", "a b", "", ".hidden", "a\\b", "a\0", "*", "{x}"])
def test_hostile_entities_are_refused(tmp_path, opened, value):
    with pytest.raises(SpecError):
        spec_with().paths(tmp_path, "bold", subject=1, session=value)
    with pytest.raises(SpecError):
        spec_with().paths(tmp_path, "bold", subject=value)
    assert opened == []


@given(st.text(alphabet=st.sampled_from("./\\~ab:\0*\u2215"), max_size=12))
@settings(max_examples=300, deadline=None)
def test_whatever_is_let_through_stays_inside(text):
    root = Path(__file__).parent
    try:
        path = resolve_inside(root, text)
    except SpecError:
        return
    assert path.is_relative_to(root.resolve())
    assert ".." not in text.split("/")


def test_links_may_stay_in_the_dataset_and_may_not_leave_it(tmp_path, opened):
    root, outside = tmp_path / "data", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.npy").write_bytes(b"x")
    (root / "sub" / "real.npy").write_bytes(b"x")
    (root / "alias.npy").symlink_to("sub/real.npy")
    (root / "out.npy").symlink_to(outside / "secret.npy")
    (root / "outside").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    opened.clear()
    assert resolve_inside(root, "alias.npy") == (root / "sub" / "real.npy").resolve()
    for name in ("out.npy", "outside/secret.npy", "outside/not-there.npy"):
        with pytest.raises(DataError, match="leads out"):
            resolve_inside(root, name)
    with pytest.raises(DataError, match="leads out"):
        find_inside(root, "outside/*.npy")
    with pytest.raises(DataError, match="leads out"):
        find_inside(root, "*.npy")
    with pytest.raises(DataError, match="cannot be resolved"):
        resolve_inside(root, "loop")
    assert not any(path.startswith(str(outside)) for path in opened)


@pytest.mark.parametrize("below", ["", "derivatives/prepared"])
def test_annex_links_are_part_of_the_dataset(tmp_path, below):
    top = tmp_path / "ds"
    store = top / ".git" / "annex" / "objects" / "Xx"
    store.mkdir(parents=True)
    (store / "key").write_bytes(b"content")
    root = top / below
    root.mkdir(parents=True, exist_ok=True)
    (root / "a.npy").symlink_to(os.path.relpath(store / "key", root))
    (root / "unfetched.npy").symlink_to(os.path.relpath(store / "other", root))
    assert resolve_inside(root, "a.npy").read_bytes() == b"content"
    assert not resolve_inside(root, "unfetched.npy").exists()
    (top / ".git" / "config").write_text("secret")
    (root / "config").symlink_to(os.path.relpath(top / ".git" / "config", root))
    if below:
        with pytest.raises(DataError, match="leads out"):
            resolve_inside(root, "config")


def test_paths_expand_in_order_and_wildcards_list_what_is_there(tmp_path):
    spec = spec_with()
    expected = ["sub-01/ses-1/bold.npy", "sub-01/ses-2/bold.npy", "sub-02/ses-1/bold.npy"]
    assert [str(path.relative_to(tmp_path)) for path in spec.paths(tmp_path, "bold")] == expected
    wild = spec_with("bold.npy", "*_bold.npy")
    assert wild.paths(tmp_path, "bold") == []
    for name in ("b_bold.npy", "a_bold.npy", "a_mask.npy"):
        (tmp_path / "sub-01" / "ses-2").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sub-01" / "ses-2" / name).touch()
    assert [path.name for path in wild.paths(tmp_path, "bold")] == ["a_bold.npy", "b_bold.npy"]
    with pytest.raises(SpecError, match="not one file"):
        wild.path(tmp_path, "bold")


def test_shapes_take_facts_per_subject_and_keep_free_names():
    spec = spec_with()
    assert spec.shape_of(spec.files["bold"], 2) == (5, 6, "n_free", None)
    assert spec.shape_of(spec.files["bold"], "1") == (3, 4, "n_free", None)
    with pytest.raises(SpecError, match="no value for subject"):
        spec.shape_of(spec.files["bold"])
    with pytest.raises(SpecError, match="is no size"):
        spec.shape_of(FileEntry(pattern="x", format="npy", shape=("subjects",), source="me", confidence="verified"))


def test_placeholders_are_plain_names():
    assert placeholders("a{b:03d}c{d}") == {"b": "03d", "d": ""}
    for text in ("{}", "{a.b}", "{a[0]}", "{a:>10}", "{_a}", "{a!s}"):
        with pytest.raises(ValueError, match="plain name"):
            placeholders(text)


def test_subjects_by_any_of_their_names() -> None:
    spec = DatasetSpec.load("things_meg")
    assert [spec.subject(name) for name in (3, "3", "sub-03", "sub-BIGMEG3", "P3", "S3")] == [3] * 6
    for hostile in ("../1", "one", "sub-1/../2", ""):
        with pytest.raises(SpecError, match="no subject"):
            spec.subject(hostile)
