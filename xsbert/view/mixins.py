"""Pictures and pages as methods of a result, as users of other attribution libraries expect them."""

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
    """Methods ``plot_…`` of a result, which hand over to the functions of `xsbert.utils`."""

    def plot(self: PairView, kind: str = "heatmap", **options: Any) -> tuple[Figure, Axes]:
        """Draw a picture of the result; the same as the method ``plot_`` with the name of the kind.

        Args:
            kind: ``"heatmap"``, ``"bipartite"``, ``"highlight"`` or ``"waterfall"``.
            options: keywords of that method.

        Returns:
            (fig, ax), not shown yet.

        Raises:
            ValueError: there is no such kind; other errors as for the method.
            TypeError: the method has no such keyword.

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
        """Draw `matrix` and main effects.

        Args:
            special_tokens, values, title, limit, ax: as for `xsbert.utils.heatmap`.

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
            k, special_tokens, title, ax: as for `xsbert.utils.bipartite`.

        >>> fig, ax = out.plot_bipartite()
        """
        from .plot import bipartite

        return bipartite(self, k=k, special_tokens=special_tokens, title=title, ax=ax)

    def plot_highlight(
        self: PairView, *, special_tokens: bool = True, title: bool | str = True, width: float = 7.0
    ) -> tuple[Figure, Axes]:
        """Draw both texts, words shaded by `word_effects`.

        Args:
            special_tokens, title, width: as for `xsbert.utils.highlight`.

        >>> fig, ax = out.plot_highlight()
        """
        from .plot import highlight

        return highlight(self, special_tokens=special_tokens, title=title, width=width)

    def plot_waterfall(self: PairView, *, title: bool | str = True, ax: Axes | None = None) -> tuple[Figure, Axes]:
        """Draw how the parts add up to the score.

        Args:
            title, ax: as for `xsbert.utils.waterfall`.

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
        """Draw what changes from another result of the same pair to this one.

        Args:
            before: what is subtracted, with the same units.
            special_tokens, values, title, limit, ax: as for `xsbert.utils.difference`.

        >>> other = model.attribute_prediction("The coffee is bad.", "This is not a good coffee.", layer=5)
        >>> fig, ax = out.plot_difference(other)
        """
        from .plot.difference import named_difference

        results = {"before": before, "this result": self}
        return named_difference(results, special_tokens=special_tokens, values=values, title=title, limit=limit, ax=ax)


class PageMixin:
    """The interactive page of a result."""

    def to_html(self: PairView, path: str | PathLike[str] | None = None) -> str:
        """An interactive page: both texts, whose words show their partners, and the matrix.

        One self-contained page that needs no network. Matrices are embedded as float32; score and
        parts are shown to four decimals, error and residuals to two digits.

        Args:
            path: also write the page to this file, in UTF-8, all of it or nothing.

        Returns:
            the page.

        Raises:
            ValueError: the matrix holds numbers that are not finite.

        >>> out.to_html().startswith("<!doctype html>")
        True
        """
        text = page(self)
        if path is not None:
            write_text(path, text)
        return text

    def _repr_html_(self: PairView) -> str:
        return fragment(self)
