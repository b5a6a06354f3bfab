"""Values on a cortical mesh of one's own, folded, inflated or flat; nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from brainalign.errors import DataError
from brainalign.report.plots.brain import colour_range
from brainalign.report.style import new_figure, styled

__all__ = ["surface_map"]

Mesh = str | PathLike[str] | tuple[np.ndarray, np.ndarray]

_SEEN_FROM = {"left": ("lateral", "medial"), "right": ("lateral", "medial")}


@styled
def surface_map(
    values: np.ndarray,
    mesh: Mesh,
    *,
    hemi: str = "left",
    sulci: np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
    label: str = "",
) -> Figure:
    """Draw one value per vertex on a mesh (nilearn's surface plot): from both sides, or from above where it is flat.

    Parameters
    ----------
    values : ndarray, shape (n_vertices,)
        NaN where there is none.
    mesh : path or (coordinates, faces)
        A local GIFTI or FreeSurfer mesh: pial, inflated, or a flat one, whose vertices lie in a plane.
    hemi : {"left", "right"}
    sulci : ndarray, shape (n_vertices,), optional
        Sulcal depth or curvature, drawn in grey underneath.
    limits : (low, high), optional
    label : str

    Raises
    ------
    DataError
        When the mesh cannot be read, or has another number of vertices.
    """
    from nilearn import plotting

    coordinates, faces = _mesh(mesh)
    flat_values = np.asarray(values, dtype=np.float64).ravel()
    for name, one in (("values", flat_values), ("sulci", flat_values if sulci is None else np.ravel(sulci))):
        if len(one) != len(coordinates):
            raise DataError(f"{name} and mesh differ in vertices", expected=len(coordinates), found=len(one))
    cmap, low, high = colour_range(flat_values, limits)
    views = _views(coordinates, hemi)
    figure = new_figure(3.4 * len(views) + 0.9, 3.2)
    figure.set_layout_engine("none")
    for number, view in enumerate(views):
        axes = figure.add_axes((0.9 * number / len(views), 0.02, 0.88 / len(views), 0.96), projection="3d")
        plotting.plot_surf(
            (coordinates, faces),
            flat_values,
            bg_map=sulci,
            hemi=hemi,
            view=view,
            cmap=cmap,
            vmin=low,
            vmax=high,
            colorbar=False,
            axes=axes,
            figure=figure,
            engine="matplotlib",
        )
        for mark in axes.collections:
            mark.set_rasterized(True)
    _colour_bar(figure, cmap, (low, high), label)
    return figure


def _mesh(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    from nilearn.surface import load_surf_mesh

    if isinstance(mesh, tuple):
        coordinates, faces = (np.asarray(part) for part in mesh)
    else:
        try:
            loaded = load_surf_mesh(str(mesh))
        except (OSError, ValueError, TypeError, IndexError) as error:
            raise DataError(
                f"not a readable mesh: {error}", path=mesh, expected="a local GIFTI or FreeSurfer mesh"
            ) from error
        coordinates, faces = np.asarray(loaded.coordinates), np.asarray(loaded.faces)
    if coordinates.ndim != 2 or coordinates.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        found = (coordinates.shape, faces.shape)
        raise DataError("not a mesh", expected="coordinates (n, 3) and faces (m, 3)", found=found)
    return coordinates, faces


def _views(coordinates: np.ndarray, hemi: str) -> Sequence[Any]:
    """Both sides of a folded mesh; a flat one is looked at from where it spreads out."""
    if hemi not in _SEEN_FROM:
        raise DataError(f"no hemisphere '{hemi}'", expected=sorted(_SEEN_FROM))
    extent = np.ptp(coordinates, axis=0)
    thin = int(extent.argmin())
    if extent[thin] > 1e-3 * extent.max():
        return _SEEN_FROM[hemi]
    return [((0, 0), (0, -90), (90, -90))[thin]]


def _colour_bar(figure: Figure, cmap: str, ends: tuple[float, float], label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    place = figure.add_axes((0.91, 0.2, 0.016, 0.6))
    bar = figure.colorbar(ScalarMappable(Normalize(*ends), cmap), cax=place, label=label)
    bar.outline.set_visible(False)
