"""The latent that a region of the brain stands for, by the linear decoder's own weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainalign.encoders.linear import LinearEncoder
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.tables import select_rows

__all__ = ["roi_optimal"]


def roi_optimal(
    encoder: LinearEncoder, regions: Any, *, units: Any = None, norm: float | Mapping[str, float] | None = None
) -> Any:
    """Latents predicted from a pattern that is active in one region and nowhere else.

    A pattern of unit length, the same in all voxels of the region in units of their SD, goes through the encoder's
    weights; what comes out gets the length that latents have (a pattern this small predicts next to no departure) and
    is set upon the mean latent. Ozcelik & VanRullen 2023, Sci. Rep. 13, "ROI-optimal stimuli". Hand the result to any
    generator.

    Parameters
    ----------
    encoder : LinearEncoder
        Fitted.
    regions : query, mask or mapping of name to either
        ``"roi == 'FFA'"``, a boolean array (n_units,), or several by name: each makes one row.
    units : Trials or DataFrame, optional
        The units fitted on; needed for queries.
    norm : float or mapping of target to float, optional
        Distance from the mean latent. By default the root mean square distance of the training latents.

    Returns
    -------
    Latents or dict of str to Latents
        One row a region, its id the region's name; a dict where the encoder was fitted on one.

    Raises
    ------
    DataError
        When the encoder is not linear, units are not those fitted on, a region is unknown or empty, or nothing is
        predicted from it.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> latents = rng.standard_normal((200, 2))
    >>> responses = latents @ [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]] + 0.1 * rng.standard_normal((200, 3))
    >>> encoder = LinearEncoder().fit(responses, latents)
    >>> best = roi_optimal(encoder, {"first": np.array([True, True, False])}, norm=3.0)
    >>> best.ids, (best.values[0] - latents.mean(axis=0)).round(1) + 0.0
    (('first',), array([3., 0.]))
    """
    if not isinstance(encoder, LinearEncoder):
        raise DataError(
            "only a linear encoder has one optimal latent for a region",
            expected="a fitted LinearEncoder",
            found=type(encoder).__name__,
            fix="for other encoders ask a voxelwise model: brainalign.analysis.synthesize",
        )
    if not hasattr(encoder, "fits_"):
        raise DataError("this encoder is not fitted", fix="encoder.fit(trials, latents)")
    named = dict(regions) if isinstance(regions, Mapping) else {_name(regions): regions}
    mean = encoder.response_mean_[None]
    patterns = np.concatenate([_pattern(encoder, where, units) for where in named.values()])
    centre, moved = encoder._predict(mean), encoder._predict(mean + patterns)
    shaped = {}
    for name, end in moved.items():
        length = encoder.latent_norms_[name] if norm is None else norm[name] if isinstance(norm, Mapping) else norm
        rows = centre[name] + float(length) * _unit(end - centre[name], list(named))
        rows = rows.reshape(len(rows), *encoder.target_shapes_[name])
        space = encoder.provenance_.spaces.get(name, {"space": name, "meta": {}})
        meta = space["meta"] | {"predicted_by": "roi_optimal", "norm": float(length)}
        shaped[name] = Latents(rows[:, None] if rows.ndim == 1 else rows, named, space=space["space"], meta=meta)
    return shaped["latents"] if encoder._single else shaped


def _name(regions: Any) -> str:
    return regions if isinstance(regions, str) else "region"


def _pattern(encoder: LinearEncoder, where: Any, units: Any) -> np.ndarray:
    """One unit pattern, (1, n_features), in the units of the responses."""
    if units is None:
        if isinstance(where, str):
            raise DataError(f"units are needed for the query {where!r}", fix="roi_optimal(..., units=trials)")
        mask = np.asarray(where)
        if mask.dtype != bool or mask.ndim != 1 or not mask.any() or encoder.n_features_in_ % len(mask):
            raise DataError(
                "a region is a boolean mask of the units fitted on, not empty",
                expected=f"({len(encoder.provenance_.units) or encoder.n_features_in_},) of bool",
                found=f"{mask.shape} of {mask.dtype}, {np.count_nonzero(mask)} chosen",
            )
    else:
        table = getattr(units, "units", units)
        if encoder.provenance_.units and tuple(table["name"]) != encoder.provenance_.units:
            raise DataError(
                "these units are not those fitted on",
                expected=f"{len(encoder.provenance_.units)} units, {list(encoder.provenance_.units[:3])} ...",
                found=f"{len(table)} units, {table['name'].tolist()[:3]} ...",
            )
        mask = np.zeros(len(table), dtype=bool)
        mask[select_rows(table, where, what="units")] = True
    pattern = np.repeat(mask, encoder.n_features_in_ // len(mask)) * encoder.response_scale_
    return pattern[None] / np.sqrt(np.count_nonzero(pattern))


def _unit(directions: np.ndarray, names: list[str]) -> np.ndarray:
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    if not length.all():
        flat = names[int(np.flatnonzero(length[:, 0] == 0)[0])]
        raise DataError(f"nothing is predicted from region '{flat}'", fix="choose units that carry weight")
    return directions / length
