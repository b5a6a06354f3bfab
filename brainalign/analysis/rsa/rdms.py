"""`RDMs`: dissimilarities with the names of what they compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import to_numpy
from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.condensed import select_conditions, to_square
from brainalign.cache import read_artefact, write_artefact
from brainalign.errors import DataError, closest

__all__ = ["RDMs"]

# Distances of these metrics are never below zero, but for rounding; cross-validated ones are, half of the time.
_NEVER_NEGATIVE = ("correlation", "euclidean", "sqeuclidean", "cosine", "mahalanobis", "poisson")
_ROUNDING = 1e-6


class RDMs:
    """Condensed RDMs of the same conditions, one per subject, region, layer or time point.

    Parameters
    ----------
    values : array (n_rdms, n_pairs) or (n_pairs,)
        Real numbers. Negative ones are refused where ``info["metric"]`` names a metric that has none; infinity (no
        path between two conditions, say) stays.
    conditions : sequence of str
        Unique labels, in the order in which `rdm` has them (``np.unique(labels)``).
    table : DataFrame or mapping, optional
        A row per RDM: subject, region, layer, time, ...
    info : mapping, optional
        Facts for all, such as the metric.
    missing : {"raise", "allow"}
        NaN stands for a pair that was not measured. It is refused by default; with "allow" it stays, `compare` asks
        for ``nan="drop"``, and inference asks for the conditions that `complete_conditions` finds.

    Raises
    ------
    DataError
        For duplicated labels, fewer than 3 conditions, a number of pairs or a table that does not fit, or values that
        are complex, not numeric, NaN or negative where they cannot be.

    Examples
    --------
    >>> rdms = RDMs([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], ["a", "b", "c"], table={"subject": ["s1", "s2"]})
    >>> rdms.select(conditions=["c", "a", "b"]).square()[0]
    array([[0., 2., 3.],
           [2., 0., 1.],
           [3., 1., 0.]])
    """

    def __init__(
        self,
        values: Any,
        conditions: Iterable[Any],
        *,
        table: pd.DataFrame | Mapping[str, Sequence[Any]] | None = None,
        info: Mapping[str, Any] | None = None,
        missing: str = "raise",
    ) -> None:
        self.info = dict(info or {})
        self.values: NDArray = np.atleast_2d(_real(values))
        self.conditions = tuple(str(one) for one in conditions)
        repeated = pd.Index(self.conditions)[pd.Index(self.conditions).duplicated()].unique()[:5].tolist()
        if repeated:
            raise DataError("condition labels must be unique", found=f"repeated: {repeated}")
        if len(self.conditions) < 3:
            raise DataError("a geometry needs conditions", expected="at least 3", found=len(self.conditions))
        n_pairs = len(self.conditions) * (len(self.conditions) - 1) // 2
        if self.values.ndim != 2 or self.values.shape[1] != n_pairs or not len(self.values):
            expected = f"(n_rdms >= 1, {n_pairs}) for {len(self.conditions)} conditions"
            raise DataError("RDMs and conditions do not fit", expected=expected, found=self.values.shape)
        _check_values(self.values, self.info.get("metric"), missing)
        self.table = _table(table, len(self))

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return np.array(self.values, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        columns = f", by {', '.join(map(str, self.table.columns))}" if len(self.table.columns) else ""
        return f"RDMs({len(self)} of {len(self.conditions)} conditions{columns})"

    def square(self) -> NDArray:
        """Symmetric matrices (n_rdms, n_conditions, n_conditions)."""
        return to_square(self.values)

    def select(self, *, conditions: Iterable[Any] | None = None, rdms: str | ArrayLike | None = None) -> RDMs:
        """Some conditions, by label and in the order given, of some RDMs.

        Parameters
        ----------
        conditions : iterable of labels, optional
        rdms : str or array, optional
            A pandas query of the table (``"subject == 's1'"``), or rows.
        """
        rows = np.arange(len(self))
        if isinstance(rdms, str):
            rows = self.table.query(rdms).index.to_numpy()
        elif rdms is not None:
            rows = rows[np.asarray(rdms)]
        if not len(rows):
            raise DataError("no RDM is selected", found=rdms, fix=f"columns of the table: {list(self.table.columns)}")
        values, labels = self.values[rows], self.conditions
        if conditions is not None:
            labels = tuple(str(one) for one in conditions)
            values = select_conditions(values, self._places(labels))
        return RDMs(values, labels, table=self.table.iloc[rows], info=self.info, missing="allow")

    def _places(self, labels: Sequence[str]) -> NDArray[np.intp]:
        places = pd.Index(self.conditions).get_indexer(pd.Index(labels))
        unknown = [label for label, place in zip(labels, places) if place < 0]
        if unknown:
            hint = closest(unknown[0], self.conditions)
            raise DataError(
                f"{len(unknown)} conditions are not in these RDMs: {unknown[:5]}.{hint}",
                expected=f"labels such as {list(self.conditions[:3])}",
                found=unknown[:5],
            )
        return places

    def mean(self) -> RDMs:
        """The mean RDM, NaN left out."""
        with np.errstate(invalid="ignore"):
            there = ~np.isnan(self.values)
            total = np.where(there, self.values, 0.0).sum(axis=0) / there.sum(axis=0)
        return RDMs(total, self.conditions, info=self.info, missing="allow")

    def compare(self, models: RDMs, **options: Any) -> NDArray[np.float64]:
        """Similarity with other RDMs (n_rdms, n_models), joined by label; options of `rsa.compare`.

        Raises
        ------
        DataError
            When the two have different conditions: select those in common first.
        """
        if set(models.conditions) != set(self.conditions):
            only = sorted(set(self.conditions) ^ set(models.conditions))
            raise DataError(
                f"{len(only)} conditions are in one of the RDM sets only: {only[:5]}",
                expected="the same conditions",
                fix="select(conditions=...) those that both have",
            )
        return compare(self.values, models.select(conditions=self.conditions).values, **options)

    @classmethod
    def join(cls, parts: Iterable[RDMs]) -> RDMs:
        """All RDMs of several sets with the same conditions, in the order of the first."""
        first, *others = list(parts)
        aligned = [first, *(part.select(conditions=first.conditions) for part in others)]
        if any(len(part.conditions) != len(first.conditions) for part in others):
            raise DataError("RDM sets of different conditions", fix="select(conditions=...) those that all have")
        table = pd.concat([part.table for part in aligned], ignore_index=True)
        values = np.concatenate([part.values for part in aligned])
        return cls(values, first.conditions, table=table, info=first.info, missing="allow")

    def save(self, folder: str | PathLike[str]) -> None:
        """Write as an artefact (see `brainalign.cache`)."""
        meta = {
            "kind": "rdms",
            "conditions": list(self.conditions),
            "columns": [str(column) for column in self.table.columns],
            "table": [self.table[column].tolist() for column in self.table.columns],
            "info": self.info,
        }
        write_artefact(folder, {"values": self.values}, meta)

    @classmethod
    def open(cls, folder: str | PathLike[str], *, mmap: bool = True) -> RDMs:
        """Open what `save` wrote, memory-mapped; files that are damaged or were altered raise `DataError`."""
        arrays, meta = read_artefact(folder, mmap=mmap)
        if meta.get("kind") != "rdms":
            raise DataError("this artefact holds no RDMs", path=folder, expected="rdms", found=meta.get("kind"))
        try:
            values, conditions, info = arrays["values"], meta["conditions"], meta["info"]
            table = dict(zip(meta["columns"], meta["table"])) or None
        except (KeyError, TypeError) as error:
            raise DataError("damaged RDMs", path=folder, found=f"no {error}", fix="save them again") from error
        return cls(values, conditions, table=table, info=info, missing="allow")

    def plot(self, *, title: str | None = None, max_rdms: int = 12) -> Any:
        """A grid of the first RDMs, titled by a column of the table. Returns the matplotlib Figure."""
        from matplotlib.figure import Figure

        n = min(len(self), max_rdms)
        columns = min(n, 4)
        rows = -(-n // columns)
        figure = Figure(figsize=(2.6 * columns, 2.6 * rows), layout="constrained")
        axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
        few = len(self.conditions) <= 20
        for number, ax in enumerate(axes):
            ax.set_axis_off()
            if number < n:
                ax.set_axis_on()
                image = ax.imshow(to_square(self.values[number]), cmap="viridis", interpolation="nearest")
                figure.colorbar(image, ax=ax, shrink=0.7)
                ticks: Any = np.arange(len(self.conditions)) if few else []
                ax.set_xticks(ticks, self.conditions if few else [], rotation=90, fontsize=6)
                ax.set_yticks(ticks, self.conditions if few else [], fontsize=6)
                ax.set_title(str(self.table[title][number]) if title else str(number), fontsize=8)
        return figure


def _real(values: Any) -> NDArray:
    """Values as an array of real numbers."""
    try:
        array = to_numpy(values)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"distances are not numeric: {error}", expected="(n_rdms, n_pairs) real numbers") from error
    if array.dtype.kind not in "fiub":
        raise DataError("distances are not numeric", expected="real numbers", found=array.dtype)
    return array


def _check_values(values: NDArray, metric: Any, missing: str) -> None:
    if missing not in ("raise", "allow"):
        raise DataError(f"missing={missing!r}", expected="'raise' or 'allow'")
    holes = np.isnan(values)
    if missing == "raise" and holes.any():
        raise DataError(
            f"{int(holes.sum())} of {holes.size} distances are NaN",
            found=f"in RDMs {np.flatnonzero(holes.any(axis=1))[:5].tolist()}",
            fix="missing='allow' keeps them as not measured; rsa.complete_conditions finds conditions without",
        )
    if metric in _NEVER_NEGATIVE:
        below = values < -_ROUNDING * np.max(np.abs(values), initial=0.0, where=np.isfinite(values))
        if below.any():
            found = f"{int(below.sum())} negative, lowest {values[below].min():.3g}"
            raise DataError(f"{metric} distances cannot be negative", expected="0 or more", found=found)


def _table(table: Any, n_rdms: int) -> pd.DataFrame:
    if table is None:
        return pd.DataFrame(index=range(n_rdms))
    try:
        rows = pd.DataFrame(table).reset_index(drop=True)
    except ValueError as error:
        raise DataError(f"not a table: {error}", expected=f"columns of {n_rdms} values") from error
    if len(rows) != n_rdms:
        raise DataError("the table needs a row per RDM", expected=n_rdms, found=len(rows))
    return rows
