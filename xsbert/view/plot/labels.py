"""Labels of the rows and columns of a matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from .fonts import Fonts
from .measure import ems, within
from .style import MUTED, Sizes, ink

__all__ = ["GAP", "Labels", "fits_upright", "label_axis", "label_size", "main_label", "pitch"]

GAP = 0.4
"""Gap between the matrix and the main effects, in cells."""
LINE = 0.72
"""Height of a label, in parts of that of its cell."""


@dataclass(frozen=True)
class Labels:
    """The labels of the cells along an axis."""

    texts: list[str]
    muted: list[bool]
    strengths: np.ndarray
    """The largest absolute value of each row or column."""
    margins: bool

    def named(self, apart: int) -> list[int]:
        """Return the labelled places, at least ``apart`` cells from one another: the strongest."""
        if apart <= 1:
            return list(range(len(self.texts)))
        strengths = np.where(self.muted, -1.0, self.strengths)
        free = np.ones(len(self.texts), dtype=bool)
        if self.margins:
            free[max(0, math.floor(len(self.texts) + GAP - apart) + 1) :] = False
        named = []
        for place in np.argsort(-strengths, kind="stable"):
            if free[place]:
                named.append(int(place))
                free[max(0, place - apart + 1) : place + apart] = False
        return sorted(named)


def label_axis(
    ax: Axes,
    axis: Literal["x", "y"],
    names: Labels,
    fonts: Fonts,
    cell: float,
    sizes: Sizes,
    room: float = math.inf,
) -> None:
    """Label the cells along an axis.

    Args:
        ax: Axes with cells of width and height 1.
        axis: The axis.
        names: The labels.
        fonts: Fonts for them.
        cell: The size of a cell in inches.
        sizes: Sizes of fonts.
        room: Maximum length of a label in inches. Longer ones are shortened.
    """
    size = label_size(cell, sizes)
    named = names.named(math.ceil(pitch(sizes) / cell - 1e-9))
    places = [float(place) for place in named]
    upright = fits_upright(names.texts, cell, sizes)
    if axis == "y" or not upright:
        texts = [within(fonts.shown(names.texts[place]), room, size) for place in named]
    else:
        texts = [fonts.shown(names.texts[place]) for place in named]
    muted = [names.muted[place] for place in named]
    if names.margins:
        places, texts = [*places, len(names.texts) + GAP], [*texts, main_label(axis, cell, sizes)]
        muted = [*muted, True]
    if axis == "x":
        ax.xaxis.set_label_position("top")
        ax.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False, length=0, pad=3)
        ax.set_xticks(places, texts, rotation=0 if upright else 90, fontsize=size, **fonts.style(""))
        if names.margins:
            ax.get_xticklabels()[-1].set_rotation(0 if fits_upright(texts[-1:], cell, sizes) else 90)
        ax.set_xlabel("text b", fontsize=sizes.axis, color=MUTED)
    else:
        ax.tick_params(axis="y", left=True, labelleft=True, right=False, labelright=False, length=0, pad=3)
        ax.set_yticks(places, texts, fontsize=size, **fonts.style(""))
        ax.set_ylabel("text a", fontsize=sizes.axis, color=MUTED)
    if len(named) < len(names.texts):
        ax.tick_params(axis=axis, length=2, width=0.4)
    ticks = ax.get_xticklabels() if axis == "x" else ax.get_yticklabels()
    for tick, is_muted in zip(ticks, muted, strict=True):
        tick.set(color=MUTED if is_muted else ink(), fontfamily=fonts.families_of(tick.get_text()))


def label_size(cell: float, sizes: Sizes) -> float:
    """Return the font size of the labels of cells of a size in inches."""
    return max(sizes.smallest, min(sizes.label, LINE * 72 * cell))


def pitch(sizes: Sizes) -> float:
    """Return the smallest distance of two labels in inches."""
    return sizes.smallest / 72 / LINE


def fits_upright(labels: list[str], cell: float, sizes: Sizes) -> bool:
    """Return whether the labels fit over cells of a width in inches without rotation."""
    return max(map(ems, labels)) * label_size(cell, sizes) < 0.92 * 72 * cell


def main_label(axis: Literal["x", "y"], cell: float, sizes: Sizes) -> str:
    """Return the label of the main effects, on two lines if these fit. ``cell`` is the size of a cell in inches."""
    lines = "main\neffect"
    beside = 2.5 * label_size(cell, sizes) <= 72 * cell
    return lines if (fits_upright([lines], cell, sizes) if axis == "x" else beside) else "main effect"
