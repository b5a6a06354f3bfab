"""Activations of any layer of any torch module, by one hook mechanism."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from brainalign.errors import DataError, closest

__all__ = ["Pool", "activations", "match_layers", "pool_name"]

Pool = str | Callable[[Tensor], Tensor] | None
"""``"mean"``, ``"flatten"``, ``"cls"``, None, or a function of one layer's output."""


def activations(
    model: Any,
    batch: Any,
    layers: str | Iterable[str],
    *,
    pool: Pool = None,
    forward: Callable[[Any], Any] | None = None,
    gradients: bool = False,
) -> dict[str, Tensor]:
    """Run one batch and return what the named layers gave out.

    The model runs in evaluation mode, without gradients unless asked for; its training flags are put back and every
    hook is removed, also when the forward pass fails. Of a module that runs several times in one pass (a shared ReLU)
    the last output is kept.

    Parameters
    ----------
    model : torch.nn.Module or Network
        Any module, or what `load_model` returns.
    batch : Tensor or other input
        What the model takes as its one argument.
    layers : str or sequence of str
        Dotted module names, or glob patterns (``"layer*"``; ``*`` also matches dots).
    pool : {"mean", "flatten", "cls"}, callable or None
        ``"mean"`` averages over space (n, channels, height, width) or tokens (n, tokens, width); ``"cls"`` takes the
        first token; ``"flatten"`` gives one row a sample; None keeps the shape. Give a function for other layouts,
        for example ``lambda x: x.mean((1, 2))`` where channels come last (Swin).
    forward : callable, optional
        Runs the model on the batch; default ``model(batch)``.
    gradients : bool
        Keep the graph, so that a loss on activations reaches the batch.

    Returns
    -------
    dict of str to Tensor
        Shape (n_samples, \\*layer), in the order the layers were asked for.

    Raises
    ------
    DataError
        When a name matches no layer, a named layer does not run, or an output cannot be pooled.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    >>> activations(network, torch.zeros(2, 4), ["0", "1"])["1"].shape
    torch.Size([2, 3])
    """
    is_module = isinstance(model, nn.Module)
    module: nn.Module = model if is_module else model.module
    run = forward or (model if is_module else model.run)
    patterns = [layers] if isinstance(layers, str) else list(layers)
    names = match_layers(module, patterns)
    kept: dict[str, Tensor] = {}
    with (
        _evaluating(module),
        nullcontext() if gradients else torch.inference_mode(),
        _hooked(module, names, pool, kept),
    ):
        run(batch)
    silent = [name for name in names if name not in kept]
    if any(name in patterns for name in silent) or not kept:
        raise DataError(
            f"these layers gave out no tensor in the forward pass: {silent[:5]}",
            expected="modules that the forward pass calls",
            fix="name the module around them; functions inside a forward cannot be hooked",
        )
    return {name: kept[name] for name in names if name in kept}


def match_layers(module: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Dotted names of the modules that match, in the order of the patterns.

    Raises
    ------
    DataError
        Naming the closest layer when a pattern matches none.
    """
    known = [name for name, _ in module.named_modules() if name]
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = [pattern] if pattern in known else [name for name in known if fnmatchcase(name, pattern)]
        if not matches:
            raise DataError(
                f"unknown layer '{pattern}'.{closest(pattern, known)}",
                expected=f"a dotted name or glob among {len(known)} modules, such as {known[:3]} ... {known[-3:]}",
                found=pattern,
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def pool_name(pool: Pool) -> str | None:
    """How a pooling is recorded: its name, or where a function was defined."""
    if pool is None or isinstance(pool, str):
        return pool
    return f"{getattr(pool, '__module__', '?')}.{getattr(pool, '__qualname__', type(pool).__name__)}"


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def _hooked(module: nn.Module, names: Iterable[str], pool: Pool, kept: dict[str, Tensor]) -> Iterator[None]:
    parts = dict(module.named_modules())

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = _first_tensor(output)
            if tensor is not None:
                # A copy: the next module may work in place (ReLU after a convolution).
                kept[name] = _pooled(tensor, pool, name).clone()

        return hook

    handles = [parts[name].register_forward_hook(keep(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, tuple | list):
        return next((found for part in output if (found := _first_tensor(part)) is not None), None)
    return None


def _pooled(tensor: Tensor, pool: Pool, name: str) -> Tensor:
    if pool is None:
        return tensor
    if callable(pool):
        return pool(tensor)
    if pool == "flatten":
        return tensor.flatten(1)
    if pool == "mean":
        if tensor.ndim == 3:
            return tensor.mean(1)
        return tensor.flatten(2).mean(2) if tensor.ndim > 3 else tensor
    if pool == "cls":
        if tensor.ndim == 3:
            return tensor[:, 0]
        raise DataError(f"layer '{name}' has no class token", expected="(n, tokens, width)", found=tuple(tensor.shape))
    raise DataError(
        f"unknown pooling '{pool}'.{closest(str(pool), ['mean', 'flatten', 'cls'])}",
        expected="'mean', 'flatten', 'cls', None or a function",
    )
