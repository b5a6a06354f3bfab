"""`RDMs`: joined by label, saved whole, refused when they do not fit."""

from __future__ import annotations

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
