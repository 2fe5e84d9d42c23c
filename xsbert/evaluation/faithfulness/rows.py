"""Rows of a table of faithfulness, and their selection by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..._utils.validation import is_integer

__all__ = ["FaithfulnessRow", "find_row"]


@dataclass(frozen=True)
class FaithfulnessRow:
    """One method, with its layer and reference if it has them."""

    method: str
    layer: int | None
    """Counted from 0."""
    reference: str | tuple[str, ...] | None
    """Token of the reference, or several tokens."""
    numbers: dict[tuple[str, str], np.ndarray] = field(repr=False)
    """(n,) values of each metric and operator, one for each pair of texts; NaN where undefined."""
    seconds: float = 0.0
    """Run time of the method. The first use of a model may be slower."""
    ranked: bool = True
    """False for controls, and for a method that computes the measured effect itself."""

    @property
    def references(self) -> tuple[str, ...]:
        """The tokens of the references; empty without one."""
        if self.reference is None:
            return ()
        return (self.reference,) if isinstance(self.reference, str) else self.reference

    @property
    def label(self) -> str:
        """Method, layer and reference."""
        chunks = [
            self.method,
            f"layer {self.layer}" if self.layer is not None else "",
            " + ".join(self.references),
        ]
        return ", ".join(chunk for chunk in chunks if chunk)

    def is_named(self, name: str) -> bool:
        """Whether a name matches: the method, optionally with layer and reference (a token or its short name).

        >>> table.rows[0].is_named("products")
        True
        """
        method, *others = (part.strip() for part in name.split(","))
        own = {f"layer {self.layer}"}
        if self.references:
            short = [token.strip("[]<>|").lower() for token in self.references]
            own |= {" + ".join(self.references), " + ".join(short)}
        return method == self.method and all(part in own for part in others)


def find_row(rows: Sequence[FaithfulnessRow], row: FaithfulnessRow | int | str) -> FaithfulnessRow:
    """Returns a row by its index or its name.

    Args:
        rows: rows of the table.
        row: one of them, its index, its label, or an unambiguous part of its label.

    Raises:
        TypeError: ``row`` is none of these.
        ValueError: no row or several rows have the name.
        IndexError: the index is out of range.

    >>> find_row(table.rows, "products") is find_row(table.rows, 0)
    True
    """
    if isinstance(row, FaithfulnessRow):
        return row
    if isinstance(row, str):
        found = [each for each in rows if each.label == row] or [each for each in rows if each.is_named(row)]
        if len(found) == 1:
            return found[0]
        problem = "fits several rows" if found else "is no row of the table, which has"
        raise ValueError(f"{row!r} {problem}: {'; '.join(each.label for each in found or rows)}")
    if not is_integer(row):
        raise TypeError(f"row must be a row of the table, its place or its name, got {row!r:.60}")
    if not -len(rows) <= row < len(rows):
        raise IndexError(f"row must be a place between 0 and {len(rows) - 1}, got {row}")
    return rows[row]
