"""The matrix as a heat map."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..protocols import PairView
from .checks import check_result
from .style import magnitude, part_chunks, score_chunks, title_chunks
from .table import draw_figure, table_of

__all__ = ["heatmap"]


def heatmap(
    result: PairView,
    *,
    special_tokens: bool = True,
    values: bool | None = None,
    title: bool | str = True,
    limit: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the (S, T) matrix, rows for the units of text a, columns for those of text b.

    Main effects, where there are any, are a separate column and row with colours and a bar of their own. Labels
    of special tokens and prompts are grey. The title gives the score, its error and its parts.

    Args:
        result: of `attribute_prediction`, its `words()`, or any with the same attributes.
        special_tokens: also draw special tokens and prompts, which are not part of the text itself.
        values: print the numbers in the cells; None prints them where they fit.
        title: False for none, or a title of your own.
        limit: the colours of the matrix run from −limit to limit, above 0; None takes the largest absolute value.
        ax: draw here; None makes a figure that grows with S and T, up to about 15 inches: where the labels of a long
            text would overlap, its strongest rows and columns alone are named. A figure of your own makes room for
            the labels when it is made with ``layout="constrained"``.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: the matrix holds numbers that are not finite, or ``limit`` is not above 0.

    Warns:
        UserWarning: no installed font has some of the characters.
    """
    table = table_of(check_result(result), special_tokens)
    chunks = title_chunks(
        title,
        [
            *score_chunks(result),
            *part_chunks(result, table.matrix),
            f"error {magnitude(result.error)}",
        ],
    )
    return draw_figure(table, values, chunks, limit, ax, "attribution")
