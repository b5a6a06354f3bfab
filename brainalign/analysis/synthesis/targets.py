"""What pictures are made for: functions of predicted responses, differentiable, one value a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.tables import select_rows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Target", "as_target", "difference", "maximise", "minimise", "pattern"]


@dataclass(frozen=True, eq=False)
class Target:
    """A function of the responses (n_pictures, n_units) that is to be large; one value a picture.

    Parameters
    ----------
    name : str
    bind : callable
        From the table of the units to that function, so that regions are looked up once.
    """

    name: str
    bind: Callable[[pd.DataFrame], Callable[[Tensor], Tensor]]


def maximise(where: Any) -> Target:
    """Mean response of some units: a query (``"roi == 'FFA'"``), a mask, or row numbers such as ``[17]``."""
    return Target(f"maximise {_text(where)}", lambda units: _mean(units, where))


def minimise(where: Any) -> Target:
    """The mean response of some units, negated."""

    def bind(units: pd.DataFrame) -> Callable[[Tensor], Tensor]:
        mean = _mean(units, where)
        return lambda responses: -mean(responses)

    return Target(f"minimise {_text(where)}", bind)


def difference(more: Any, less: Any) -> Target:
    """Mean response of some units less that of others."""

    def bind(units: pd.DataFrame) -> Callable[[Tensor], Tensor]:
        high, low = _mean(units, more), _mean(units, less)
        return lambda responses: high(responses) - low(responses)

    return Target(f"{_text(more)} over {_text(less)}", bind)


def pattern(values: Any, where: Any = None) -> Target:
    """Nearness to a pattern of responses: the mean squared difference, negated.

    Parameters
    ----------
    values : array (n_units,)
        Of the units chosen.
    where : query, mask or rows, optional
    """
    wanted = np.asarray(values, dtype=np.float32).ravel()
    check_finite(wanted, name="the pattern")

    def bind(units: pd.DataFrame) -> Callable[[Tensor], Tensor]:
        import torch

        rows = select_rows(units, where, what="units")
        if len(rows) != len(wanted):
            raise DataError("the pattern has another number of units", expected=len(rows), found=len(wanted))
        at = torch.as_tensor(rows)
        return lambda responses: -(responses[:, at] - torch.as_tensor(wanted).to(responses)).square().mean(1)

    return Target("a pattern", bind)


def as_target(target: Any, units: pd.DataFrame) -> tuple[str, Callable[[Tensor], Tensor]]:
    """Name and function of a Target, of a query (maximised), or of any function of the responses.

    Raises
    ------
    DataError
        When a region is empty, or it is neither.
    """
    if isinstance(target, str):
        target = maximise(target)
    if isinstance(target, Target):
        return target.name, target.bind(units)
    if not callable(target):
        raise DataError(
            "not a target",
            expected="a query of the units, maximise(...), difference(...), ..., or a function of responses",
            found=type(target).__name__,
        )
    return getattr(target, "__name__", "a function of responses"), target


def _mean(units: pd.DataFrame, where: Any) -> Callable[[Tensor], Tensor]:
    import torch

    rows = torch.as_tensor(select_rows(units, where, what="units"))
    return lambda responses: responses[:, rows].mean(1)


def _text(where: Any) -> str:
    return where if isinstance(where, str) else f"{np.count_nonzero(where) if _is_mask(where) else len(where)} units"


def _is_mask(where: Any) -> bool:
    return np.asarray(where).dtype == bool
