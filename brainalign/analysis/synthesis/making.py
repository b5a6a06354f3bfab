"""`synthesize`: pictures that drive a region, a voxel, or any function of predicted responses."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.synthesis.guidance import Guided
from brainalign.analysis.synthesis.prior import Drawn, Work
from brainalign.analysis.synthesis.targets import as_target
from brainalign.cache import Cache, atomic_write_bytes, atomic_write_text, to_json
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.latents.network import weights_sha256
from brainalign.parallel import progress
from brainalign.reconstruction.generators.base import to_uint8
from brainalign.reconstruction.generators.inputs import picture_seed
from brainalign.stimuli import Stimuli

__all__ = ["synthesize"]


def synthesize(
    guide: Any,
    target: Any,
    *,
    generator: Any,
    n: int = 1,
    seed: int = 0,
    sampler: Any = None,
    folder: str | PathLike[str] | None = None,
) -> Stimuli:
    """Make pictures with a high value of `target`.

    Parameters
    ----------
    guide : PictureEncoder, or any differentiable function of pictures with ``units``
        Pictures (n, 3, height, width) in [0, 1] to responses (n, n_units).
    target : query, Target or callable
        ``"roi == 'FFA'"`` is maximised; `maximise`, `minimise`, `difference`, `pattern`; or any differentiable
        function of responses (n, n_units) to (n,).
    generator : Generator
        A `load_generator(...)` of diffusion, or a `GaussianMixture`.
    n : int
        How many pictures.
    seed : int
        Each picture has its own, made of this, the target and its number: batches change nothing.
    sampler : Guided, PlugAndPlay or Multifaceted, optional
        How; gradient guidance by default.
    folder : path-like, optional
        Keep each picture there as it is finished (PNG beside JSON); a later call goes on where this one stopped.

    Returns
    -------
    Stimuli
        Ids ``"<target>#<number>"``; the table holds ``target``, ``number``, ``seed``, ``value`` (as the guide
        predicts it, which does not judge: see `judge_synthesis`), ``generator``, ``sampler`` and what the sampler adds.

    Raises
    ------
    DataError
        When a region is empty, spaces differ, `folder` holds another synthesis, or a picture is not finite.
    """
    if int(n) != n or n < 1:
        raise DataError("n pictures", expected="an integer from 1", found=n)
    if not hasattr(generator, "name"):
        raise DataError("not a generator", expected="load_generator(...) or a GaussianMixture",
                        found=type(generator).__name__)  # fmt: skip
    sampler = Guided() if sampler is None else sampler
    name, function = as_target(target, guide.units)
    work = Work(guide, generator, function)
    seeds = [picture_seed(seed, name, number) for number in range(n)]
    ids = [f"{name}#{number}" for number in range(n)]
    store = _Store(folder, {"target": name, "seed": seed, "generator": generator.name, "sampler": _plain(sampler),
                            "guide": _of_guide(guide)})  # fmt: skip
    missing = [number for number in range(n) if not store.has(number)]
    batches = [missing[at : at + sampler.batch_size] for at in range(0, len(missing), sampler.batch_size)]
    for numbers in progress(batches, description=f"{name} by {generator.name}"):
        drawn = sampler.draw(work, numbers, [seeds[number] for number in numbers])
        for number, picture, record in _finished(drawn, numbers):
            store.put(number, picture, record | {"seed": str(seeds[number])})
    rows = [store.record(number) for number in range(n)]
    table = pd.DataFrame(rows, index=ids).assign(
        target=name, number=range(n), generator=generator.name, sampler=type(sampler).__name__
    )
    return Stimuli.from_arrays(np.stack([store.picture(number) for number in range(n)]), ids, table=table)


def _finished(drawn: Drawn, numbers: list[int]) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
    for row, number in enumerate(numbers):
        value = float(drawn.values[row])
        if not np.isfinite(value) or not np.isfinite(drawn.pictures[row]).all():
            raise DataError(
                f"picture {number} is not finite",
                found=f"value {value}",
                fix="a smaller scale, more steps, a larger lead_from, or precision='float32'",
            )
        yield number, to_uint8(drawn.pictures[row]), {"value": value, **{k: v[row] for k, v in drawn.extra.items()}}


class _Store:
    """Finished pictures, on disk where a folder is given; a picture counts once its record is there."""

    def __init__(self, folder: str | PathLike[str] | None, asked: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self._held: dict[int, tuple[np.ndarray, dict[str, Any]]] = {}
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file, text = self.folder / "synthesis.json", to_json(asked, indent=1)
        if not file.exists():
            atomic_write_text(file, text)
        elif json.loads(file.read_text()) != json.loads(text):
            found = json.loads(file.read_text())
            differing = {key: found.get(key) for key in asked if found.get(key) != json.loads(text)[key]}
            raise DataError("this folder holds another synthesis", path=self.folder, found=differing,
                            expected={key: json.loads(text)[key] for key in differing},
                            fix="another folder, or delete this one")  # fmt: skip

    def has(self, number: int) -> bool:
        return self.folder is not None and self._file(number, "json").is_file()

    def put(self, number: int, picture: np.ndarray, record: dict[str, Any]) -> None:
        if self.folder is None:
            self._held[number] = picture, record
            return
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        atomic_write_bytes(self._file(number, "png"), content.getvalue())
        atomic_write_text(self._file(number, "json"), to_json(record))

    def picture(self, number: int) -> np.ndarray:
        if self.folder is None:
            return self._held[number][0]
        from PIL import Image

        with Image.open(self._file(number, "png")) as image:
            return np.asarray(image.convert("RGB"))

    def record(self, number: int) -> dict[str, Any]:
        return self._held[number][1] if self.folder is None else json.loads(self._file(number, "json").read_text())

    def _file(self, number: int, kind: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{number:05d}.{kind}"


def _plain(sampler: Any) -> dict[str, Any]:
    """A sampler as plain data; embeddings by their hash."""
    plain: dict[str, Any] = {"kind": type(sampler).__name__}
    for name in sampler.__dataclass_fields__:
        value = getattr(sampler, name)
        if isinstance(value, Latents):
            value = Cache.key(values=value.flat().round(6).tolist(), space=value.space)
        elif hasattr(value, "__dataclass_fields__"):
            value = _plain(value)
        if name != "batch_size":
            plain[name] = value
    return plain


def _of_guide(guide: Any) -> str:
    if not hasattr(guide, "weights"):
        return type(guide).__name__
    network = getattr(guide, "network", None)
    made = weights_sha256(network.module) if network is not None else ""
    return Cache.key(weights=guide.weights.numpy().tolist(), intercept=guide.intercept.numpy().tolist(), network=made)
