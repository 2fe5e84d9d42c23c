"""Plots and pages as methods of a result."""

from __future__ import annotations

from inspect import signature
from os import PathLike
from typing import TYPE_CHECKING, Any

from .._utils.atomic_files import write_text
from .html.pair_page import fragment, page
from .protocols import PairView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PageMixin", "PlotMixin"]


class PlotMixin:
    """Methods ``plot_…`` of a result. They call the functions of `xsbert.utils`."""

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

        >>> fig, ax = out.plot()
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

    def plot_heatmap(
        self: PairView,
        *,
        special_tokens: bool = True,
        values: bool | None = None,
        title: bool | str = True,
        limit: float | None = None,
        ax: Axes | None = None,
    ) -> tuple[Figure, Axes]:
        """Draw `matrix` and main effects as a heat map.

        Args:
            special_tokens, values, title, limit, ax: As for `xsbert.utils.heatmap`.

        >>> fig, ax = out.plot_heatmap()
        """
        from .plot import heatmap

        return heatmap(self, special_tokens=special_tokens, values=values, title=title, limit=limit, ax=ax)

    def plot_bipartite(
        self: PairView,
        *,
        k: int | None = None,
        special_tokens: bool = False,
        title: bool | str = True,
        ax: Axes | None = None,
    ) -> tuple[Figure, Axes]:
        """Draw lines between the strongest pairs.

        Args:
            k, special_tokens, title, ax: As for `xsbert.utils.bipartite`.

        >>> fig, ax = out.plot_bipartite()
        """
        from .plot import bipartite

        return bipartite(self, k=k, special_tokens=special_tokens, title=title, ax=ax)

    def plot_highlight(
        self: PairView, *, special_tokens: bool = True, title: bool | str = True, width: float = 7.0
    ) -> tuple[Figure, Axes]:
        """Draw both texts with words shaded by `word_effects`.

        Args:
            special_tokens, title, width: As for `xsbert.utils.highlight`.

        >>> fig, ax = out.plot_highlight()
        """
        from .plot import highlight

        return highlight(self, special_tokens=special_tokens, title=title, width=width)

    def plot_waterfall(self: PairView, *, title: bool | str = True, ax: Axes | None = None) -> tuple[Figure, Axes]:
        """Draw how the parts add up to the score.

        Args:
            title, ax: As for `xsbert.utils.waterfall`.

        >>> fig, ax = out.plot_waterfall()
        """
        from .plot import waterfall

        return waterfall(self, title=title, ax=ax)

    def plot_difference(
        self: PairView,
        before: PairView,
        *,
        special_tokens: bool = True,
        values: bool | None = None,
        title: bool | str = True,
        limit: float | None = None,
        ax: Axes | None = None,
    ) -> tuple[Figure, Axes]:
        """Draw this result minus another result of the same pair.

        Args:
            before: The result to subtract, with the same units.
            special_tokens, values, title, limit, ax: As for `xsbert.utils.difference`.

        >>> other = model.explain("The coffee is bad.", "This is not a good coffee.", layer=5)
        >>> fig, ax = out.plot_difference(other)
        """
        from .plot.difference import named_difference

        results = {"before": before, "this result": self}
        return named_difference(results, special_tokens=special_tokens, values=values, title=title, limit=limit, ax=ax)


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
