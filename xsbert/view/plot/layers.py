"""One pair at several layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .checks import check_result, check_same_pair
from .fonts import find_fonts
from .style import (
    FONT_SIZE,
    baseline_chunk,
    limit_of,
    magnitude,
    set_title,
    shorten,
    title_chunks,
    unshifted_chunks,
    written,
)
from .table import cell_inches, cells_of, colour_bars, draw_table, label_inches, table_of

if TYPE_CHECKING:
    from ...attribution import Attribution

__all__ = ["layers"]


def layers(
    results: Sequence[Attribution], *, values: bool | None = None, title: bool | str = True
) -> tuple[Figure, np.ndarray]:
    """Draw the same pair at several layers side by side, all on one scale.

    Args:
        results: n results with the same units; up to four make a row.
        values: as for `heatmap`.
        title: False for none, or a title of your own above all panels.

    Returns:
        the figure and the (n,) array of axes, in the order of the results.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: there are no results, or they differ in their units or in the kind of similarity; other errors
            as for `heatmap`.

    Warns:
        UserWarning: as for `heatmap`.
    """
    if not isinstance(results, Sequence) or isinstance(results, str):
        raise TypeError(f"results must be a list of attributions, got {type(results).__name__}")
    if not results:
        raise ValueError("results must hold at least one attribution, got none")
    for place, result in enumerate(results):
        check_result(result, f"results[{place}]")
    check_same_pair({f"results[{place}]": result for place, result in enumerate(results)})
    tables = [table_of(result) for result in results]
    matrix_limit = limit_of(*(table.matrix for table in tables))
    main_limit = limit_of(*(side for table in tables for side in (table.main_a, table.main_b)))
    margins = any(table.has_main for table in tables)
    heading = title_chunks(title, [f"{shorten(results[0].a.text, 60)}  /  {shorten(results[0].b.text, 60)}"])
    fonts = find_fonts(*tables[0].labels_a, *tables[0].labels_b, *heading)

    n_cells = cells_of(tables[0], margins)
    cell = tuple(0.8 * cell_inches(n) for n in n_cells)
    n_columns = max(1, min(len(results), 4, int(20 // (cell[0] * n_cells[0]))))
    n_rows = math.ceil(len(results) / n_columns)
    labels = label_inches(tables[0], cell, margins)
    panel_title = 4.2 * FONT_SIZE / 72
    width = labels[0] + n_columns * (cell[0] * n_cells[0] + 0.25) + (1.7 if margins else 0.9)
    height = n_rows * (cell[1] * n_cells[1] + labels[1] + panel_title + 0.2) + 0.5
    fig, grid = plt.subplots(n_rows, n_columns, figsize=(width, height), layout="constrained", squeeze=False)
    axes = grid.ravel()[: len(results)]
    for spare in grid.ravel()[len(results) :]:
        spare.remove()
    for place, (ax, table, result) in enumerate(zip(axes, tables, results, strict=True)):
        images = draw_table(ax, table, (matrix_limit, main_limit), fonts, values, cell, margins)
        if place % n_columns:
            ax.tick_params(labelleft=False)
            ax.set_ylabel("")
        set_title(ax, _panel_chunks(result, results), cell[0] * n_cells[0])
    colour_bars(fig, list(axes), images, cell[1] * n_cells[1] * n_rows, "attribution")
    if heading:
        text = "\n".join(map(fonts.shown, heading))
        fig.suptitle(text, fontsize=FONT_SIZE + 1, **fonts.style(text))
    return fig, axes


def _panel_chunks(result: Attribution, results: Sequence[Attribution]) -> list[str]:
    chunks = [f"layer {result.settings.layer} of {result.settings.n_layers}"]
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
