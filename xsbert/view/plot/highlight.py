"""Plot of the texts with shaded words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ...text.units import holds_text
from ..effects import by_word, effects
from ..protocols import PairView, TextView
from .checks import check_flag, check_result, is_number
from .fonts import Fonts, find_fonts
from .style import (
    FONT_SIZE,
    MUTED,
    baseline_chunk,
    colours_of,
    ink_on,
    limit_of,
    magnitude,
    score_chunks,
    set_title,
    title_chunks,
    wrap,
)
from .text_lines import Block, Side, lay_out_sides, space_inches, visual_order

__all__ = ["highlight", "shaded_texts"]


def highlight(
    result: PairView, *, special_tokens: bool = True, title: bool | str = True, width: float = 7.0
) -> tuple[Figure, Axes]:
    """Draw the texts with each word shaded by its total contribution.

    The contribution is the sum of the word's row (text a) or column (text b) of the matrix plus its main effect. Each
    interaction counts once in each text. Tokens are first summed to words if the tokenizer has word ids. Lines of
    right-to-left texts start at the right.

    Args:
        result: As for `heatmap`.
        special_tokens: As for `heatmap`.
        title: False for none, or a custom title.
        width: Width of the figure in inches, at least 3. The height follows from the texts.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``width`` is below 3; other errors as for `heatmap`.

    Warns:
        UserWarning: As for `heatmap`.
    """
    check_result(result)
    result = by_word(result)
    named = zip(("text a", "text b"), (result.a, result.b), effects(result), strict=True)
    chunks = [*score_chunks(result), f"error {magnitude(result.error)}", baseline_chunk(result.baseline)]
    label = "interactions and main effect of the word"
    return shaded_texts([*named], chunks, label, special_tokens=special_tokens, title=title, width=width)


def shaded_texts(
    texts: Sequence[tuple[str, TextView, np.ndarray]],
    described: list[str],
    label: str,
    *,
    special_tokens: bool = True,
    title: bool | str = True,
    width: float = 7.0,
) -> tuple[Figure, Axes]:
    """Draw texts with each unit shaded by a value.

    Args:
        texts: Name, text of S units and (S,) values of each.
        described: Parts of the default title.
        label: What the values are.
        special_tokens, title, width: As for `highlight`.

    Raises:
        TypeError, ValueError: As for `highlight`.
    """
    if not is_number(width) or not 3 <= width < math.inf:
        raise ValueError(f"width must be a number of inches of at least 3, got {width!r}")
    check_flag(special_tokens, "special_tokens")
    sides = [
        Side(name, text, values, tuple(special_tokens or holds_text(role) for role in text.roles))
        for name, text, values in texts
    ]
    if not all(any(side.kept) for side in sides):
        raise ValueError("without special tokens no unit of one text is left: draw them with special_tokens=True")
    limit = limit_of(*(side.values[list(side.kept)] for side in sides))
    fonts = find_fonts(*(word for side in sides for word in side.words))
    chunks = title_chunks(title, described)
    fig = plt.figure(figsize=(width, 4.0))
    ax = fig.add_axes((0, 0, 1, 1))
    inner, foot = width - 0.5, 0.6
    head = 0.2 + 1.4 * FONT_SIZE / 72 * len(wrap(chunks, inner))
    blocks, used = lay_out_sides(ax, sides, fonts, FONT_SIZE + 2, inner)
    height = used + head + foot
    fig.set_size_inches(width, height)
    ax.set_position((0.25 / width, foot / height, inner / width, used / height))
    bar = fig.add_axes((0.25 / width, 0.42 / height, min(3.0, inner) / width, 0.12 / height))
    fig.colorbar(colours_of(limit), cax=bar, orientation="horizontal", ticks=MaxNLocator(6))
    bar.tick_params(labelsize=FONT_SIZE - 2)
    bar.set_xlabel(label, fontsize=FONT_SIZE - 1)
    bar.grid(False)
    ax.set_xlim(0, inner)
    ax.set_ylim(used, 0)
    ax.axis("off")
    for block in blocks:
        _draw_block(ax, block, limit, fonts)
    set_title(ax, chunks, inner)
    return fig, ax


def _draw_block(ax: Axes, block: Block, limit: float, fonts: Fonts) -> None:
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
    colours = colours_of(limit)
    for row, line in enumerate(block.lines):
        middle = block.top + (row + 1.2) * height
        x = 0.0
        for piece, spaced in visual_order(line, block.right_to_left):
            x += space_inches(block.size) if spaced and x > 0 else 0.0
            left = block.width - x - piece.width if block.right_to_left else x
            colour = colours.to_rgba(np.array(piece.value))
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
                color=ink_on(colour, muted=piece.muted),
                **fonts.style(piece.shown),
            )
            x += piece.width
