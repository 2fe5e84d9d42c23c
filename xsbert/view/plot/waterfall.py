"""Waterfall plot of the parts of the score."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..protocols import PairView
from .checks import check_result, figure_of
from .style import (
    FONT_SIZE,
    MUTED,
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    ink,
    magnitude,
    score_chunks,
    set_title,
    title_chunks,
    written,
)

__all__ = ["waterfall"]


def waterfall(result: PairView, *, title: bool | str = True, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw how interactions, main effects, baseline and error add up to the score.

    Args:
        result: As for `heatmap`.
        title: False for none, or a custom title.
        ax: The axes to draw on. None creates a figure.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: As for `heatmap`.
    """
    check_result(result)
    parts = dict(result.parts)
    parts["error"] = result.score - sum(parts.values())
    ends = np.cumsum(list(parts.values()))
    starts = np.concatenate([[0.0], ends[:-1]])
    if ax is None:
        fig = plt.figure(figsize=(6.0, 2.9), layout="constrained")
        ax = fig.add_subplot()
    else:
        fig = figure_of(ax)
    span = np.ptp([0.0, *ends]) or 1.0
    for row, (name, value) in enumerate(parts.items()):
        ax.barh(row, value, left=starts[row], height=0.6, color=POSITIVE if value >= 0 else NEGATIVE)
        label = magnitude(value) if name == "error" else written(value, 4, sign=True)
        _bar_label(ax, max(starts[row], ends[row]) + 0.015 * span, row, label)
        ax.plot([ends[row]] * 2, [row - 0.3, row + 1.3], color=MUTED, linewidth=0.8, zorder=0)
    ax.barh(len(parts), result.score, height=0.6, color=NEUTRAL)
    _bar_label(ax, max(result.score, 0.0) + 0.015 * span, len(parts), written(result.score, 4))
    ax.axvline(0, color=ink(), linewidth=0.8)
    ax.set_yticks(range(len(parts) + 1), [*parts, "score"], fontsize=FONT_SIZE)
    ax.invert_yaxis()
    ax.set_xlim(min(0.0, *ends) - 0.03 * span, max(0.0, *ends) + 0.17 * span)
    ax.set_xlabel(f"{result.similarity} similarity", fontsize=FONT_SIZE)
    ax.tick_params(axis="x", labelsize=FONT_SIZE - 1)
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    set_title(ax, title_chunks(title, ["parts of the score", *score_chunks(result)[1:]]), 4.0)
    return fig, ax


def _bar_label(ax: Axes, x: float, row: int, label: str) -> None:
    ax.text(x, row, label, ha="left", va="center", fontsize=FONT_SIZE - 1, color=ink())
