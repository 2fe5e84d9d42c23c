"""Tables of text cells, printed and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["html_table", "text_table"]


def text_table(title: str, cells: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """Return lines of text with aligned columns, the first to the left and the others to the right.

    Args:
        title: The first line.
        cells: Rows of the same length. The first one is the header.
        notes: Lines below the table.

    >>> print(text_table("Sizes", [["name", "size"], ["a", "1"], ["b", "10"]]))
    Sizes
    name  size
    a        1
    b       10
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            f"{cell:{'>' if at else '<'}{width}}" for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([title, *lines, *notes])


def html_table(title: str, cells: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """Return a table in HTML with the title as its caption, and the notes as paragraphs below it.

    >>> html_table("a < b", [["name"], ["c"]])
    '<table><caption>a &lt; b</caption><tr><th>name</th></tr><tr><td>c</td></tr></table>'
    """
    rows = [
        "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"
        for tag, row in zip(["th", *["td"] * (len(cells) - 1)], cells, strict=True)
    ]
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"<table><caption>{escape(title)}</caption>{''.join(rows)}</table>{below}"
