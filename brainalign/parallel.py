"""The one parallel idiom: joblib with BLAS pinned to one thread in each worker, and one progress bar.

Many machines are reached by ``joblib.parallel_config(backend="dask")`` around any call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from brainalign.errors import DataError

__all__ = ["parallel_map", "pinned_blas", "progress", "spawn_seeds"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def pinned_blas(n_threads: int = 1) -> AbstractContextManager[Any]:
    """Limit BLAS to `n_threads` inside a ``with`` block; parallel workers that do not are up to 50 times slower."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=n_threads)


def progress(items: Iterable[Item], *, description: str | None = None, total: int | None = None) -> Iterable[Item]:
    """Show the one progress bar while iterating; silent when standard error is not a terminal."""
    return tqdm(items, desc=description, total=total, disable=description is None or not sys.stderr.isatty())


def _pinned_call(function: Callable[[Item], Result], item: Item) -> Result:
    with pinned_blas():
        return function(item)


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    n_jobs: int = 1,
    description: str | None = None,
) -> list[Result]:
    """Apply `function` to each item, in order, on `n_jobs` joblib workers with BLAS pinned to one thread.

    Parameters
    ----------
    function : callable
        Must be importable by the workers (a module-level function or `functools.partial` of one).
    items : iterable
    n_jobs : int
        As joblib takes it; 1 runs in this process, -1 uses every core.
    description : str, optional
        Label of the progress bar; none is shown without it.

    Returns
    -------
    list
        Results in the order of `items`; the same for every `n_jobs`.
    """
    from joblib import Parallel, delayed

    if n_jobs == 0:
        raise DataError("n_jobs must not be 0", expected="1, 2, ... or -1 for every core", found=0)
    work = list(items)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(_pinned_call)(function, item) for item in work)
    return list(progress(results, description=description, total=len(work)))


def spawn_seeds(seed: int | None, n: int) -> list[np.random.SeedSequence]:
    """One independent seed per unit of work, so that results do not depend on `n_jobs` or block size."""
    return np.random.SeedSequence(seed).spawn(n)
