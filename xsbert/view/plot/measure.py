"""Widths of texts before they are drawn."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

from .fonts import find_fonts

__all__ = ["ems", "is_wide", "text_inches", "within"]

# Measured large, since small sizes are rounded to pixels.
POINTS, DPI = 20.0, 144.0
# Renderers round glyphs to pixels, each in its own way.
SPARE = 1.03


def ems(text: str) -> float:
    """Return the width of a text, that of its longest line, in units of its font size."""
    families = tuple(FontProperties().get_family())
    return max(_ems(line, families) for line in text.split("\n"))


@lru_cache(maxsize=8192)
def _ems(line: str, families: tuple[str, ...]) -> float:  # noqa: ARG001 (a key of the cache)
    if not line:
        return 0.0
    fonts = find_fonts(line, warn=False)
    return text_inches(fonts.shown(line), POINTS, fonts.style(line)) * 72 / POINTS * SPARE


def text_inches(line: str, size: float, style: dict[str, Any]) -> float:
    """Return the width of one line in inches. ``style`` are keywords of matplotlib's `Text`."""
    text = Text(0, 0, line, fontsize=size, **style)
    text.set_figure(_scratch())
    return text.get_window_extent(dpi=DPI).width / DPI


@lru_cache(maxsize=1)
def _scratch() -> Figure:
    figure = Figure(dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def within(text: str, inches: float, size: float) -> str:
    """Return the text, shortened by an ellipsis to a width in inches."""
    if ems(text) * size <= 72 * inches:
        return text
    kept = len(text) - 1
    while kept > 1 and ems(f"{text[:kept].rstrip()}…") * size > 72 * inches:
        kept -= 1
    return f"{text[:kept].rstrip()}…"


def is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")
