"""`caption`: a sentence for each unit of a voxelwise model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from brainalign.analysis.captions.bank import BLOCK, bank_space, nearest
from brainalign.analysis.captions.manifold import project_to_manifold
from brainalign.arrays import as_matrix
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.spaces import Space, VolumeSpace
from brainalign.tables import select_rows, unit_table

__all__ = ["Captioner", "Captions", "TextBank", "caption", "voxel_weights"]

Captioner = Callable[[np.ndarray], Sequence[str]]
"""Embeddings (n_units, n_features) in the joint space to one sentence each: what a language model is put behind."""


class TextBank:
    """The text of a bank nearest to an embedding: the captioner that is always at hand.

    Parameters
    ----------
    embeddings : Latents
        Of captions or words, in the joint space of pictures and texts (`brainalign.extract_text`).
    texts : mapping of id to str, optional
        By default the ids are the texts, as `extract_text` makes of a list.

    Examples
    --------
    >>> bank = TextBank(Latents(np.eye(2), ["a face", "a house"], space="joint"))
    >>> bank(np.array([[0.1, 0.9]]))
    ['a house']
    """

    def __init__(self, embeddings: Latents, texts: Mapping[str, str] | None = None) -> None:
        self.embeddings, self.space = embeddings, embeddings.space
        if texts is not None and (missing := [one for one in embeddings.ids if one not in texts]):
            raise DataError("embeddings without their text", expected="{id: text}", found=missing[:5])
        self.texts = list(embeddings.ids) if texts is None else [str(texts[one]) for one in embeddings.ids]

    def __call__(self, embeddings: np.ndarray) -> list[str]:
        return [found[0] for found in self.best(embeddings, 1)]

    def best(self, embeddings: np.ndarray, k: int) -> list[list[str]]:
        """The `k` nearest texts of each embedding, best first."""
        rows, _ = nearest(embeddings, self.embeddings, k=k)
        return [[self.texts[row] for row in some] for some in rows]


@dataclass(frozen=True, eq=False)
class Captions:
    """One sentence a unit.

    Parameters
    ----------
    texts : tuple of str
    embeddings : Latents
        (n_units, n_features): weights brought into the manifold of natural embeddings; ids are the units' names.
    units : DataFrame
    space : VolumeSpace, SurfaceSpace, SensorSpace or None
        The way back to the brain.
    seen : tuple of str
        Stimuli that the model was fitted on; captions cannot be scored on them.
    """

    texts: tuple[str, ...]
    embeddings: Latents
    units: pd.DataFrame
    space: Space | None = None
    seen: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.texts)

    def table(self) -> pd.DataFrame:
        """The units with a column ``caption``."""
        return self.units.assign(caption=list(self.texts))

    def to_nifti(self, values: Any) -> Any:
        """Values (n_units,) or (n_maps, n_units) as an image, such as those of `category_scores`; NaN elsewhere."""
        if not isinstance(self.space, VolumeSpace):
            raise DataError("these units do not come from a volume", expected="VolumeSpace", found=self.space,
                            fix="caption(..., units=trials)")  # fmt: skip
        return self.space.to_nifti(np.asarray(values), self.units, fill=np.nan)


def caption(
    model: Any,
    bank: Any,
    texts: Latents | Captioner,
    *,
    units: Any = None,
    where: Any = None,
    beta: float = 150.0,
    block: int = BLOCK,
) -> Captions:
    """Say in words what each unit likes (Luo et al. 2024, BrainSCUBA).

    The weights of a linear voxelwise model on a joint space of pictures and texts are brought into the manifold of
    natural embeddings (`project_to_manifold`) and captioned there.

    Parameters
    ----------
    model : fitted Ridge, or array (n_units, n_features)
        Weights of each unit over the embeddings of pictures.
    bank : Latents, array (n_bank, n_features), or a sequence of these
        Embeddings of many natural pictures; memory maps stay on disk.
    texts : Latents or callable
        Embeddings of captions or words, whose ids are the texts (`TextBank` where they are not); or any captioner,
        such as a language model: embeddings (n_units, n_features) to as many sentences.
    units : Trials or DataFrame, optional
        The units fitted on: their names, regions and places.
    where : query, mask or rows, optional
        Only these units: ``"roi == 'FFA'"``.
    beta, block
        As in `project_to_manifold`.

    Returns
    -------
    Captions

    Raises
    ------
    DataError
        When the model is not linear, weights are not finite or all 0, spaces differ, a region is empty, ids of the
        bank repeat, or the captioner returns another number of sentences.

    Examples
    --------
    >>> texts = Latents(np.eye(2), ["a face", "a house"], space="joint")
    >>> caption(np.array([[2.0, 0.1], [-0.1, 0.5]]), bank=np.eye(2), texts=texts).texts
    ('a face', 'a house')
    """
    weights = voxel_weights(model, bank_space(bank))
    table = unit_table(getattr(units, "units", units), len(weights))
    rows = select_rows(table, where, what="units")
    captioner: Any = TextBank(texts) if isinstance(texts, Latents) else texts
    own, theirs = bank_space(bank), getattr(captioner, "space", None)
    if own is not None and theirs is not None and own != theirs:
        raise DataError("texts and pictures of the banks lie in different spaces", expected=own, found=theirs,
                        fix="embed both by one joint network")  # fmt: skip
    embeddings = project_to_manifold(weights[rows], bank, beta=beta, block=block)
    said = [str(one) for one in captioner(embeddings)]
    if len(said) != len(rows):
        raise DataError("the captioner must say one sentence a unit", expected=len(rows), found=len(said))
    chosen = table.iloc[rows].reset_index(drop=True)
    meta = {"projected": "softmax over natural embeddings", "beta": beta}
    return Captions(
        tuple(said),
        Latents(embeddings, chosen["name"], space=own or "given", meta=meta),
        chosen,
        getattr(units, "space", None),
        tuple(getattr(model, "stimulus_ids_", None) or ()),
    )


def voxel_weights(model: Any, space: str | None = None, *, what: str = "bank") -> np.ndarray:
    """Weights (n_units, n_features) of a linear voxelwise model, which must read `space`, that of `what`.

    Raises
    ------
    DataError
        When the model has no weights, reads another space, or its weights are not finite.
    """
    if isinstance(model, np.ndarray | list):
        return as_matrix(model, name="weights")
    if not hasattr(model, "intercept_") or not hasattr(model, "coef_"):
        raise DataError(
            "this model has no weights to caption",
            expected="a fitted linear model such as voxelwise.Ridge, or an array (n_units, n_features)",
            found=type(model).__name__,
            fix="Ridge().fit(latents, trials)",
        )
    read = getattr(model, "latent_space_", None)
    if read is not None and space is not None and read != space:
        raise DataError(f"the {what} lies in another space than the model reads", expected=read, found=space,
                        fix=f"take the {what} of '{read}'")  # fmt: skip
    weights = np.asarray(model.coef_)
    return as_matrix(weights[None] if weights.ndim == 1 else weights.T, name="weights of the model")
