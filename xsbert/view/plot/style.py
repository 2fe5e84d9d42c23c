"""Colours, number formats, labels and titles shared by the plots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex, to_rgb
from matplotlib.font_manager import FontProperties

from ...text.display import display_tokens, shorten
from ..protocols import PairView, TextView
from ..summary import score_name
from .fonts import find_fonts
from .measure import ems

__all__ = [
    "COLOURS",
    "LONGEST_LABEL",
    "MAIN_COLOURS",
    "MUTED",
    "NEGATIVE",
    "NEUTRAL",
    "POSITIVE",
    "Sizes",
    "baseline_chunk",
    "colours_of",
    "decimals_of",
    "grid",
    "ink",
    "ink_on",
    "labels_of",
    "limit_of",
    "magnitude",
    "part_chunks",
    "score_chunks",
    "set_title",
    "sizes_of",
    "title_chunks",
    "unshifted_chunks",
    "wrap",
    "written",
]

COLOURS, MAIN_COLOURS = "RdBu_r", "PuOr_r"
POSITIVE, NEGATIVE, NEUTRAL = "#b2182b", "#2166ac", "#4d4d4d"
# Readable on white and on black.
MUTED = "#7a7a7a"
NEAR_BLACK, GRIDS = "#1a1a1a", {"light": "#dddddd", "dark": "#444444"}

LONGEST_LABEL = 28
SMALLEST_LABEL = 6.5
"""Smallest readable label in points, unless a smaller font was asked for."""


@dataclass(frozen=True)
class Sizes:
    """Font sizes in points."""

    label: float
    """Words and tokens."""
    title: float
    axis: float
    """Names of axes and of colour bars."""
    ticks: float
    """Numbers of axes and colour bars."""

    @property
    def smallest(self) -> float:
        return min(SMALLEST_LABEL, self.label)


def sizes_of(fontsize: float | None) -> Sizes:
    """Return the font sizes for a given size of labels, or for the sizes in ``rcParams``."""
    base = fontsize or float(matplotlib.rcParams["font.size"])

    def size(key: str, factor: float) -> float:
        settings: Any = matplotlib.rcParams
        defaults: Any = matplotlib.rcParamsDefault
        chosen = settings[key]
        if fontsize is None and chosen != defaults[key]:
            return float(FontProperties(size=chosen).get_size_in_points())
        return factor * base

    return Sizes(
        label=base,
        title=size("axes.titlesize", 1.0),
        axis=size("axes.labelsize", 0.9),
        ticks=size("xtick.labelsize", 0.8),
    )


def title_chunks(title: bool | str, chunks: list[str]) -> list[str]:
    if isinstance(title, str):
        return [title] if title else []
    return chunks if title else []


def score_chunks(result: PairView) -> list[str]:
    return [f"{score_name(result)} {written(result.score, 4)}", *unshifted_chunks(result, 4)]


def unshifted_chunks(result: PairView, decimals: int) -> list[str]:
    """Return the score without the shift, for a model that a shift was added to."""
    return [] if result.score_unshifted is None else [f"unshifted {written(result.score_unshifted, decimals)}"]


def part_chunks(result: PairView, shown: np.ndarray | None = None) -> list[str]:
    """Return the parts of the score. Without a shift, the score is not the sum of the cells.

    ``shown`` are the drawn cells, or None for a plot without cells.
    """
    interactions, main_a, main_b, baseline = result.parts.values()
    complete = shown is None or shown.size == result.matrix.size
    drawn = "" if shown is None else " (the cells)" if complete else f" (cells shown {written(shown.sum(), 3)})"
    if not (np.any(result.main_effects_a) or np.any(result.main_effects_b)):
        left_out = "" if complete else drawn
        return [f"interactions {written(interactions, 3)}{left_out}", "no main effects", baseline_chunk(baseline)]
    return [
        f"= interactions {written(interactions, 3)}{drawn}",
        f"+ main effects a {written(main_a, 3)}",
        f"+ main effects b {written(main_b, 3)}",
        f"+ {baseline_chunk(baseline)}",
    ]


def baseline_chunk(baseline: float) -> str:
    return f"baseline {written(baseline, 3) if baseline else 0}"


def set_title(ax: Axes, chunks: list[str], width: float, size: float, pad: float | None = None) -> None:
    """Set the title in lines of at most ``width`` inches."""
    fonts = find_fonts(*chunks)
    text = "\n".join(fonts.shown(line) for line in wrap(chunks, width, size))
    if text or ax.get_title("left"):
        ax.set_title(text, loc="left", fontsize=size, pad=pad, **fonts.style(text))


def wrap(chunks: list[str], width: float, size: float) -> list[str]:
    """Fill lines of at most ``width`` inches with whole chunks. Longer chunks break at spaces."""

    def fits(line: str) -> bool:
        return ems(line) * size <= 72 * width

    lines: list[str] = []
    for chunk in chunks:
        # Terms of a sum are separated by spaces, not commas.
        longer = lines[-1] + (" " if chunk.startswith(("= ", "+ ")) else ", ") + chunk if lines else chunk
        if lines and fits(longer):
            lines[-1] = longer
        elif fits(chunk):
            lines.append(chunk)
        else:
            line = ""
            for word in chunk.split(" "):
                if line and not fits(f"{line} {word}"):
                    lines.append(line)
                    line = word
                else:
                    line = f"{line} {word}" if line else word
            lines.append(line)
    return lines


def labels_of(text: TextView) -> list[str]:
    return [shorten(label, LONGEST_LABEL) for label in display_tokens(text)]


def written(value: float, decimals: int, sign: bool = False) -> str:
    """Format a number with a true minus sign (U+2212), and none before zero."""
    value = round(float(value), decimals) + 0.0
    return f"{value:{'+' if sign and value else ''}.{decimals}f}".replace("-", "−")


def magnitude(value: float) -> str:
    return f"{value:.0e}".replace("-", "−") if value else "0"


def decimals_of(*values: Any) -> int:
    """Return the number of decimals that gives the largest value two or three significant digits."""
    largest = max(float(np.abs(array).max()) for array in values)
    order = math.floor(math.log10(largest)) if largest else 0
    return min(6, max(0, 2 - order if order >= 0 else 1 - order))


def limit_of(*values: np.ndarray) -> float:
    return max(float(np.abs(array).max()) for array in values) or 1.0


def colours_of(limit: float) -> ScalarMappable:
    return ScalarMappable(Normalize(-limit, limit), COLOURS)


def ink() -> str:
    """Return the colour of text and marks, from matplotlib's style."""
    chosen = to_hex(matplotlib.rcParams["text.color"])
    return NEAR_BLACK if chosen == "#000000" else chosen


def grid() -> str:
    """Return the colour of background lines: dark if text is light."""
    return GRIDS["dark" if _luminance(to_rgb(ink())) > 0.5 else "light"]


def ink_on(colour: Any, muted: bool = False) -> str:
    """Return black or white for readability on a colour (red, green, blue, opacity), each from 0 to 1."""
    luminance = _luminance(colour)
    if luminance < 0.22:
        return "white"
    return "#5a5a5a" if muted and luminance > 0.7 else NEAR_BLACK


def _luminance(colour: Any) -> float:
    red, green, blue = (
        channel / 12.92 if channel <= 0.04 else ((channel + 0.055) / 1.055) ** 2.4 for channel in colour[:3]
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
