"""`extract` and `extract_text`: stimuli through a network, into the cache, by stimulus id."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from filelock import FileLock

from brainalign.cache import Cache
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.latents.hooks import Pool, activations, pool_name
from brainalign.latents.network import Network, to_numpy
from brainalign.latents.registry import load_model
from brainalign.latents.streaming import Draft, stream

__all__ = ["extract", "extract_text"]

CacheLike = Cache | str | PathLike[str] | bool | None
_EMBEDDING = ""


def extract(
    stimuli: Any,
    model: str | Network,
    *,
    layers: str | Sequence[str] | None = None,
    pool: Pool = None,
    batch_size: int = 32,
    cache: CacheLike = None,
    **options: Any,
) -> Any:
    """Run stimuli through a network.

    Every picture goes through the model's own transform, once per content: ids that show the same pixels share one
    computation. The numbers do not depend on the batch size beyond float32 rounding, nor on the order of the stimuli.
    A run that was killed goes on where it stopped; a finished one is read from the cache.

    Parameters
    ----------
    stimuli : Stimuli
        With images, or with captions for a model that reads only text.
    model : str or Network
        A model id (see `load_model`) or a loaded network.
    layers : str or sequence of str, optional
        Dotted layer names or glob patterns, instead of the model's embedding.
    pool : {"mean", "flatten", "cls"}, callable or None
        What to make of a layer's output (see `activations`). Results of a function are not cached.
    batch_size : int
        Halved by itself when memory runs out.
    cache : Cache, path, bool or None
        Where to keep results. None is the default cache, False keeps them in memory.
    **options
        ``dtype`` to store ("float32" or "float16"); all else, and ``device``, goes to `load_model`.

    Returns
    -------
    Latents or dict of str to Latents
        One array for the embedding; one by layer name when `layers` is given.

    Raises
    ------
    DataError
        When the model or a layer is unknown, weights or pictures cannot be read, or an output is not finite.
    """
    dtype = options.pop("dtype", "float32")
    network = _network(model, options)
    if not network.reads_images:
        if layers is not None:
            raise DataError(f"{network.name} reads text: its layers are not extracted", fix="leave layers out")
        return extract_text(stimuli, network, batch_size=batch_size, cache=cache, dtype=dtype)
    ids = _ids(stimuli)
    names = [_EMBEDDING] if layers is None else _running_layers(network, stimuli.image(ids[0]), layers, pool)

    def compute(rows: Sequence[int], wanted: Sequence[str]) -> Mapping[str, np.ndarray]:
        batch = network.as_batch([stimuli.image(ids[row]) for row in rows])
        if layers is None:
            return {_EMBEDDING: to_numpy(network.encode_image(batch))}
        return {name: to_numpy(found) for name, found in activations(network, batch, wanted, pool=pool).items()}

    spaces = {name: f"{network.name}/{name}" if name else network.space for name in names}
    contents = [stimuli.content_hash(one) for one in ids]
    task = _Task(network, "image", ids, contents, spaces, compute, batch_size, dtype, pool_name(pool))
    found = _run(task, False if callable(pool) else cache)
    return found[_EMBEDDING] if layers is None else found


def extract_text(
    texts: Any, model: str | Network, *, batch_size: int = 64, cache: CacheLike = None, **options: Any
) -> Latents:
    """Embed texts; for a joint model they land in the same space as its pictures.

    Parameters
    ----------
    texts : Stimuli, mapping or sequence of str
        Captions by stimulus id, ``{id: text}``, or plain texts, which then serve as their own ids.
    model : str or Network
        ``open_clip:``, ``sentence:`` or ``offline:`` (``conse``, ``minilm``).
    batch_size, cache, **options
        As in `extract`.

    Returns
    -------
    Latents
        (n_texts, dimension), by id.

    Examples
    --------
    >>> labels = extract_text(["a cat", "a cup of coffee"], "offline:minilm", cache=False)  # doctest: +SKIP
    >>> labels.shape  # doctest: +SKIP
    (2, 384)
    """
    dtype = options.pop("dtype", "float32")
    network = _network(model, options)
    if not network.reads_text:
        raise DataError(f"{network.name} does not read text", fix="use an open_clip:, sentence: or offline: model")
    by_id = _texts_by_id(texts)
    ids, sentences = list(by_id), list(by_id.values())

    def compute(rows: Sequence[int], _wanted: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {_EMBEDDING: to_numpy(network.encode_text([sentences[row] for row in rows]))}

    contents = [hashlib.sha256(sentence.encode()).hexdigest() for sentence in sentences]
    spaces = {_EMBEDDING: network.name}
    task = _Task(network, "text", ids, contents, spaces, compute, batch_size, dtype, None)
    return _run(task, cache)[_EMBEDDING]


@dataclass(frozen=True)
class _Task:
    """Everything that one extraction is made of."""

    network: Network
    kind: str
    ids: list[str]
    contents: list[str]
    spaces: dict[str, str]
    compute: Callable[[Sequence[int], Sequence[str]], Mapping[str, np.ndarray]]
    batch_size: int
    dtype: str
    pool: str | None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError("batch_size must be positive", expected="at least 1", found=self.batch_size)
        if self.dtype not in ("float32", "float16"):
            raise DataError("latents are stored as floats", expected="'float32' or 'float16'", found=self.dtype)

    def meta(self, name: str) -> dict[str, Any]:
        """What is recorded beside the values of one output."""
        of_layer = {"layer": name, "pool": self.pool} if name else {"layer": "embedding"}
        return {**self.network.meta(), "stimuli": self.kind, "dtype": self.dtype, **of_layer}

    def key(self, name: str) -> str:
        """Name of one output in the cache: a hash of all that its numbers depend on."""
        parts = {key: value for key, value in self.meta(name).items() if key != "libraries"}
        return Cache.key(kind="latents", parts=parts, ids=self.ids, contents=self.contents)


def _run(task: _Task, cache: CacheLike) -> dict[str, Latents]:
    if cache is False:
        drafts = {name: Draft(None, len(task.ids), task.dtype) for name in task.spaces}
        _fill(task, drafts)
        return {name: _latents(task, name, draft.values) for name, draft in drafts.items()}
    store = cache if isinstance(cache, Cache) else Cache(None if cache in (None, True) else cache)  # type: ignore[arg-type]
    keys = {name: task.key(name) for name in task.spaces}
    with ExitStack() as held:
        # Two processes that want the same layers take the locks in the same order, and the second finds them done.
        for key in sorted(key for key in keys.values() if not _stored(store, key)):
            held.enter_context(FileLock(store.root / f".{key}.making.lock"))
        missing = {name: key for name, key in keys.items() if not _stored(store, key)}
        drafts = {
            name: Draft(store.root / f".{key}.partial", len(task.ids), task.dtype) for name, key in missing.items()
        }
        if drafts:
            _fill(task, drafts)
        for name, draft in drafts.items():
            _latents(task, name, draft.values).save(store.path(keys[name]))
            draft.remove()
    for key in keys.values():  # a kill may have fallen between storing and tidying up
        shutil.rmtree(store.root / f".{key}.partial", ignore_errors=True)
    return {name: Latents.open(store.path(key)) for name, key in keys.items()}


def _stored(store: Cache, key: str) -> bool:
    return (store.path(key) / "manifest.json").is_file()


def _fill(task: _Task, drafts: Mapping[str, Draft]) -> None:
    wanted = list(drafts)
    first: dict[str, int] = {}
    source = np.array([first.setdefault(content, row) for row, content in enumerate(task.contents)])
    rows = np.flatnonzero(source == np.arange(len(source))).tolist()

    def compute(batch: Sequence[int]) -> dict[str, np.ndarray]:
        outputs = task.compute(batch, wanted)
        return {name: _stored_as(outputs[name], task, batch, name) for name in wanted}

    stream(drafts, compute, rows, batch_size=task.batch_size, description=f"extract {task.network.name}")
    for draft in drafts.values():
        draft.repeat_rows(source)


def _stored_as(values: np.ndarray, task: _Task, batch: Sequence[int], name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = values.astype(task.dtype, copy=False)
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if bad.any():
        raise DataError(
            f"{task.spaces[name]} gives NaN or infinity",
            expected=f"finite numbers in {task.dtype}",
            found=f"stimuli {[task.ids[row] for row, is_bad in zip(batch, bad, strict=True) if is_bad][:5]}",
            fix="look at these stimuli; with dtype='float16' large activations overflow: use float32",
        )
    return values


def _latents(task: _Task, name: str, values: np.ndarray) -> Latents:
    return Latents(values, task.ids, space=task.spaces[name], meta=task.meta(name))


def _network(model: str | Network, options: dict[str, Any]) -> Network:
    if isinstance(model, str):
        return load_model(model, **options)
    if not isinstance(model, Network):
        raise DataError(
            f"a {type(model).__name__} is not a model that can be run on stimuli",
            expected="a model id such as 'offline:conse', or a Network",
            fix="wrap a torch module: brainalign.latents.network.Network(name, module, image_transform)",
        )
    if options:
        raise DataError("a loaded network takes no options", found=sorted(options), fix="give them to load_model")
    return model


def _running_layers(network: Network, image: Any, layers: str | Sequence[str], pool: Pool) -> list[str]:
    """Names of the layers that give something out, found with one picture."""
    return list(activations(network, network.as_batch([image]), layers, pool=pool))


def _ids(stimuli: Any) -> list[str]:
    ids = [str(one) for one in stimuli.ids]
    if not ids:
        raise DataError("there are no stimuli to extract", expected="at least one", found=0)
    return ids


def _texts_by_id(texts: Any) -> dict[str, str]:
    if hasattr(texts, "caption"):
        return {one: texts.caption(one) for one in _ids(texts)}
    if isinstance(texts, str) or not isinstance(texts, Mapping | Iterable):
        raise DataError("texts must be Stimuli, a mapping or a sequence", found=type(texts).__name__)
    pairs = list(texts.items()) if isinstance(texts, Mapping) else [(text, text) for text in texts]
    by_id = {str(one): text for one, text in pairs}
    if not pairs or len(by_id) < len(pairs) or not all(isinstance(text, str) for text in by_id.values()):
        raise DataError(
            "texts must be one or more different strings",
            found=f"{len(pairs)} entries, {len(by_id)} different ids",
            fix="give {id: text} when texts repeat",
        )
    return by_id
