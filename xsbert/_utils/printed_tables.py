"""Tables of cells as text, HTML, LaTeX and CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from .atomic_files import write_text
from .optional_imports import optional

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WIDTH", "TableMixin", "html_table", "text_table"]

WIDTH = 100
"""Largest number of characters of a printed line, unless a single column needs more."""


class Framed(Protocol):
    """An object with a data frame."""

    def to_dataframe(self) -> pd.DataFrame: ...
    def latex_frame(self) -> pd.DataFrame: ...


class TableMixin:
    """Files of a table, written by pandas."""

    def latex_frame(self: Framed) -> pd.DataFrame:
        """Return the data frame of `to_latex`."""
        return self.to_dataframe()

    def to_latex(self: Framed, path: str | PathLike[str] | None = None, *, decimals: int = 3, **options: Any) -> str:
        r"""Return the table as LaTeX, for the package booktabs.

        Args:
            path: Also write the text to this file.
            decimals: Number of decimals.
            options: As for ``pandas.DataFrame.to_latex``, such as ``caption=`` and ``label=``.

        Raises:
            ImportError: pandas or Jinja2 is not installed.

        >>> print(table.to_latex().splitlines()[1])
        \toprule
        """
        optional("jinja2", "jinja2", "to_latex")
        known = {"index": False, "escape": True, "float_format": f"%.{decimals}f", "na_rep": "–"}
        return _written(self.latex_frame().to_latex(**(known | options)), path)

    def to_csv(self: Framed, path: str | PathLike[str] | None = None, **options: Any) -> str:
        """Return `to_dataframe` as CSV, in full precision.

        Args:
            path: Also write the text to this file, in UTF-8.
            options: As for ``pandas.DataFrame.to_csv``, such as ``sep=``.

        Raises:
            ImportError: pandas is not installed.

        >>> table.to_csv().splitlines()[0].split(",")[0]
        'method'
        """
        frame: Any = self.to_dataframe()
        return _written(frame.to_csv(**({"index": False} | options)), path)


def _written(text: str, path: str | PathLike[str] | None) -> str:
    if path is not None:
        write_text(path, text)
    return text


def text_table(title: str, cells: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """Format rows of cells in lines of at most `WIDTH` characters.

    A wider table is split into blocks of columns. Each block repeats the first column.

    Args:
        title: The title above the table.
        cells: Rows of cells. The first row is the header. All columns except the first are right-aligned.
        notes: Paragraphs below the table.
    """
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    blocks: list[list[int]] = [[0]]
    for column in range(1, len(widths)):
        used = sum(widths[each] + 2 for each in blocks[-1]) + widths[column]
        if used > WIDTH and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(column)
    lines = _wrapped(title)
    for place, block in enumerate(blocks):
        lines += [""] if place else []
        for row in cells:
            others = (row[column].rjust(widths[column]) for column in block[1:])
            lines.append("  ".join([row[0].ljust(widths[0]), *others]).rstrip())
    return "\n".join([*lines, *(line for note in notes for line in _wrapped(note))])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def html_table(title: str, cells: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """Format rows of cells as HTML. The first row is the header."""

    def line(row: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"

    head, *body = cells
    rows = "".join(line(row, "td") for row in body)
    paragraphs = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"<table><caption>{escape(title)}</caption>{line(head, 'th')}{rows}</table>{paragraphs}"
