"""`Stimuli`: pictures and captions by ``stimulus_id``, read only when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainalign.errors import DataError
from brainalign.tables import check_unique_ids, positions_of, select_rows

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Stimuli", "augmented"]


class Stimuli:
    """Pictures and captions by id.

    Parameters
    ----------
    ids : sequence of str
        Unique.
    images : mapping or callable, optional
        ``{id: path | uint8 array (height, width[, 3]) | callable}`` or one callable ``id -> array or PIL image``.
        Nothing is read before it is asked for.
    captions : mapping, optional
        ``{id: str}``.
    table : DataFrame, optional
        Indexed by stimulus_id: label, category, concept, ...
    masks : mapping or callable, optional
        ``{id: boolean array (height, width)}`` or ``id -> array``: where the object is.

    Raises
    ------
    DataError
        When ids repeat, or a table, picture or caption is missing for one of them.

    Examples
    --------
    >>> pictures = Stimuli.from_arrays(np.zeros((2, 8, 8, 3), np.uint8), ["a", "b"], captions={"a": "A.", "b": "B."})
    >>> pictures, pictures.image("a").size, pictures.caption("b")
    (Stimuli(2 images with captions), (8, 8), 'B.')
    """

    def __init__(
        self,
        ids: Iterable[Any],
        *,
        images: Mapping[str, Any] | Callable[[str], Any] | None = None,
        captions: Mapping[str, str] | None = None,
        table: pd.DataFrame | None = None,
        masks: Mapping[str, Any] | Callable[[str], Any] | None = None,
    ) -> None:
        self.ids = tuple(str(one) for one in ids)
        check_unique_ids(self.ids)
        self._hashes: dict[str, str] = {}
        self._images, self._captions, self._masks = images, captions, masks
        if table is None:
            self.table = pd.DataFrame(index=pd.Index(self.ids, name="stimulus_id", dtype=object))
        else:
            table = table.set_axis(table.index.astype(str), axis=0)
            self.table = table.iloc[positions_of(self.ids, table.index, what="the stimulus table")].copy()
            self.table.index.name = "stimulus_id"
        for name, held in (("images", images), ("captions", captions)):
            if isinstance(held, Mapping):
                positions_of(self.ids, list(held), what=name)

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray,
        ids: Iterable[Any],
        *,
        captions: Mapping[str, str] | None = None,
        table: pd.DataFrame | None = None,
    ) -> Stimuli:
        """From one array (n, height, width[, 3]) of uint8 and as many ids; memory maps stay on disk."""
        names = [str(one) for one in ids]
        if len(names) != len(images):
            raise DataError("as many ids as pictures are needed", expected=len(images), found=len(names))
        rows = {name: row for row, name in enumerate(names)}
        return cls(names, images=lambda one: images[rows[one]], captions=captions, table=table)

    @classmethod
    def from_folder(cls, folder: str | PathLike[str], pattern: str = "*.jpg", **kwargs: Any) -> Stimuli:
        """From the files of a folder; a file's stem is its id."""
        root = Path(folder)
        files = sorted(root.glob(pattern))
        if not files:
            raise DataError("no pictures found", path=root, expected=pattern, found="no match")
        check_unique_ids([file.stem for file in files], what="file stems")
        return cls([file.stem for file in files], images={file.stem: file for file in files}, **kwargs)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, one: object) -> bool:
        return one in self.table.index

    def __repr__(self) -> str:
        kinds = [name for name, held in (("images", self._images), ("captions", self._captions)) if held is not None]
        columns = f", table: {', '.join(map(str, self.table.columns))}" if len(self.table.columns) else ""
        return f"Stimuli({len(self)} {' with '.join(kinds) or 'ids'}{columns})"

    @property
    def has_images(self) -> bool:
        """Whether pictures can be asked for."""
        return self._images is not None

    @property
    def has_captions(self) -> bool:
        """Whether captions can be asked for."""
        return self._captions is not None

    def _fetch(self, held: Mapping[str, Any] | Callable[[str], Any] | None, one: str, what: str) -> Any:
        positions_of([one], self.ids, what="these stimuli")
        if held is None:
            raise DataError(f"these stimuli have no {what}", fix=f"give {what} when making the Stimuli")
        found = held(one) if callable(held) else held[one]
        return found() if callable(found) else found

    def image(self, one: str) -> Image:
        """The picture of one id as an RGB PIL image."""
        from PIL import Image, UnidentifiedImageError

        found = self._fetch(self._images, one, "images")
        if isinstance(found, Image.Image):
            return found.convert("RGB")
        if isinstance(found, str | PathLike):
            try:
                with Image.open(found) as image:
                    return image.convert("RGB")
            except (OSError, UnidentifiedImageError) as error:
                raise DataError(f"cannot read the picture of '{one}': {error}", path=found) from error
        array = np.asarray(found)
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            raise DataError(
                f"picture '{one}' is not a uint8 image",
                expected="uint8 (height, width) or (height, width, 3)",
                found=f"{array.dtype} {array.shape}",
            )
        return Image.fromarray(array).convert("RGB")

    def array(self, one: str) -> np.ndarray:
        """The picture of one id as uint8 (height, width, 3)."""
        return np.asarray(self.image(one))

    def caption(self, one: str) -> str:
        """The caption of one id."""
        return str(self._fetch(self._captions, one, "captions"))

    def mask(self, one: str) -> np.ndarray:
        """Boolean object mask (height, width) of one id."""
        return np.asarray(self._fetch(self._masks, one, "masks"), dtype=bool)

    def select(self, which: Iterable[Any] | str) -> Stimuli:
        """Keep some ids: a sequence of ids in the order wanted, or a query on the table (``"category == 'food'"``)."""
        if isinstance(which, str):
            ids: list[str] = [self.ids[row] for row in select_rows(self.table, which, what="stimuli")]
        else:
            ids = [str(one) for one in which]
            positions_of(ids, self.ids, what="these stimuli")
        chosen = Stimuli(ids, images=self._images, captions=self._captions, table=self.table, masks=self._masks)
        chosen._hashes = self._hashes  # a picture is read for its hash once, whatever is selected later
        return chosen

    def content_hash(self, one: str) -> str:
        """The sha256 of a picture's pixels (or of the caption where there are no pictures)."""
        if one not in self._hashes:
            if self._images is None:
                content = self.caption(one).encode()
            else:
                array = self.array(one)
                content = f"{array.shape}".encode() + array.tobytes()
            self._hashes[one] = hashlib.sha256(content).hexdigest()
        return self._hashes[one]

    def duplicates(self) -> list[tuple[str, str]]:
        """Pairs of different ids that show exactly the same content: a leak if a split parts them."""
        first: dict[str, str] = {}
        return [(first[key], one) for one in self.ids if (first.setdefault(key := self.content_hash(one), one)) != one]


