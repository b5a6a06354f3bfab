"""The few things in which numpy and torch differ, so that the code of this room is written once for both."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from brainalign.arrays import check_finite
from brainalign.errors import DataError
from brainalign.scoring.correlation import average_ranks

__all__ = [
    "as_doubles",
    "as_floats",
    "as_like",
    "check_numbers",
    "check_permutations",
    "finite",
    "namespace",
    "on_device",
    "ranks",
    "to_numpy",
]

_COMPLEX = "take magnitudes, or real and imaginary parts as features of their own"


def namespace(*arrays: Any) -> Any:
    """``torch`` when one of the arrays is a tensor, else ``numpy``. Never imports torch."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and any(isinstance(x, torch.Tensor) for x in arrays) else np


def as_floats(x: Any) -> Any:
    """An array or tensor of float32 or float64: both stay, half precision becomes float32 and all else float64."""
    xp = namespace(x)
    if xp is not np:
        if x.is_complex():
            raise DataError("a tensor is complex", expected="real numbers", found=x.dtype, fix=_COMPLEX)
        if x.dtype in (xp.float32, xp.float64):
            return x.detach()
        return x.detach().to(xp.float32 if x.dtype in (xp.float16, xp.bfloat16) else xp.float64)
    array = np.asarray(x)
    if array.dtype in (np.float32, np.float64):
        return array
    if np.iscomplexobj(array):
        raise DataError("an array is complex", expected="real numbers", found=array.dtype, fix=_COMPLEX)
    try:
        return array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("an array is not numeric", expected="numbers", found=array.dtype) from error


def as_doubles(x: Any) -> Any:
    """A tensor as floats of its own precision, anything else as an array of float64."""
    return as_floats(x).astype(np.float64, copy=False) if namespace(x) is np else as_floats(x)


def on_device(x: np.ndarray, like: Any) -> Any:
    """An array of numpy (indices, masks) where `like` is, in its own type."""
    xp = namespace(like)
    return x if xp is np else xp.as_tensor(x, device=like.device)


def as_like(x: Any, like: Any) -> Any:
    """`x` as floats of the kind, type and device of `like`."""
    xp = namespace(like)
    if xp is np:
        return np.asarray(x, dtype=like.dtype)
    return xp.as_tensor(x if namespace(x) is xp else np.asarray(x), dtype=like.dtype, device=like.device)


def to_numpy(x: Any) -> np.ndarray:
    """A numpy array of any array or tensor, wherever it is."""
    return np.asarray(x) if namespace(x) is np else x.detach().cpu().numpy()


def finite(x: Any) -> bool:
    """Whether no entry is NaN or infinite."""
    return bool(namespace(x).isfinite(x).all())


def check_numbers(x: Any, *, name: str) -> None:
    """Refuse NaN and infinity, saying how many and where (see `brainalign.arrays.check_finite`)."""
    if not finite(x):
        values = to_numpy(x)
        check_finite(values.reshape(-1, values.shape[-1]), name=name)


def check_permutations(n_permutations: int) -> None:
    """Refuse a test without permutations."""
    if n_permutations < 1:
        raise DataError("a permutation test needs permutations", expected="1 or more", found=n_permutations)


def ranks(x: Any) -> Any:
    """Ranks from 1 along the last axis, ties sharing their mean rank."""
    xp = namespace(x)
    if xp is np:
        return average_ranks(x)
    ordered = xp.sort(x, dim=-1).values.contiguous()
    x = x.contiguous()
    below, through = xp.searchsorted(ordered, x), xp.searchsorted(ordered, x, right=True)
    return (below + through + 1).to(x.dtype) / 2
