"""Waterfall plot of the parts of the score."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..picture_options import Frame
from ..protocols import PairView
from .checks import check_result
from .layout import Drawing, inches_of, settle, single_axes
from .measure import ems
from .style import (
    MUTED,
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    ink,
    magnitude,
    score_chunks,
    set_title,
    sizes_of,
    title_chunks,
    written,
)

__all__ = ["draw_waterfall"]

LEAST_BARS = 0.4
"""Smallest width of the bars, in inches."""
ROW = 0.4
"""Height of a row for labels of 10 points, in inches."""


def draw_waterfall(result: PairView, frame: Frame) -> tuple[Figure, Axes]:
    check_result(result)
    parts = dict(result.parts)
    parts["error"] = result.score - sum(parts.values())
    ends = np.cumsum(list(parts.values()))
    starts = np.concatenate([[0.0], ends[:-1]])
    sizes = sizes_of(frame.fontsize)
    n_rows = len(parts) + 1
    ax = single_axes(frame, 6.0, (ROW * n_rows + 0.5) * max(1.0, sizes.label / 10))
    labels = [magnitude(value) if name == "error" else written(value, 4, sign=True) for name, value in parts.items()]
    right = [*np.maximum(starts, ends), max(result.score, 0.0)]
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        ax.barh(row, end - start, left=start, height=0.6, color=POSITIVE if end >= start else NEGATIVE)
        ax.plot([end] * 2, [row - 0.3, row + 1.3], color=MUTED, linewidth=0.8, zorder=0)
    ax.barh(len(parts), result.score, height=0.6, color=NEUTRAL)
    for row, (at, label) in enumerate(zip(right, [*labels, written(result.score, 4)], strict=True)):
        ax.annotate(
            label,
            (at, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=sizes.axis,
            color=ink(),
        )
    ax.axvline(0, color=ink(), linewidth=0.8)
    ax.set_yticks(range(n_rows), [*parts, "score"], fontsize=sizes.label)
    ax.set_ylim(n_rows - 0.5, -0.5)
    ax.set_xlabel(f"{result.similarity} similarity", fontsize=sizes.axis)
    ax.tick_params(axis="x", labelsize=sizes.ticks)
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    chunks = title_chunks(frame.title, ["parts of the score", *score_chunks(result)[1:]])
    numbers = (max(map(ems, labels)) * sizes.axis + 5) / 72
    low, high = min(0.0, *ends), max(0.0, *ends)
    span = high - low or 1.0

    def draw() -> None:
        width = inches_of(ax)[0]
        # Room for the numbers beside the bars.
        ax.set_xlim(low - 0.03 * span, high + span * numbers / max(width - numbers, LEAST_BARS / 2))
        ax.xaxis.set_major_locator(MaxNLocator(max(2, min(8, int(width * 72 / (4.5 * sizes.ticks))))))
        set_title(ax, chunks, width, sizes.title)

    least = numbers + LEAST_BARS, n_rows * 1.1 * sizes.label / 72
    settle(Drawing([ax], lambda: least, draw), frame)
    figure: Any = ax.figure
    return figure, ax
