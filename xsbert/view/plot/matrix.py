"""The cells of a matrix, with main effects as margins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from ...text.units import holds_text
from ..picture_options import Cells
from ..protocols import PairView
from .fonts import Fonts
from .labels import GAP, Labels, label_axis
from .measure import ems
from .style import COLOURS, MAIN_COLOURS, Sizes, decimals_of, grid, ink_on, labels_of, written

__all__ = ["SMALLEST_VALUE", "Table", "draw_cells", "label_table", "print_values", "table_of"]

SMALLEST_VALUE = 5.0
"""Smallest font size, in points, in which numbers are printed without being asked for."""
LINES_FROM = 0.08
"""Smallest size of a cell, in inches, that has lines around it."""


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

    def n_cells(self, margins: bool) -> tuple[float, float]:
        """Return the width and the height in cells."""
        extra = 1 + GAP if margins else 0
        return self.matrix.shape[1] + extra, self.matrix.shape[0] + extra


def table_of(result: PairView, cells: Cells) -> Table:
    """Return the contents of a result's heat map. Without special tokens, only units of the text itself remain.

    Raises:
        ValueError: No unit remains.
    """
    rows, columns = (
        [at for at, role in enumerate(side.roles) if cells.special_tokens or holds_text(role)]
        for side in (result.a, result.b)
    )
    if not rows or not columns:
        raise ValueError("without special tokens no unit of one text is left: draw them with special_tokens=True")
    labels = [labels_of(side) for side in (result.a, result.b)]
    shown = 1.0 if cells.main_effects else 0.0
    return Table(
        matrix=np.asarray(result.matrix)[np.ix_(rows, columns)],
        main_a=np.asarray(result.main_effects_a)[rows] * shown,
        main_b=np.asarray(result.main_effects_b)[columns] * shown,
        labels_a=[labels[0][at] for at in rows],
        labels_b=[labels[1][at] for at in columns],
        muted_a=[not holds_text(result.a.roles[at]) for at in rows],
        muted_b=[not holds_text(result.b.roles[at]) for at in columns],
    )


def draw_cells(
    ax: Axes, table: Table, limits: tuple[float, float], margins: bool, cell: tuple[float, float]
) -> list[QuadMesh]:
    """Draw the cells, as vectors: the matrix and, if ``margins``, the column and the row of main effects.

    ``limits`` are those of the colours of the matrix and of the main effects. ``cell`` is the width and height of a
    cell in inches.
    """
    n_rows, n_columns = table.matrix.shape
    lines = min(cell) > LINES_FROM
    meshes = [_mesh(ax, table.matrix, (0, 0), COLOURS, limits[0], lines)]
    if margins:
        meshes.append(_mesh(ax, table.main_a[:, None], (n_columns + GAP, 0), MAIN_COLOURS, limits[1], lines))
        meshes.append(_mesh(ax, table.main_b[None, :], (0, n_rows + GAP), MAIN_COLOURS, limits[1], lines))
    width, height = table.n_cells(margins)
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(height - 0.5, -0.5)
    ax.set_aspect("auto")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return meshes


def _mesh(
    ax: Axes, values: np.ndarray, origin: tuple[float, float], colours: str, limit: float, lines: bool
) -> QuadMesh:
    """Draw cells of width and height 1, with lines between them. ``origin`` is the centre of the first cell."""
    n_rows, n_columns = values.shape
    return ax.pcolormesh(
        np.arange(n_columns + 1) + origin[0] - 0.5,
        np.arange(n_rows + 1) + origin[1] - 0.5,
        values,
        cmap=colours,
        vmin=-limit,
        vmax=limit,
        # Without lines between them, viewers of PDF show gaps.
        edgecolors=grid() if lines else "face",
        linewidth=0.4 if lines else 0.1,
        rasterized=False,
    )


def label_table(
    ax: Axes, table: Table, margins: bool, fonts: Fonts, cell: tuple[float, float], sizes: Sizes, room: float
) -> None:
    """Label rows and columns. ``cell`` is the width and height of a cell, ``room`` the longest label, in inches."""
    strengths = np.abs(table.matrix)
    columns = Labels(table.labels_b, table.muted_b, strengths.max(0), margins)
    rows = Labels(table.labels_a, table.muted_a, strengths.max(1), margins)
    label_axis(ax, "x", columns, fonts, cell[0], sizes)
    label_axis(ax, "y", rows, fonts, cell[1], sizes, room)


def print_values(ax: Axes, meshes: list[QuadMesh], values: bool | None, cell: tuple[float, float], size: float) -> None:
    """Print the numbers in their cells, in at most ``size`` points. ``cell`` is the size of a cell in inches."""
    if values is False:
        return
    blocks = [np.asarray(mesh.get_array()) for mesh in meshes]
    printed = [
        [written(value, decimals_of(block, mesh.norm.vmax)) for value in block.ravel()]
        for block, mesh in zip(blocks, meshes, strict=True)
    ]
    longest = max(ems(number) for numbers in printed for number in numbers)
    size = min(0.9 * size, 0.88 * 72 * cell[0] / longest, 0.7 * 72 * cell[1])
    if values is None and size < SMALLEST_VALUE:
        return
    for numbers, block, mesh in zip(printed, blocks, meshes, strict=True):
        left, top = np.asarray(mesh.get_coordinates())[0, 0] + 0.5
        for number, (s, t), value in zip(numbers, np.ndindex(block.shape), block.ravel(), strict=True):
            ax.text(
                t + left,
                s + top,
                number,
                ha="center",
                va="center_baseline",
                fontsize=size,
                color=ink_on(mesh.to_rgba(value)),
            )
