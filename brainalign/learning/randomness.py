"""The state of every random number generator that a training may draw from, as tensors, without pickle."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["random_state", "seeded", "set_random_state"]


def random_state() -> dict[str, torch.Tensor]:
    """States of torch's (CPU and each GPU), numpy's and Python's global generators."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002  # other code draws from it
    assert name == "MT19937"
    version, words, next_gauss = random.getstate()
    made = {
        "torch": torch.get_rng_state(),
        "numpy_keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_rest": torch.tensor([position, has_gauss]),
        "numpy_gauss": torch.tensor(gauss, dtype=torch.float64),
        "python": torch.tensor([version, *words]),
        "python_gauss": torch.tensor([] if next_gauss is None else [next_gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        made |= {f"cuda{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    return made


def set_random_state(state: Mapping[str, torch.Tensor]) -> None:
    """Put the generators back to what `random_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    keys = state["numpy_keys"].numpy().astype(np.uint32)
    position, has_gauss = state["numpy_rest"].tolist()
    np.random.set_state(("MT19937", keys, position, has_gauss, state["numpy_gauss"].item()))  # noqa: NPY002
    version, *words = state["python"].tolist()
    gauss = state["python_gauss"].tolist()
    random.setstate((version, tuple(words), gauss[0] if gauss else None))
    for name in state:
        if name.startswith("cuda") and torch.cuda.is_available():
            torch.cuda.set_rng_state(state[name].cpu(), int(name.removeprefix("cuda")))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed all global generators inside a ``with`` block, and leave them outside as they were.

    Examples
    --------
    >>> before = random_state()["torch"]
    >>> with seeded(0):
    ...     first = torch.rand(2)
    >>> with seeded(0):
    ...     assert torch.equal(torch.rand(2), first)
    >>> torch.equal(random_state()["torch"], before)
    True
    """
    before = random_state()
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        set_random_state(before)
