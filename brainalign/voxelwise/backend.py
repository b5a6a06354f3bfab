"""What the solvers need to run on numpy arrays and on torch tensors alike, and nothing more."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from brainalign.arrays import resolve_device

__all__ = ["cast", "half", "half_product", "namespace", "on_device", "to_like", "to_numpy"]


def namespace(x: Any) -> Any:
    """The module whose functions take `x`: numpy, or torch where it is loaded and `x` is its tensor."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def cast(x: Any, dtype: str) -> Any:
    """`x` as ``"float32"`` or ``"float64"``, without a copy where it is so already."""
    if isinstance(x, np.ndarray):
        return x.astype(dtype, copy=False)
    return x.to(getattr(namespace(x), dtype))


def to_like(x: np.ndarray, reference: Any) -> Any:
    """The numpy array `x` as an array of `reference`'s kind, on its device, with its own dtype."""
    xp = namespace(reference)
    return x if xp is np else xp.as_tensor(x, device=reference.device)


def to_numpy(x: Any) -> np.ndarray:
    """`x` as a numpy array in main memory."""
    return x if isinstance(x, np.ndarray) else x.cpu().numpy()


def on_device(x: np.ndarray, device: str) -> Any:
    """`x` where `device` is: a torch tensor on a GPU; numpy otherwise, whose products are the faster ones on a CPU.

    MPS has no float64, which the eigenproblems need: it counts as a CPU here.
    """
    if device == "cpu":
        return x
    found = resolve_device(device)
    if not found.startswith("cuda"):
        return x
    import torch

    return torch.as_tensor(np.ascontiguousarray(x), device=found)


def half(x: Any) -> Any:
    """`x` as a bfloat16 torch tensor, on its device."""
    import torch

    return torch.as_tensor(x).to(torch.bfloat16)


def half_product(a: Any, b: Any) -> Any:
    """``a @ b`` in bfloat16 with `a` a tensor in that; the result, in float32, is of the kind of `b`."""
    product = (a @ half(b)).float()
    return product.numpy() if isinstance(b, np.ndarray) else product
