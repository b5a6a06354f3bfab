"""Bad input, case by case through the public calls: one error each, with file, expected, found and mend."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import yaml

import brainalign as ba
from brainalign.analysis import decode
from brainalign.encoders import LinearEncoder
from brainalign.errors import BrainalignError, DataError, LeakageError, SpecError
from brainalign.loaders.npy_dict import read_npy_dict
from brainalign.loaders.trees import Tree
from brainalign.voxelwise import Ridge
from tests.good_recordings import (
    AFFINE,
    SECONDS,
    SHAPE,
    Copy,
    make_latents,
    make_trials,
    save_volume,
    write_good_recordings,
)  # fmt: skip

BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tree, Tree]:
    folder = tmp_path_factory.mktemp("good")
    return folder, *write_good_recordings(folder)


@pytest.fixture
def copy(good: tuple[Path, Tree, Tree], tmp_path: Path) -> Copy:
    folder, nsd, du_in = good
    shutil.copytree(folder, tmp_path / "copy")
    return Copy(tmp_path / "copy", nsd.spec, du_in.spec)


def test_the_good_recordings_are_good(copy: Copy) -> None:
    """Otherwise each case below could be refused for another reason than its own."""
    for bold in ("bold.nii.gz", "bold.nii"):
        assert copy.fmri(bold, atlas=copy.root / "atlas.nii.gz", roi="1").n_trials == 10
    for recording in ("eeg_raw.fif", "eeg.edf"):
        assert copy.eeg(recording).shape == (3, 3, 61)
    assert copy.nsd().n_units == 60 and copy.du_in().times is not None
    trials = make_trials()
    assert decode(trials, "label").score.n == 40
    assert Ridge().fit(make_latents(trials), trials).predict(make_latents(trials)).shape == (20, 6)
    assert len(LinearEncoder().fit(trials, make_latents(trials)).predict(trials)) == 20


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What is done to the good copy, and what must come of it."""

    do: Callable[[Copy], object]
    error: type[BrainalignError] = DataError
    file: str | None = None
    says: tuple[str, ...] = field(default=())


def cases(table: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in table.items()])


def assert_refused(case: Case, copy: Copy) -> str:
    with pytest.raises(BrainalignError) as caught:
        case.do(copy)
    error = caught.value
    assert type(error) is case.error, error
    assert isinstance(error, DataError)
    lines = [line.split(":")[0].strip() for line in str(error).splitlines()[1:]]
    missing = {"expected", "found", "mend"} - set(lines)
    assert not missing, f"{missing} is missing in: {error}"
    if case.file is not None:
        assert case.file in str(error.path), error
    for word in case.says:
        assert word in str(error), f"'{word}' is missing in: {error}"
    return str(error)


CUT = {
    "bold.nii.gz": lambda copy: copy.fmri("bold.nii.gz"),
    "bold.nii": lambda copy: copy.fmri("bold.nii"),
    "mask.nii.gz": lambda copy: copy.fmri(),
    f"nsd/{BETAS}/betas_session02.hdf5": lambda copy: copy.nsd(),
    "nsd/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5": lambda copy: copy.nsd(),
    "eeg_raw.fif": lambda copy: copy.eeg("eeg_raw.fif"),
    "eeg.edf": lambda copy: copy.eeg("eeg.edf"),
}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.95, 1.0])
@pytest.mark.parametrize("name", CUT, ids=lambda name: Path(name).name)
def test_truncated(copy: Copy, name: str, share: float) -> None:
    """NIfTI, HDF5, FIF and EDF, from nothing left to the last byte missing."""
    copy.cut(name, share)
    assert_refused(Case(CUT[name], file=Path(name).name), copy)


def _mask(shape: tuple[int, ...] = SHAPE, shift: float = 0.0, flip: bool = False) -> Callable[[Copy], object]:
    def do(copy: Copy) -> object:
        affine = AFFINE * np.array([[-1.0], [1], [1], [1]]) if flip else AFFINE.copy()
        affine[2, 3] += shift
        save_volume(copy.root / "mask.nii.gz", np.ones(shape, np.uint8), affine=affine)
        return copy.fmri()

    return do


