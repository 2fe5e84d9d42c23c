"""Pictures of results. Each function returns (fig, ax), not shown yet. Matplotlib is imported by the first call.

Colours run from blue (less similar) over white to red (more similar). Main effects have a scale of their own, from
purple to orange. Colour-blind readers can distinguish both pairs of colours. Cells are drawn as vectors.

Fonts, text colour and backgrounds are those of ``matplotlib.rcParams``. Matplotlib 3.11 and later shapes right-to-left
and Indic scripts. Scripts that the default font lacks are drawn in an installed font.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .._utils.stacklevel import caller_level
from .picture_options import Cells, Frame
from .protocols import PairView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "bipartite",
    "contrast",
    "difference",
    "heatmap",
    "highlight",
    "layers",
    "panels",
    "waterfall",
    "with_keywords_of",
]


def with_keywords_of(function: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator that shows the keywords of ``function`` in place of ``**options``, as `help` prints them."""

    def decorate(other: F) -> F:
        own = [each for each in signature(other).parameters.values() if each.kind is not each.VAR_KEYWORD]
        keywords = [each for each in signature(function).parameters.values() if each.kind is each.KEYWORD_ONLY]
        shown: Any = other
        shown.__signature__ = signature(other).replace(parameters=[*own, *keywords])
        return other

    return decorate


