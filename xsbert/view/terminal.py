"""Terminal output of a result: the matrix as coloured cells."""

from __future__ import annotations

import math
import unicodedata

from wcwidth import wcswidth, wcwidth

from ..text.display import display_tokens
from .protocols import PairView

__all__ = ["columns", "matrix_lines", "printable"]

Colour = tuple[int, int, int]

# Ends and middle of the plots' colour map: blue for less similar, red for more.
NEGATIVE, NEUTRAL, POSITIVE = (33, 102, 172), (247, 247, 247), (178, 24, 43)
RESET = "\x1b[0m"
LONGEST_LABEL, SHORTEST_LABEL = 16, 4


def matrix_lines(result: PairView, width: int, true_colour: bool = True) -> list[str] | None:
    """Draw the (S, T) matrix with ANSI colours. Rows are units of text a, columns units of text b.

    Labels are shortened until the matrix fits.

    Args:
        result: A result of `XSTransformer.explain`, or its `words()`.
        width: Columns of the terminal.
        true_colour: Use 24-bit colours. False uses 256 colours.

    Returns:
        The lines, or None if the matrix is too wide for the terminal.
    """
    limit = float(abs(result.matrix).max())
    decimals = min(max(1 - math.floor(math.log10(limit)), 0), 9) if limit else 2
    # Adding zero turns −0 into 0.
    values = [[f"{value:+.{decimals}f}" for value in row] for row in result.matrix.round(decimals) + 0.0]
    widest = max(len(value) for row in values for value in row)
    labels_a, labels_b = ([printable(label) for label in display_tokens(side)] for side in (result.a, result.b))
    for longest in range(LONGEST_LABEL, SHORTEST_LABEL - 1, -1):
        rows = [_narrowed(label, longest) for label in labels_a]
        heads = [_narrowed(label, longest) for label in labels_b]
        margin = max(map(columns, rows))
        cells = [max(columns(head), widest) for head in heads]
        if margin + sum(cell + 1 for cell in cells) <= width:
            break
    else:
        return None
    lines = [" " * margin + "".join(" " + _pad(head, cell) for head, cell in zip(heads, cells, strict=True))]
    for label, row, texts in zip(rows, result.matrix, values, strict=True):
        painted = [
            _paint(" " * (cell + 1 - len(text)) + text, float(value) / limit if limit else 0.0, true_colour)
            for text, value, cell in zip(texts, row, cells, strict=True)
        ]
        lines.append(_pad(label, margin) + "".join(painted))
    return lines


def columns(text: str) -> int:
    """Return the terminal columns of a text: two for East-Asian wide characters, none for combining ones."""
    width = wcswidth(text)
    # wcswidth is −1 for texts with control characters.
    return width if width >= 0 else sum(max(wcwidth(character), 0) for character in text)


def printable(text: str) -> str:
    """Replace control characters, which could control the terminal. Line breaks stay."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" and c != "\n" else c for c in text)


def _narrowed(label: str, longest: int) -> str:
    if columns(label) <= longest:
        return label
    while columns(label) >= longest:
        label = label[:-1]
    return label + "…"


def _pad(label: str, width: int) -> str:
    return " " * (width - columns(label)) + label


def _paint(text: str, value: float, true_colour: bool) -> str:
    """Return text on the background colour of a value between −1 and 1."""
    end = POSITIVE if value > 0 else NEGATIVE
    red, green, blue = (round(zero + (full - zero) * abs(value)) for zero, full in zip(NEUTRAL, end, strict=True))
    colour = (red, green, blue)
    ink = (255, 255, 255) if sum(colour) < 390 else (0, 0, 0)
    return f"\x1b[48;{_code(colour, true_colour)};38;{_code(ink, true_colour)}m{text}{RESET}"


def _code(colour: Colour, true_colour: bool) -> str:
    if true_colour:
        return "2;" + ";".join(map(str, colour))
    # The 6 × 6 × 6 cube has the levels 0, 95, 135, 175, 215 and 255.
    red, green, blue = (0 if channel < 48 else max(1, round((channel - 55) / 40)) for channel in colour)
    return f"5;{16 + 36 * red + 6 * green + blue}"