@cases(
    {
        "of another shape": Case(_mask(shape=(4, 5, 4)), says=("shape", "(4, 5, 3)", "(4, 5, 4)")),
        "transposed": Case(_mask(shape=(3, 5, 4)), says=("shape",)),
        "another affine": Case(_mask(shift=2.5), says=("affine", "2.5 mm", "resample=True")),
        "left and right flipped": Case(_mask(flip=True), says=("affine", "flipped")),
    }
)
def test_mask(copy: Copy, case: Case) -> None:
    assert "mask.nii.gz" in assert_refused(case, copy)


def _times(name: str, change: Callable[[pd.Series], pd.Series], *, columns: tuple[str, ...] = ("onset",)) -> Callable:
    def do(copy: Copy) -> object:
        copy.change_table(name, lambda table: table.assign(**{one: change(table[one]) for one in columns}))
        return copy.fmri() if name == "events.tsv" else copy.eeg()

    return do


def _codes(copy: Copy) -> object:
    return copy.eeg(events=np.array([[100, 0, 1], [5000, 0, 2]]))


BOTH = ("onset", "duration")


@cases(
    {
        "fMRI: one beyond the end": Case(
            _times("events.tsv", lambda onset: onset.where(onset < 100, 130.0)), file="events.tsv", says=("130", "120")
        ),
        "fMRI: all beyond the end": Case(_times("events.tsv", lambda onset: onset + SECONDS), file="events.tsv"),
        "fMRI: in milliseconds": Case(
            _times("events.tsv", lambda time: time * 1000, columns=BOTH),
            file="events.tsv",
            says=("milliseconds", "divide"),
        ),
        "EEG: one beyond the end": Case(
            _times("eeg_events.tsv", lambda onset: onset.where(onset < 5, 11.0)),
            file="eeg_events.tsv",
            says=("11 s", "10 s"),
        ),
        "EEG: in milliseconds": Case(
            _times("eeg_events.tsv", lambda onset: onset * 1000), file="eeg_events.tsv", says=("milliseconds", "divide")
        ),
        "EEG: window over the end": Case(
            _times("eeg_events.tsv", lambda onset: onset.where(onset < 5, 9.9)), file="eeg_raw.fif", says=("tmax",)
        ),
        "EEG: codes beyond the end": Case(_codes, file="eeg_raw.fif", says=("beyond",)),
    }
)
def test_events(copy: Copy, case: Case) -> None:
    assert_refused(case, copy)


def _set_voxels(value: float) -> Callable[[Copy], object]:
    def do(copy: Copy) -> object:
        def change(data: np.ndarray) -> None:
            data[1, 2, 1, 3 if np.isnan(value) else slice(None)] = value

        copy.change_volume("bold.nii.gz", change)
        return copy.fmri()

    return do


def _set_channel(value: float) -> Callable[[Copy], object]:
    def do(copy: Copy) -> object:
        raw = mne.io.read_raw_fif(copy.root / "eeg_raw.fif", preload=True, verbose="error")
        raw._data[1, 300 if np.isnan(value) else slice(None)] = value
        raw.save(copy.root / "eeg_raw.fif", overwrite=True, verbose="error")
        return copy.eeg()

    return do


def _with_nan(use: Callable[[ba.Trials, ba.Latents], object]) -> Callable[[Copy], object]:
    def do(_: Copy) -> object:
        trials = make_trials()
        trials.responses[3, 2] = np.nan
        return use(trials, make_latents(trials))

    return do


@cases(
    {
        "NaN voxel": Case(_set_voxels(np.nan), file="bold.nii.gz", says=("1-2-1", "nan=", "drop")),
        "constant voxel": Case(_set_voxels(7.0), file="bold.nii.gz", says=("1-2-1", "constant")),
        "NaN channel": Case(_set_channel(np.nan), file="eeg_raw.fif", says=("Oz", "1 with NaN")),
        "flat channel": Case(_set_channel(1e-6), file="eeg_raw.fif", says=("Oz", "1 flat")),
        "NaN given to an encoder": Case(_with_nan(lambda trials, latents: LinearEncoder().fit(trials, latents))),
        "NaN given to a ridge": Case(_with_nan(lambda trials, latents: Ridge().fit(latents, trials))),
        "NaN given to a decoder": Case(_with_nan(lambda trials, _: decode(trials, "label"))),
    }
)
def test_voxels_and_channels(copy: Copy, case: Case) -> None:
    assert_refused(case, copy)


