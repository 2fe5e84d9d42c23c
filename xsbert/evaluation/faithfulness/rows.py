"""The rows of a table of faithfulness, and how they are found by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..._utils.validation import is_integer

__all__ = ["FaithfulnessRow", "find_row"]


@dataclass(frozen=True)
class FaithfulnessRow:
    """One method, with one layer and reference where it has them."""

    method: str
    layer: int | None
    """Counted from 0."""
    reference: str | None
    numbers: dict[tuple[str, str], np.ndarray] = field(repr=False)
    """(n,) of each metric and operator, for each pair of texts; NaN where it is not defined."""
    seconds: float = 0.0
    """That the method took, whose first use of the model may be slower."""
    ranked: bool = True
    """False for controls, and for a method that is itself what is measured."""

    @property
    def label(self) -> str:
        """Method, layer and reference."""
        chunks = [
            self.method,
            f"layer {self.layer}" if self.layer is not None else "",
            self.reference if self.reference is not None else "",
        ]
        return ", ".join(chunk for chunk in chunks if chunk)

    def is_named(self, name: str) -> bool:
        """Whether a name fits: the method, and possibly its layer and its reference, as a token or by its short name.

        >>> table.rows[0].is_named("products")
        True
        """
        method, *others = (part.strip() for part in name.split(","))
        own = {f"layer {self.layer}"}
        if self.reference is not None:
            own |= {self.reference, self.reference.strip("[]<>|").lower()}
        return method == self.method and all(part in own for part in others)


def find_row(rows: Sequence[FaithfulnessRow], row: FaithfulnessRow | int | str) -> FaithfulnessRow:
    """A row by its place or its name.

    Args:
        rows: of the table.
        row: one of them, its place, its label, or as much of the label as tells it from the others.

    Raises:
        TypeError: ``row`` is none of these.
        ValueError: no row, or several, have the name.
        IndexError: there is no row of that place.

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
