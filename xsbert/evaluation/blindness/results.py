"""What an edit did to a score, and the cells of the explanation that did not follow it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from .edits import CHANGING, Edit

__all__ = ["Cell", "EditEffect", "EditedCells", "Rate", "wilson"]

# Of a normal distribution, for intervals of 95 %.
Z = 1.959964


@dataclass(frozen=True)
class Rate:
    """A share of edits with its 95 % Wilson interval. All three are NaN without edits."""

    value: float
    low: float
    high: float
    n: int
    """Number of edits."""
    n_collapsed: int

    def __str__(self) -> str:
        return "–" if not self.n else f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def wilson(n_collapsed: int, n: int) -> Rate:
    """Returns a share with its interval (Wilson, *Probable Inference*, JASA 22, 1927).

    >>> print(wilson(0, 10))
    0.00 [0.00, 0.28]
    """
    if not n:
        return Rate(float("nan"), float("nan"), float("nan"), 0, 0)
    share, spread = n_collapsed / n, Z * Z / n
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    # At 0 and 1 the bound is exact.
    low, high = middle - half if n_collapsed else 0.0, middle + half if n_collapsed < n else 1.0
    return Rate(share, low, high, n, n_collapsed)


@dataclass(frozen=True)
class Cell:
    """What an edited word contributes with one word of the other text, before and after the edit."""

    word_before: str
    """What the edit replaced; empty for an insertion."""
    word_after: str
    """What took its place; empty for a deletion."""
    other: str
    """Word of the other text."""
    before: float
    """Contribution before the edit, in units of the score; 0 for an insertion."""
    after: float

    @property
    def change(self) -> float:
        """Contribution after the edit minus the one before it."""
        return self.after - self.before

    def __str__(self) -> str:
        pair = self.word_before or "–", self.word_after or "–"
        return f"{' → '.join(pair)} × {self.other} {self.before:+.3f} → {self.after:+.3f}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class EditedCells:
    """The explanations of a score before and after an edit, compared."""

    edited: float
    """Change of what the edited words contribute to the score, main effects included."""
    rest: float
    """Change of everything else: other words, special tokens, the reference. Both sum to the change of the score."""
    unmoved: tuple[Cell, ...] = field(repr=False)
    """Cells of the edited words that moved by no more than the threshold, largest first: at most ten."""
    n_unmoved: int
    """Number of all such cells."""
    n_cells: int
    """Number of cells of the edited words with words of the other text."""

    def to_dict(self) -> dict[str, Any]:
        """Returns a dictionary for JSON."""
        return vars(self) | {"unmoved": [cell.to_dict() for cell in self.unmoved]}


@dataclass(frozen=True)
class EditEffect:
    """A score before and after an edit of one of its texts."""

    edit: Edit
    place: int
    """Position of the text, or of the pair, among those given."""
    side: str
    """``"a"`` or ``"b"``: which text of the pair was edited. A text by itself is ``"a"``."""
    other: str
    """The other text of the score. Of a text by itself, the text before the edit."""
    score_before: float
    score_after: float
    same_tokens: bool
    """Whether the model's inputs are the same before and after the edit."""
    cells: EditedCells | None = None
    """The cells that did not move; None where nothing was explained."""

    @property
    def change(self) -> float:
        """How far the score moved, at least 0."""
        return abs(self.score_after - self.score_before)

    @property
    def changes_meaning(self) -> bool:
        """Whether the edit is one of `CHANGING`."""
        return self.edit.kind in CHANGING

    @property
    def key(self) -> tuple[int, str, str]:
        """Position, side and kind, which tell an effect apart from the others of one table."""
        return self.place, self.side, self.edit.kind

    def to_dict(self) -> dict[str, Any]:
        """Returns a dictionary for JSON."""
        return {
            "kind": self.edit.kind,
            "place": self.place,
            "side": self.side,
            "text": self.edit.before,
            "edited": self.edit.after,
            "other": self.other,
            "score_before": self.score_before,
            "score_after": self.score_after,
            "change": self.change,
            "same_tokens": self.same_tokens,
            "cells": None if self.cells is None else self.cells.to_dict(),
        }
