"""Plot of lines between two columns of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..effects import top_pairs
from ..picture_options import Cells, Frame, check_flag
from ..protocols import PairView
from .checks import check_result
from .fonts import Fonts, find_fonts
from .layout import Drawing, inches_of, root_of, settle, single_axes
from .matrix import table_of
from .measure import ems, within
from .style import (
    MUTED,
    NEGATIVE,
    POSITIVE,
    Sizes,
    decimals_of,
    ink,
    magnitude,
    part_chunks,
    score_chunks,
    set_title,
    sizes_of,
    title_chunks,
    written,
)

__all__ = ["draw_bipartite"]

MOST_LINES = 12
LEAST_SHARE = 0.1
"""Smallest fraction of the strongest pair."""
LONGEST_COLUMN = 40
"""Maximum number of units that are all shown, with or without a line."""
LARGEST = 12.5
"""Maximum height of a column in inches."""
WIDTH = 6.0
ROW = 0.19
"""Height of a row for labels of 9 points, in inches."""
LEAST_WIDTH = 0.6
"""Smallest width of the lines, in inches."""
OFFSET = 5
"""Distance of a label from its lines, in points."""


def draw_bipartite(result: PairView, k: int | None, special_tokens: bool, frame: Frame) -> tuple[Figure, Axes]:
    table = table_of(check_result(result), Cells())
    check_flag(special_tokens, "special_tokens")
    pairs = _strongest(result, k, special_tokens)
    sizes = sizes_of(frame.fontsize)
    fonts = find_fonts(*table.labels_a, *table.labels_b)
    columns = (
        _Column.of(table.labels_a, table.muted_a, {s for s, *_ in pairs}),
        _Column.of(table.labels_b, table.muted_b, {t for _, t, _ in pairs}),
    )
    n_rows = max(len(column.labels) for column in columns)
    chunks = title_chunks(frame.title, _title(result, pairs, special_tokens))
    height = min(LARGEST, max(2.2, ROW * n_rows * sizes.label / 9))
    ax = single_axes(frame, WIDTH, height + (1.3 * (len(chunks) + 4) * sizes.label + 10) / 72)
    largest = max((abs(value) for *_, value in pairs), default=0.0) or 1.0
    for s, t, value in reversed(pairs):
        ax.add_line(_pair_line(value, largest, (0, 1), (columns[0].place(s), columns[1].place(t))))
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(1, 0)
    ax.axis("off")
    room = 0.32 * _room(ax)
    least = LEAST_WIDTH, max(LEAST_WIDTH, n_rows * sizes.smallest / 0.8 / 72)
    written_texts: list[Any] = []

    def draw() -> None:
        for text in written_texts:
            text.remove()
        size = max(sizes.smallest, min(sizes.label, 0.8 * 72 * inches_of(ax)[1] / n_rows))
        written_texts[:] = [
            text for x, column in enumerate(columns) for text in _column_texts(ax, column, float(x), fonts, size, room)
        ]
        _pair_legend(ax, pairs, largest, sizes, inches_of(ax)[0])
        set_title(ax, chunks, inches_of(ax)[0] + _label_inches(columns[1], size, room), sizes.title, pad=2.4 * size)

    settle(Drawing([ax], lambda: least, draw), frame)
    figure: Any = ax.figure
    return figure, ax


def _title(result: PairView, pairs: list[tuple[int, int, float]], special_tokens: bool) -> list[str]:
    together = written(sum(value for *_, value in pairs), 3)
    among = "" if special_tokens else " without special tokens"
    return [
        *score_chunks(result),
        *part_chunks(result),
        f"error {magnitude(result.error)}",
        f"of the interactions the {len(pairs)} strongest pairs{among} {together}",
    ]


def _room(ax: Axes) -> float:
    """Return the width of the part of the figure that the axes have, in inches."""
    root = root_of(ax)
    spec = ax.get_subplotspec()
    return root.get_figwidth() / (1 if spec is None else spec.get_gridspec().ncols)


def _label_inches(column: _Column, size: float, room: float) -> float:
    return min(room, max(map(ems, column.labels)) * size / 72) + OFFSET / 72


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


def _column_texts(ax: Axes, column: _Column, x: float, fonts: Fonts, size: float, room: float) -> list[Any]:
    """Write the labels of a column, shortened to ``room`` inches, and the name of its text."""
    at = {"ha": "right" if x == 0 else "left", "textcoords": "offset points", "fontsize": size}
    offset = -OFFSET if x == 0 else OFFSET
    texts = []
    for row, (label, is_muted) in enumerate(zip(column.labels, column.muted, strict=True)):
        shown = within(fonts.shown(label), room, size)
        texts.append(
            ax.annotate(
                shown,
                (x, (row + 0.5) / len(column.labels)),
                xytext=(offset, 0),
                va="center",
                color=MUTED if is_muted else ink(),
                annotation_clip=False,
                **at,
                **fonts.style(shown),
            )
        )
    name = "text a" if x == 0 else "text b"
    texts.append(
        ax.annotate(name, (x, 1.0), xycoords="axes fraction", xytext=(offset, 4), va="bottom", color=MUTED, **at)
    )
    return texts


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


def _pair_legend(ax: Axes, pairs: list[tuple[int, int, float]], largest: float, sizes: Sizes, width: float) -> None:
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
            # In a narrow column, one above the other.
            ncols=2 if width > 18 * sizes.axis / 72 else 1,
            frameon=False,
            handlelength=3.5,
            fontsize=sizes.axis,
            title="strongest",
            title_fontsize=sizes.axis,
        )
        legend.set_in_layout(True)
