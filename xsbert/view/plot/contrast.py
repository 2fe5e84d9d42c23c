"""Plot of a double-centred matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import title_chunks
from .table import Table, draw_figure

__all__ = ["contrast"]


def contrast(
    matrix: np.ndarray,
    labels_a: Sequence[str],
    labels_b: Sequence[str],
    *,
    values: bool | None = None,
    title: bool | str = True,
    limit: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw a double-centred matrix. The title says that its cells are no contributions.

    Args:
        matrix: (N, M) cells.
        labels_a: (N,) row labels.
        labels_b: (M,) column labels.
        values, title, limit, ax: As for `heatmap`.

    Raises, warns:
        As `heatmap`.
    """
    nothing = np.zeros(len(labels_a)), np.zeros(len(labels_b))
    plain = [False] * len(labels_a), [False] * len(labels_b)
    table = Table(matrix, *nothing, [*labels_a], [*labels_b], *plain)
    chunks = title_chunks(title, ["contrast, not contributions: what stands out"])
    return draw_figure(table, values, chunks, limit, ax, "beyond row and column")