def heatmap(
    result: PairView,
    *,
    special_tokens: bool = True,
    main_effects: bool = True,
    values: bool | None = None,
    limit: float | None = None,
    title: bool | str = True,
    colorbar: bool | str = True,
    figsize: float | tuple[float, float] | None = None,
    fontsize: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the (S, T) matrix. Rows are units of text a, columns units of text b.

    Main effects, if any, are a separate column and row with their own colours and colour bar. Labels of special
    tokens and prompts are grey. The title gives the score, its error and its parts. Where labels of a long text would
    overlap, only its strongest rows and columns are labelled.

    Args:
        result: A result of `attribute_prediction`, its `words()`, or any object with the same attributes.
        special_tokens: Also draw special tokens and prompts, which are not part of the text itself.
        main_effects: Also draw main effects, if there are any.
        values: Print the numbers in the cells. None prints them if they fit.
        limit: The matrix colours run from −limit to limit, above 0. None takes the largest absolute value.
        title: False for none, or a custom title.
        colorbar: False for none. ``"right"`` or ``"bottom"`` place the colour bars; True chooses by the width.
        figsize: Width of a new figure in inches, such as 3.1 for one column of a page; the height follows from the
            text. Or (width, height). None takes a size for S and T, up to about 15 inches.
        fontsize: Size of the labels in points, 4 to 40. None takes ``rcParams["font.size"]``.
        ax: The axes to draw on. None creates a figure. A custom figure needs ``layout="constrained"`` to make room
            for the labels.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The matrix holds numbers that are not finite, an argument is out of range, or the figure is too
            small for the labels. In this case the message gives a sufficient size.

    Warns:
        UserWarning: No installed font has some of the characters, or labels reach outside a figure without a layout
            engine.

    >>> fig, ax = out.plot_heatmap(figsize=3.1, fontsize=8)
    """
    from .plot import draw_heatmap

    frame = Frame(title, colorbar, figsize, fontsize, ax)
    return draw_heatmap(result, Cells(special_tokens, main_effects, values, limit), frame)


def bipartite(
    result: PairView,
    *,
    k: int | None = None,
    special_tokens: bool = False,
    title: bool | str = True,
    figsize: float | tuple[float, float] | None = None,
    fontsize: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the two texts as two columns, with lines between the pairs of largest absolute attribution.

    Red solid lines make the texts more similar, blue dashed lines less. Line width shows the strength. A text of more
    than 40 units shows only units with a line, and an ellipsis for the others.

    Args:
        result: As for `heatmap`.
        k: Number of lines, at least 1. None draws pairs of at least a tenth of the strongest, 12 at most.
        special_tokens: Include pairs with special tokens or prompts.
        title: False for none, or a custom title.
        figsize: As for `heatmap`.
        fontsize: As for `heatmap`.
        ax: As for `heatmap`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``k`` is below 1; other errors as for `heatmap`.

    Warns:
        UserWarning: As for `heatmap`.

    >>> fig, ax = out.plot_bipartite(k=5)
    """
    from .plot import draw_bipartite

    return draw_bipartite(result, k, special_tokens, Frame(title, True, figsize, fontsize, ax))


def highlight(
    result: PairView,
    *,
    special_tokens: bool = True,
    main_effects: bool = True,
    title: bool | str = True,
    colorbar: bool = True,
    figsize: float | tuple[float, float] | None = None,
    fontsize: float | None = None,
    ax: Axes | None = None,
    width: float | None = None,
) -> tuple[Figure, Axes]:
    """Draw the texts with each word shaded by its total contribution.

    The contribution is the sum of the word's row (text a) or column (text b) of the matrix plus its main effect. Each
    interaction counts once in each text, so the contributions of the two texts must not be added. Tokens are first
    summed to words if the tokenizer has word ids. Lines of right-to-left texts start at the right.

    Args:
        result: As for `heatmap`.
        special_tokens: As for `heatmap`.
        main_effects: False shades by the interactions alone.
        title: False for none, or a custom title.
        colorbar: False for none.
        figsize: Width in inches; the height follows from the texts. Or (width, height). None is 7 inches wide.
        fontsize: As for `heatmap`. The words of the texts are a fifth larger.
        ax: As for `heatmap`.
        width: Deprecated name of ``figsize``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: As for `heatmap`.

    Warns:
        UserWarning: As for `heatmap`.

    >>> fig, ax = out.plot_highlight(figsize=6.3)
    """
    from .plot import draw_highlight

    if width is not None:
        warnings.warn("width= of highlight is now figsize=", DeprecationWarning, stacklevel=caller_level())
        figsize = width if figsize is None else figsize
    frame = Frame(title, colorbar, figsize, fontsize, ax)
    return draw_highlight(result, Cells(special_tokens, main_effects), frame)


def waterfall(
    result: PairView,
    *,
    title: bool | str = True,
    figsize: float | tuple[float, float] | None = None,
    fontsize: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw how interactions, main effects, baseline and error add up to the score.

    Args:
        result: As for `heatmap`.
        title: False for none, or a custom title.
        figsize: As for `heatmap`.
        fontsize: As for `heatmap`.
        ax: As for `heatmap`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: As for `heatmap`.

    >>> fig, ax = out.plot_waterfall()
    """
    from .plot import draw_waterfall

    return draw_waterfall(result, Frame(title, True, figsize, fontsize, ax))


def panels(
    results: Sequence[PairView],
    *,
    panel_titles: Sequence[str] | None = None,
    own_scales: bool = False,
    special_tokens: bool = True,
    main_effects: bool = True,
    values: bool | None = None,
    limit: float | None = None,
    title: bool | str = True,
    colorbar: bool | str = True,
    figsize: float | tuple[float, float] | None = None,
    fontsize: float | None = None,
    ax: Sequence[Axes] | None = None,
) -> tuple[Figure, np.ndarray]:
    """Draw several results side by side, on one colour scale with one colour bar.

    Each panel names what differs between the results: model, method, layer, reference, nodes or texts. Rows hold up
    to four panels and are as even as possible. Panels with the same rows share their labels.

    Args:
        results: n results of one similarity.
        panel_titles: n titles of panels. None names what differs, and the parts of the score unless ``title`` is
            False.
        own_scales: Scale the colours of each panel to its own largest absolute value, stated in its title.
        special_tokens: As for `heatmap`.
        main_effects: As for `heatmap`.
        values: As for `heatmap`.
        limit: As for `heatmap`, for all panels. Not with ``own_scales``.
        title: False for none, or a custom title above all panels.
        colorbar: As for `heatmap`.
        figsize: As for `heatmap`, of the whole figure, such as 6.3 for both columns of a page.
        fontsize: As for `heatmap`.
        ax: n axes to draw on, all in one figure. None creates a figure.

    Returns:
        The figure and the (n,) array of axes, in the order of the results.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: There are no results, or they differ in similarity; numbers of results, titles and axes differ;
            other errors as for `heatmap`.

    Warns:
        UserWarning: As for `heatmap`.
    """
    from .plot import draw_results

    cells, frame = Cells(special_tokens, main_effects, values, limit), Frame(title, colorbar, figsize, fontsize, ax)
    return draw_results(results, panel_titles, own_scales, cells, frame)


@with_keywords_of(panels)
def layers(results: Sequence[PairView], **options: Any) -> tuple[Figure, np.ndarray]:
    """Draw one pair at several layers side by side: `panels` of results with the same units.

    Args:
        results: n results of the same pair, such as those of several layers.
        options: As for `panels`.

    Returns:
        As `panels`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The results differ in units; other errors as for `panels`.

    Warns:
        UserWarning: As for `heatmap`.
    """
    from .plot import check_one_pair

    check_one_pair(results)
    return panels(results, **options)


def difference(
    result_1: PairView,
    result_2: PairView,
    *,
    special_tokens: bool = True,
    main_effects: bool = True,
    values: bool | None = None,
    limit: float | None = None,
    title: bool | str = True,
    colorbar: bool | str = True,
    figsize: float | tuple[float, float] | None = None,
    fontsize: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the difference of two results of the same pair: the second minus the first.

    The results may come from two models, two layers, or before and after tuning. Special tokens match with any
    spelling, so the `words()` of models with different tokenizers are comparable.

    Args:
        result_1: The result to subtract.
        result_2: The result to subtract from, with the same units.
        special_tokens: As for `heatmap`.
        main_effects: As for `heatmap`.
        values: As for `heatmap`.
        limit: As for `heatmap`.
        title: As for `heatmap`.
        colorbar: As for `heatmap`.
        figsize: As for `heatmap`.
        fontsize: As for `heatmap`.
        ax: As for `heatmap`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The results differ in units or similarity (the message says where), or only one is of a shifted
            model, so that their cells are parts of different sums; other errors as for `heatmap`.

    Warns:
        UserWarning: As for `heatmap`.
    """
    from .plot import draw_difference

    cells, frame = Cells(special_tokens, main_effects, values, limit), Frame(title, colorbar, figsize, fontsize, ax)
    return draw_difference({"result_1": result_1, "result_2": result_2}, cells, frame)


def contrast(
    matrix: np.ndarray,
    labels_a: Sequence[str],
    labels_b: Sequence[str],
    *,
    values: bool | None = None,
    limit: float | None = None,
    title: bool | str = True,
    colorbar: bool | str = True,
    figsize: float | tuple[float, float] | None = None,
    fontsize: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw a double-centred matrix. The title says that its cells are no contributions.

    Args:
        matrix: (N, M) cells.
        labels_a: (N,) row labels.
        labels_b: (M,) column labels.
        values: As for `heatmap`.
        limit: As for `heatmap`.
        title: As for `heatmap`.
        colorbar: As for `heatmap`.
        figsize: As for `heatmap`.
        fontsize: As for `heatmap`.
        ax: As for `heatmap`.

    Raises, warns:
        As `heatmap`.
    """
    from .plot import draw_contrast

    cells, frame = Cells(values=values, limit=limit), Frame(title, colorbar, figsize, fontsize, ax)
    return draw_contrast(matrix, labels_a, labels_b, cells, frame)
