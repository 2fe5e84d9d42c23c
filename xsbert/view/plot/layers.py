"""Plot of one pair at several layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ...text.display import shorten
from ..protocols import PairView
from .checks import check_flag, check_result, check_same_pair
from .fonts import find_fonts
from .style import FONT_SIZE, baseline_chunk, limit_of, magnitude, set_title, title_chunks, unshifted_chunks, written
from .table import Table, cell_inches, cells_of, colour_bars, draw_table, label_inches, table_of

__all__ = ["layers"]

LARGEST_PANEL = 5.0
"""Maximum width and height of the cells of a panel, in inches."""


def layers(
    results: Sequence[PairView],
    *,
    own_scales: bool = False,
    special_tokens: bool = True,
    values: bool | None = None,
    title: bool | str = True,
) -> tuple[Figure, np.ndarray]:
    """Draw the same pair at several layers side by side, with a shared or a separate colour scale.

    Args:
        results: n results with the same units. Rows hold up to four panels and are as even as possible.
        own_scales: Scale the colours of each panel to its own largest absolute value, stated in its title.
        special_tokens: As for `heatmap`.
        values: As for `heatmap`.
        title: False for none, or a custom title above all panels.

    Returns:
        The figure and the (n,) array of axes, in the order of the results.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: There are no results, or they differ in units or similarity; other errors as for `heatmap`.

    Warns:
        UserWarning: As for `heatmap`.
    """
    _check_results(results)
    check_flag(own_scales, "own_scales")
    tables = [table_of(result, special_tokens) for result in results]
    margins = any(table.has_main for table in tables)
    limits = [(limit_of(table.matrix), limit_of(table.main_a, table.main_b)) for table in tables]
    if not own_scales:
        matrix_limits, main_limits = zip(*_without_empty(tables, limits), strict=True)
        limits = [(max(matrix_limits), max(main_limits))] * len(tables)
    heading = title_chunks(title, [f"{shorten(results[0].a.text, 60)}  /  {shorten(results[0].b.text, 60)}"])
    fonts = find_fonts(*tables[0].labels_a, *tables[0].labels_b, *heading)

    n_cells = cells_of(tables[0], margins)
    cell = (_panel_inches(n_cells[0]), _panel_inches(n_cells[1]))
    fig, axes, n_columns = _grid(len(results), tables[0], n_cells, cell, margins)
    images: list[AxesImage] = []
    for place, (ax, table, result) in enumerate(zip(axes, tables, results, strict=True)):
        images = draw_table(ax, table, limits[place], fonts, values, cell, margins)
        if place % n_columns:
            ax.tick_params(labelleft=False)
            ax.set_ylabel("")
        scale = [f"largest {written(limits[place][0], 3)}"] if own_scales else []
        set_title(ax, [*_panel_chunks(result, results), *scale], cell[0] * n_cells[0])
    named = _colours(images, own_scales)
    colour_bars(fig, list(axes), named, cell[1] * n_cells[1] * math.ceil(len(results) / n_columns))
    if heading:
        text = "\n".join(map(fonts.shown, heading))
        fig.suptitle(text, fontsize=FONT_SIZE + 1, **fonts.style(text))
    return fig, axes


def _colours(images: list[AxesImage], own_scales: bool) -> dict[str, ScalarMappable]:
    """Return the contents of the colour bars by name. ``images`` are those of one panel."""
    named: dict[str, ScalarMappable] = dict(zip(("attribution", "main effect"), images, strict=False))
    if not own_scales:
        return named
    return {
        f"{name}, share of the panel's largest": ScalarMappable(Normalize(-1, 1), image.cmap)
        for name, image in named.items()
    }


def _panel_inches(n: float) -> float:
    """Return the size of a cell in a panel of n cells."""
    return min(0.8 * cell_inches(n), LARGEST_PANEL / n)


def _check_results(results: Any) -> None:
    if not isinstance(results, Sequence) or isinstance(results, str):
        raise TypeError(f"results must be a list of attributions, got {type(results).__name__}")
    if not results:
        raise ValueError("results must hold at least one attribution, got none")
    for place, result in enumerate(results):
        check_result(result, f"results[{place}]")
    check_same_pair({f"results[{place}]": result for place, result in enumerate(results)})


def _without_empty(tables: list[Table], limits: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Replace the limits of all-zero tables (one) by zero, to keep them out of the shared scale."""
    return [
        (
            limit if np.any(table.matrix) or not any(np.any(other.matrix) for other in tables) else 0.0,
            main if table.has_main or not any(other.has_main for other in tables) else 0.0,
        )
        for table, (limit, main) in zip(tables, limits, strict=True)
    ]


def _grid(
    n: int, table: Table, n_cells: tuple[float, float], cell: tuple[float, float], margins: bool
) -> tuple[Figure, np.ndarray, int]:
    """Create a figure with n panels in rows as even as possible. Also return the number of columns."""
    panel = cell[0] * n_cells[0], cell[1] * n_cells[1]
    widest = max(1, min(n, 4, int(16 // panel[0])))
    n_rows = math.ceil(n / widest)
    n_columns = math.ceil(n / n_rows)
    labels = label_inches(table, cell, margins)
    panel_title = 4.2 * FONT_SIZE / 72
    width = labels[0] + n_columns * (panel[0] + 0.25) + (1.7 if margins else 0.9)
    height = n_rows * (panel[1] + labels[1] + panel_title + 0.2) + 0.5
    fig, grid = plt.subplots(n_rows, n_columns, figsize=(width, height), layout="constrained", squeeze=False)
    for spare in grid.ravel()[n:]:
        spare.remove()
    return fig, grid.ravel()[:n], n_columns


def _panel_chunks(result: PairView, results: Sequence[PairView]) -> list[str]:
    chunks = [result.settings.described_layer]
    if len({other.settings.model for other in results}) > 1:
        chunks.append(result.settings.model)
    return [
        *chunks,
        f"score {written(result.score, 3)}",
        *unshifted_chunks(result, 3),
        f"error {magnitude(result.error)}",
        f"interactions {written(result.parts['interactions'], 3)}",
        baseline_chunk(result.baseline),
    ]
