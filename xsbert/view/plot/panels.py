"""Figures of one or several matrices, with one scale and one set of colour bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..picture_options import BOTTOM, RIGHT, Cells, Frame
from .checks import axes_of
from .fonts import find_fonts
from .labels import fits_upright, label_size, main_label, pitch
from .layout import Drawing, inches_of, is_laid_out, new_figure, root_of, settle
from .matrix import Table, draw_cells, label_table, print_values
from .measure import ems
from .style import Sizes, limit_of, set_title, sizes_of, wrap

__all__ = ["Panel", "draw_one", "draw_panels"]

LARGEST = 11.2
"""Maximum total size of the cells along a side in inches, for any text length."""
LARGEST_PANEL = 5.0
"""The same for one of several panels."""
WIDEST = 16.0
"""Maximum width of panels in a row, in inches."""
MOST_IN_A_ROW = 4
NARROW = 4.5
"""Figures of a requested width below this, in inches, have their colour bars at the bottom."""
LEAST_SIDE = 0.6
"""Smallest width and height of the cells of a panel, in inches."""
BAR = 2.6
"""Maximum length of a colour bar in inches."""


@dataclass(frozen=True)
class Panel:
    """One matrix of a figure."""

    table: Table
    title: list[str]
    """Chunks of the title, which lines do not break if they fit."""
    limits: tuple[float, float] | None = None
    """Limits of its own colours. None shares those of the figure."""


def draw_one(panel: Panel, names: Sequence[str], cells: Cells, frame: Frame) -> tuple[Figure, Axes]:
    """Draw one matrix. ``names`` are those of the colour bars of the matrix and of the main effects."""
    if frame.ax is not None:
        frame = Frame(frame.title, frame.colorbar, None, frame.fontsize, [axes_of(frame.ax)])
    fig, (ax,) = draw_panels([panel], names, cells, frame)
    return fig, ax


def draw_panels(
    panels: Sequence[Panel], names: Sequence[str], cells: Cells, frame: Frame, heading: Sequence[str] = ()
) -> tuple[Figure, np.ndarray]:
    """Draw matrices in rows of panels. Panels with the same rows in one line of panels share their labels.

    Args:
        panels: The matrices.
        names: Names of the colour bars of the matrix and of the main effects.
        cells: What the matrices show.
        frame: What surrounds them. Its ``ax`` is None or has one axes for each panel.
        heading: Chunks of a title above all panels. Not drawn on given axes.
    """
    drawing = _Drawing(panels, cells, frame)
    fig, axes, n_columns = drawing.figure(heading)
    sizes, margins = drawing.sizes, drawing.margins
    fonts = find_fonts(*(label for panel in panels for label in (*panel.table.labels_a, *panel.table.labels_b)))
    limits = drawing.limits()
    meshes = [
        draw_cells(ax, panel.table, limit, margins, drawing.cell_of(ax, panel))
        for ax, panel, limit in zip(axes, panels, limits, strict=True)
    ]
    shared = drawing.shared and (frame.ax is None or _in_one_row(axes))
    bars = _colour_bars(fig, axes, _colours(meshes, panels, names), drawing) if frame.colorbar is not False else []
    room = 0.4 * root_of(axes[0]).get_figwidth() / min(n_columns, 2) - 2 * sizes.axis / 72

    def draw() -> None:
        for place, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
            label_table(ax, panel.table, margins, fonts, drawing.cell_of(ax, panel), sizes, room)
            if shared and place % n_columns:
                ax.tick_params(labelleft=False)
                ax.set_ylabel("")
            set_title(ax, panel.title, _title_width(ax, len(panels), is_laid_out(ax)), sizes.title)
        _set_heading(fig, heading, frame, sizes)

    settle(Drawing(list(axes), drawing.least, draw, bars), frame)
    for ax, panel, of_panel in zip(axes, panels, meshes, strict=True):
        print_values(ax, of_panel, cells.values, drawing.cell_of(ax, panel), sizes.label)
    return fig, axes


class _Drawing:
    """Sizes of a figure of panels, before it is laid out."""

    def __init__(self, panels: Sequence[Panel], cells: Cells, frame: Frame) -> None:
        self.panels, self.cells, self.frame = panels, cells, frame
        self.sizes = sizes_of(frame.fontsize)
        self.margins = any(panel.table.has_main for panel in panels)
        grids = [panel.table.n_cells(self.margins) for panel in panels]
        self.n_cells = max(width for width, _ in grids), max(height for _, height in grids)
        self.shared = len({tuple(panel.table.labels_a) for panel in panels}) == 1
        narrow = frame.width is not None and frame.width < NARROW
        automatic = BOTTOM if narrow else RIGHT
        self.location = frame.colorbar if isinstance(frame.colorbar, str) else automatic
        self.n_bars = 0 if frame.colorbar is False else 1 + self.margins

    def cell_of(self, ax: Axes, panel: Panel) -> tuple[float, float]:
        """Return the width and height of a cell of laid-out axes, in inches."""
        width, height = inches_of(ax)
        n_cells = panel.table.n_cells(self.margins)
        return width / n_cells[0], height / n_cells[1]

    def limits(self) -> list[tuple[float, float]]:
        """Return the limits of the colours of matrix and main effects in each panel."""
        shared = (
            self.cells.limit or limit_of(*(panel.table.matrix for panel in self.panels)),
            limit_of(*(main for panel in self.panels for main in (panel.table.main_a, panel.table.main_b))),
        )
        return [panel.limits or shared for panel in self.panels]

    def least(self) -> tuple[float, float]:
        """Return the smallest width and height of the cells of a panel, in inches."""
        width, height = (max(LEAST_SIDE, min(n * pitch(self.sizes), 10 * pitch(self.sizes))) for n in self.n_cells)
        return width, height

    def figure(self, heading: Sequence[str]) -> tuple[Figure, np.ndarray, int]:
        """Return figure, axes and number of columns."""
        if self.frame.ax is not None:
            axes = self._given()
            return axes[0].figure, axes, len(axes)
        n = len(self.panels)
        cell, n_columns = self._columns()
        n_rows = math.ceil(n / n_columns)
        left, above = self._label_inches(cell)
        panel = cell[0] * self.n_cells[0], cell[1] * self.n_cells[1]
        bars = self.n_bars * bar_inches(self.sizes)
        spare = bars if self.location == RIGHT else 0.0
        n_labelled = 1 if self.shared else n_columns
        width = self.frame.width or n_labelled * left + n_columns * (panel[0] + 0.2) + spare + 0.1
        title_width = panel[0] + (spare if n == 1 else 0.0)
        n_lines = max(len(wrap(each.title, title_width, self.sizes.title)) for each in self.panels)
        titles = (1.25 * n_lines + 0.7 * bool(n_lines)) * self.sizes.title / 72
        heading_lines = len(wrap([*heading], width - 0.2, self.sizes.title))
        height = self.frame.height or (
            n_rows * (panel[1] + above + titles + 0.1)
            + (bars if self.location == BOTTOM else 0.0)
            + 1.3 * heading_lines * self.sizes.title / 72
            + 0.1
        )
        fig = new_figure(width, height)
        axes = fig.subplots(n_rows, n_columns, squeeze=False).ravel()
        for spare_axes in axes[n:]:
            spare_axes.remove()
        return fig, axes[:n], n_columns

    def _given(self) -> np.ndarray:
        given: Any = self.frame.ax
        if isinstance(given, Axes) or not isinstance(given, (Sequence, np.ndarray)):
            raise TypeError(f"ax must be a list of matplotlib Axes, one for each result, got {type(given).__name__}")
        axes = np.empty(len(given), dtype=object)
        axes[:] = [axes_of(ax) for ax in given]
        if len(axes) != len(self.panels):
            raise ValueError(f"ax must have one axes for each result, {len(self.panels)}, got {len(axes)}")
        if len({id(ax.figure) for ax in axes}) > 1:
            raise ValueError("ax must be axes of one figure")
        return axes

    def _columns(self) -> tuple[tuple[float, float], int]:
        """Return the size of a cell in inches, and the number of columns of panels."""
        n, scale = len(self.panels), max(1.0, self.sizes.label / 10)
        several = n > 1
        width, height = (
            min(cell_inches(count, scale) * (0.8 if several else 1), (LARGEST_PANEL if several else LARGEST) / count)
            for count in self.n_cells
        )
        if self.frame.width is None:
            most = max(1, min(n, MOST_IN_A_ROW, int(WIDEST // (width * self.n_cells[0]))))
            return (width, height), _even(n, most)
        spare = self.n_bars * bar_inches(self.sizes) if self.location == RIGHT else 0.0
        n_columns = min(n, MOST_IN_A_ROW)
        for n_columns in range(n_columns, 0, -1):  # noqa: B020
            left, _ = self._label_inches((pitch(self.sizes), min(height, 1.15 * self.sizes.label / 52)))
            left = min(left, 0.4 * self.frame.width)
            labels = left * (1 if self.shared else n_columns)
            room = (self.frame.width - spare - labels - 0.2 * n_columns) / n_columns
            width = max(room / self.n_cells[0], 0.02)
            if room >= max(LEAST_SIDE, min(self.n_cells[0], 10) * pitch(self.sizes)):
                break
        return (width, min(height, max(width, 1.15 * self.sizes.label / 52))), _even(n, n_columns)

    def _label_inches(self, cell: Sequence[float]) -> tuple[float, float]:
        """Return the room for the labels of a (left) and b (above), including the names of the texts."""
        sizes = self.sizes
        rows = [label for panel in self.panels for label in panel.table.labels_a]
        columns = [label for panel in self.panels for label in panel.table.labels_b]
        beside = [main_label("y", cell[1], sizes)] if self.margins else []
        over = [main_label("x", cell[0], sizes)] if self.margins else []
        left = max(map(ems, rows + beside)) * label_size(cell[1], sizes)
        upright = fits_upright(columns + over, cell[0], sizes)
        above = (2.5 if upright else max(map(ems, columns + over))) * label_size(cell[0], sizes)
        return (left + 2 * sizes.axis) / 72, (above + 2 * sizes.axis) / 72


def bar_inches(sizes: Sizes) -> float:
    """Return the room for a colour bar with its numbers and its name, across its length."""
    return (3.6 * sizes.ticks + 1.6 * sizes.axis) / 72 + 0.2


def cell_inches(n: float, scale: float) -> float:
    """Return the size of each of n cells: large for few cells, smaller for many."""
    return min(0.8 * scale, (0.13 + 2.6 / n) * scale, LARGEST / n)


def _even(n: int, most: int) -> int:
    """Return the number of columns with rows as even as possible, at most ``most`` of n in each."""
    return math.ceil(n / math.ceil(n / most))


def _in_one_row(axes: np.ndarray) -> bool:
    specs = [ax.get_subplotspec() for ax in axes]
    return all(spec is not None for spec in specs) and len({spec.rowspan.start for spec in specs}) == 1


def _title_width(ax: Axes, n: int, laid_out: bool) -> float:
    """Return the maximum width of a title in inches: to the edge of a figure of one panel, or that of the panel."""
    width = inches_of(ax)[0]
    spec = ax.get_subplotspec()
    if n > 1 or not laid_out or spec is None or spec.get_gridspec().ncols > 1:
        return width
    root = root_of(ax)
    return max(width, root.get_figwidth() - ax.get_window_extent().x0 / root.dpi - 0.08)


def _set_heading(fig: Figure, heading: Sequence[str], frame: Frame, sizes: Sizes) -> None:
    if not heading or frame.ax is not None:
        return
    fonts = find_fonts(*heading)
    text = "\n".join(fonts.shown(line) for line in wrap([*heading], fig.get_figwidth() - 0.2, sizes.title))
    fig.suptitle(text, fontsize=sizes.title, **fonts.style(text))


def _colours(
    meshes: list[list[QuadMesh]], panels: Sequence[Panel], names: Sequence[str]
) -> list[tuple[str, ScalarMappable, bool]]:
    """Return name, colours and whether values lie outside the scale, for each colour bar."""
    found: list[tuple[str, ScalarMappable, bool]] = []
    for name, kind in zip(names, (slice(0, 1), slice(1, None)), strict=True):
        of_kind = [mesh for of_panel in meshes for mesh in of_panel[kind]]
        if not of_kind:
            continue
        if panels[0].limits is not None:
            found.append(
                (f"{name}, share of the panel's largest", ScalarMappable(Normalize(-1, 1), of_kind[0].cmap), False)
            )
            continue
        beyond = any(bool(np.abs(np.asarray(mesh.get_array())).max() > mesh.norm.vmax) for mesh in of_kind)
        found.append((name, of_kind[0], beyond))
    return found


def _colour_bars(
    fig: Figure, axes: np.ndarray, colours: list[tuple[str, ScalarMappable, bool]], drawing: _Drawing
) -> list[Any]:
    """Draw labelled colour bars with limited length."""
    sizes, vertical = drawing.sizes, drawing.location == RIGHT
    width, height = (float(size) for size in root_of(axes[0]).get_size_inches())
    sides = inches_of(axes[0]) if len(axes) == 1 and drawing.frame.ax is not None else (width, height)
    length = sides[1] if vertical else sides[0]
    shrink = min(1.0, BAR / length)
    n_ticks = max(2, int(min(length, BAR) * 72 / ((2.5 if vertical else 5.0) * sizes.ticks)))
    # The bar added last is next to the cells. Only a layout engine keeps the labels of both bars apart.
    laid_out = is_laid_out(axes[0])
    bars = []
    for place, (name, mappable, beyond) in reversed(list(enumerate(colours))):
        bar: Any = fig.colorbar(
            mappable,
            ax=list(axes),
            location=drawing.location,
            shrink=shrink,
            aspect=18,
            pad=0.02 if laid_out or place == 0 else 0.13,
            extend="both" if beyond else "neither",
            ticks=MaxNLocator(min(n_ticks, 8), steps=[1, 2, 5, 10]),
        )
        bar.ax.grid(False)
        bar.ax.tick_params(labelsize=sizes.ticks)
        bar.outline.set_linewidth(0.4)
        # Bars are shorter than the figure by its titles and labels.
        room = min(BAR, 0.5 * length)
        bar.set_label("\n".join(wrap([name], room, sizes.axis)), fontsize=sizes.axis)
        bars.append(bar)
    return bars
