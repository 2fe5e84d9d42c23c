"""Drawing of the matrix with main effects as margins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ...text.units import holds_text
from ..protocols import PairView
from .checks import check_flag, figure_of, is_number
from .fonts import Fonts, find_fonts
from .style import (
    COLOURS,
    FONT_SIZE,
    MAIN_COLOURS,
    MUTED,
    decimals_of,
    ems,
    grid,
    inches_of,
    ink,
    ink_on,
    labels_of,
    limit_of,
    set_title,
    wrap,
    written,
)

__all__ = [
    "GAP",
    "SMALLEST_VALUE",
    "Table",
    "cell_inches",
    "cells_of",
    "check_limit",
    "colour_bars",
    "draw_figure",
    "draw_table",
    "label_inches",
    "table_of",
]

SMALLEST_VALUE = 5.0
SMALLEST_LABEL = 6.5
"""Smallest readable label in points. If labels do not fit, only the strongest rows and columns are labelled."""
LARGEST = 11.2
"""Maximum total size of the cells along a side in inches, for any text length."""
GAP = 0.4
"""Gap between the matrix and the main effects, in cells."""


@dataclass(frozen=True)
class Table:
    """The contents of a heat map."""

    matrix: np.ndarray
    """(S, T)"""
    main_a: np.ndarray
    """(S,)"""
    main_b: np.ndarray
    """(T,)"""
    labels_a: list[str]
    labels_b: list[str]
    muted_a: list[bool]
    muted_b: list[bool]

    @property
    def has_main(self) -> bool:
        return bool(np.any(self.main_a) or np.any(self.main_b))


def table_of(result: PairView, special_tokens: bool = True) -> Table:
    """Return the contents of a result's heat map. Without special tokens, only units of the text itself remain.

    Raises:
        TypeError: ``special_tokens`` is neither True nor False.
        ValueError: No unit remains.
    """
    check_flag(special_tokens, "special_tokens")
    rows, columns = (
        [at for at, role in enumerate(side.roles) if special_tokens or holds_text(role)]
        for side in (result.a, result.b)
    )
    if not rows or not columns:
        raise ValueError("without special tokens no unit of one text is left: draw them with special_tokens=True")
    labels = [labels_of(side) for side in (result.a, result.b)]
    return Table(
        matrix=np.asarray(result.matrix)[np.ix_(rows, columns)],
        main_a=np.asarray(result.main_effects_a)[rows],
        main_b=np.asarray(result.main_effects_b)[columns],
        labels_a=[labels[0][at] for at in rows],
        labels_b=[labels[1][at] for at in columns],
        muted_a=[not holds_text(result.a.roles[at]) for at in rows],
        muted_b=[not holds_text(result.b.roles[at]) for at in columns],
    )


def check_limit(limit: Any) -> None:
    if limit is not None and (not is_number(limit) or not 0 < limit < math.inf):
        raise ValueError(f"limit must be None or a finite number above 0, got {limit!r}")


def draw_figure(
    table: Table, values: bool | None, title: list[str], limit: float | None, ax: Axes | None, name: str
) -> tuple[Figure, Axes]:
    check_limit(limit)
    margins = table.has_main
    n_cells = cells_of(table, margins)
    if ax is None:
        cell = (cell_inches(n_cells[0]), cell_inches(n_cells[1]))
        left, top = label_inches(table, cell, margins)
        lines = len(wrap(title, cell[0] * n_cells[0]))
        fig = plt.figure(
            figsize=(
                left + cell[0] * n_cells[0] + (1.8 if margins else 0.95),
                top + cell[1] * n_cells[1] + (1.3 * lines + 1) * FONT_SIZE / 72,
            ),
            layout="constrained",
        )
        ax = fig.add_subplot()
    else:
        fig = figure_of(ax)
        width, height = inches_of(ax)
        cell = (width / n_cells[0], height / n_cells[1])
    fonts = find_fonts(*table.labels_a, *table.labels_b)
    limits = (limit or limit_of(table.matrix), limit_of(table.main_a, table.main_b))
    images = draw_table(ax, table, limits, fonts, values, cell, margins)
    beyond = [bool(np.abs(np.asarray(image.get_array())).max() > image.norm.vmax) for image in images]
    colour_bars(fig, ax, dict(zip((name, "main effect"), images, strict=False)), cell[1] * n_cells[1], beyond)
    set_title(ax, title, cell[0] * n_cells[0])
    return fig, ax


def draw_table(
    ax: Axes,
    table: Table,
    limits: tuple[float, float],
    fonts: Fonts,
    values: bool | None,
    cell: tuple[float, float],
    margins: bool,
) -> list[AxesImage]:
    """Draw the cells and their labels. ``cell`` is the width and height of a cell in inches."""
    if values is not None:
        check_flag(values, "values")
    n_rows, n_columns = table.matrix.shape
    lines = min(cell) > 0.08
    images = [_image(ax, table.matrix, (0, 0), COLOURS, limits[0], lines)]
    blocks = [(table.matrix, (0.0, 0.0), images[0])]
    if margins:
        column = _image(ax, table.main_a[:, None], (n_columns + GAP, 0), MAIN_COLOURS, limits[1], lines)
        row = _image(ax, table.main_b[None, :], (0, n_rows + GAP), MAIN_COLOURS, limits[1], lines)
        images.append(column)
        blocks += [(table.main_a[:, None], (n_columns + GAP, 0.0), column)]
        blocks += [(table.main_b[None, :], (0.0, n_rows + GAP), row)]
    _print_values(ax, blocks, values, cell)
    width, height = cells_of(table, margins)
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(height - 0.5, -0.5)
    ax.set_aspect("auto")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    sizes = np.abs(table.matrix)
    _label_axis(ax, "x", _Labels(table.labels_b, table.muted_b, sizes.max(0), margins), fonts, cell[0])
    _label_axis(ax, "y", _Labels(table.labels_a, table.muted_a, sizes.max(1), margins), fonts, cell[1])
    return images


def _image(
    ax: Axes, values: np.ndarray, origin: tuple[float, float], colours: str, limit: float, lines: bool
) -> AxesImage:
    """Draw cells of width and height 1, with lines between them. ``origin`` is the centre of the first cell."""
    n_rows, n_columns = values.shape
    left, top = origin[0] - 0.5, origin[1] - 0.5
    right, bottom = left + n_columns, top + n_rows
    image = ax.imshow(
        values,
        cmap=colours,
        vmin=-limit,
        vmax=limit,
        extent=(left, right, bottom, top),
        interpolation="nearest",
        aspect="auto",
        origin="upper",
    )
    edges = (np.arange(n_columns + 1) + left, np.arange(n_rows + 1) + top)
    edges = edges if lines else (edges[0][[0, -1]], edges[1][[0, -1]])
    ax.vlines(edges[0], top, bottom, color=grid(), linewidth=0.4)
    ax.hlines(edges[1], left, right, color=grid(), linewidth=0.4)
    return image


def _print_values(
    ax: Axes,
    blocks: list[tuple[np.ndarray, tuple[float, float], AxesImage]],
    values: bool | None,
    cell: tuple[float, float],
) -> None:
    if values is False:
        return
    printed = [
        [written(value, decimals_of(block, image.norm.vmax)) for value in block.ravel()] for block, _, image in blocks
    ]
    longest = max(ems(number) for numbers in printed for number in numbers)
    size = min(FONT_SIZE, 0.9 * 72 * cell[0] / longest, 0.7 * 72 * cell[1])
    if values is None and size < SMALLEST_VALUE:
        return
    for numbers, (block, origin, image) in zip(printed, blocks, strict=True):
        for number, (s, t), value in zip(numbers, np.ndindex(block.shape), block.ravel(), strict=True):
            ax.text(
                t + origin[0],
                s + origin[1],
                number,
                ha="center",
                va="center_baseline",
                fontsize=size,
                color=ink_on(image.to_rgba(value)),
            )


@dataclass(frozen=True)
class _Labels:
    """The labels of the cells along an axis."""

    texts: list[str]
    muted: list[bool]
    strengths: np.ndarray
    """The largest absolute value of each row or column."""
    margins: bool

    def named(self, cell: float) -> list[int]:
        """Return the labelled places: all, or the strongest without overlap."""
        apart = math.ceil(SMALLEST_LABEL / 72 / 0.72 / cell - 1e-9)
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


def _label_axis(ax: Axes, axis: Literal["x", "y"], names: _Labels, fonts: Fonts, cell: float) -> None:
    """Label the cells along an axis. ``cell`` is the size of a cell in inches."""
    named = names.named(cell)
    places = [float(place) for place in named]
    labels, muted = [names.texts[place] for place in named], [names.muted[place] for place in named]
    size = _label_size(cell)
    upright = _fits(names.texts, cell)
    if names.margins:
        places, labels = [*places, len(names.texts) + GAP], [*labels, _main_label(cell)]
        muted = [*muted, True]
    labels = [fonts.shown(label) for label in labels]
    if axis == "x":
        ax.xaxis.set_label_position("top")
        ax.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False, length=0, pad=3)
        ax.set_xticks(places, labels, rotation=0 if upright else 90, fontsize=size, **fonts.style(""))
        if names.margins and not _fits([_main_label(cell)], cell):
            ax.get_xticklabels()[-1].set_rotation(90)
        ax.set_xlabel("text b", fontsize=FONT_SIZE, color=MUTED)
    else:
        ax.tick_params(axis="y", left=True, labelleft=True, right=False, labelright=False, length=0, pad=3)
        ax.set_yticks(places, labels, fontsize=size, **fonts.style(""))
        ax.set_ylabel("text a", fontsize=FONT_SIZE, color=MUTED)
    if len(named) < len(names.texts):
        ax.tick_params(axis=axis, length=2, width=0.4)
    ticks = ax.get_xticklabels() if axis == "x" else ax.get_yticklabels()
    for tick, is_muted in zip(ticks, muted, strict=True):
        tick.set(color=MUTED if is_muted else ink(), fontfamily=fonts.families_of(tick.get_text()))


def colour_bars(
    fig: Figure,
    axes: Axes | list[Axes],
    colours: Mapping[str, ScalarMappable],
    height: float,
    beyond: Sequence[bool] = (False, False),
) -> None:
    """Draw labelled colour bars with limited length. ``height`` is that of the drawing in inches.

    ``beyond`` marks bars with values outside the scale.
    """
    # The bar added last is next to the cells. Only a layout engine keeps the labels of both bars apart.
    laid_out = fig.get_layout_engine() is not None
    for place, (label, image) in reversed(list(enumerate(colours.items()))):
        bar = fig.colorbar(
            image,
            ax=axes,
            shrink=min(1.0, 2.6 / height),
            aspect=18,
            pad=0.02 if laid_out or place == 0 else 0.13,
            extend="both" if beyond[place] else "neither",
        )
        bar.ax.grid(False)
        bar.ax.tick_params(labelsize=FONT_SIZE - 2)
        bar.outline.set_linewidth(0.4)
        bar.set_label(label, fontsize=FONT_SIZE - 1)


def _main_label(cell: float) -> str:
    """Return the label, on two lines if they fit. ``cell`` is the width of a cell in inches."""
    return "main\neffect" if _fits(["main\neffect"], cell) else "main effect"


def _fits(labels: list[str], cell: float) -> bool:
    """Return whether the labels fit over cells without rotation. ``cell`` is the width of a cell in inches."""
    return max(map(ems, labels)) * _label_size(cell) < 0.95 * 72 * cell


def cells_of(table: Table, margins: bool) -> tuple[float, float]:
    extra = 1 + GAP if margins else 0
    return table.matrix.shape[1] + extra, table.matrix.shape[0] + extra


def cell_inches(n: float) -> float:
    """Return the size of each of n cells: large for few cells, smaller for many."""
    return min(0.8, 0.13 + 2.6 / n, LARGEST / n)


def _label_size(cell: float) -> float:
    return max(SMALLEST_LABEL, min(FONT_SIZE, 0.72 * 72 * cell))


def label_inches(table: Table, cell: Sequence[float], margins: bool) -> tuple[float, float]:
    """Return the room for the labels of a (left) and b (above), including the names of the texts."""
    beside, over = ([_main_label(side)] if margins else [] for side in (cell[1], cell[0]))
    left = max(map(ems, table.labels_a + beside)) * _label_size(cell[1])
    size = _label_size(cell[0])
    above = max([2.5, *(ems(label) for label in table.labels_b + over if not _fits([label], cell[0]))]) * size
    return (left + 2 * FONT_SIZE) / 72, (above + 2 * FONT_SIZE) / 72
