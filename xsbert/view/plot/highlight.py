"""Plot of the texts with shaded words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ...text.units import holds_text
from ..effects import by_word, effects
from ..picture_options import Cells, Frame
from ..protocols import PairView, TextView
from .checks import axes_of, check_result
from .fonts import Fonts, find_fonts
from .layout import Drawing, inches_of, new_figure, root_of, settle
from .style import (
    MUTED,
    Sizes,
    baseline_chunk,
    colours_of,
    ink_on,
    limit_of,
    magnitude,
    score_chunks,
    set_title,
    sizes_of,
    title_chunks,
    wrap,
)
from .text_lines import Block, Side, lay_out_sides, space_inches, visual_order

__all__ = ["draw_highlight", "draw_texts"]

WIDTH, MARGIN = 7.0, 0.2
LEAST_WIDTH = 1.5
"""Smallest width of a line of text, in inches."""
LONGEST_BAR = 3.0


def draw_highlight(result: PairView, cells: Cells, frame: Frame) -> tuple[Figure, Axes]:
    check_result(result)
    result = by_word(result)
    values = effects(result) if cells.main_effects else (result.matrix.sum(1), result.matrix.sum(0))
    chunks = [*score_chunks(result), f"error {magnitude(result.error)}", baseline_chunk(result.baseline)]
    bar_name = "interactions and main effect of the word" if cells.main_effects else "interactions of the word"
    texts = zip(("text a", "text b"), (result.a, result.b), values, strict=True)
    return draw_texts([*texts], chunks, bar_name, cells.special_tokens, frame)


def draw_texts(
    texts: Sequence[tuple[str, TextView, np.ndarray]],
    described: list[str],
    bar_name: str,
    special_tokens: bool,
    frame: Frame,
) -> tuple[Figure, Axes]:
    """Draw texts with each unit shaded by a value.

    Args:
        texts: Name, text of S units and (S,) values of each.
        described: Parts of the default title.
        bar_name: What the values are.
        special_tokens: Also draw special tokens and prompts.
        frame: Size, title and colour bar.

    Raises:
        ValueError: Nothing is left of a text, or the figure is too small.
    """
    sides = [
        Side(name, text, values, tuple(special_tokens or holds_text(role) for role in text.roles))
        for name, text, values in texts
    ]
    if not all(any(side.kept) for side in sides):
        raise ValueError("without special tokens no unit of one text is left: draw them with special_tokens=True")
    fonts = find_fonts(*(word for side in sides for word in side.words))
    limit = limit_of(*(side.values[list(side.kept)] for side in sides))
    drawing = _Drawing(sides, limit, fonts, sizes_of(frame.fontsize), frame)
    drawing.bar_name = bar_name
    return drawing.draw(title_chunks(frame.title, described))


class _Drawing:
    """The two texts with a colour bar below, in inches."""

    bar_name: str

    def __init__(self, sides: list[Side], limit: float, fonts: Fonts, sizes: Sizes, frame: Frame) -> None:
        self.sides, self.limit, self.fonts, self.sizes, self.frame = sides, limit, fonts, sizes, frame

    @property
    def foot(self) -> float:
        """Height of the colour bar with its numbers and its name."""
        if self.frame.colorbar is False:
            return 0.0
        lines = len(wrap([self.bar_name], min(LONGEST_BAR, self.frame.width or LONGEST_BAR), self.sizes.axis))
        return 0.2 + (1.6 * self.sizes.ticks + 1.3 * lines * self.sizes.axis) / 72

    def draw(self, title: list[str]) -> tuple[Figure, Axes]:
        frame, size = self.frame, 1.2 * self.sizes.label
        width = frame.width or WIDTH
        if frame.ax is not None:
            ax = axes_of(frame.ax)
        else:
            inner = max(width - 2 * MARGIN, LEAST_WIDTH)
            _, used = lay_out_sides(self.sides, self.fonts, size, inner)
            head = (1.25 * len(wrap(title, inner, self.sizes.title)) + 0.8) * self.sizes.title / 72
            fig = new_figure(width, frame.height or used + self.foot + head + MARGIN)
            engine: Any = fig.get_layout_engine()
            engine.set(w_pad=MARGIN, h_pad=MARGIN / 2)
            ax = fig.add_subplot()
        ax.axis("off")

        def least() -> tuple[float, float]:
            _, used = lay_out_sides(self.sides, self.fonts, size, max(LEAST_WIDTH, inches_of(ax)[0]))
            return LEAST_WIDTH, used + self.foot

        drawing = Drawing([ax], least, lambda: set_title(ax, title, inches_of(ax)[0], self.sizes.title))
        settle(drawing, frame)
        inner, height = inches_of(ax)
        blocks, used = lay_out_sides(self.sides, self.fonts, size, inner)
        ax.set_xlim(0, inner)
        ax.set_ylim(height, 0)
        for block in blocks:
            _draw_block(ax, block, self.limit, self.fonts)
        if frame.colorbar is not False:
            self._draw_bar(ax, used, min(LONGEST_BAR, inner))
        figure: Any = ax.figure
        return figure, ax

    def _draw_bar(self, ax: Axes, top: float, length: float) -> None:
        bar = ax.inset_axes((0, top, length, 0.12), transform=ax.transData)
        n_ticks = max(2, min(6, int(length * 72 / (5 * self.sizes.ticks))))
        figure = root_of(ax)
        figure.colorbar(colours_of(self.limit), cax=bar, orientation="horizontal", ticks=MaxNLocator(n_ticks))
        bar.tick_params(labelsize=self.sizes.ticks)
        bar.set_xlabel("\n".join(wrap([self.bar_name], length, self.sizes.axis)), fontsize=self.sizes.axis, loc="left")
        bar.grid(False)


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
