"""The one place for colours, plot style and how a figure or picture becomes a data URI."""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from brainalign.errors import DataError

__all__ = ["INK", "MUTED", "SERIES", "figure_uri", "number", "numbers", "picture", "picture_uri", "short", "styled"]

PAPER, INK, MUTED, WEAK, FAINT = "#ffffff", "#1d2129", "#667085", "#98a2b3", "#e4e7ec"

# Okabe and Ito's colours, told apart under every common colour blindness; yellow is left out (too pale on white).
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"

# Text inside coloured cells keeps its colour when the page turns dark; so these differ from PAPER and INK.
LIGHT_CELL_TEXT, DARK_CELL_TEXT = "#fdfdfd", "#16181d"

DARK = {
    PAPER: "#171a21",
    INK: "#e8eaf0",
    MUTED: "#98a2b3",
    WEAK: "#667085",
    FAINT: "#2d333f",
    "#000000": "#e8eaf0",
    SERIES[0]: "#4aa3dc",
    SERIES[1]: "#f0803c",
    SERIES[2]: "#2fbd93",
}

RC = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=SERIES),
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "font.size": 9.5,
    "text.parse_math": False,  # a dollar sign in a channel's name is a dollar sign
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",
}

THEMED = "brainalign-themed"
"""Figure id by which the report knows that a figure's colours are ours and may turn dark with the page."""

P = ParamSpec("P")


def styled(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw a function's figure in the house style, whatever the user's own matplotlib settings are."""

    @functools.wraps(function)
    def draw(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(RC):
            figure = function(*args, **kwargs)
        figure.set_gid(THEMED)
        return figure

    return draw


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """Return an empty figure of that many inches, owned by nobody (pyplot never hears of it, so none leaks)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(short(title, longest=int(11 * width)), x=0.01, ha="left", weight="bold", size=10.5)
    return figure


def short(name: object, *, longest: int = 30) -> str:
    """Cut a name that would leave no room for the plot.

    Examples
    --------
    >>> short("FFA"), short("a very long name indeed", longest=12)
    ('FFA', 'a very long…')
    """
    text = str(name)
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def number(value: float | None, *, missing: str = "–") -> str:
    """Write a number as people read it: three significant digits, no exponent where it can be helped.

    Examples
    --------
    >>> number(0.94312), number(1.0), number(12345.6), number(0.00333), number(None), number(-0.5)
    ('0.943', '1', '12,346', '0.00333', '–', '−0.5')
    """
    if value is None or not np.isfinite(value):
        return missing
    size = abs(value)
    if size >= 1000:
        text = f"{value:,.0f}"
    elif size and size < 1e-4:
        text = f"{value:.2e}"
    else:
        digits = 0 if size == 0 else max(0, 2 - int(np.floor(np.log10(size))))
        text = _fixed(value, digits)
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def numbers(values: Iterable[float | None]) -> list[str]:
    """Write numbers that stand together with the same decimals: three, or more where all of them are small.

    One far smaller than the others keeps digits of its own, so that no p-value reads as zero.

    Examples
    --------
    >>> numbers([0.8, 0.7543, None, 12.0, 0.00012])
    ['0.800', '0.754', '–', '12.000', '0.00012']
    """
    known = list(values)
    alone = [number(value) for value in known]
    sizes = [abs(value) for value in known if value is not None and np.isfinite(value)]
    most = max(3, 2 - int(np.floor(np.log10(max(sizes))))) if any(sizes) else 3
    decimals = min(most, max((_n_decimals(text) for text in alone), default=0))

    def together(value: float | None, text: str) -> str:
        lost = value is not None and 0 < abs(value) < 10.0 ** (1 - decimals)
        return text if value is None or not np.isfinite(value) or lost else _fixed(value, decimals)

    return [together(value, text) for value, text in zip(known, alone)]


def _n_decimals(text: str) -> int:
    return 0 if "e" in text else len(text.partition(".")[2])


def _fixed(value: float, decimals: int) -> str:
    return f"{value if value else 0:,.{decimals}f}".replace("-", "−")


def _data_uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _dark_rules() -> str:
    rules = [
        f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
        for light, dark in DARK.items()
        for part in ("fill", "stroke")
    ]
    # Matplotlib leaves the fill out where it is black, which is SVG's default.
    return f"<style>@media (prefers-color-scheme: dark){{svg{{fill:{DARK[INK]}}}{''.join(rules)}}}</style>"


def figure_uri(figure: Figure) -> tuple[str, int, int]:
    """Return a figure as an SVG data URI with its width and height in CSS pixels.

    A figure made by `brainalign.report.plots` carries a style sheet of its own, so that it turns dark
    together with the page; any other figure is shown as it was drawn.
    """
    buffer = io.BytesIO()
    # A fixed salt and no date: the same figure gives the same bytes. Glyphs as paths need no font on the reader's side.
    with rc_context({"svg.hashsalt": "brainalign", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, dpi=160)
    svg = buffer.getvalue().decode()
    if figure.get_gid() == THEMED:
        svg = re.sub(r"(<svg[^>]*>)", lambda match: match.group(1) + _dark_rules(), svg, count=1)
    width, height = figure.get_size_inches() * 96
    return _data_uri(svg.encode(), "image/svg+xml"), round(width), round(height)


def picture(image: object, *, name: str = "image") -> Image.Image:
    """Turn an array or PIL image into an RGB picture.

    Parameters
    ----------
    image : PIL.Image or ndarray, shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
        uint8, or floats in 0..1.

    Raises
    ------
    DataError
        When shape, type or range is another.
    """
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype == bool:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and array.size and np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1:
        array = np.rint(array * 255).astype(np.uint8)
    right_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not array.size or not right_shape:
        raise DataError(
            f"{name} is not a picture",
            expected="(H, W), (H, W, 3) or (H, W, 4), uint8 or floats in 0..1",
            found=f"shape {array.shape}, {array.dtype}",
            fix="clip to 0..1, or scale to 0..255 and cast to uint8",
        )
    return Image.fromarray(array).convert("RGB")


def picture_uri(image: object, *, longest: int = 256, name: str = "image") -> tuple[str, int, int]:
    """Return a picture as data URI with width and height; shrunk to `longest` pixels a side, never enlarged."""
    small = picture(image, name=name)
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    encoded = {}
    formats: dict[str, dict[str, Any]] = {"png": {"optimize": True}, "jpeg": {"quality": 90, "subsampling": 0}}
    for kind, options in formats.items():
        buffer = io.BytesIO()
        small.save(buffer, format=kind, **options)
        encoded[kind] = buffer.getvalue()
    # A photograph weighs a fifth as JPEG; drawings and small pictures stay exact.
    kind = "jpeg" if len(encoded["png"]) > 3 * len(encoded["jpeg"]) and max(small.size) > 64 else "png"
    return _data_uri(encoded[kind], f"image/{kind}"), *small.size
