"""Lines between two columns of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .checks import check_flag, check_result, figure_of
from .fonts import Fonts, find_fonts
from .style import (
    FONT_SIZE,
    INK,
    MUTED,
    NEGATIVE,
    POSITIVE,
    decimals_of,
    inches_of,
    magnitude,
    part_chunks,
    score_chunks,
    set_title,
    title_chunks,
    written,
)
from .table import Table, table_of

if TYPE_CHECKING:
    from ...attribution import Attribution

__all__ = ["bipartite"]


def bipartite(
    result: Attribution,
    *,
    k: int = 20,
    special_tokens: bool = False,
    title: bool | str = True,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the two texts as two columns, with lines between the k pairs of largest absolute attribution.

    Red lines make the texts more similar, blue dashed ones less; the stronger, the wider.

    Args:
        result: as for `heatmap`.
        k: number of lines, at least 1.
        special_tokens: let pairs with special tokens, prompts or the rest be among the k.
        title: False for none, or a title of your own.
        ax: draw here; None makes a figure that grows with S and T. A figure of your own makes room for the labels
            when it is made with ``layout="constrained"``.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: ``k`` is below 1; other errors as for `heatmap`.

    Warns:
        UserWarning: as for `heatmap`.
    """
    table = table_of(check_result(result))
    check_flag(special_tokens, "special_tokens")
    pairs = _strongest(table, k, special_tokens)
    fonts = find_fonts(*table.labels_a, *table.labels_b)
    n_rows = max(table.matrix.shape)
    if ax is None:
        fig = plt.figure(figsize=(6.0, max(2.2, 0.19 * n_rows) + 1.1), layout="constrained")
        ax, size = fig.add_subplot(), FONT_SIZE
    else:
        fig = figure_of(ax)
        size = min(FONT_SIZE, 0.8 * 72 * inches_of(ax)[1] / n_rows)
    places_a, places_b = ((np.arange(n) + 0.5) / n for n in table.matrix.shape)
    _draw_column(ax, table.labels_a, table.muted_a, places_a, 0.0, fonts, size)
    _draw_column(ax, table.labels_b, table.muted_b, places_b, 1.0, fonts, size)
    largest = max((abs(value) for *_, value in pairs), default=0.0) or 1.0
    for s, t, value in reversed(pairs):
        ax.add_line(_pair_line(value, largest, (0, 1), (places_a[s], places_b[t])))
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(1, 0)
    ax.axis("off")
    for x, side in ((0, "text a"), (1, "text b")):
        ax.annotate(
            side,
            (x, 1.0),
            xycoords="axes fraction",
            xytext=(-5 if x == 0 else 5, 4),
            textcoords="offset points",
            ha="right" if x == 0 else "left",
            va="bottom",
            fontsize=size,
            color=MUTED,
        )
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
    set_title(ax, chunks, 3.5, pad=2.4 * size)
    return fig, ax


def _strongest(table: Table, k: int, special_tokens: bool) -> list[tuple[int, int, float]]:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k must be an integer, got {k!r}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    order = np.argsort(-np.abs(table.matrix), axis=None, kind="stable")
    pairs = ((int(place) // table.matrix.shape[1], int(place) % table.matrix.shape[1]) for place in order)
    wanted = [
        (s, t, float(table.matrix[s, t]))
        for s, t in pairs
        if table.matrix[s, t] and (special_tokens or not (table.muted_a[s] or table.muted_b[t]))
    ]
    return wanted[:k]


def _draw_column(
    ax: Axes, labels: list[str], muted: list[bool], places: np.ndarray, x: float, fonts: Fonts, size: float
) -> None:
    for label, is_muted, place in zip(labels, muted, places, strict=True):
        ax.annotate(
            fonts.shown(label),
            (x, place),
            xytext=(-5 if x == 0 else 5, 0),
            textcoords="offset points",
            ha="right" if x == 0 else "left",
            va="center",
            fontsize=size,
            color=MUTED if is_muted else INK,
            annotation_clip=False,
            **fonts.style(fonts.shown(label)),
        )


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
    """The strongest line of either sign, so that widths can be read as values."""
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