def augmented(
    stimuli: Stimuli, *, seed: int = 0, crop: float = 0.6, jitter: float = 0.2, grey: float = 0.1, flip: float = 0.5
) -> Stimuli:
    """The same pictures cropped, mirrored, brightened and greyed at random, under the same ids.

    What was seen is not changed by it, but latents are: extract them from several such copies, and give these to
    ``fit(..., views=[...])`` of a network encoder.

    Parameters
    ----------
    stimuli : Stimuli
    seed : int
        Each picture has a seed of its own, made of this and its id.
    crop : float
        Smallest share of the area that is left; it is brought back to the picture's size.
    jitter : float
        Brightness, contrast and saturation are scaled by 1 - jitter to 1 + jitter.
    grey, flip : float
        Chance of no colour, and of left and right exchanged.

    Raises
    ------
    DataError
        When a share is out of range.
    """
    if not (0 < crop <= 1 and 0 <= jitter < 1 and 0 <= grey <= 1 and 0 <= flip <= 1):
        raise DataError(
            "an augmentation is out of range",
            expected="0 < crop <= 1, 0 <= jitter < 1, chances in [0, 1]",
            found={"crop": crop, "jitter": jitter, "grey": grey, "flip": flip},
        )

    def image(one: str) -> Any:
        from PIL import Image, ImageEnhance, ImageOps

        name = int.from_bytes(hashlib.sha256(one.encode()).digest()[:16], "big")
        rng = np.random.default_rng(np.random.SeedSequence([seed, name]))
        made = stimuli.image(one).convert("RGB")
        width, height = made.size
        side = float(np.sqrt(rng.uniform(crop, 1)))
        left, top = rng.uniform(0, 1 - side, 2) * (width, height)
        box = (left, top, left + side * width, top + side * height)
        made = made.resize((width, height), Image.Resampling.BICUBIC, box=box)
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            made = kind(made).enhance(float(rng.uniform(1 - jitter, 1 + jitter)))
        mirrored, colourless = rng.random(2) < (flip, grey)
        made = ImageOps.mirror(made) if mirrored else made
        return ImageOps.grayscale(made).convert("RGB") if colourless else made

    return Stimuli(stimuli.ids, images=image, table=stimuli.table)
