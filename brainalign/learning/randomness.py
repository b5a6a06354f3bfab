"""The state of every random number generator that a training may draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np
import torch

__all__ = ["Generators", "random_state", "seeded", "set_random_state"]


class Generators(NamedTuple):
    """States of torch's (CPU and each GPU), numpy's and Python's global generators, as each of them gives it.

    Quick to take, for going back within a process; `random_state` is what a checkpoint holds.
    """

    torch: torch.Tensor
    numpy: tuple[Any, ...]
    python: tuple[Any, ...]
    cuda: list[torch.Tensor]

    @classmethod
    def now(cls) -> Self:
        """As they are."""
        on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        numbers: Any = np.random.get_state(legacy=True)  # noqa: NPY002  # other code draws from it
        return cls(torch.get_rng_state(), numbers, random.getstate(), torch.cuda.get_rng_state_all() if on_gpu else [])

    def put_back(self) -> None:
        """Make the generators what they were."""
        torch.set_rng_state(self.torch)
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)
        if self.cuda and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self.cuda)


def random_state() -> dict[str, torch.Tensor]:
    """The state of all generators as tensors."""
    state = Generators.now()
    name, keys, position, has_gauss, gauss = state.numpy
    assert name == "MT19937"
    version, words, next_gauss = state.python
    made = {
        "torch": state.torch,
        "numpy_keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_rest": torch.tensor([position, has_gauss]),
        "numpy_gauss": torch.tensor(gauss, dtype=torch.float64),
        "python": torch.tensor([version, *words]),
        "python_gauss": torch.tensor([] if next_gauss is None else [next_gauss], dtype=torch.float64),
    }
    return made | {f"cuda{number}": one for number, one in enumerate(state.cuda)}


def set_random_state(state: Mapping[str, torch.Tensor]) -> None:
    """Put the generators back to what `random_state` returned."""
    keys = state["numpy_keys"].numpy().astype(np.uint32)
    position, has_gauss = state["numpy_rest"].tolist()
    version, *words = state["python"].tolist()
    gauss = state["python_gauss"].tolist()
    on_gpu = sorted((name for name in state if name.startswith("cuda")), key=lambda one: int(one[4:]))
    Generators(
        state["torch"].cpu(),
        ("MT19937", keys, position, has_gauss, state["numpy_gauss"].item()),
        (version, tuple(words), gauss[0] if gauss else None),
        [state[name].cpu() for name in on_gpu],
    ).put_back()


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
    before = Generators.now()
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        before.put_back()