def _unknown_stimulus(use: Callable[[ba.Trials, ba.Latents], object]) -> Callable[[Copy], object]:
    def do(_: Copy) -> object:
        trials = make_trials()
        known = make_latents(trials)
        return use(trials, known.select([one for one in known.ids if one != "picture-7"]))

    return do


def _pictures(ids: list[str]) -> ba.Stimuli:
    return ba.Stimuli.from_arrays(np.zeros((len(ids), 4, 4, 3), np.uint8), ids)


@cases(
    {
        "ROI of an atlas": Case(
            lambda copy: copy.fmri(atlas=copy.root / "atlas.nii.gz", labels={1: "V1", 2: "FFA"}, roi="FFB"),
            file="atlas.nii.gz",
            says=("Did you mean 'FFA'",),
        ),
        "ROI of a data set": Case(lambda copy: copy.nsd(roi="nsdgenral"), file="nsd", says=("'nsdgeneral'",)),
        "ROI in a query": Case(lambda _: make_trials().select(units="roi == 'FFB'"), says=("FFA",)),
        "channel": Case(lambda copy: copy.eeg(picks=["O1", "O3"]), file="eeg_raw.fif", says=("Did you mean 'O",)),
        "reference channel": Case(
            lambda copy: copy.eeg(reference=["M1"]), file="eeg_raw.fif", says=("unknown channel",)
        ),
        "stimulus without latents, encoder": Case(
            _unknown_stimulus(lambda trials, latents: LinearEncoder().fit(trials, latents)), says=("picture-7",)
        ),
        "stimulus without latents, ridge": Case(
            _unknown_stimulus(lambda trials, latents: Ridge().fit(latents, trials)), says=("picture-7",)
        ),
        "stimulus without picture": Case(
            lambda copy: copy.fmri(stimuli=_pictures([f"picture-{n}" for n in range(9)])), says=("picture-9",)
        ),
        "stimulus asked for": Case(
            lambda _: _pictures(["cat", "dog"]).image("cta"), says=("Did you mean 'cat'", "stimulus_id")
        ),
        "event name": Case(lambda copy: copy.eeg(event_id=["cat", "cow"]), file="eeg_raw.fif", says=("cow",)),
        "subject": Case(
            lambda copy: ba.load(copy.nsd_spec, root=copy.root / "nsd", subject=9), SpecError, says=("subject",)
        ),
    }
)
def test_unknown(copy: Copy, case: Case) -> None:
    assert_refused(case, copy)


def _seen_before(score: Callable[[ba.Trials, ba.Latents], object]) -> Callable[[Copy], object]:
    return lambda _: score(make_trials(), make_latents(make_trials()))


def _same_picture_twice(_: Copy) -> object:
    trials = make_trials()
    images = np.random.default_rng(3).integers(0, 255, (20, 4, 4, 3), dtype=np.uint8)
    images[11] = images[4]
    stimuli = ba.Stimuli.from_arrays(images, [f"picture-{n}" for n in range(20)])
    split = np.where(trials.stimulus_ids == "picture-11", "test", "train")
    return ba.split(trials.with_stimuli(stimuli).with_trials(split=split), by="split")


@cases(
    {
        "by the data set's own split": Case(
            lambda _: ba.split(make_trials(split=["train"] * 20 + ["test"] * 20), by="split"),
            LeakageError,
            says=("picture-0", "by='stimulus_id'"),
        ),
        "one picture under two ids": Case(_same_picture_twice, LeakageError, says=("picture-11", "picture-4")),
        "a ridge scored on what it was fitted on": Case(
            _seen_before(lambda trials, latents: Ridge().fit(latents, trials).score_units(latents, trials)),
            LeakageError,
        ),
        "an encoder scored on what it was fitted on": Case(
            _seen_before(lambda trials, latents: LinearEncoder().fit(trials, latents).score(trials, latents)),
            LeakageError,
        ),
        "folds of one's own": Case(
            _seen_before(lambda trials, latents: Ridge(cv=[(np.arange(20), np.arange(20, 40))]).fit(latents, trials)),
            LeakageError,
        ),
    }
)
def test_duplicated_stimulus_across_a_split(copy: Copy, case: Case) -> None:
    assert_refused(case, copy)


