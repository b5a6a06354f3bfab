"""Maps in the brain; nothing here needs a template from the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from brainalign.errors import DataError
from brainalign.report.style import DIVERGING, MUTED, SEQUENTIAL, new_figure, number, styled

if TYPE_CHECKING:
    import nibabel as nib

__all__ = ["brain_slices", "brain_view", "colour_range", "draw_mosaic", "glass_brain", "volume_of"]


def volume_of(image: Any, *, name: str = "image") -> tuple[np.ndarray, np.ndarray]:
    """Return data turned to right-anterior-superior order and its affine, from an image or a file."""
    import nibabel as nib

    opened = nib.load(image) if isinstance(image, str) or hasattr(image, "__fspath__") else image
    shape = tuple(getattr(opened, "shape", ()))
    if len(shape) == 4 and shape[3] == 1:
        opened, shape = opened.slicer[..., 0], shape[:3]
    if len(shape) != 3:
        raise DataError(
            f"{name} is not one volume", expected="3 dimensions", found=f"shape {shape}", fix="choose one volume of it"
        )
    turned = nib.as_closest_canonical(opened)
    return np.asarray(turned.get_fdata(dtype=np.float32)), turned.affine


def colour_range(values: np.ndarray, limits: tuple[float, float] | None) -> tuple[str, float, float]:
    """Colour map and its ends: around zero where there are both signs, else from zero."""
    shown = values[np.isfinite(values) & (values != 0)]
    if limits is not None:
        low, high = map(float, limits)
    elif not shown.size:
        low, high = 0.0, 1.0
    else:
        bottom, top = np.percentile(shown, [1, 99])
        reach = float(max(abs(bottom), abs(top))) or 1.0
        # A few negative units are noise around zero; a real negative side asks for the two-sided map.
        low, high = (-reach, reach) if bottom < -0.2 * reach else (0.0, reach)
    return (DIVERGING if low < 0 else SEQUENTIAL), low, high


@styled
def brain_slices(
    image: nib.Nifti1Image,
    *,
    background: nib.Nifti1Image | None = None,
    limits: tuple[float, float] | None = None,
    n_slices: int = 12,
    label: str = "",
    title: str | None = None,
) -> Figure:
    """Draw a volume as a mosaic of axial slices; a slab or a single slice will do.

    Parameters
    ----------
    image : Nifti1Image or path, shape (x, y, z)
        Zero and NaN mean no value there.
    background : Nifti1Image or path, same grid, optional
        Drawn in grey underneath, for example the mean of the run.
    limits : (low, high), optional
        Ends of the colour scale.
    n_slices : int
        At most so many slices, spread over those that hold a value.
    """
    values, affine = volume_of(image)
    figure, axes, drawn = draw_mosaic(
        (values, affine),
        background=background,
        n_slices=n_slices,
        title=title,
        colours=colour_range(values, limits),
    )
    figure.colorbar(drawn, ax=list(axes), label=label, aspect=26, shrink=0.8).outline.set_visible(False)
    return figure


def draw_mosaic(
    volume: tuple[np.ndarray, np.ndarray],
    *,
    background: Any,
    n_slices: int,
    title: str | None,
    colours: tuple[str | Colormap, float, float],
) -> tuple[Figure, np.ndarray, Any]:
    """Axial slices of (values, affine) in the given colour map and its ends: figure, frames and what was drawn last."""
    values, affine = volume
    under = None if background is None else volume_of(background, name="background")[0]
    if under is not None and under.shape != values.shape:
        raise DataError("background lies on another grid", expected=values.shape, found=under.shape, fix="resample it")
    values = np.where(np.isfinite(values) & (values != 0), values, np.nan)
    filled = np.flatnonzero(np.isfinite(values).any(axis=(0, 1)))
    if not filled.size:
        raise DataError("the map is empty", expected="at least one value that is neither zero nor NaN", found="none")
    chosen = filled[np.unique(np.linspace(0, filled.size - 1, min(n_slices, filled.size)).round().astype(int))]
    box = _extent(values, under)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    n_x, n_y = (part.stop - part.start for part in box)
    figure, axes = _slice_axes(len(chosen), tall=float(n_y * spacing[1] / (n_x * spacing[0])), title=title)
    cmap, low, high = colours
    grey = (0.0, 1.0) if under is None else (min(0.0, float(under.min())), 1.1 * float(np.percentile(under, 99.5)))
    for place, z in zip(axes, chosen):
        layers = (None if under is None else under[:, :, z][box], values[:, :, z][box])
        drawn = _slice(place, layers, cmap=cmap, ends=((low, high), grey), aspect=spacing[1] / spacing[0])
        height = affine[2, :3] @ [values.shape[0] / 2, values.shape[1] / 2, z] + affine[2, 3]
        _name_slice(place, float(height))
    return figure, axes, drawn


def _extent(values: np.ndarray, under: np.ndarray | None) -> tuple[slice, slice]:
    """Smallest box across x and y that holds every value, and the background."""
    there = np.isfinite(values) if under is None else np.isfinite(values) | (under != 0)
    across, along = np.nonzero(there.any(axis=2))
    return slice(across.min(), across.max() + 1), slice(along.min(), along.max() + 1)


def _slice_axes(n_slices: int, *, tall: float, title: str | None) -> tuple[Figure, np.ndarray]:
    """Return a figure with one empty frame per slice, `tall` times as high as wide."""
    columns = min(n_slices, 6 if n_slices > 4 else 4)
    rows = -(-n_slices // columns)
    side = 8.0 / columns if n_slices > 2 else 3.6
    figure = new_figure(side * columns + 0.9, max(2.0, (side * tall + 0.22) * rows + (0.3 if title else 0)), title)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    return figure, axes


def _name_slice(axes: Axes, height: float) -> None:
    axes.set_title(
        f"L    z {number(round(height))} mm    R", size=7.5, weight="normal", color=MUTED, pad=2, loc="center"
    )


def _slice(
    axes: Axes,
    layers: tuple[np.ndarray | None, np.ndarray],
    *,
    cmap: str | Colormap,
    ends: tuple[tuple[float, float], tuple[float, float]],
    aspect: float,
) -> Any:
    (under, values), ((low, high), (black, white)) = layers, ends
    options: dict[str, Any] = {"origin": "lower", "aspect": aspect}
    if under is not None:
        axes.imshow(np.where(under == 0, np.nan, under).T, cmap="gray", vmin=black, vmax=white, **options)
    return axes.imshow(values.T, cmap=cmap, vmin=low, vmax=high, **options)


@styled
def glass_brain(
    image: nib.Nifti1Image, *, limits: tuple[float, float] | None = None, label: str = "", title: str | None = None
) -> Figure:
    """Draw a whole-brain map in MNI space on a see-through head (nilearn's glass brain).

    Parameters
    ----------
    image : Nifti1Image or path, shape (x, y, z)
        Must be in MNI space; for a subject's own space take `brain_slices`.
    """
    import nibabel
    from nilearn import plotting

    values, affine = volume_of(image)
    cmap, low, high = colour_range(values, limits)
    figure = new_figure(8.2, 2.9, title)
    figure.set_layout_engine("none")
    display = plotting.plot_glass_brain(
        nibabel.Nifti1Image(np.nan_to_num(values), affine),  # what has no value is not drawn
        figure=figure,
        cmap=cmap,
        vmin=low,
        vmax=high,
        colorbar=True,
        plot_abs=False,
        symmetric_cbar=False,
        threshold=1e-6 * max(abs(low), abs(high)),
    )
    display._colorbar_ax.set_ylabel(label)
    return figure


# A frame can run its scripts before it has a width, and its first width then comes without an event: the viewer
# would stay at nothing.
FOLLOW_WIDTH = (
    "<script>new ResizeObserver(() => window.dispatchEvent(new Event('resize')))"
    ".observe(document.documentElement)</script>"
)


def brain_view(
    image: nib.Nifti1Image,
    *,
    background: nib.Nifti1Image | None = None,
    limits: tuple[float, float] | None = None,
) -> str:
    """Return nilearn's interactive slice viewer as an HTML document, for `Report.add_html_view`.

    Parameters
    ----------
    image : Nifti1Image or path, shape (x, y, z)
    background : Nifti1Image or path, optional
        Drawn underneath; without it the map stands alone (no template is fetched).
    """
    import nibabel as nib
    from nilearn import plotting

    values, affine = volume_of(image)
    cmap, low, high = colour_range(values, limits)
    values = np.nan_to_num(values, posinf=0, neginf=0)
    view = plotting.view_img(
        nib.Nifti1Image(values, affine),
        bg_img=background,
        cmap=colormaps[cmap],
        vmin=low,
        vmax=high,
        symmetric_cmap=low < 0,
        # What holds no value is left clear.
        threshold=1e-6 * max(abs(low), abs(high)) if (values == 0).any() else None,
        resampling_interpolation="nearest",
        black_bg=False,
    )
    return str(view.html).replace("</body>", f"{FOLLOW_WIDTH}</body>")
