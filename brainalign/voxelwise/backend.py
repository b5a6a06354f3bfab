"""What the solvers need to run on numpy arrays and on torch tensors alike, and nothing more."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from brainalign.arrays import resolve_device

__all__ = [
    "add_product",
    "block_bytes",
    "cast",
    "common_dtype",
    "half",
    "half_product",
    "is_tensor",
    "namespace",
    "on_device",
    "to_like",
    "to_numpy",
]


def namespace(x: Any) -> Any:
    """The module whose functions take `x`: numpy, or torch where it is loaded and `x` is its tensor."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def is_tensor(x: Any) -> bool:
    """Whether `x` is a torch tensor."""
    return namespace(x) is not np


def block_bytes(x: Any, on_cpu: int) -> int:
    """Budget of a block of work: `on_cpu`, or, where `x` is on a GPU, as much as keeps that busy and fits."""
    if not is_tensor(x) or x.device.type != "cuda":
        return on_cpu
    free, _ = namespace(x).cuda.mem_get_info(x.device)
    return max(on_cpu, min(2**28, free // 4))


def cast(x: Any, dtype: str) -> Any:
    """`x` as ``"float32"`` or ``"float64"``, without a copy where it is so already."""
    if isinstance(x, np.ndarray):
        return x.astype(dtype, copy=False)
    return x.to(getattr(namespace(x), dtype))


def common_dtype(X: Any, Y: Any) -> str:
    """``"float32"`` where both fit in it, else ``"float64"``."""
    kinds = [str(one.dtype).rpartition(".")[2] for one in (X, Y)]
    return str(np.result_type(*("float32" if kind == "bfloat16" else kind for kind in kinds)))


def to_like(x: Any, reference: Any) -> Any:
    """`x` as an array of `reference`'s kind, on its device, with its own dtype."""
    xp = namespace(reference)
    return to_numpy(x) if xp is np else xp.as_tensor(x, device=reference.device)


def to_numpy(x: Any) -> np.ndarray:
    """`x` as a numpy array in main memory."""
    return x.detach().cpu().numpy() if is_tensor(x) else x


def on_device(x: Any, device: str) -> Any:
    """`x` where `device` is: a torch tensor on a GPU; numpy otherwise, whose products are the faster ones on a CPU.
    A tensor stays where it is.

    MPS has no float64, which the eigenproblems need: it counts as a CPU here.
    """
    if device == "cpu" or is_tensor(x):
        return x
    found = resolve_device(device)
    if not found.startswith("cuda"):
        return x
    import torch

    return torch.as_tensor(np.ascontiguousarray(x), device=found)


def add_product(out: Any, a: Any, b: Any) -> Any:
    """``out + a @ b``, written into `out` (in C order)."""
    if is_tensor(out):
        return out.addmm_(a, b)
    from scipy.linalg import get_blas_funcs

    (gemm,) = get_blas_funcs(("gemm",), (out, a, b))
    return gemm(1.0, b.T, a.T, beta=1.0, c=out.T, overwrite_c=1).T


def half(x: Any) -> Any:
    """`x` as a bfloat16 torch tensor, on its device."""
    import torch

    return torch.as_tensor(x).to(torch.bfloat16)


def half_product(a: Any, b: Any) -> Any:
    """``a @ b`` in bfloat16 with `a` a tensor in that; the result, in float32, is of the kind of `b`."""
    product = (a @ half(b)).float()
    return product.numpy() if isinstance(b, np.ndarray) else product
