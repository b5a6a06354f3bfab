"""Results of BCI evaluations on disk: one small file a fold, under a key that two different results cannot share.

The key is a hash of everything that a score depends on: dataset and the very samples, labels and order that were
loaded, protocol, splitter, seed, the rows of train and test, scorer, pipeline with all its settings, and the versions
of the libraries. MOABB's own key leaves out folds, seed, scorer and data, so that a run with other folds is answered
with the scores of the first.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.arrays import sha256_array
from brainalign.cache import atomic_write_text, to_json
from brainalign.errors import DataError

__all__ = ["ResultStore", "data_hash", "described", "result_key", "versions"]

_LIBRARIES = ("brainalign", "numpy", "scipy", "scikit-learn", "mne", "moabb", "pyriemann", "torch")
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")


class ResultStore:
    """A folder of finished folds.

    Each is written whole or not at all as soon as it is done, so that a run that was killed goes on where it stopped,
    and several runs may share a folder.

    Parameters
    ----------
    folder : path-like

    Examples
    --------
    >>> import tempfile
    >>> store = ResultStore(tempfile.mkdtemp())
    >>> identity = {"pipeline": "mdm", "seed": 0}
    >>> store.read(identity) is None
    True
    >>> store.write(identity, [{"score": 0.75}])
    >>> store.read(identity), len(store)
    ([{'score': 0.75}], 1)
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)

    def __len__(self) -> int:
        return len(self._files())

    def read(self, identity: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """The rows of a fold, or None where it is not done; refused where the file is not what was written."""
        key = result_key(identity)
        path = self._path(key)
        if not path.is_file():
            return None
        return self._opened(path)["rows"]

    def write(self, identity: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
        """Keep the rows of a finished fold."""
        key = result_key(identity)
        content = {"key": key, "identity": json.loads(to_json(identity)), "rows": json.loads(to_json(rows))}
        atomic_write_text(self._path(key), to_json(content, indent=1))

    def table(self) -> pd.DataFrame:
        """Every row of every fold with the key that it stands under."""
        opened = [self._opened(path) for path in self._files()]
        return pd.DataFrame([{**row, "key": one["key"]} for one in opened for row in one["rows"]])

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("folds/??/*.json"))

    def _path(self, key: str) -> Path:
        return self.folder / "folds" / key[:2] / f"{key}.json"

    def _opened(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            honest = result_key(content["identity"]) == content["key"] == path.stem
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, str(error)) from error
        if not honest:
            raise _damaged(path, "a key that is not that of its contents")
        return content


def _damaged(path: Path, found: str) -> DataError:
    fix = "delete this file; the fold is done again"
    return DataError("not a result of this library", path=path, expected="as written", found=found, fix=fix)


def result_key(identity: Mapping[str, Any]) -> str:
    """Hash of what a result depends on.

    Examples
    --------
    >>> result_key({"a": 1, "b": 2}) == result_key({"b": 2, "a": 1}) != result_key({"a": 1, "b": 3})
    True
    """
    return hashlib.sha256(to_json(identity).encode()).hexdigest()


def data_hash(X: np.ndarray, y: np.ndarray, metadata: pd.DataFrame) -> str:
    """Hash of samples, labels and their table, in their order."""
    parts = [sha256_array(np.ascontiguousarray(X)), *np.asarray(y).astype(str).tolist(), metadata.to_csv(index=False)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of the libraries that a score may depend on."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def described(value: Any) -> Any:
    """Plain data that tells two estimators, scorers or settings apart, for a key.

    Estimators by class and settings, arrays and weights of networks by hash, functions by name and code; never by
    address.

    Raises
    ------
    DataError
        For an object that shows nothing but its address.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> described(SVC(C=2)) == described(SVC(C=2)) != described(SVC(C=3))
    True
    """
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return value
    if isinstance(value, np.ndarray):
        return {"array": sha256_array(np.ascontiguousarray(value)) if value.dtype != object else value.tolist()}
    if isinstance(value, Mapping):
        return {str(name): described(one) for name, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [described(one) for one in value]
    if isinstance(value, type):
        return _name(value)
    if isinstance(value, partial):
        return {"partial": described(value.func), "with": described([value.args, value.keywords])}
    if inspect.isroutine(value):
        return _function(value)
    return _object(value)


def _object(value: Any) -> Any:
    if hasattr(value, "get_params"):
        return {"class": _name(type(value)), "settings": described(value.get_params(deep=False))}
    if hasattr(value, "state_dict"):  # the weights of a network
        state = {name: one.detach().cpu().numpy() for name, one in value.state_dict().items()}
        return {"network": _ADDRESS.sub("", repr(value)), "weights": described(state)}
    told = repr(value)
    if _ADDRESS.search(told):
        settings = getattr(value, "__dict__", None)
        if not settings:
            raise DataError(
                "a result cannot be filed under an object that shows only its address",
                expected="an estimator with get_params, or an object with settings of its own",
                found=told[:80],
            )
        return {"class": _name(type(value)), "settings": described(settings)}
    return {"class": _name(type(value)), "repr": told}


def _function(value: Any) -> Any:
    code = getattr(value, "__code__", None)
    if code is None:
        return _name(value)
    constants = [one for one in code.co_consts if not inspect.iscode(one)]
    closed = [cell.cell_contents for cell in value.__closure__ or ()]
    text = repr((code.co_code, code.co_names, constants, _ADDRESS.sub("", repr(closed)), value.__defaults__))
    return {"function": _name(value), "code": hashlib.sha256(text.encode()).hexdigest()}


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"
