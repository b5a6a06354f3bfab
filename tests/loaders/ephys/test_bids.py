"""BIDS folders written by mne-bids, and one that was recorded."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import mne
import mne_bids
import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.loaders.ephys import load_bids_ephys, load_ephys
from brainalign.loaders.montage import bipolar_pairs
from tests.conftest import real_data

SFREQ = 200.0
NAMES = ["A1", "A2", "A3", "B1", "B2"]
POSITIONS = {name: np.array([0.01 * place, -0.02, 0.03]) for place, name in enumerate(NAMES)}
ONSETS = np.arange(1.0, 9.0)


def _write(root: Path, *, task: str = "words", **entities: Any) -> mne_bids.BIDSPath:
    rng = np.random.default_rng(len(str(entities)))
    info = mne.create_info(NAMES, SFREQ, "seeg")
    raw = mne.io.RawArray(1e-4 * rng.standard_normal((5, 2000)), info, verbose="error")
    raw.set_montage(mne.channels.make_dig_montage(POSITIONS, coord_frame="mni_tal"), verbose="error")
    raw.set_annotations(mne.Annotations(ONSETS, 0.4, ["ba", "ma"] * 4))
    raw.info["bads"] = ["B2"]
    raw.info["line_freq"] = 50
    path = mne_bids.BIDSPath(root=root, task=task, datatype="ieeg", **{"subject": "01", **entities})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mne_bids.write_raw_bids(raw, path, format="BrainVision", allow_preload=True, overwrite=True, verbose="error")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for session in ("1", "2"):
        for run in ("01", "02"):
            _write(tmp_path, session=session, run=run)
    return tmp_path


def _file(root: Path, pattern: str) -> Path:
    return sorted(root.rglob(pattern))[0]


def test_all_sessions_and_runs_or_those_asked_for(root: Path) -> None:
    trials = load_bids_ephys(root, subject="01", tmin=-0.1, tmax=0.5)
    table = trials.trials.groupby(["subject", "session", "run"], sort=True).size()
    assert table.to_dict() == {("01", s, r): 8 for s in (1, 2) for r in (1, 2)}
    one = load_bids_ephys(root, subject="01", session="2", run="01", task="words", tmin=-0.1, tmax=0.5)
    np.testing.assert_array_equal(one.responses, trials.select("session == 2 and run == 1").responses)
    direct = load_ephys(
        _file(root, "sub-01_ses-2*run-01*.vhdr"),
        events=_file(root, "sub-01_ses-2*run-01*events.tsv"),
        tmin=-0.1,
        tmax=0.5,
        picks=NAMES[:4],
    )
    np.testing.assert_array_equal(one.responses, direct.responses)
    assert one.stimulus_ids.tolist() == ["ba", "ma"] * 4


def test_bad_channels_positions_and_frame(root: Path) -> None:
    trials = load_bids_ephys(root, subject="01", session="1", run="01", tmin=0, tmax=0.5)
    assert trials.units["name"].tolist() == NAMES[:4]  # B2 is bad
    assert set(trials.units["type"]) == {"seeg"}
    for name, xyz in zip(trials.units["name"], trials.units[["x", "y", "z"]].to_numpy(), strict=True):
        np.testing.assert_allclose(xyz, POSITIONS[name], atol=1e-6)
    assert trials.space.coordinate_frame == "mni_tal"
    kept = load_bids_ephys(root, subject="01", session="1", run="01", tmin=0, tmax=0.5, bads="keep")
    assert kept.units["name"].tolist() == NAMES
    bipolar = load_bids_ephys(root, subject="01", session="1", run="01", tmin=0, tmax=0.5, reference="bipolar")
    assert bipolar.units["name"].tolist() == ["A1-A2", "A2-A3"]  # the bad contact breaks the chain
    np.testing.assert_allclose(bipolar.units["x"], [0.005, 0.015], atol=1e-6)


def test_regions_come_from_electrodes(root: Path) -> None:
    path = _file(root, "*ses-1*electrodes.tsv")
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table["region"] = ["STG", "STG", "MTG", "IFG", "IFG"]
    table["Desikan"] = ["one", "two", "three", "four", "five"]
    table.to_csv(path, sep="\t", index=False)
    trials = load_bids_ephys(root, subject="01", session="1", run="01", tmin=0, tmax=0.5)
    assert trials.units["region"].tolist() == ["STG", "STG", "MTG", "IFG"]
    atlas = load_bids_ephys(root, subject="01", session="1", run="01", tmin=0, tmax=0.5, region_column="Desikan")
    assert atlas.units["region"].tolist() == ["one", "two", "three", "four"]
    with pytest.raises(DataError, match="Did you mean 'Desikan'"):
        load_bids_ephys(root, subject="01", session="1", run="01", region_column="Desikann")


def test_what_does_not_match_says_what_there_is(root: Path) -> None:
    with pytest.raises(DataError, match=r"subjects \['01'\]"):
        load_bids_ephys(root, subject="02")
    with pytest.raises(DataError, match="no such folder"):
        load_bids_ephys(root / "absent", subject="01")
    _write(root, task="rest", session="1", run="01")
    with pytest.raises(DataError, match="several tasks"):
        load_bids_ephys(root, subject="01")
    assert load_bids_ephys(root, subject="01", task="rest", tmin=0, tmax=0.5).n_trials == 8
    _file(root, "*ses-2*run-02*events.tsv").unlink()
    with pytest.raises(DataError, match=r"no events\.tsv"):
        load_bids_ephys(root, subject="01", session="2", run="02", task="words")


def test_sidecars_are_held_against_the_recording(root: Path) -> None:
    request: dict[str, Any] = {"subject": "01", "session": "1", "run": "01", "tmin": 0, "tmax": 0.5}
    sidecar = _file(root, "*ses-1*run-01*ieeg.json")
    content = json.loads(sidecar.read_text(encoding="utf-8-sig"))
    sidecar.write_text(json.dumps({**content, "SamplingFrequency": 2048.0}))
    with pytest.raises(DataError, match="sampling rate"):
        load_bids_ephys(root, **request)
    sidecar.write_text(json.dumps(content))
    events = _file(root, "*ses-1*run-01*events.tsv")
    table = pd.read_csv(events, sep="\t")
    table.drop(columns="sample").assign(onset=table["onset"] * 1000).to_csv(events, sep="\t", index=False)
    with pytest.raises(DataError, match="milliseconds"):
        load_bids_ephys(root, **request)
    table.to_csv(events, sep="\t", index=False)
    data = _file(root, "*ses-1*run-01*.eeg")
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(DataError, match="cut"):
        load_bids_ephys(root, **request)


def test_links_out_of_the_folder_are_not_followed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    for pattern in ("*ses-1*run-01*events.tsv", "*ses-1*run-01*.vhdr"):
        path = _file(root, pattern)
        moved = outside / path.name
        path.rename(moved)
        os.symlink(moved, path)
        with pytest.raises(DataError, match="out of the dataset"):
            load_bids_ephys(root, subject="01", session="1", run="01", tmin=0, tmax=0.5)
        path.unlink()
        moved.rename(path)


def test_real_depth_electrodes_bipolar_high_gamma() -> None:
    folder = real_data("ieeg_bids")
    request: dict[str, Any] = {"subject": "01", "tmin": -0.1, "tmax": 0.1, "edges": "drop"}
    plain = load_bids_ephys(folder, **request)
    assert plain.shape[1:] == (50, 401) and set(plain.units["type"]) == {"ecog"}
    # The same voltages as MNE reads, in volts.
    raw = mne.io.read_raw(next(folder.glob("sub-01/ieeg/*.vhdr")), preload=True, verbose="error")
    start = round(plain.trials["onset"][0] * 2000) - 200
    np.testing.assert_allclose(plain.responses[0], raw.get_data()[:, start : start + 401], rtol=1e-6)
    assert 1e-6 < np.abs(plain.responses).mean() < 1e-3
    bipolar = load_bids_ephys(folder, **request, reference="bipolar")
    assert bipolar.n_units == len(bipolar_pairs(raw.ch_names))
    # Neighbours share most of their signal (the data's own note says r .75 to .9), so differences are smaller.
    assert bipolar.responses.std() < 0.8 * plain.responses.std()
    gamma = load_bids_ephys(folder, **request, reference="bipolar", high_gamma=(80, 250))
    assert gamma.shape == bipolar.shape and np.isfinite(gamma.responses).all()
    # Ripples (80-250 Hz) were marked by hand on named pairs: there the envelope peaks at the event.
    marked = gamma.trials["trial_type"].str.extract(r"^ripple_([A-Z]+)(\d+)-(\d+)$")
    names = (marked[0] + marked[1] + "-" + marked[0] + marked[2]).to_numpy()
    known = {name: place for place, name in enumerate(gamma.units["name"])}
    rows = [row for row, name in enumerate(names) if name in known]
    during = gamma.times > 0
    gains = [
        np.diff([gamma.responses[row, known[names[row]], part].mean() for part in (~during, during)]) for row in rows
    ]
    assert len(rows) > 20 and np.mean(gains) > 0.5  # decibels
