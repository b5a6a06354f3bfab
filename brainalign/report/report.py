"""The `Report`: one HTML file that holds all it shows and asks nothing of the network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from brainalign.cache import atomic_write_text, to_json
from brainalign.errors import DataError
from brainalign.report import style
from brainalign.report.cards import Card
from brainalign.scoring.score import Score

__all__ = ["Report"]

N_CARDS = 6
"""So many scores stand as cards at the head; all of them stand in the table."""

HALF_WIDTH = 600
"""Figures up to this many pixels wide share a row where there is room."""


class Report:
    """Tables, plots and picture grids in one file without outside links.

    Parameters
    ----------
    title : str
    subtitle : str, optional
        One sentence under the title.
    facts : mapping of str to object, optional
        What was recorded, for example ``{"subject": "01", "voxels": 3092, "trials": 100}``.

    Notes
    -----
    Every text is escaped: a channel named ``<script>`` is shown by that name. Parts appear in the order in
    which they are added; each method returns the report, so that calls can be chained.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> report = Report("Digits", subtitle="V1-V3 and AlexNet", facts={"trials": 100})
    >>> _ = report.section("Areas", "Scores by area.").add_table(pd.DataFrame({"area": ["V1"], "r": [0.44]}), "Mean r.")
    >>> report.save(tempfile.mkdtemp() + "/report.html").name
    'report.html'
    """

    def __init__(self, title: str, *, subtitle: str | None = None, facts: Mapping[str, object] | None = None) -> None:
        self.title, self.subtitle = title, subtitle
        self.facts = {str(name): _cell(value) for name, value in (facts or {}).items()}
        self._sections: list[dict[str, Any]] = []

    def section(self, title: str, text: str | None = None) -> Report:
        """Begin a section; what is added next belongs to it."""
        self._sections.append({"title": title, "parts": []})
        return self.add_text(text) if text else self

    def add_text(self, text: str) -> Report:
        """Add plain text; an empty line begins a new paragraph."""
        return self._add("text", paragraphs=[part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()])

    def add_scores(self, scores: Sequence[Score], title: str | None = "Scores") -> Report:
        """Add scores as cards and as a table, each with ceiling, chance, interval, n, split and protocol.

        Parameters
        ----------
        scores : sequence of Score
            A field of None is shown as a dash, with its reason under the table.
        title : str, optional
            Title of the section to begin; None stays in the present one.
        """
        if title is not None:
            self.section(title)
        cards = [Card(score) for score in scores]
        return self._add("scores", cards=cards[:N_CARDS], rows=cards, reasons=_reasons(cards))

    def add_table(self, frame: pd.DataFrame, caption: str | None = None) -> Report:
        """Add a table: numbers right-aligned with three significant digits, the index shown unless it only counts."""
        if not isinstance(frame, pd.DataFrame):
            frame = pd.DataFrame(frame)
        # Column by column, since an index may bear the name of a column.
        columns = list(frame.items())
        if any(frame.index.names) or not pd.api.types.is_integer_dtype(frame.index.dtype):
            levels = [frame.index.get_level_values(level).to_series() for level in range(frame.index.nlevels)]
            columns = [*(("" if level.name is None else level.name, level) for level in levels), *columns]
        header = [{"text": str(name), "numeric": _is_number(column.dtype)} for name, column in columns]
        rows = [list(row) for row in zip(*(_column(column) for _, column in columns))]
        return self._add("table", header=header, rows=rows, caption=caption)

    def add_figure(self, figure: Figure, caption: str | None = None, alt: str | None = None) -> Report:
        """Add a matplotlib figure as a drawing that stays sharp at any size.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
            One from `brainalign.report.plots`, or any other.
        alt : str, optional
            What to read out in place of the figure; the caption by default.
        """
        uri, width, height = style.figure_uri(figure)
        facts = {"uri": uri, "width": width, "height": height, "half": width <= HALF_WIDTH}
        return self._add("figure", caption=caption, alt=alt or caption or "figure", **facts)

    def add_image_grid(
        self,
        rows: Iterable[tuple[str, Sequence[object]]],
        caption: str | None = None,
        *,
        columns: Sequence[str] | None = None,
    ) -> Report:
        """Add labelled rows of pictures, for example seen, identified and reconstructed.

        Parameters
        ----------
        rows : iterable of (label, pictures)
            Pictures are arrays or PIL images; None leaves a place empty.
        columns : sequence of str, optional
            A title over each column.
        """
        grid = [
            (str(label), [_grid_cell(image, f"{label} {place}") for place, image in enumerate(images, 1)])
            for label, images in rows
        ]
        if not any(cell for _, cells in grid for cell in cells):
            raise DataError("no picture to show", expected="rows of (label, pictures)", found=f"{len(grid)} empty rows")
        n_columns = max(len(cells) for _, cells in grid)
        titles = [str(name) for name in columns or ()]
        return self._add("grid", rows=grid, n_columns=n_columns, titles=titles, caption=caption)

    def add_html_view(self, html: str, caption: str | None = None, *, height: int = 420) -> Report:
        """Add an interactive view, such as that of `plots.brain_view`, in a sandboxed frame of its own.

        Parameters
        ----------
        html : str
            A whole HTML document, or an object with such a document as its ``html`` (a nilearn viewer).

        Raises
        ------
        DataError
            When the document would load something from outside.
        """
        return self._add("view", html=_without_links(getattr(html, "html", html)), caption=caption, height=height)

    def add_details(self, title: str, content: object) -> Report:
        """Add a folded block of plain text, for example a configuration; what is not text is written as JSON."""
        text = content if isinstance(content, str) else to_json(content, indent=2, ensure_ascii=False)
        return self._add("details", title=title, text=text)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the file (whole or not at all) and return its path."""
        folder = Path(__file__).parent / "templates"
        environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        now = datetime.now().astimezone()
        html = environment.get_template("report.html.j2").render(
            report=self,
            sections=self._sections,
            date=f"{now.day} {now:%B %Y, %H:%M}",
            version=_version(),
            colours=style,
        )
        return atomic_write_text(path, html)

    def _add(self, kind: str, **fields: Any) -> Report:
        if not self._sections:
            self._sections.append({"title": None, "parts": []})
        self._sections[-1]["parts"].append({"kind": kind, **fields})
        return self


