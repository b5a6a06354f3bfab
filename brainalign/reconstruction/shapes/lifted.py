"""`Lifted`: the solids of several stimuli, seen from all sides."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.cache import atomic_folder, atomic_write_bytes, atomic_write_text, to_json
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.reconstruction.shapes.agreement import distance_field
from brainalign.reconstruction.shapes.solid import Solid, write_ply
from brainalign.stimuli import Stimuli

__all__ = ["Lifted"]

_COLUMNS = 5


@dataclass(frozen=True, eq=False)
class Lifted:
    """Solids by stimulus id.

    Parameters
    ----------
    solids : mapping of id to Solid
    frames : mapping of id to uint8 array (n_views, height, width, 3)
        A turn around each, by the model's own renderer; empty where none was asked for.
    meta : mapping
        How they were made.
    """

    solids: Mapping[str, Solid]
    frames: Mapping[str, np.ndarray]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the stimuli."""
        return tuple(self.solids)

    def latents(self, *, side: int = 8) -> Latents:
        """Each shape as its distance field (side, side, side): what decoding and silencing are scored on."""
        fields = np.stack([distance_field(one, side=side) for one in self.solids.values()])
        return Latents(fields, self.ids, space=f"distance field {side}", meta=dict(self.meta))

    def turntable(self) -> Stimuli:
        """All views as pictures, ``"<id>@<view>"``, for any network to read; the table holds ``source_id``, ``view``.

        Raises
        ------
        DataError
            When no view was rendered.
        """
        if not self.frames:
            raise DataError("no view was rendered", fix="load_lift(..., frame_size=64)")
        keys = [(one, view) for one in self.ids for view in range(len(self.frames[one]))]
        table = pd.DataFrame(keys, columns=["source_id", "view"], index=[f"{one}@{view}" for one, view in keys])
        pictures = np.concatenate([self.frames[one] for one in self.ids])
        return Stimuli.from_arrays(pictures, list(table.index), table=table)

    def save(self, folder: str | PathLike[str]) -> Path:
        """``00000.ply`` and its turntable ``00000.png`` for each stimulus, named in ``shapes.json``; whole or absent.

        Returns
        -------
        Path
        """
        from PIL import Image

        with atomic_folder(folder) as draft:
            for number, (one, solid) in enumerate(self.solids.items()):
                write_ply(draft / f"{number:05d}.ply", solid)
                if one in self.frames:
                    content = io.BytesIO()
                    Image.fromarray(_sheet(self.frames[one])).save(content, "PNG")
                    atomic_write_bytes(draft / f"{number:05d}.png", content.getvalue())
            files = {f"{number:05d}": one for number, one in enumerate(self.ids)}
            atomic_write_text(draft / "shapes.json", to_json({"stimuli": files, "made": dict(self.meta)}, indent=1))
        return Path(folder)


def _sheet(frames: np.ndarray) -> np.ndarray:
    """Views side by side, `_COLUMNS` a row, white where none is left."""
    n, height, width, channels = frames.shape
    n_rows = -(-n // _COLUMNS)
    padded = np.full((n_rows * _COLUMNS, height, width, channels), 255, np.uint8)
    padded[:n] = frames
    rows = padded.reshape(n_rows, _COLUMNS, height, width, channels).transpose(0, 2, 1, 3, 4)
    return rows.reshape(n_rows * height, _COLUMNS * width, channels)
