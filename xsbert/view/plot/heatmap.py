"""Heat map of the matrix."""

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
    """Draw the (S, T) matrix. Rows are units of text a, columns units of text b.

    Main effects, if any, are a separate column and row with their own colours and colour bar. Labels of special
    tokens and prompts are grey. The title gives the score, its error and its parts.

    Args:
        result: A result of `attribute_prediction`, its `words()`, or any object with the same attributes.
        special_tokens: Also draw special tokens and prompts, which are not part of the text itself.
        values: Print the numbers in the cells. None prints them if they fit.
        title: False for none, or a custom title.
        limit: The matrix colours run from −limit to limit, above 0. None takes the largest absolute value.
        ax: The axes to draw on. None creates a figure that grows with S and T, up to about 15 inches. If labels of a
            long text would overlap, only its strongest rows and columns are labelled. A custom figure needs
            ``layout="constrained"`` to make room for the labels.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The matrix holds numbers that are not finite, or ``limit`` is not above 0.

    Warns:
        UserWarning: No installed font has some of the characters.
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
