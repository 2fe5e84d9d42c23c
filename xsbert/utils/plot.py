"""Pictures of a result. Each is a function of it, returns (fig, ax), and leaves showing to the caller.

Colours run from blue (less similar) over white to red (more similar); main effects, which are on a scale of their own,
from purple to orange. Both pairs of colours can be told apart by colour-blind readers.

Right-to-left and Indic scripts are shaped by matplotlib 3.11 and later. A script that the default font lacks is drawn
in an installed font that has it.
"""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from ..caller import caller_level
from ..spelling import display_tokens
from ..units import REST, SPECIAL, TEXT

if TYPE_CHECKING:
    from ..attribution import Attribution, TextFactors

__all__ = ["bipartite", "convergence", "difference", "heatmap", "highlight", "layers", "waterfall"]

COLOURS, MAIN_COLOURS = "RdBu_r", "PuOr_r"
POSITIVE, NEGATIVE, NEUTRAL = "#b2182b", "#2166ac", "#4d4d4d"
INK, MUTED, GRID = "#1a1a1a", "#7a7a7a", "#dddddd"
# Okabe and Ito's colours, in an order that also differs in lightness; black first.
CYCLE = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vPX"

FONT_SIZE = 9.0
SMALLEST_VALUE = 5.0
LONGEST_LABEL = 28
# Fonts of boxes for everything, of bitmaps without outlines, and of widths that do not suit a text.
UNSUITABLE = ("Last Resort", "LastResort", "Color", "Mono")
RIGHT_TO_LEFT_MARK = "\u200f"
GAP = 0.4
"""Between the matrix and the main effects, in cells."""


