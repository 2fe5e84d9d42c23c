"""Plot of lines between two columns of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..effects import top_pairs
from ..protocols import PairView
from .checks import check_flag, check_result, figure_of
from .fonts import Fonts, find_fonts
from .style import (
    FONT_SIZE,
    MUTED,
    NEGATIVE,
    POSITIVE,
    decimals_of,
    inches_of,
    ink,
    magnitude,
    part_chunks,
    score_chunks,
    set_title,
    title_chunks,
    written,
)
from .table import table_of

__all__ = ["bipartite"]

MOST_LINES = 12
LEAST_SHARE = 0.1
"""Smallest fraction of the strongest pair."""
LONGEST_COLUMN = 40
"""Maximum number of units that are all shown, with or without a line."""
LARGEST = 12.5
"""Maximum height of a column in inches."""
TITLE = 5.4
"""Maximum width of a title line in inches. The title starts at the column of a."""


def bipartite(
    result: PairView,
    *,
    k: int | None = None,
    special_tokens: bool = False,
    title: bool | str = True,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the two texts as two columns, with lines between the pairs of largest absolute attribution.

    Red solid lines make the texts more similar, blue dashed lines less. Line width shows the strength. A text of more
    than 40 units shows only units with a line, and an ellipsis for the others.

    Args:
        result: As for `heatmap`.
        k: Number of lines, at least 1. None draws pairs of at least a tenth of the strongest, 12 at most.
        special_tokens: Include pairs with special tokens or prompts.
        title: False for none, or a custom title.
        ax: The axes to draw on. None creates a figure that grows with the number of shown units. A custom figure
            needs ``layout="constrained"`` to make room for the labels.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``k`` is below 1; other errors as for `heatmap`.

    Warns:
        UserWarning: As for `heatmap`.
    """
    table = table_of(check_result(result))
    check_flag(special_tokens, "special_tokens")
    pairs = _strongest(result, k, special_tokens)
    fonts = find_fonts(*table.labels_a, *table.labels_b)
    columns = (
        _Column.of(table.labels_a, table.muted_a, {s for s, *_ in pairs}),
        _Column.of(table.labels_b, table.muted_b, {t for _, t, _ in pairs}),
    )
    n_rows = max(len(column.labels) for column in columns)
    if ax is None:
        height = min(LARGEST, max(2.2, 0.19 * n_rows))
        fig = plt.figure(figsize=(6.0, height + 1.1), layout="constrained")
        ax, size = fig.add_subplot(), min(FONT_SIZE, 0.8 * 72 * height / n_rows)
    else:
        fig = figure_of(ax)
        size = min(FONT_SIZE, 0.8 * 72 * inches_of(ax)[1] / n_rows)
    for x, column in enumerate(columns):
        _draw_column(ax, column, float(x), fonts, size)
    largest = max((abs(value) for *_, value in pairs), default=0.0) or 1.0
    for s, t, value in reversed(pairs):
        ax.add_line(_pair_line(value, largest, (0, 1), (columns[0].place(s), columns[1].place(t))))
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(1, 0)
    ax.axis("off")
    _pair_legend(ax, pairs, largest, size)
    together = written(sum(value for *_, value in pairs), 3)
    among = "" if special_tokens else " without special tokens"
    chunks = title_chunks(
        title,
        [
            *score_chunks(result),
            *part_chunks(result),
            f"error {magnitude(result.error)}",
            f"of the interactions the {len(pairs)} strongest pairs{among} {together}",
        ],
    )
    set_title(ax, chunks, TITLE, pad=2.4 * size)
    return fig, ax


def _strongest(result: PairView, k: int | None, special_tokens: bool) -> list[tuple[int, int, float]]:
    pairs = [pair for pair in top_pairs(result, MOST_LINES if k is None else k, special_tokens) if pair[2]]
    return [pair for pair in pairs if k is not None or abs(pair[2]) >= LEAST_SHARE * abs(pairs[0][2])]


@dataclass(frozen=True)
class _Column:
    """The shown units of one text, top to bottom."""

    labels: list[str]
    muted: list[bool]
    rows: dict[int, int]
    """The row of each unit of the text."""

    @staticmethod
    def of(labels: list[str], muted: list[bool], used: set[int]) -> _Column:
        """Select all units of a short text, or the used units of a long one with ellipses for the rest."""
        shown = list(range(len(labels))) if len(labels) <= LONGEST_COLUMN else sorted(used)
        column = _Column([], [], {})
        for place, before in zip([*shown, len(labels)], [-1, *shown], strict=True):
            if place > before + 1:
                column.labels.append("…")
                column.muted.append(True)
            if place < len(labels):
                column.rows[place] = len(column.labels)
                column.labels.append(labels[place])
                column.muted.append(muted[place])
        return column

    def place(self, unit: int) -> float:
        """Return the vertical position of a unit, from 0 at the top to 1."""
        return (self.rows[unit] + 0.5) / len(self.labels)


def _draw_column(ax: Axes, column: _Column, x: float, fonts: Fonts, size: float) -> None:
    at = {"ha": "right" if x == 0 else "left", "textcoords": "offset points", "fontsize": size}
    offset = -5 if x == 0 else 5
    for row, (label, is_muted) in enumerate(zip(column.labels, column.muted, strict=True)):
        ax.annotate(
            fonts.shown(label),
            (x, (row + 0.5) / len(column.labels)),
            xytext=(offset, 0),
            va="center",
            color=MUTED if is_muted else ink(),
            annotation_clip=False,
            **at,
            **fonts.style(fonts.shown(label)),
        )
    name = "text a" if x == 0 else "text b"
    ax.annotate(name, (x, 1.0), xycoords="axes fraction", xytext=(offset, 4), va="bottom", color=MUTED, **at)


def _pair_line(value: float, largest: float, x: Sequence[float], y: Sequence[float]) -> Line2D:
    strength = abs(value) / largest
    return Line2D(
        x,
        y,
        color=POSITIVE if value > 0 else NEGATIVE,
        linestyle="-" if value > 0 else (0, (3, 1.2)),
        dash_capstyle="butt",
        linewidth=0.5 + 4.5 * strength,
        alpha=0.35 + 0.6 * strength,
    )


def _pair_legend(ax: Axes, pairs: list[tuple[int, int, float]], largest: float, size: float) -> None:
    """Draw a legend with the strongest line of each sign, to relate line widths to values."""
    shown = []
    for sign in (1, -1):
        strengths = [value for *_, value in pairs if value * sign > 0]
        if strengths:
            shown.append(max(strengths, key=abs))
    handles = [_pair_line(value, largest, [], []) for value in shown]
    labels = [written(value, decimals_of(largest) + 1, sign=True) for value in shown]
    if handles:
        legend = ax.legend(
            handles,
            labels,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.01),
            ncols=2,
            frameon=False,
            handlelength=3.5,
            fontsize=size,
            title="strongest",
            title_fontsize=size,
        )
        legend.set_in_layout(True)
