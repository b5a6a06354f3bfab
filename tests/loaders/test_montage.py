"""References and regions against brute-force loops and MNE."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainalign.errors import DataError
from brainalign.loaders.montage import attach_regions, bipolar_pairs, clean_names, positions_of_names, rereference
from tests.conftest import real_data

rng = np.random.default_rng(0)


def _units(names: list[str], kind: str = "seeg") -> pd.DataFrame:
    xyz = pd.DataFrame(rng.standard_normal((len(names), 3)), columns=["x", "y", "z"])
    return pd.DataFrame({"name": names, "type": kind, "region": "n/a"}).join(xyz)


def _neighbours_by_brute_force(names: list[str]) -> set[tuple[str, str]]:
    """Every pair of names that differ by one in the trailing number and in nothing else."""
    found = set()
    for one, other in itertools.permutations(names, 2):
        number = int(re.search(r"\d+$", one).group())
        if one[: -len(str(number))] + str(number + 1) == other:
            found.add((one, other))
    return found


contacts = st.lists(
    st.tuples(st.sampled_from(["A", "B'", "LAH", "a", "T2x"]), st.integers(1, 12)).map(lambda c: f"{c[0]}{c[1]}"),
    min_size=1,
    max_size=25,
    unique=True,
)


@settings(max_examples=150, deadline=None)
@given(names=contacts)
def test_pairs_are_all_neighbours_and_only_neighbours(names: list[str]) -> None:
    pairs = {(names[one], names[other]) for one, other in bipolar_pairs(names)}
    assert pairs == _neighbours_by_brute_force(names)


def test_missing_contact_breaks_the_chain_and_order_does_not_matter() -> None:
    names = ["A5", "A1", "A2", "A4", "B10", "B9"]
    pairs = [(names[one], names[other]) for one, other in bipolar_pairs(names)]
    assert pairs == [("A1", "A2"), ("A4", "A5"), ("B9", "B10")]


def test_separators_and_leading_zeros() -> None:
    assert bipolar_pairs(["LAH-01", "LAH-02", "RA_9", "RA_10"]) == [(0, 1), (2, 3)]
    with pytest.raises(DataError, match="same contact"):
        bipolar_pairs(["A1", "A01"])
    with pytest.raises(DataError, match="'EKG' is not a contact"):
        bipolar_pairs(["A1", "EKG"])
    with pytest.raises(DataError, match="'12' is not a contact"):
        bipolar_pairs(["12", "A1"])


def test_bipolar_data_names_and_midpoints() -> None:
    names = ["A1", "A2", "A3", "C1", "B7", "B8"]
    units = _units(names)
    units["region"] = ["V1", "V1", "V2", "IT", "n/a", "STG"]
    data = rng.standard_normal((4, len(names), 10))
    referenced, made = rereference(data, units, "bipolar")
    assert made["name"].tolist() == ["A1-A2", "A2-A3", "B7-B8"]
    assert made["region"].tolist() == ["V1", "V1/V2", "n/a/STG"]
    for row, pair in enumerate(made["name"]):
        one, other = (names.index(name) for name in pair.split("-"))
        np.testing.assert_array_equal(referenced[:, row], data[:, one] - data[:, other])
        for axis in "xyz":
            assert made[axis][row] == pytest.approx((units[axis][one] + units[axis][other]) / 2)


def test_bipolar_cancels_what_all_contacts_share() -> None:
    common = 50 * rng.standard_normal(300)
    local = rng.standard_normal((8, 300))
    data, _ = rereference(local + common, _units([f"A{number}" for number in range(1, 9)]), "bipolar")
    np.testing.assert_allclose(data, local[:-1] - local[1:], atol=1e-12)
    assert np.abs([np.corrcoef(row, common)[0, 1] for row in data]).max() < 0.25


@pytest.mark.parametrize("reference", ["average", ["EEG 003"], ["EEG 001", "EEG 004"]])
def test_average_and_named_references_equal_mne(reference: str | list[str]) -> None:
    info = mne.create_info([f"EEG {number:03d}" for number in range(1, 6)] + ["MEG 1"], 100.0, ["eeg"] * 5 + ["mag"])
    raw = mne.io.RawArray(rng.standard_normal((6, 50)), info, verbose="error")
    units = pd.DataFrame({"name": raw.ch_names, "type": raw.get_channel_types()})
    before = raw.get_data()
    data, made = rereference(before, units, reference)
    oracle = mne.set_eeg_reference(raw, reference, copy=True, verbose="error")[0].pick(made["name"].tolist())
    np.testing.assert_allclose(data, oracle.get_data(), atol=1e-12)
    np.testing.assert_array_equal(before, raw.get_data())  # the input is left alone
    dropped = [] if reference == "average" else reference
    assert made["name"].tolist() == [name for name in raw.ch_names if name not in dropped]


def test_wrong_references_are_refused() -> None:
    data, eeg = rng.standard_normal((2, 5)), _units(["F3", "F4"], "eeg")
    with pytest.raises(DataError, match="Did you mean 'average'"):
        rereference(data, eeg, "averge")
    with pytest.raises(DataError, match="intracranial"):
        rereference(data, eeg, "bipolar")
    with pytest.raises(DataError, match="unknown channel 'F5'"):
        rereference(data, eeg, ["F5"])
    with pytest.raises(DataError, match="electric"):
        rereference(data, _units(["M1", "M2"], "mag"), "average")
    with pytest.raises(DataError, match="no two neighbouring"):
        rereference(data, _units(["A1", "A3"]), "bipolar")
    with pytest.raises(DataError, match="leaves nothing"):
        rereference(data[:1], eeg[:1], "average")


def test_names_are_cleaned_and_must_be_unique() -> None:
    assert clean_names(["\ufeffFp1", " Oz\x00", "Cafe\u0301"]) == ["Fp1", "Oz", "Caf\u00e9"]
    with pytest.raises(DataError, match="unique") as caught:
        clean_names(["Caf\u00e9", "Cafe\u0301"], path="x.edf")
    assert "x.edf" in str(caught.value)
    with pytest.raises(DataError, match="without name"):
        clean_names(["Oz", "  "])
    with pytest.raises(DataError, match="Did you mean 'Fp1'"):
        positions_of_names(["FP1"], ["Fp1", "Oz"])


def test_regions_from_mapping_table_and_file(tmp_path: Path) -> None:
    units = _units(["A1", "A2", "B1"]).drop(columns="region")
    assert attach_regions(units, {"A2": "STG"})["region"].tolist() == ["n/a", "STG", "n/a"]
    table = pd.DataFrame({"name": ["B1", "A1", "Z9"], "Destrieux": ["IFG", "STG", "MTG"]})
    assert attach_regions(units, table, column="Destrieux")["region"].tolist() == ["STG", "n/a", "IFG"]
    path = tmp_path / "electrodes.tsv"
    path.write_text("\ufeffname\tx\ty\tz\tregion\nA1\t1\t2\t3\tSTG\nB1\t1\t2\t3\tn/a\n", encoding="utf-8")
    assert attach_regions(units, path)["region"].tolist() == ["STG", "n/a", "n/a"]
    assert attach_regions(units, None)["region"].tolist() == ["n/a"] * 3
    with pytest.raises(DataError, match="Did you mean 'region'"):
        attach_regions(units, path, column="regio")
    with pytest.raises(DataError, match="knows none"):
        attach_regions(units, {"X1": "STG"})
    with pytest.raises(DataError, match="unique"):
        attach_regions(units, pd.DataFrame({"name": ["A1", "A1"], "region": ["a", "b"]}))


def test_pairs_of_a_real_implantation() -> None:
    folder = real_data("ieeg_bids") / "sub-01" / "ieeg"
    table = pd.read_csv(next(folder.glob("*_channels.tsv")), sep="\t", encoding="utf-8-sig")
    names = table["name"].tolist()
    pairs = {(names[one], names[other]) for one, other in bipolar_pairs(names)}
    assert pairs == _neighbours_by_brute_force(names)
    n_shafts = len({re.sub(r"\d+$", "", name) for name in names})
    assert len(pairs) == len(names) - n_shafts  # these electrodes have no gaps
