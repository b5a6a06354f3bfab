"""Grids of pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from brainalign.errors import DataError
from brainalign.report.style import new_figure, picture, short, styled

__all__ = ["image_grid"]


@styled
def image_grid(
    rows: Sequence[tuple[str, Sequence[object]]], *, columns: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """Draw labelled rows of pictures, for example seen, identified and reconstructed.

    Parameters
    ----------
    rows : sequence of (label, pictures)
        A picture of None leaves its place empty.
    columns : sequence of str, optional
        A title over each column.
    """
    if not rows or not any(len(pictures) for _, pictures in rows):
        raise DataError("no picture to draw", expected="rows of (label, pictures)", found=f"{len(rows)} rows")
    n_columns = max(len(pictures) for _, pictures in rows)
    side = float(np.clip(8.0 / n_columns, 0.6, 1.4))
    figure = new_figure(side * n_columns + 1.2, side * len(rows) + (0.3 if title or columns else 0.05), title)
    axes = figure.subplots(len(rows), n_columns, squeeze=False)
    for row, (label, pictures) in enumerate(rows):
        for column in range(n_columns):
            place = axes[row, column]
            place.set(xticks=[], yticks=[])
            place.spines[:].set_visible(False)
            if column < len(pictures) and pictures[column] is not None:
                place.imshow(np.asarray(picture(pictures[column], name=f"{label} {column}")))
            if row == 0 and columns is not None and column < len(columns):
                place.set_title(str(columns[column]), size=8.5, loc="center", weight="normal")
        axes[row, 0].set_ylabel(short(label), rotation=0, ha="right", va="center")
    return figure
