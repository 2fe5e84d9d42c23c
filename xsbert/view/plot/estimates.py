"""Plot of estimates with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .convergence import CYCLE
from .style import FONT_SIZE, grid, ink

__all__ = ["estimates"]

MARKS = "<>^vsD"
INTERVAL = "0.45"


def estimates(
    intervals: Mapping[str, tuple[float, float, float]],
    marks: Mapping[str, Sequence[float]],
    axis: str,
    marked: str,
) -> tuple[Figure, Axes]:
    """Draw a dot and an interval for each estimate, largest on top, and open marks for the values it averages.

    Args:
        intervals: Value, low end and high end of the interval for each label. NaN if undefined.
        marks: One value per label for each name.
        axis: Label of the value axis.
        marked: Title of the legend of the marks.
    """
    labels, ends = list(intervals), np.array(list(intervals.values()))
    order = np.argsort(ends[:, 0], kind="stable")
    heights = np.arange(len(order))
    value, low, high = ends[order].T
    fig, ax = plt.subplots(figsize=(7, 0.32 * len(order) + 1.2), layout="constrained")
    ax.hlines(heights, low, high, color=INTERVAL, linewidth=2, zorder=1)
    for place, (name, values) in enumerate(marks.items()):
        colour, mark = CYCLE[place % len(CYCLE)], MARKS[place % len(MARKS)]
        ax.plot(np.array(values)[order], heights, mark, color=colour, mfc="none", ms=5, zorder=2, label=name)
    ax.plot(value, heights, "o", color=ink(), ms=6, zorder=3)
    ax.set_yticks(heights, [labels[place] for place in order], fontsize=FONT_SIZE - 1)
    ax.tick_params(axis="x", labelsize=FONT_SIZE - 1)
    ax.set_xlabel(axis, fontsize=FONT_SIZE)
    ax.grid(True, axis="x", color=grid(), linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if marks:
        ax.legend(title=marked, frameon=False, loc="lower right", fontsize=FONT_SIZE - 1)
    return fig, ax