def heatmap(
    result: Attribution,
    *,
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
        values: print the numbers in the cells; None prints them where they fit.
        title: False for none, or a title of your own.
        limit: the colours of the matrix run from −limit to limit, above 0; None takes the largest absolute value.
        ax: draw here; None makes a figure that grows with S and T. A figure of your own makes room for the labels
            when it is made with ``layout="constrained"``.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: the matrix holds numbers that are not finite, or ``limit`` is not above 0.

    Warns:
        UserWarning: no installed font has some of the characters.
    """
    table = _table(_check_result(result))
    chunks = _title_chunks(
        title,
        [
            *_score_chunks(result),
            *_part_chunks(result),
            f"error {_magnitude(result.error)}",
        ],
    )
    return _table_figure(table, values, chunks, limit, ax, "attribution")


def difference(
    result_1: Attribution,
    result_2: Attribution,
    *,
    values: bool | None = None,
    title: bool | str = True,
    limit: float | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw what changes from one result to another of the same pair: the second minus the first.

    Of two models, two layers, or before and after tuning. Special tokens match whatever their spelling, so that
    the `words()` of models with different tokenizers can be compared too.

    Args:
        result_1: what is subtracted.
        result_2: what it is subtracted from, with the same units.
        values: as for `heatmap`.
        title: as for `heatmap`.
        limit: as for `heatmap`.
        ax: as for `heatmap`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: the two differ in their units or in the kind of similarity (the message says where); other
            errors as for `heatmap`.

    Warns:
        UserWarning: as for `heatmap`.
    """
    _check_result(result_1, "result_1")
    _check_result(result_2, "result_2")
    _check_same_pair({"result_1": result_1, "result_2": result_2})
    one, two = _table(result_1), _table(result_2)
    table = _Table(
        matrix=two.matrix - one.matrix,
        main_a=two.main_a - one.main_a,
        main_b=two.main_b - one.main_b,
        labels_a=_joint_labels(one.labels_a, two.labels_a),
        labels_b=_joint_labels(one.labels_b, two.labels_b),
        muted_a=two.muted_a,
        muted_b=two.muted_b,
    )
    change = _number(result_2.score - result_1.score, 4, sign=True)
    parts = {name: value - result_1.parts[name] for name, value in result_2.parts.items()}
    chunks = _title_chunks(
        title,
        [
            f"change of {result_2.similarity} similarity {change}",
            f"error up to {_magnitude(result_1.error + result_2.error)}",
            *_settings_chunks(result_1, result_2),
            *(f"{name} {_number(value, 3, sign=True)}" for name, value in parts.items() if value),
        ],
    )
    return _table_figure(table, values, chunks, limit, ax, "change of attribution")


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
        _check_result(result, f"results[{place}]")
    _check_same_pair({f"results[{place}]": result for place, result in enumerate(results)})
    tables = [_table(result) for result in results]
    matrix_limit = _limit(*(table.matrix for table in tables))
    main_limit = _limit(*(side for table in tables for side in (table.main_a, table.main_b)))
    margins = any(table.has_main for table in tables)
    heading = _title_chunks(title, [f"{_shorten(results[0].a.text, 60)}  /  {_shorten(results[0].b.text, 60)}"])
    fonts = _fonts(*tables[0].labels_a, *tables[0].labels_b, *heading)

    n_cells = _cells(tables[0], margins)
    cell = tuple(0.8 * _cell_inches(n) for n in n_cells)
    n_columns = max(1, min(len(results), 4, int(20 // (cell[0] * n_cells[0]))))
    n_rows = math.ceil(len(results) / n_columns)
    labels = _label_inches(tables[0], cell, margins)
    panel_title = 4.2 * FONT_SIZE / 72
    width = labels[0] + n_columns * (cell[0] * n_cells[0] + 0.25) + (1.7 if margins else 0.9)
    height = n_rows * (cell[1] * n_cells[1] + labels[1] + panel_title + 0.2) + 0.5
    fig, grid = plt.subplots(n_rows, n_columns, figsize=(width, height), layout="constrained", squeeze=False)
    axes = grid.ravel()[: len(results)]
    for spare in grid.ravel()[len(results) :]:
        spare.remove()
    for place, (ax, table, result) in enumerate(zip(axes, tables, results, strict=True)):
        images = _draw_table(ax, table, (matrix_limit, main_limit), fonts, values, cell, margins)
        if place % n_columns:
            ax.tick_params(labelleft=False)
            ax.set_ylabel("")
        _set_title(ax, _panel_chunks(result, results), cell[0] * n_cells[0])
    _colour_bars(fig, list(axes), images, cell[1] * n_cells[1] * n_rows, "attribution")
    if heading:
        text = "\n".join(map(fonts.shown, heading))
        fig.suptitle(text, fontsize=FONT_SIZE + 1, **fonts.style(text))
    return fig, axes


def bipartite(
    result: Attribution,
    *,
    k: int = 20,
    special_tokens: bool = False,
    title: bool | str = True,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the two texts as two columns, with lines between the k pairs of largest absolute attribution.

    Red lines make the texts more similar, blue dashed ones less; the stronger, the wider.

    Args:
        result: as for `heatmap`.
        k: number of lines, at least 1.
        special_tokens: let pairs with special tokens, prompts or the rest be among the k.
        title: False for none, or a title of your own.
        ax: draw here; None makes a figure that grows with S and T. A figure of your own makes room for the labels
            when it is made with ``layout="constrained"``.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: ``k`` is below 1; other errors as for `heatmap`.

    Warns:
        UserWarning: as for `heatmap`.
    """
    table = _table(_check_result(result))
    _check_flag(special_tokens, "special_tokens")
    pairs = _strongest(table, k, special_tokens)
    fonts = _fonts(*table.labels_a, *table.labels_b)
    n_rows = max(table.matrix.shape)
    if ax is None:
        fig = plt.figure(figsize=(6.0, max(2.2, 0.19 * n_rows) + 1.1), layout="constrained")
        ax, size = fig.add_subplot(), FONT_SIZE
    else:
        fig = _figure_of(ax)
        size = min(FONT_SIZE, 0.8 * 72 * _inches(ax)[1] / n_rows)
    places_a, places_b = ((np.arange(n) + 0.5) / n for n in table.matrix.shape)
    _draw_column(ax, table.labels_a, table.muted_a, places_a, 0.0, fonts, size)
    _draw_column(ax, table.labels_b, table.muted_b, places_b, 1.0, fonts, size)
    largest = max((abs(value) for *_, value in pairs), default=0.0) or 1.0
    for s, t, value in reversed(pairs):
        ax.add_line(_pair_line(value, largest, (0, 1), (places_a[s], places_b[t])))
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(1, 0)
    ax.axis("off")
    for x, side in ((0, "text a"), (1, "text b")):
        ax.annotate(
            side,
            (x, 1.0),
            xycoords="axes fraction",
            xytext=(-5 if x == 0 else 5, 4),
            textcoords="offset points",
            ha="right" if x == 0 else "left",
            va="bottom",
            fontsize=size,
            color=MUTED,
        )
    _pair_legend(ax, pairs, largest, size)
    together = _number(sum(value for *_, value in pairs), 3)
    among = "" if special_tokens else " without special tokens"
    chunks = _title_chunks(
        title,
        [
            *_score_chunks(result),
            *_part_chunks(result),
            f"error {_magnitude(result.error)}",
            f"of the interactions the {len(pairs)} strongest pairs{among} {together}",
        ],
    )
    _set_title(ax, chunks, 3.5, pad=2.4 * size)
    return fig, ax


def highlight(result: Attribution, *, title: bool | str = True, width: float = 7.0) -> tuple[Figure, Axes]:
    """Draw the texts themselves, each word shaded by all that it contributes.

    That is its row (text a) or column (text b) of the matrix, summed, plus its main effect. Each interaction is thus
    counted once in either text. Tokens are summed to words first, where the tokenizer tells words. Lines of a
    right-to-left text start at the right.

    Args:
        result: as for `heatmap`.
        title: False for none, or a title of your own.
        width: of the figure, inches, at least 3. It is as high as the texts need.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: ``width`` is below 3; other errors as for `heatmap`.

    Warns:
        UserWarning: as for `heatmap`.
    """
    _check_result(result)
    if not _is_number(width) or not 3 <= width < math.inf:
        raise ValueError(f"width must be a number of inches of at least 3, got {width!r}")
    result = replace(result, a=_words(result.a), b=_words(result.b))
    sides = [
        _Side("text a", result.a, result.matrix.sum(1) + result.main_effects_a),
        _Side("text b", result.b, result.matrix.sum(0) + result.main_effects_b),
    ]
    limit = _limit(*(side.values for side in sides))
    fonts = _fonts(*(word for side in sides for word in side.words))
    chunks = _title_chunks(
        title,
        [
            *_score_chunks(result),
            f"error {_magnitude(result.error)}",
            _baseline_chunk(result.baseline),
        ],
    )
    fig = plt.figure(figsize=(width, 4.0))
    ax = fig.add_axes((0, 0, 1, 1))
    inner, foot = width - 0.5, 0.6
    head = 0.2 + 1.4 * FONT_SIZE / 72 * len(_wrap(chunks, inner))
    blocks, used = _lay_out_sides(ax, sides, fonts, FONT_SIZE + 2, inner)
    height = used + head + foot
    fig.set_size_inches(width, height)
    ax.set_position((0.25 / width, foot / height, inner / width, used / height))
    bar = fig.add_axes((0.25 / width, 0.42 / height, min(3.0, inner) / width, 0.12 / height))
    fig.colorbar(_colours(limit), cax=bar, orientation="horizontal", ticks=MaxNLocator(6))
    bar.tick_params(labelsize=FONT_SIZE - 2)
    bar.set_xlabel("interactions and main effect of the word", fontsize=FONT_SIZE - 1)
    bar.grid(False)
    ax.set_xlim(0, inner)
    ax.set_ylim(used, 0)
    ax.axis("off")
    for block in blocks:
        _draw_block(ax, block, limit, fonts)
    _set_title(ax, chunks, inner)
    return fig, ax


def waterfall(result: Attribution, *, title: bool | str = True, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Draw how interactions, main effects, baseline and error add up to the score.

    Args:
        result: as for `heatmap`.
        title: False for none, or a title of your own.
        ax: draw here; None makes a figure.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: as for `heatmap`.
    """
    _check_result(result)
    parts = dict(result.parts)
    parts["error"] = result.score - sum(parts.values())
    ends = np.cumsum(list(parts.values()))
    starts = np.concatenate([[0.0], ends[:-1]])
    if ax is None:
        fig = plt.figure(figsize=(6.0, 2.9), layout="constrained")
        ax = fig.add_subplot()
    else:
        fig = _figure_of(ax)
    span = np.ptp([0.0, *ends]) or 1.0
    for row, (name, value) in enumerate(parts.items()):
        ax.barh(row, value, left=starts[row], height=0.6, color=POSITIVE if value >= 0 else NEGATIVE)
        label = _magnitude(value) if name == "error" else _number(value, 4, sign=True)
        _bar_label(ax, max(starts[row], ends[row]) + 0.015 * span, row, label)
        ax.plot([ends[row]] * 2, [row - 0.3, row + 1.3], color=MUTED, linewidth=0.8, zorder=0)
    ax.barh(len(parts), result.score, height=0.6, color=NEUTRAL)
    _bar_label(ax, max(result.score, 0.0) + 0.015 * span, len(parts), _number(result.score, 4))
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(range(len(parts) + 1), [*parts, "score"], fontsize=FONT_SIZE)
    ax.invert_yaxis()
    ax.set_xlim(min(0.0, *ends) - 0.03 * span, max(0.0, *ends) + 0.17 * span)
    ax.set_xlabel(f"{result.similarity} similarity", fontsize=FONT_SIZE)
    ax.tick_params(axis="x", labelsize=FONT_SIZE - 1)
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    _set_title(ax, _title_chunks(title, ["parts of the score", *_score_chunks(result)[1:]]), 4.0)
    return fig, ax


def convergence(
    errors: Mapping[str, Sequence[tuple[int, float]]],
    *,
    slope: float | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Draw the error against the number of nodes, both on logarithmic axes. Computes nothing.

    An error of exactly 0, which has no place on a logarithmic axis, is a hollow triangle at the lower edge.

    Args:
        errors: for each rule, pairs of n_steps (at least 1) and error (at least 0).
        slope: also draw a dashed line along which the error falls like n_steps to this power, such as −1.
        title: None for none.
        ax: draw here; None makes a figure.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: there is nothing to draw, or a number is outside what is allowed.
    """
    curves = _check_errors(errors)
    if slope is not None and (not _is_number(slope) or not math.isfinite(slope)):
        raise ValueError(f"slope must be None or a finite number, got {slope!r}")
    if ax is None:
        fig = plt.figure(figsize=(5.0, 3.6), layout="constrained")
        ax = fig.add_subplot()
    else:
        fig = _figure_of(ax)
    positive = [error for curve in curves.values() for error in curve[:, 1] if error > 0]
    floor = min(positive, default=1.0) / 3
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    for place, (rule, curve) in enumerate(curves.items()):
        colour = CYCLE[place % len(CYCLE)]
        marker = MARKERS[place % len(MARKERS)]
        zero = curve[:, 1] == 0
        steps, heights = curve[:, 0], np.where(zero, floor, curve[:, 1])
        if not zero.all():
            ax.plot(steps[~zero], heights[~zero], color=colour, marker=marker, markersize=5, linewidth=1.2, label=rule)
        if zero.any():
            ax.plot(
                steps[zero],
                heights[zero],
                color=colour,
                marker="v",
                markerfacecolor="none",
                markersize=7,
                linestyle="none",
                label=f"{rule}, exactly 0",
            )
    if slope is not None:
        _draw_slope(ax, curves, slope)
    steps = sorted({int(step) for curve in curves.values() for step in curve[:, 0]})
    ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    if len(steps) <= 8:
        ax.set_xticks(steps)
    ax.set_xlabel("nodes", fontsize=FONT_SIZE)
    ax.set_ylabel("error", fontsize=FONT_SIZE)
    ax.tick_params(labelsize=FONT_SIZE - 1)
    ax.grid(True, color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    legend = ax.legend(fontsize=FONT_SIZE - 1, frameon=False)
    for text in legend.get_texts():
        text.set(parse_math=False)
    if title is not None:
        _set_title(ax, _title_chunks(title, []), 4.0)
    return fig, ax


# Checks


def _check_result(result: Any, name: str = "result") -> Any:
    wanted = ("a", "b", "matrix", "main_effects_a", "main_effects_b", "score", "error", "parts")
    if not all(hasattr(result, attribute) for attribute in wanted):
        raise TypeError(f"{name} must be an Attribution, as attribute_prediction returns it, got {result!r:.80}")
    shape = (len(result.a.tokens), len(result.b.tokens))
    if np.shape(result.matrix) != shape or 0 in shape:
        raise ValueError(f"{name}.matrix must be of shape (S, T) = {shape}, got {np.shape(result.matrix)}")
    for attribute in ("matrix", "main_effects_a", "main_effects_b", "score"):
        if not np.isfinite(getattr(result, attribute)).all():
            raise ValueError(f"{name}.{attribute} must hold finite numbers, got {getattr(result, attribute)!r:.200}")
    return result


def _check_same_pair(results: Mapping[str, Any]) -> None:
    (first_name, first), *others = results.items()
    for name, other in others:
        if other.similarity != first.similarity:
            raise ValueError(
                f"{first_name} is of {first.similarity} and {name} of {other.similarity} similarity: "
                "their attributions are not on one scale"
            )
        for side in ("a", "b"):
            _check_same_units(getattr(first, side), getattr(other, side), side, first_name, name)


def _check_same_units(first: TextFactors, other: TextFactors, side: str, first_name: str, name: str) -> None:
    where = f"{first_name} and {name} differ in text {side}"
    advice = "the same pair is needed, in the same units; words() gives texts of different tokenizers the same units"
    if len(first.tokens) != len(other.tokens):
        raise ValueError(f"{where}: {len(first.tokens)} units against {len(other.tokens)}; {advice}")
    units = zip(first.tokens, first.roles, other.tokens, other.roles, strict=True)
    for position, (token, role, other_token, other_role) in enumerate(units):
        if role != other_role or (token != other_token and role != SPECIAL):
            raise ValueError(f"{where}: unit {position} is {token!r} against {other_token!r}; {advice}")


def _check_errors(errors: Any) -> dict[str, np.ndarray]:
    if not isinstance(errors, Mapping):
        raise TypeError(f"errors must be a mapping of rule to pairs (n_steps, error), got {type(errors).__name__}")
    if not errors:
        raise ValueError("errors must hold at least one rule, got none")
    curves = {}
    for rule, pairs in errors.items():
        curve = np.asarray(list(pairs), dtype=np.float64)
        if curve.ndim != 2 or curve.shape[1] != 2:
            raise ValueError(f"errors[{rule!r}] must be pairs (n_steps, error), at least one, got {pairs!r:.100}")
        if not np.isfinite(curve).all() or (curve[:, 0] < 1).any() or (curve[:, 1] < 0).any():
            raise ValueError(
                f"errors[{rule!r}] must have finite n_steps of at least 1 and errors of at least 0, got {pairs!r:.100}"
            )
        curves[str(rule)] = curve[np.argsort(curve[:, 0], kind="stable")]
    return curves


def _check_flag(value: Any, name: str) -> None:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _figure_of(ax: Any) -> Figure:
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes or None, got {type(ax).__name__}")
    return ax.figure


# The matrix with its margins


@dataclass(frozen=True)
class _Table:
    """What a heat map shows."""

    matrix: np.ndarray
    """(S, T)"""
    main_a: np.ndarray
    """(S,)"""
    main_b: np.ndarray
    """(T,)"""
    labels_a: list[str]
    labels_b: list[str]
    muted_a: list[bool]
    muted_b: list[bool]

    @property
    def has_main(self) -> bool:
        return bool(np.any(self.main_a) or np.any(self.main_b))


def _table(result: Attribution) -> _Table:
    return _Table(
        matrix=np.asarray(result.matrix),
        main_a=np.asarray(result.main_effects_a),
        main_b=np.asarray(result.main_effects_b),
        labels_a=_labels(result.a),
        labels_b=_labels(result.b),
        muted_a=[role != TEXT for role in result.a.roles],
        muted_b=[role != TEXT for role in result.b.roles],
    )


def _table_figure(
    table: _Table, values: bool | None, title: list[str], limit: float | None, ax: Axes | None, name: str
) -> tuple[Figure, Axes]:
    if limit is not None and (not _is_number(limit) or not 0 < limit < math.inf):
        raise ValueError(f"limit must be None or a finite number above 0, got {limit!r}")
    margins = table.has_main
    n_cells = _cells(table, margins)
    if ax is None:
        cell = tuple(map(_cell_inches, n_cells))
        left, top = _label_inches(table, cell, margins)
        lines = len(_wrap(title, cell[0] * n_cells[0]))
        fig = plt.figure(
            figsize=(
                left + cell[0] * n_cells[0] + (1.8 if margins else 0.95),
                top + cell[1] * n_cells[1] + (1.3 * lines + 1) * FONT_SIZE / 72,
            ),
            layout="constrained",
        )
        ax = fig.add_subplot()
    else:
        fig = _figure_of(ax)
        cell = tuple(size / n for size, n in zip(_inches(ax), n_cells, strict=True))
    fonts = _fonts(*table.labels_a, *table.labels_b)
    limits = (limit or _limit(table.matrix), _limit(table.main_a, table.main_b))
    images = _draw_table(ax, table, limits, fonts, values, cell, margins)
    _colour_bars(fig, ax, images, cell[1] * n_cells[1], name)
    _set_title(ax, title, cell[0] * n_cells[0])
    return fig, ax


def _draw_table(
    ax: Axes,
    table: _Table,
    limits: tuple[float, float],
    fonts: _Fonts,
    values: bool | None,
    cell: tuple[float, float],
    margins: bool,
) -> list[AxesImage]:
    """Draw the cells and their labels; ``cell`` is the width and height of one in inches."""
    if values is not None:
        _check_flag(values, "values")
    n_rows, n_columns = table.matrix.shape
    images = [_image(ax, table.matrix, (0, 0), COLOURS, limits[0])]
    blocks = [(table.matrix, (0.0, 0.0), images[0])]
    if margins:
        column = _image(ax, table.main_a[:, None], (n_columns + GAP, 0), MAIN_COLOURS, limits[1])
        row = _image(ax, table.main_b[None, :], (0, n_rows + GAP), MAIN_COLOURS, limits[1])
        images.append(column)
        blocks += [(table.main_a[:, None], (n_columns + GAP, 0.0), column)]
        blocks += [(table.main_b[None, :], (0.0, n_rows + GAP), row)]
    _print_values(ax, blocks, values, cell)
    width, height = _cells(table, margins)
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(height - 0.5, -0.5)
    ax.set_aspect("auto")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    _label_axis(ax, "x", table.labels_b, table.muted_b, fonts, cell[0], margins)
    _label_axis(ax, "y", table.labels_a, table.muted_a, fonts, cell[1], margins)
    return images


def _image(ax: Axes, values: np.ndarray, origin: tuple[float, float], colours: str, limit: float) -> AxesImage:
    """Draw cells of width and height 1; ``origin`` is the centre of the first."""
    n_rows, n_columns = values.shape
    left, top = origin[0] - 0.5, origin[1] - 0.5
    right, bottom = left + n_columns, top + n_rows
    image = ax.imshow(
        values,
        cmap=colours,
        vmin=-limit,
        vmax=limit,
        extent=(left, right, bottom, top),
        interpolation="nearest",
        aspect="auto",
        origin="upper",
    )
    ax.vlines(np.arange(n_columns + 1) + left, top, bottom, color=GRID, linewidth=0.4)
    ax.hlines(np.arange(n_rows + 1) + top, left, right, color=GRID, linewidth=0.4)
    return image


def _print_values(
    ax: Axes,
    blocks: list[tuple[np.ndarray, tuple[float, float], AxesImage]],
    values: bool | None,
    cell: tuple[float, float],
) -> None:
    if values is False:
        return
    printed = [
        [_number(value, _decimals(block, image.norm.vmax)) for value in block.ravel()] for block, _, image in blocks
    ]
    longest = max(_ems(number) for numbers in printed for number in numbers)
    size = min(FONT_SIZE, 0.9 * 72 * cell[0] / longest, 0.7 * 72 * cell[1])
    if values is None and size < SMALLEST_VALUE:
        return
    for numbers, (block, origin, image) in zip(printed, blocks, strict=True):
        for number, (s, t), value in zip(numbers, np.ndindex(block.shape), block.ravel(), strict=True):
            ax.text(
                t + origin[0],
                s + origin[1],
                number,
                ha="center",
                va="center_baseline",
                fontsize=size,
                color=_ink_on(image.to_rgba(value)),
            )


def _label_axis(
    ax: Axes, axis: str, labels: list[str], muted: list[bool], fonts: _Fonts, cell: float, margins: bool
) -> None:
    """Name the cells along an axis; ``cell`` is the extent of one in inches."""
    places = [float(place) for place in range(len(labels))]
    size = _label_size(cell)
    upright = _fits(labels, cell)
    if margins:
        places, labels, muted = [*places, len(labels) + GAP], [*labels, _main_label(cell)], [*muted, True]
    labels = [fonts.shown(label) for label in labels]
    if axis == "x":
        ax.xaxis.set_label_position("top")
        ax.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False, length=0, pad=3)
        ax.set_xticks(places, labels, rotation=0 if upright else 90, fontsize=size, **fonts.style(""))
        if margins and not _fits([_main_label(cell)], cell):
            ax.get_xticklabels()[-1].set_rotation(90)
        ax.set_xlabel("text b", fontsize=FONT_SIZE, color=MUTED)
    else:
        ax.tick_params(axis="y", left=True, labelleft=True, right=False, labelright=False, length=0, pad=3)
        ax.set_yticks(places, labels, fontsize=size, **fonts.style(""))
        ax.set_ylabel("text a", fontsize=FONT_SIZE, color=MUTED)
    ticks = ax.get_xticklabels() if axis == "x" else ax.get_yticklabels()
    for tick, is_muted in zip(ticks, muted, strict=True):
        tick.set(color=MUTED if is_muted else INK, fontfamily=fonts.families_of(tick.get_text()))


def _colour_bars(fig: Figure, axes: Axes | list[Axes], images: list[AxesImage], height: float, name: str) -> None:
    """``height`` of the drawing in inches: bars are no longer than a hand needs."""
    # The bar that is added last comes next to the cells. Only a layout engine keeps the labels of the two apart.
    laid_out = fig.get_layout_engine() is not None
    for image, label in reversed(list(zip(images, (name, "main effect"), strict=False))):
        values = np.asarray(image.get_array())
        beyond = isinstance(axes, Axes) and bool(np.abs(values).max() > image.norm.vmax)
        bar = fig.colorbar(
            image,
            ax=axes,
            shrink=min(1.0, 2.6 / height),
            aspect=18,
            pad=0.02 if laid_out or label == name else 0.13,
            extend="both" if beyond else "neither",
        )
        bar.ax.grid(False)
        bar.ax.tick_params(labelsize=FONT_SIZE - 2)
        bar.outline.set_linewidth(0.4)
        bar.set_label(label, fontsize=FONT_SIZE - 1)


def _main_label(cell: float) -> str:
    """On two lines where the cell, of so many inches, has room for them."""
    return "main\neffect" if _fits(["main\neffect"], cell) else "main effect"


def _fits(labels: list[str], cell: float) -> bool:
    """Whether the labels can be written upright over cells of so many inches."""
    return max(map(_ems, labels)) * _label_size(cell) < 0.95 * 72 * cell


def _cells(table: _Table, margins: bool) -> tuple[float, float]:
    extra = 1 + GAP if margins else 0
    return table.matrix.shape[1] + extra, table.matrix.shape[0] + extra


def _cell_inches(n: float) -> float:
    """Large where there are few, and never below what a label of about 8 points needs."""
    return min(0.8, 0.13 + 2.6 / n)


def _label_size(cell: float) -> float:
    return max(2.0, min(FONT_SIZE, 0.72 * 72 * cell))


def _label_inches(table: _Table, cell: Sequence[float], margins: bool) -> tuple[float, float]:
    """Room for the labels of a (left) and of b (above), with the names of the texts."""
    beside, over = ([_main_label(side)] if margins else [] for side in (cell[1], cell[0]))
    left = max(map(_ems, table.labels_a + beside)) * _label_size(cell[1])
    size = _label_size(cell[0])
    above = max([2.5, *(_ems(label) for label in table.labels_b + over if not _fits([label], cell[0]))]) * size
    return (left + 2 * FONT_SIZE) / 72, (above + 2 * FONT_SIZE) / 72


# Lines between two columns


def _strongest(table: _Table, k: int, special_tokens: bool) -> list[tuple[int, int, float]]:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k must be an integer, got {k!r}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    order = np.argsort(-np.abs(table.matrix), axis=None, kind="stable")
    pairs = ((int(place) // table.matrix.shape[1], int(place) % table.matrix.shape[1]) for place in order)
    wanted = [
        (s, t, float(table.matrix[s, t]))
        for s, t in pairs
        if table.matrix[s, t] and (special_tokens or not (table.muted_a[s] or table.muted_b[t]))
    ]
    return wanted[:k]


def _draw_column(
    ax: Axes, labels: list[str], muted: list[bool], places: np.ndarray, x: float, fonts: _Fonts, size: float
) -> None:
    for label, is_muted, place in zip(labels, muted, places, strict=True):
        ax.annotate(
            fonts.shown(label),
            (x, place),
            xytext=(-5 if x == 0 else 5, 0),
            textcoords="offset points",
            ha="right" if x == 0 else "left",
            va="center",
            fontsize=size,
            color=MUTED if is_muted else INK,
            annotation_clip=False,
            **fonts.style(fonts.shown(label)),
        )


def _pair_line(value: float, largest: float, x: Sequence[float], y: Sequence[float]) -> Line2D:
    strength = abs(value) / largest
    return Line2D(
        x,
        y,
        color=POSITIVE if value > 0 else NEGATIVE,
        linestyle="-" if value > 0 else (0, (3, 1.2)),
        dash_capstyle="butt",
        linewidth=0.5 + 4.5 * strength,
        alpha=0.35 + 0.6 * strength,
    )


def _pair_legend(ax: Axes, pairs: list[tuple[int, int, float]], largest: float, size: float) -> None:
    """The strongest line of either sign, so that widths can be read as values."""
    shown = []
    for sign in (1, -1):
        strengths = [value for *_, value in pairs if value * sign > 0]
        if strengths:
            shown.append(max(strengths, key=abs))
    handles = [_pair_line(value, largest, [], []) for value in shown]
    labels = [_number(value, _decimals(largest) + 1, sign=True) for value in shown]
    if handles:
        legend = ax.legend(
            handles,
            labels,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.01),
            ncols=2,
            frameon=False,
            handlelength=3.5,
            fontsize=size,
            title="strongest",
            title_fontsize=size,
        )
        legend.set_in_layout(True)


# Texts in lines


def _words(text: TextFactors) -> TextFactors:
    return text if text.word_ids is None or text.spans is None else text.words()


@dataclass(frozen=True)
class _Side:
    """One text, cut into the words that it shades."""

    name: str
    text: TextFactors
    values: np.ndarray
    """(S,)"""

    @property
    def words(self) -> list[str]:
        return [" ".join(word.split()) or "␣" for word in display_tokens(self.text)]

    @property
    def spaced(self) -> list[bool]:
        """(S,) whether white space, or the edge of the text, comes before the word."""
        spans = self.text.spans
        if spans is None:
            return [not token.startswith("##") for token in self.text.tokens]
        before = [SPECIAL, *self.text.roles]
        edges = [0, *(end for _, end in spans)]
        return [
            not {SPECIAL, REST}.isdisjoint((role, before[place]))
            or start > edges[place]
            or self.text.text[start : start + 1].isspace()
            or start == end
            for place, (role, (start, end)) in enumerate(zip(self.text.roles, spans, strict=True))
        ]


@dataclass(frozen=True)
class _Piece:
    """A word, or a part of one that is longer than a line."""

    shown: str
    value: float
    muted: bool
    spaced: bool
    width: float
    x: float = 0.0


@dataclass(frozen=True)
class _Block:
    """One text on its lines, top to bottom, in inches."""

    heading: str
    lines: list[list[_Piece]]
    right_to_left: bool
    width: float
    top: float
    size: float

    @property
    def line_height(self) -> float:
        return 1.75 * self.size / 72


def _lay_out_sides(
    ax: Axes, sides: Sequence[_Side], fonts: _Fonts, size: float, width: float
) -> tuple[list[_Block], float]:
    """Break the texts into lines no wider than ``width`` inches; also the height that they use."""
    blocks, top = [], 0.0
    for side in sides:
        pieces = _pieces(ax, side, fonts, size, width)
        lines = _break_lines(pieces, width, _space(size))
        heading = f"{side.name}, sum {_number(float(side.values.sum()), 3, sign=True)}"
        block = _Block(heading, lines, _is_right_to_left(side.text.text), width, top, size)
        blocks.append(block)
        top += block.line_height * (len(lines) + 1.4)
    return blocks, top


def _pieces(ax: Axes, side: _Side, fonts: _Fonts, size: float, width: float) -> list[_Piece]:
    pieces = []
    right_to_left = _is_right_to_left(side.text.text)
    for word, value, role, spaced in zip(side.words, side.values, side.text.roles, side.spaced, strict=True):
        shown = fonts.shown(word)
        if right_to_left and not _has_direction(word):
            # Brackets of a right-to-left text are drawn as mirror images.
            shown = RIGHT_TO_LEFT_MARK + shown
        parts = [(shown, _text_inches(ax, shown, fonts, size))]
        if parts[0][1] > width:
            parts = _split(ax, shown, fonts, size, width)
        pieces += [
            _Piece(part, float(value), role != TEXT, spaced and place == 0, extent)
            for place, (part, extent) in enumerate(parts)
        ]
    return pieces


def _split(ax: Axes, word: str, fonts: _Fonts, size: float, width: float) -> list[tuple[str, float]]:
    """Cut what is wider than a line: at spaces, or else anywhere but between a letter and the marks on it."""

    def fits(part: str) -> bool:
        return _text_inches(ax, part, fonts, size) <= width

    parts = [""]
    for chunk in re.findall(r"\S+\s*", word):
        if fits(parts[-1] + chunk):
            parts[-1] += chunk
        elif fits(chunk):
            parts.append(chunk)
        else:
            for character in chunk:
                if unicodedata.category(character)[0] == "M" or fits(parts[-1] + character):
                    parts[-1] += character
                else:
                    parts.append(character)
    return [(part, _text_inches(ax, part, fonts, size)) for part in parts if part]


def _break_lines(pieces: list[_Piece], width: float, space: float) -> list[list[_Piece]]:
    lines: list[list[_Piece]] = [[]]
    used = 0.0
    for cluster in _clusters(pieces):
        extent = sum(piece.width for piece in cluster)
        gap = space if lines[-1] and cluster[0].spaced else 0.0
        if lines[-1] and used + gap + extent > width:
            lines.append([])
            used, gap = 0.0, 0.0
        if extent <= width:
            lines[-1] += cluster
            used += gap + extent
            continue
        for piece in cluster:
            if lines[-1] and used + piece.width > width:
                lines.append([])
                used = 0.0
            lines[-1].append(piece)
            used += piece.width
    return lines


def _clusters(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Pieces that stay on one line: a word with its punctuation. Scripts without white space break anywhere."""
    clusters: list[list[_Piece]] = []
    for piece in pieces:
        breaks = piece.spaced or (unicodedata.category(piece.shown[0]) == "Lo" and _is_wide(piece.shown[0]))
        if breaks or not clusters:
            clusters.append([])
        clusters[-1].append(piece)
    return clusters


def _visual_order(line: list[_Piece], right_to_left: bool) -> list[tuple[_Piece, bool]]:
    """Pieces from where the line starts on, each with whether a space comes before; runs against it turned round."""
    ordered: list[tuple[_Piece, bool]] = []
    directed = [(piece, _direction(piece.shown, right_to_left, piece.muted)) for piece in line]
    for direction, group in groupby(directed, key=lambda item: item[1]):
        run = [piece for piece, _ in group]
        spaces = [piece.spaced for piece in run]
        if direction != right_to_left:
            run, spaces = run[::-1], [spaces[0], *spaces[:0:-1]]
        ordered += zip(run, spaces, strict=True)
    return ordered


def _direction(word: str, right_to_left: bool, muted: bool) -> bool:
    """Whether a word runs from right to left; special tokens and signs go with their text."""
    return right_to_left if muted or not _has_direction(word) else _is_right_to_left(word)


def _strong(text: str) -> list[str]:
    kinds = map(unicodedata.bidirectional, text.replace(RIGHT_TO_LEFT_MARK, ""))
    return [kind for kind in kinds if kind in ("L", "R", "AL")]


def _has_direction(text: str) -> bool:
    return bool(_strong(text))


def _is_right_to_left(text: str) -> bool:
    """By the first letter, as browsers do."""
    return _has_direction(text) and _strong(text)[0] != "L"


def _draw_block(ax: Axes, block: _Block, limit: float, fonts: _Fonts) -> None:
    height = block.line_height
    ax.text(
        block.width if block.right_to_left else 0.0,
        block.top + 0.35 * height,
        block.heading,
        ha="right" if block.right_to_left else "left",
        va="center",
        fontsize=0.8 * block.size,
        color=MUTED,
    )
    colours = _colours(limit)
    for row, line in enumerate(block.lines):
        middle = block.top + (row + 1.2) * height
        x = 0.0
        for piece, spaced in _visual_order(line, block.right_to_left):
            x += _space(block.size) if spaced and x > 0 else 0.0
            left = block.width - x - piece.width if block.right_to_left else x
            colour = colours.to_rgba(piece.value)
            ax.add_patch(
                Rectangle((left, middle - 0.42 * height), piece.width, 0.84 * height, facecolor=colour, linewidth=0)
            )
            ax.text(
                left + piece.width / 2,
                middle,
                piece.shown,
                ha="center",
                va="center_baseline",
                fontsize=block.size,
                color=_ink_on(colour, muted=piece.muted),
                **fonts.style(piece.shown),
            )
            x += piece.width


def _text_inches(ax: Axes, shown: str, fonts: _Fonts, size: float) -> float:
    fig = ax.get_figure()
    text = Text(0, 0, shown, fontsize=size, **fonts.style(shown))
    text.set_figure(fig)
    return text.get_window_extent(dpi=fig.dpi).width / fig.dpi + 0.12 * size / 72


def _space(size: float) -> float:
    return 0.22 * size / 72


# Titles, numbers, colours


def _title_chunks(title: bool | str, chunks: list[str]) -> list[str]:
    if isinstance(title, str):
        return [title] if title else []
    _check_flag(title, "title")
    return chunks if title else []


def _score_chunks(result: Attribution) -> list[str]:
    return [f"{result.similarity} similarity {_number(result.score, 4)}", *_unshifted_chunks(result, 4)]


def _unshifted_chunks(result: Attribution, decimals: int) -> list[str]:
    """The model's own score, where a shift was added to it."""
    return [] if result.score_unshifted is None else [f"unshifted {_number(result.score_unshifted, decimals)}"]


def _part_chunks(result: Attribution) -> list[str]:
    """What the score is the sum of: without a shift it is not the sum of the cells."""
    interactions, main_a, main_b, baseline = result.parts.values()
    if not (np.any(result.main_effects_a) or np.any(result.main_effects_b)):
        return [f"interactions {_number(interactions, 3)}", "no main effects", _baseline_chunk(baseline)]
    return [
        f"= interactions {_number(interactions, 3)} (the cells)",
        f"+ main effects a {_number(main_a, 3)}",
        f"+ main effects b {_number(main_b, 3)}",
        f"+ {_baseline_chunk(baseline)}",
    ]


def _baseline_chunk(baseline: float) -> str:
    return f"baseline {_number(baseline, 3) if baseline else 0}"


def _panel_chunks(result: Attribution, results: Sequence[Attribution]) -> list[str]:
    chunks = [f"layer {result.settings.layer} of {result.settings.n_layers}"]
    if len({other.settings.model for other in results}) > 1:
        chunks.append(result.settings.model)
    return [
        *chunks,
        f"score {_number(result.score, 3)}",
        *_unshifted_chunks(result, 3),
        f"error {_magnitude(result.error)}",
        f"interactions {_number(result.parts['interactions'], 3)}",
        _baseline_chunk(result.baseline),
    ]


def _settings_chunks(one: Attribution, two: Attribution) -> list[str]:
    """What the second was computed with and the first was not."""
    first, second = vars(one.settings), vars(two.settings)
    names = {"n_steps": "nodes", "n_layers": "number of layers"}
    changed = [name for name in first if first[name] != second[name]]
    return [f"{names.get(name, name)} {second[name]} minus {first[name]}" for name in changed]


def _joint_labels(one: list[str], two: list[str]) -> list[str]:
    return [first if first == second else f"{first}/{second}" for first, second in zip(one, two, strict=True)]


def _set_title(ax: Axes, chunks: list[str], width: float, pad: float | None = None) -> None:
    if not chunks:
        return
    fonts = _fonts(*chunks)
    text = "\n".join(fonts.shown(line) for line in _wrap(chunks, width))
    ax.set_title(text, loc="left", fontsize=FONT_SIZE, pad=pad, **fonts.style(text))


def _wrap(chunks: list[str], width: float) -> list[str]:
    """Fill lines of at least 2.4 inches with chunks, none of which is broken."""
    lines: list[str] = []
    for chunk in chunks:
        # The terms of a sum are no list.
        longer = lines[-1] + (" " if chunk.startswith(("= ", "+ ")) else ", ") + chunk if lines else chunk
        if lines and _ems(longer) * FONT_SIZE < 72 * max(width, 2.4):
            lines[-1] = longer
        else:
            lines.append(chunk)
    return lines


def _labels(text: TextFactors) -> list[str]:
    return [_shorten(label, LONGEST_LABEL) for label in display_tokens(text)]


def _shorten(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _ems(text: str) -> float:
    """Width of a text in units of its font size, a little too much rather than too little."""
    return max(sum(map(_em, line)) for line in text.split("\n"))


def _em(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    return 1.05 if _is_wide(character) else 0.6


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


def _number(value: float, decimals: int, sign: bool = False) -> str:
    """With a minus sign that can be seen, and none before zero."""
    value = round(float(value), decimals) + 0.0
    return f"{value:{'+' if sign and value else ''}.{decimals}f}".replace("-", "−")


def _magnitude(value: float) -> str:
    return f"{value:.0e}".replace("-", "−") if value else "0"


def _decimals(*values: Any) -> int:
    """So many that the largest value has two or three digits that count."""
    largest = max(float(np.abs(array).max()) for array in values)
    order = math.floor(math.log10(largest)) if largest else 0
    return min(6, max(0, 2 - order if order >= 0 else 1 - order))


def _limit(*values: np.ndarray) -> float:
    return max(float(np.abs(array).max()) for array in values) or 1.0


def _colours(limit: float) -> ScalarMappable:
    return ScalarMappable(Normalize(-limit, limit), COLOURS)


def _ink_on(colour: tuple[float, float, float, float], muted: bool = False) -> str:
    """Black or white, whichever can be read on the colour."""
    red, green, blue = (
        channel / 12.92 if channel <= 0.04 else ((channel + 0.055) / 1.055) ** 2.4 for channel in colour[:3]
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    if luminance < 0.22:
        return "white"
    return "#5a5a5a" if muted and luminance > 0.7 else INK


def _inches(ax: Axes) -> tuple[float, float]:
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    return box.width, box.height


def _bar_label(ax: Axes, x: float, row: int, label: str) -> None:
    ax.text(x, row, label, ha="left", va="center", fontsize=FONT_SIZE - 1, color=INK)


def _draw_slope(ax: Axes, curves: Mapping[str, np.ndarray], slope: float) -> None:
    """Through the first point of the first curve that has one."""
    points = [point for curve in curves.values() for point in curve if point[1] > 0]
    if not points:
        return
    step, error = points[0]
    ends = np.array([min(point[0] for point in points), max(point[0] for point in points)])
    ax.plot(ends, error * (ends / step) ** slope, "--", color=MUTED, linewidth=1, label=f"slope {slope:g}", zorder=1)


# Fonts


@dataclass(frozen=True)
class _Fonts:
    """The families that a set of texts needs."""

    families: tuple[str, ...]
    """The default ones first."""
    found: Mapping[str, str]
    """Families that were added, with their files."""
    absent: frozenset[str]
    """Characters that no installed font has."""

    def style(self, text: str) -> dict[str, Any]:
        return {"fontfamily": self.families_of(text), "parse_math": False, "usetex": False}

    def families_of(self, text: str) -> list[str]:
        """An added family that has the whole text comes first, if the default ones lack some of it.

        Matplotlib 3.11 takes back the rotation of an earlier text for the first font alone: what it draws in others
        comes out deformed after a rotated text.
        """
        visible = {character for character in text if not _is_invisible(character)}
        if visible <= _characters_of(self.families[: len(self.families) - len(self.found)]):
            return list(self.families)
        whole = [family for family, path in self.found.items() if visible <= _characters(path)]
        return [*whole[:1], *(family for family in self.families if family not in whole[:1])]

    def shown(self, text: str) -> str:
        """The text with a box for each character that cannot be drawn."""
        return "".join("□" if character in self.absent else character for character in text)


def _fonts(*texts: str) -> _Fonts:
    """Find installed fonts for the characters that the default ones lack."""
    families = tuple(dict.fromkeys([*font_manager.FontProperties().get_family(), "DejaVu Sans"]))
    characters = {character for text in texts for character in text if not _is_invisible(character)}
    characters -= _characters_of(families)
    if any(unicodedata.bidirectional(character) in ("R", "AL") for text in texts for character in text):
        _warn_unshaped()
    added: dict[str, str] = {}
    for script in sorted({_script(character) for character in characters}):
        wanted = {character for character in characters if _script(character) == script}
        for family, path in _candidates(script, _east_asian(characters)):
            found = wanted & _characters(path)
            if found:
                added[family] = path
                wanted -= found
                characters -= found
            if not wanted:
                break
    if characters:
        listed = ", ".join(f"{character} (U+{ord(character):04X})" for character in sorted(characters)[:10])
        more = f" and {len(characters) - 10} more" if len(characters) > 10 else ""
        warnings.warn(
            f"no installed font has the characters {listed}{more}; boxes stand for them. Install the Noto fonts "
            "(https://fonts.google.com/noto) and delete matplotlib's font cache to see them",
            stacklevel=caller_level(),
        )
    return _Fonts((*families, *added), added, frozenset(characters))


def _warn_unshaped() -> None:
    version = tuple(int(part) for part in matplotlib.__version__.split(".")[:2])
    if version < (3, 11):
        warnings.warn(
            f"matplotlib {matplotlib.__version__} draws right-to-left text from left to right, with letters unjoined; "
            "3.11 and later draw it as it is read",
            stacklevel=caller_level(),
        )


def _characters_of(families: Iterable[str]) -> frozenset[str]:
    paths = [font_manager.findfont(font_manager.FontProperties(family=[family])) for family in families]
    return frozenset().union(*(_characters(str(path)) for path in paths))


@lru_cache(maxsize=1024)
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


def _candidates(script: str, east_asian: str) -> Iterable[tuple[str, str]]:
    """Installed families with one file each: those named for the script first, then other sans-serif ones."""
    plain: dict[str, Any] = {}
    for entry in font_manager.fontManager.ttflist:
        # Last Resort fonts hold a box for everything, and colour fonts no outlines that could be drawn.
        if entry.style != "normal" or any(
            word in entry.name for word in ("Last Resort", "LastResort", "Color", "Mono")
        ):
            continue
        other = plain.get(entry.name)
        if other is None or abs(_weight(entry) - 400) < abs(_weight(other) - 400):
            plain[entry.name] = entry

    def rank(name: str) -> tuple[bool, bool, bool, bool, str]:
        lower = name.lower()
        return (script not in lower, not name.endswith(east_asian), "sans" not in lower, "noto" not in lower, name)

    return [(name, plain[name].fname) for name in sorted(plain, key=rank)]


def _weight(entry: Any) -> int:
    return entry.weight if isinstance(entry.weight, int) else 400


def _script(character: str) -> str:
    """The word by which fonts name the script of a character."""
    name = unicodedata.name(character, "").lower()
    if unicodedata.category(character) in ("So", "Sk"):
        return "emoji"
    first = name.split(" ")[0]
    return "cjk" if first in ("cjk", "hiragana", "katakana", "hangul", "bopomofo", "fullwidth", "halfwidth") else first


def _east_asian(characters: Iterable[str]) -> str:
    """How a CJK family is named for the language of these characters: they are not written alike everywhere."""
    names = {unicodedata.name(character, "").split(" ")[0] for character in characters}
    return " JP" if names & {"HIRAGANA", "KATAKANA"} else " KR" if "HANGUL" in names else " SC"


def _is_invisible(character: str) -> bool:
    """Spaces, joiners and variation selectors need no glyph."""
    return character.isspace() or unicodedata.category(character) in ("Cf", "Cc") or "\ufe00" <= character <= "\ufe0f"
