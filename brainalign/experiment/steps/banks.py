"""The banks that voxels are asked with: pictures, their embeddings, and texts."""

from __future__ import annotations

from pathlib import Path

from brainalign.analysis.captions import TextBank
from brainalign.errors import DataError
from brainalign.experiment.context import Context, placed
from brainalign.experiment.schema_voxels import Bank, Texts
from brainalign.latents.base import Latents
from brainalign.scenes import draw_scenes
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = ["bank_of", "pictures_of", "texts_of"]


def pictures_of(bank: Bank | Texts, train: Trials) -> Stimuli | None:
    """The pictures of a bank; None where it is a folder of embeddings.

    Parameters
    ----------
    bank : Bank or Texts
    train : Trials
        Whose pictures those `shown` are.

    Raises
    ------
    DataError
        When there are none.
    """
    if bank.scenes is not None:
        return draw_scenes(bank.scenes, seed=bank.seed)
    if bank.shown:
        if train.stimuli is None:
            raise DataError("the recording comes without pictures", fix="name another bank")
        return train.stimuli.select(dict.fromkeys(train.stimulus_ids))
    folder = getattr(bank, "pictures", None)
    return None if folder is None else Stimuli.from_folder(placed(folder), "*.[pjPJ][npNP]*[gG]")


def bank_of(bank: Bank, name: str, context: Context, train: Trials) -> Latents:
    """Embeddings of a bank's pictures, by the network of the entry `name`."""
    pictures = pictures_of(bank, train)
    if pictures is None:
        return Latents.open(placed(str(bank.folder)))
    return _one(context.extract(name, pictures))


def texts_of(texts: Texts, name: str, context: Context, train: Trials) -> TextBank:
    """Captions where the network reads them, or where it sees their pictures.

    Raises
    ------
    DataError
        When a file cannot be read or holds fewer than two captions, or pictures have none.
    """
    if texts.file is not None:
        return TextBank(context.extract_text(name, {line: line for line in _lines(placed(texts.file))}))
    pictures = pictures_of(texts, train)
    if pictures is None or not pictures.has_captions:
        raise DataError("the pictures shown have no captions", expected="captions to choose from",
                        fix="texts: {file: captions.txt}, one a line (--texts captions.txt)")  # fmt: skip
    told = {one: pictures.caption(one) for one in pictures.ids}
    if texts.by == "picture":
        return TextBank(_one(context.extract(name, pictures)), told)
    return TextBank(context.extract_text(name, told), told)


def _one(found: Latents | dict[str, Latents]) -> Latents:
    return next(iter(found.values())) if isinstance(found, dict) else found


def _lines(file: str) -> list[str]:
    try:
        lines = [line.strip() for line in Path(file).expanduser().read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the captions: {error}", path=file, expected="UTF-8, one a line") from error
    found = [line for line in lines if line]
    if len(found) < 2:
        raise DataError("too few captions to choose from", path=file, expected="2 or more lines", found=len(found))
    return found
