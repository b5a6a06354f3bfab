"""`RDMs`: joined by label, saved whole, refused when they do not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.rdm import rdm
from brainalign.analysis.rsa.rdms import RDMs
from brainalign.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 6, 10))
LABELS = list("abcdef")
TABLE = {"subject": ["s1", "s2", "s3"], "roi": ["V1", "IT", "IT"]}


def test_selection_and_comparison_are_by_label() -> None:
    rdms = RDMs(rdm(X), LABELS, table=TABLE)
    order = RNG.permutation(6)
    shuffled = RDMs(rdm(X[:, order]), [LABELS[i] for i in order])
    np.testing.assert_allclose(rdms.compare(shuffled), compare(rdm(X), rdm(X)), atol=1e-12)
    chosen = rdms.select(conditions=["e", "a", "c"], rdms="roi == 'IT'")
    np.testing.assert_allclose(chosen.values, rdm(X[1:][:, [4, 0, 2]]), atol=1e-12)
    assert chosen.table["subject"].tolist() == ["s2", "s3"]
    np.testing.assert_allclose(RDMs.join([rdms, shuffled]).values[3:], rdm(X), atol=1e-12)
    np.testing.assert_allclose(rdms.mean().values[0], rdm(X).mean(axis=0))


def test_saved_and_opened(tmp_path) -> None:
    rdms = RDMs(rdm(X), LABELS, table=TABLE, info={"metric": "correlation"})
    rdms.save(tmp_path / "rdms")
    again = RDMs.open(tmp_path / "rdms")
    np.testing.assert_array_equal(again.values, rdms.values)
    assert again.conditions == rdms.conditions and again.info == rdms.info
    assert again.table.equals(rdms.table)
    assert len(rdms.plot(title="subject").axes) >= 3


def test_bad_input_is_refused() -> None:
    rdms = RDMs(rdm(X), LABELS)
    with pytest.raises(DataError, match=r"unique[\s\S]*\['a'\]"):
        RDMs(rdm(X), list("aabcde"))
    with pytest.raises(DataError, match="at least 3"):
        RDMs([[1.0]], ["a", "b"])
    with pytest.raises(DataError, match="15"):
        RDMs(rdm(X)[:, :10], LABELS)
    with pytest.raises(DataError, match="in one of the RDM sets only"):
        rdms.compare(RDMs(rdm(X), list("abcdez")))
    with pytest.raises(DataError, match="not in these RDMs"):
        rdms.select(conditions=["a", "b", "zz"])


HOLES = rdm(X)
HOLES[1, 4] = np.nan


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (rdm(X), LABELS[:-1], "10"),
        (rdm(X), [*LABELS, "g"], "21"),
        (rdm(X)[:, :14], LABELS, "15"),
        (rdm(X)[None], LABELS, "do not fit"),
        (np.empty((0, 15)), LABELS, "n_rdms >= 1"),
        (np.empty(0), [], "at least 3"),
        (rdm(X) + 0j, LABELS, "not numeric"),
        (rdm(X).astype(str), LABELS, "not numeric"),
        ([["x"] * 15], LABELS, "not numeric"),
        ([[{}] * 15], LABELS, "not numeric"),
        ([[1.0, 2.0, 3.0], [1.0, 2.0]], list("abc"), "not numeric"),
        (np.zeros((1, 15), dtype="datetime64[s]"), LABELS, "not numeric"),
        (HOLES, LABELS, r"1 of 45 distances are NaN[\s\S]*RDMs \[1\]"),
        (rdm(X), [1, "1", 2, 3, 4, 5], "unique"),
    ],
)
def test_values_and_labels_that_are_no_rdms_are_refused(values, labels, message) -> None:
    with pytest.raises(DataError, match=message):
        RDMs(values, labels)


@pytest.mark.parametrize("table", [{"a": [1, 2]}, {"a": [1, 2, 3], "b": [1]}])
def test_a_table_needs_a_row_per_rdm(table) -> None:
    with pytest.raises(DataError, match=r"row per RDM|not a table"):
        RDMs(rdm(X), LABELS, table=table)


def test_negative_distances_are_refused_where_the_metric_has_none() -> None:
    below = rdm(X)
    below[0, 0] = -0.5
    for metric in ("correlation", "sqeuclidean"):
        with pytest.raises(DataError, match=r"cannot be negative[\s\S]*-0\.5"):
            RDMs(below, LABELS, info={"metric": metric})
    for info in ({"metric": "crossnobis"}, {"metric": "poisson_cv"}, None):
        assert RDMs(below, LABELS, info=info).values.min() == -0.5
    below[0, 0] = -1e-12
    assert len(RDMs(below, LABELS, info={"metric": "correlation"})) == 3


def test_missing_pairs_stay_where_they_are_allowed(tmp_path) -> None:
    with pytest.raises(DataError, match="'raise' or 'allow'"):
        RDMs(HOLES, LABELS, missing="drop")
    rdms = RDMs(HOLES, LABELS, missing="allow")
    rdms.save(tmp_path / "rdms")
    np.testing.assert_array_equal(RDMs.open(tmp_path / "rdms").values, HOLES)
    np.testing.assert_array_equal(RDMs.join([rdms, rdms]).values, np.tile(HOLES, (2, 1)))
    np.testing.assert_allclose(rdms.mean().values[0], np.nanmean(HOLES, axis=0))
    assert np.isnan(rdms.select(conditions=LABELS[::-1]).values).sum() == 1
    models = RDMs(rdm(X[0]), LABELS)
    with pytest.raises(DataError, match="NaN"):
        rdms.compare(models)
    there = ~np.isnan(HOLES[1])
    expected = compare(HOLES[:, there], models.values[:, there], method="pearson")
    np.testing.assert_allclose(rdms.compare(models, nan="drop", method="pearson"), expected, atol=1e-12)


def test_infinite_distances_stay() -> None:
    far = rdm(X)
    far[0, 0] = np.inf
    assert np.isinf(RDMs(far, LABELS, info={"metric": "euclidean"}).values[0, 0])


def test_damaged_files_are_refused(tmp_path) -> None:
    rdms = RDMs(rdm(X), LABELS, table=TABLE)

    def saved(name):
        rdms.save(tmp_path / name)
        return tmp_path / name, next((tmp_path / name).glob("*.npy"))

    folder, array = saved("flipped")
    content = bytearray(array.read_bytes())
    content[-3] ^= 1
    array.write_bytes(content)
    with pytest.raises(DataError, match="content differs"):
        RDMs.open(folder)
    folder, array = saved("cut")
    array.write_bytes(array.read_bytes()[:-8])
    with pytest.raises(DataError, match="content differs"):
        RDMs.open(folder)
    folder, array = saved("gone")
    array.unlink()
    with pytest.raises(DataError, match="missing"):
        RDMs.open(folder)
    folder, _ = saved("manifest")
    manifest = next(folder.glob("*.json"))
    plain = json.loads(manifest.read_text())
    del plain["meta"]["conditions"]
    manifest.write_text(json.dumps(plain))
    with pytest.raises(DataError, match=r"damaged RDMs[\s\S]*conditions"):
        RDMs.open(folder)
    manifest.write_text("{")
    with pytest.raises(DataError, match="damaged manifest"):
        RDMs.open(folder)
    with pytest.raises(DataError, match="no artefact"):
        RDMs.open(tmp_path / "nowhere")