@cases(
    {
        "in training, when its only run is left out": Case(
            lambda _: decode(make_trials(label=["face", "house"] * 18 + ["cat"] * 4), "label"), says=("'cat'",)
        ),
        "a single class": Case(lambda _: decode(make_trials(label="face"), "label"), says=("single class",)),
        "an event that never occurs": Case(lambda copy: copy.eeg(event_id={"cat": 1, "cow": 7}), says=("'cow'",)),
        "a split without test": Case(lambda _: ba.split(make_trials(split="train"), by="split"), says=("test",)),
    }
)
def test_class_without_trials(copy: Copy, case: Case) -> None:
    assert_refused(case, copy)


def _hostile_spec(pattern: str) -> Callable[[Copy], object]:
    def do(copy: Copy) -> object:
        content = yaml.safe_load((Path(__file__).parents[1] / "data_specs" / "digits69.yaml").read_text())
        content["files"]["recording"]["pattern"] = pattern
        (copy.root / "hostile.yaml").write_text(yaml.safe_dump(content))
        return ba.DatasetSpec.load(copy.root / "hostile.yaml")

    return do


def _tagged_spec(copy: Copy) -> object:
    (copy.root / "hostile.yaml").write_text("id: !!python/object/apply:os.system ['touch sentinel']\n")
    return ba.DatasetSpec.load(copy.root / "hostile.yaml")


def _link_out(name: str, load: Callable[[Copy], object], *, of_folder: bool = False) -> Callable[[Copy], object]:
    def do(copy: Copy) -> object:
        path = copy.root / name
        path = path.parent if of_folder else path
        outside = copy.root.parent / "outside"
        shutil.move(path, outside)
        path.symlink_to(outside)
        return load(copy)

    return do


@cases(
    {
        "..": Case(_hostile_spec("../../etc/passwd"), SpecError, "hostile.yaml", says=("leaves its folder",)),
        ".. in the middle": Case(_hostile_spec("sub-01/../../x.mat"), SpecError, "hostile.yaml"),
        "absolute": Case(_hostile_spec("/etc/passwd"), SpecError, "hostile.yaml", says=("absolute",)),
        "home": Case(_hostile_spec("~/.ssh/id_rsa"), SpecError, "hostile.yaml", says=("absolute",)),
        "drive": Case(_hostile_spec("C:/Windows/x.mat"), SpecError, "hostile.yaml", says=("absolute",)),
        "backslash": Case(_hostile_spec("..\\x.mat"), SpecError, "hostile.yaml", says=("backslash",)),
        "code in a placeholder": Case(_hostile_spec("{subject.__class__}.mat"), SpecError, "hostile.yaml"),
        "control character": Case(_hostile_spec("a\nb"), SpecError, "hostile.yaml", says=("control character",)),
        "a YAML tag": Case(_tagged_spec, SpecError, "hostile.yaml", says=("python/object",)),
        "symlink out, file": Case(
            _link_out(f"nsd/{BETAS}/betas_session01.hdf5", lambda copy: copy.nsd()), file="betas_session01.hdf5"
        ),
        "symlink out, folder": Case(
            _link_out("du_in/converted/001/data.npy", lambda copy: copy.du_in(), of_folder=True), file="data.npy"
        ),
    }
)
def test_hostile_spec_path(copy: Copy, case: Case) -> None:
    assert_refused(case, copy)


class _Trap:
    """What a hostile pickle holds: a call that is made while it is opened."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.sentinel,))


@cases(
    {
        "a dictionary": Case(lambda copy: read_npy_dict(copy.root / "trap.npy"), file="trap.npy", says=("touch",)),
        "an array of a data set": Case(lambda copy: copy.du_in(), file="data.npy", says=("pickle",)),
        "a data set of dictionaries": Case(
            lambda copy: ba.load("things_eeg2", root=copy.root / "eeg2", subject=1), file="preprocessed_eeg_training"
        ),
    }
)
def test_pickled_npy(copy: Copy, case: Case) -> None:
    sentinel = copy.root / "sentinel"
    places = ["trap.npy", "du_in/converted/001/data.npy", "eeg2/sub-01/preprocessed_eeg_training.npy"]
    for place in places:
        (copy.root / place).parent.mkdir(parents=True, exist_ok=True)
        np.save(copy.root / place, np.array({"data": _Trap(sentinel)}, dtype=object), allow_pickle=True)
    assert_refused(case, copy)
    assert not sentinel.exists()
    np.load(copy.root / places[0], allow_pickle=True)  # the trap is a real one
    assert sentinel.exists()
