"""Tables that compare references by their effect on scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ReferenceChoice", "ReferenceChoiceRow", "ShiftCost", "ShiftCostRow"]


@dataclass(frozen=True)
class ShiftCostRow:
    """Agreement of one model's similarities with the annotated scores. All values are between −1 and 1."""

    reference: str | None
    """Token of the reference of the shifted model; None for the original model."""
    spearman: float
    """Rank correlation with the annotated scores."""
    pearson: float
    """Linear correlation with the annotated scores."""
    rank_agreement: float
    """Rank correlation with the similarities of the original model."""
    reference_positions: str = "text"
    """Positions of the reference's tokens, as for `XSTransformer`."""


@dataclass(frozen=True)
class ShiftCost:
    """Correlations of a model and of its shifted versions. Prints as a table."""

    similarity: str
    """``"cosine"`` or ``"dot"``."""
    n_pairs: int
    rows: tuple[ShiftCostRow, ...]
    """First the original model, then one row for each reference."""

    @property
    def best(self) -> ShiftCostRow:
        """The row of a shifted model with the highest Spearman correlation."""
        return max(self.rows[1:], key=lambda row: row.spearman)

    def _cells(self) -> list[tuple[str, ...]]:
        base = self.rows[0].spearman
        cells = [("reference", "Spearman", "change", "Pearson", "rank agreement")]
        for row in self.rows:
            change = "" if row.reference is None else f"{row.spearman - base:+.4f}"
            numbers = (f"{row.spearman:.4f}", change, f"{row.pearson:.4f}", f"{row.rank_agreement:.4f}")
            positions = ", positions of padding" if row.reference_positions == "padding" else ""
            cells.append((f"{row.reference or '(not shifted)'}{positions}", *numbers))
        return cells

    def __str__(self) -> str:
        return _text_table(f"{self.similarity} similarity on {self.n_pairs} pairs", self._cells())

    def _repr_html_(self) -> str:
        return _html_table(f"{self.similarity} similarity on {self.n_pairs} pairs", self._cells())


@dataclass(frozen=True)
class ReferenceChoiceRow:
    """Agreement of the scores of a model shifted by one reference with those of the original model."""

    reference: str
    """The token of the reference."""
    rank_agreement: float
    """Spearman correlation with the scores of the original model, between −1 and 1."""
    mean_change: float
    """Mean of ``|shifted score − score|``, in units of the similarity."""


@dataclass(frozen=True)
class ReferenceChoice:
    """Effect of the shift by each of several references on a model's scores. Prints as a table."""

    similarity: str
    """``"cosine"`` or ``"dot"``."""
    n_pairs: int
    rows: tuple[ReferenceChoiceRow, ...]
    """One row for each reference."""

    @property
    def best(self) -> ReferenceChoiceRow:
        """The row with the highest rank agreement."""
        return max(self.rows, key=lambda row: row.rank_agreement)

    @property
    def _title(self) -> str:
        return f"{self.similarity} similarity on {self.n_pairs} pairs, shifted against unshifted"

    def _cells(self) -> list[tuple[str, ...]]:
        rows = [(row.reference, f"{row.rank_agreement:.4f}", f"{row.mean_change:.4f}") for row in self.rows]
        return [("reference", "rank agreement", "mean change"), *rows]

    def __str__(self) -> str:
        return _text_table(self._title, self._cells())

    def _repr_html_(self) -> str:
        return _html_table(self._title, self._cells())


def _text_table(title: str, cells: Sequence[Sequence[str]]) -> str:
    """Formats rows of cells. The first row is the header; all columns except the first are right-aligned."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]
    return "\n".join([title, *lines])


def _html_table(title: str, cells: Sequence[Sequence[str]]) -> str:
    def line(row: Sequence[str], tag: str) -> str:
        escaped = (cell.replace("&", "&amp;").replace("<", "&lt;") for cell in row)
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in escaped) + "</tr>"

    head, *body = cells
    return f"<table><caption>{title}</caption>{line(head, 'th')}{''.join(line(row, 'td') for row in body)}</table>"
