"""Plots and pages as methods of a result."""

from __future__ import annotations

from inspect import signature
from os import PathLike
from typing import TYPE_CHECKING, Any

from .._utils.atomic_files import write_text
from .html.pair_page import fragment, page
from .pictures import bipartite, difference, heatmap, highlight, waterfall, with_keywords_of
from .protocols import PairView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PageMixin", "PlotMixin"]


class PlotMixin:
    """Methods ``plot_…`` of a result: the functions of `xsbert.utils`, with the result as their first argument."""

    plot_heatmap = heatmap
    plot_bipartite = bipartite
    plot_highlight = highlight
    plot_waterfall = waterfall

    def plot(self: PairView, kind: str = "heatmap", **options: Any) -> tuple[Figure, Axes]:
        """Plot the result. Calls the method ``plot_`` with the name of the kind.

        Args:
            kind: ``"heatmap"``, ``"bipartite"``, ``"highlight"`` or ``"waterfall"``.
            options: Keyword arguments of that method.

        Returns:
            (fig, ax), not shown yet.

        Raises:
            ValueError: The kind is unknown; other errors as for the method.
            TypeError: The method has no such keyword.

        >>> fig, ax = out.plot("heatmap", figsize=3.1, title=False)
        """
        kinds = ("heatmap", "bipartite", "highlight", "waterfall")
        if kind not in kinds:
            raise ValueError(f"kind must be one of {', '.join(map(repr, kinds))}, got {kind!r}")
        draw = getattr(self, f"plot_{kind}")
        known = [*signature(draw).parameters]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise TypeError(
                f"plot({kind!r}) got an unexpected keyword argument {unknown[0]!r}. It has {', '.join(known)}"
            )
        return draw(**options)

    @with_keywords_of(difference)
    def plot_difference(self: PairView, before: PairView, **options: Any) -> tuple[Figure, Axes]:
        """Draw this result minus another result of the same pair.

        Args:
            before: The result to subtract, with the same units.
            options: As for `xsbert.utils.difference`.

        Returns:
            (fig, ax), not shown yet.

        Raises, warns:
            As `xsbert.utils.difference`.

        >>> other = model.explain("The coffee is bad.", "This is not a good coffee.", layer=5)
        >>> fig, ax = out.plot_difference(other)
        """
        from .plot import check_comparable

        # Messages name the arguments of this method.
        check_comparable({"before": before, "this result": self})
        return difference(before, self, **options)


class PageMixin:
    """The interactive page of a result."""

    def to_html(self: PairView, path: str | PathLike[str] | None = None) -> str:
        """Return an interactive HTML page with both texts, the partners of each word, and the matrix.

        The page is self-contained and needs no network. It embeds matrices as float32. It shows score and parts to
        four decimals, error and residuals to two digits.

        Args:
            path: Also write the page to this file, atomically and in UTF-8.

        Returns:
            The page.

        Raises:
            ValueError: The matrix holds numbers that are not finite.

        >>> out.to_html().startswith("<!doctype html>")
        True
        """
        text = page(self)
        if path is not None:
            write_text(path, text)
        return text

    def _repr_html_(self: PairView) -> str:
        return fragment(self)
