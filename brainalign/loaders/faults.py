"""Units that hold NaN or never vary: counted, named, and refused, dropped or imputed as the policy says."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainalign.errors import DataError

__all__ = ["POLICIES", "FaultyUnits"]

POLICIES = ("raise", "drop", "impute")


class FaultyUnits:
    """Counts units that hold NaN or never vary, and does about them what the policy says."""

    def __init__(self, names: np.ndarray, policy: str) -> None:
        self.names, self.policy = names, policy
        self.missing = np.zeros(len(names), dtype=bool)
        self.constant = np.zeros(len(names), dtype=bool)
        self.now = self.constant

    def settle(self, data: np.ndarray, *, path: Any) -> np.ndarray:
        """Data (n_samples, n_units) made finite; `now` marks the units of this run that have no signal to fit."""
        low, high = data.min(axis=0), data.max(axis=0)  # NaN passes through both
        missing = ~(np.isfinite(low) & np.isfinite(high))
        constant = (low == high) & (len(data) > 1)
        if self.policy == "raise" and (missing.any() or constant.any()):
            raise self._refusal(missing, constant, path)
        if self.policy == "impute" and missing.any():
            data[:, missing] = self._imputed(data[:, missing], np.flatnonzero(missing), path)
            constant |= (data == data[0]).all(axis=0) & (len(data) > 1)
        self.now = constant | (missing if self.policy == "drop" else False)
        self.missing |= missing
        self.constant |= constant
        return data

    def _imputed(self, data: np.ndarray, units: np.ndarray, path: Any) -> np.ndarray:
        """Missing values replaced by the mean of the unit's others."""
        finite = np.isfinite(data)
        empty = ~finite.any(axis=0)
        if empty.any():
            raise DataError(
                f"{empty.sum()} units hold no number at all",
                path=path,
                expected="some finite values to impute from",
                found=[str(name) for name in self.names[units[empty]][:5]],
                fix="nan='drop', or a mask that leaves them out",
            )
        mean = np.where(finite, data, 0).sum(axis=0, dtype=np.float64) / finite.sum(axis=0)
        return np.where(finite, data, mean)

    def kept(self) -> np.ndarray:
        """Which units stay, (n_units,) of bool."""
        if self.policy != "drop":
            return np.ones(len(self.names), dtype=bool)
        keep = ~(self.missing | self.constant)
        if not keep.any():
            raise DataError(
                "every unit is faulty",
                expected="units that vary and hold numbers",
                found=0,
                fix="look at the data and the mask",
            )
        return keep

    def history(self) -> list[dict[str, Any]]:
        """A step to record, when there was a fault."""
        if not (self.missing.any() or self.constant.any()):
            return []
        counts = {"n_nan": int(self.missing.sum()), "n_constant": int(self.constant.sum())}
        return [
            {"step": "faulty_units", "policy": self.policy, **counts, "first": self._some(self.missing | self.constant)}
        ]

    def _refusal(self, missing: np.ndarray, constant: np.ndarray, path: Any) -> DataError:
        return DataError(
            f"{missing.sum()} units hold NaN or infinity, {constant.sum()} are constant",
            path=path,
            expected="units that vary and hold numbers",
            found=f"units {self._some(missing | constant)} (of {len(self.names)})",
            fix="a mask that leaves them out, nan='drop' or nan='impute'",
        )

    def _some(self, which: np.ndarray) -> list[str]:
        return [str(name) for name in self.names[which][:5]]
