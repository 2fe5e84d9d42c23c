"""Plot of estimates with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..picture_options import Frame
from .convergence import CYCLE
from .layout import Drawing, inches_of, settle, single_axes
from .measure import ems
from .style import grid, ink, set_title, sizes_of, title_chunks, wrap

__all__ = ["draw_estimates"]

MARKS = "<>^vsD"
INTERVAL = "0.45"
WIDTH = 7.0
MOST_LABEL = 0.42
"""Largest part of the width for labels. Longer ones take several lines."""


def draw_estimates(
    intervals: Mapping[str, tuple[float, float, float]],
    marks: Mapping[str, Sequence[float]],
    axis: str,
    marked: str,
    frame: Frame,
) -> tuple[Figure, Axes]:
    sizes = sizes_of(frame.fontsize)
    room = MOST_LABEL * (frame.width or WIDTH)
    labels = ["\n".join(wrap(label.split(", "), room, sizes.axis)) for label in intervals]
    n_lines = max(label.count("\n") + 1 for label in labels)
    ends = np.array(list(intervals.values()))
    order = np.argsort(ends[:, 0], kind="stable")
    heights = np.arange(len(order))
    value, low, high = ends[order].T
    row = (0.7 + 1.1 * n_lines) * sizes.axis / 72 + 0.06
    legend = (2 if marks else 0) * 1.4 * sizes.axis / 72
    ax = single_axes(frame, WIDTH, row * len(order) + legend + 4 * sizes.axis / 72 + 0.3)
    ax.hlines(heights, low, high, color=INTERVAL, linewidth=2, zorder=1)
    for place, (name, values) in enumerate(marks.items()):
        colour, mark = CYCLE[place % len(CYCLE)], MARKS[place % len(MARKS)]
        ax.plot(np.array(values)[order], heights, mark, color=colour, mfc="none", ms=5, zorder=2, label=name)
    ax.plot(value, heights, "o", color=ink(), ms=6, zorder=3)
    ax.set_yticks(heights, [labels[place] for place in order], fontsize=sizes.axis)
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.tick_params(axis="x", labelsize=sizes.ticks)
    ax.grid(True, axis="x", color=grid(), linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if marks:
        # Above the axes, where no estimate is.
        ax.legend(
            title=marked,
            title_fontsize=sizes.axis,
            fontsize=sizes.axis,
            frameon=False,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.0,
            ncols=len(marks) if sum(ems(name) + 4 for name in marks) * sizes.axis < 72 * 3 else 1,
        )

    def draw() -> None:
        width = inches_of(ax)[0]
        ax.xaxis.set_major_locator(MaxNLocator(max(2, min(8, int(width * 72 / (4.5 * sizes.ticks))))))
        ax.set_xlabel("\n".join(wrap([axis], width, sizes.axis)), fontsize=sizes.axis)
        set_title(ax, title_chunks(frame.title, []), width, sizes.title)

    least = 1.0, n_lines * 1.1 * len(order) * sizes.axis / 72
    settle(Drawing([ax], lambda: least, draw), frame)
    figure: Any = ax.figure
    return figure, ax