def _reasons(cards: Sequence[Card]) -> list[tuple[str, str, str]]:
    """Each reason for a missing field once, with the scores it holds for: (field, reason, scores)."""
    held: dict[tuple[str, str], list[str]] = {}
    for card in cards:
        for field, reason in card.missing:
            held.setdefault((field, reason), []).append(card.name)
    return [(field, reason, _whose(names, of=len(cards))) for (field, reason), names in held.items()]


def _whose(names: Sequence[str], *, of: int) -> str:
    if len(names) < min(4, of) or of == 1:
        return "; ".join(names)
    return "all scores" if len(names) == of else f"{len(names)} of {of} scores"


def _is_number(kind: Any) -> bool:
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)


def _column(column: pd.Series) -> list[str]:
    """Texts of a column; its numbers share their decimals, so that the points stand under each other."""
    if pd.api.types.is_float_dtype(column.dtype):
        return style.numbers(column.to_numpy(dtype=float, na_value=np.nan))
    return [_cell(value) for value in column]


def _cell(value: Any) -> str:
    """Text of a table cell or fact."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return f"{value:,}" if isinstance(value, int | np.integer) else style.number(float(value))
    return "–" if value is None or value is pd.NA or value is pd.NaT else str(value)


def _grid_cell(image: object, name: str) -> dict[str, Any] | None:
    if image is None:
        return None
    uri, width, height = style.picture_uri(image, name=name)
    # A 28 pixel digit is meant to be seen as pixels, a photograph is not.
    return {"uri": uri, "alt": name, "width": width, "height": height, "blocky": max(width, height) <= 64}


_OUTSIDE = re.compile(
    r"""<(?:script|img|link|iframe|source|video|audio|embed|object)\b[^>]*?
        (?:src|href|data)\s*=\s*["']?\s*((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_ICON = re.compile(r"<link\b[^>]*\brel\s*=\s*[\"']?(?:shortcut )?icon\b[^>]*>", re.IGNORECASE)


def _without_links(html: str) -> str:
    """Drop the tab icon that viewers link to; refuse a document that loads anything else from outside."""
    html = _ICON.sub("", html)
    outside = _OUTSIDE.search(html)
    if outside:
        raise DataError(
            "the view loads something from outside the report",
            expected="a self-contained document",
            found=outside.group(1),
            fix="inline the script or picture as a data URI",
        )
    return html


def _version() -> str:
    try:
        return version("brainalign")
    except PackageNotFoundError:
        return "unreleased"
