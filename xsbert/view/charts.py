"""Charts of numbers about explanations, and files of figures. Matplotlib is imported by the first call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from .picture_options import Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["convergence", "estimates", "save_figure"]


def convergence(
    errors: Mapping[str, Sequence[tuple[int, float]]],
    *,
    slope: float | None = None,
    title: str | None = None,
    figsize: float | tuple[float, float] | None = None,
    fontsize: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the given errors against the number of nodes, both on logarithmic axes.

    An error of exactly 0 is drawn as a hollow triangle at the lower edge.

    Args:
        errors: Pairs of n_steps (at least 1) and error (at least 0) for each rule.
        slope: Also draw a dashed line for an error proportional to n_steps to this power, such as −1.
        title: The title, or None.
        figsize: As for `heatmap`.
        fontsize: As for `heatmap`.
        ax: As for `heatmap`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: There is nothing to draw, or a number is out of range.
    """
    from .plot import draw_convergence

    return draw_convergence(errors, slope, Frame(title or False, True, figsize, fontsize, ax))


def estimates(
    intervals: Mapping[str, tuple[float, float, float]],
    marks: Mapping[str, Sequence[float]],
    axis: str,
    marked: str,
    *,
    title: str | None = None,
    figsize: float | tuple[float, float] | None = None,
    fontsize: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw a dot and an interval for each estimate, largest on top, and open marks for the values it averages.

    Args:
        intervals: Value, low end and high end of the interval for each label. NaN if undefined.
        marks: One value per label for each name.
        axis: Label of the value axis.
        marked: Title of the legend of the marks.
        title: The title, or None.
        figsize: As for `heatmap`.
        fontsize: As for `heatmap`.
        ax: As for `heatmap`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: As for `heatmap`.
    """
    from .plot import draw_estimates

    return draw_estimates(intervals, marks, axis, marked, Frame(title or False, True, figsize, fontsize, ax))


def save_figure(fig: Figure, path: str | PathLike[str], *, dpi: float | None = None) -> None:
    """Write a figure to a file for a paper. The format is that of the ending, such as ``.pdf``, ``.svg`` or ``.png``.

    PDF and PostScript files embed their fonts as type 42 (TrueType), which publishers ask for; matplotlib's own
    default is type 3. PDF and SVG files hold no date. The file has exactly the size of the figure. ``rcParams`` do not
    change.

    Args:
        fig: The figure.
        path: The file. An existing one is replaced.
        dpi: Pixels per inch of a bitmap. None takes that of the figure.

    Raises:
        TypeError: ``fig`` is no figure.
        ValueError: Matplotlib has no format with this ending.
        OSError: The file cannot be written.
    """
    from .plot import save

    save(fig, path, dpi)
