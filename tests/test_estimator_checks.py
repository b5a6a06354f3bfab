"""Every estimator through the shared checks of `tests.estimator_checks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.estimator_checks import CASES, OUR_CHECKS

_EXPECTED = {repr(case.make()): dict(case.expected_failures) for case in CASES.values()}


@parametrize_with_checks(
    [case.make() for case in CASES.values() if not (case.on_maps or case.on_signals)],
    expected_failed_checks=lambda estimator: _EXPECTED.get(repr(estimator), {}),
)
def test_scikit_learn_contract(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("check", OUR_CHECKS.values(), ids=OUR_CHECKS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_our_contract(case: Any, check: Any, tmp_path: Path) -> None:
    check(case, tmp_path)


def test_the_list_is_not_empty() -> None:
    assert len(OUR_CHECKS) >= 14 and len(CASES) >= 2
