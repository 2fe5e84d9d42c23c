"""Tables that compare references by their effect on scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from .._utils.printed_tables import html_table, text_table
from .faithfulness import Faithfulness
from .faithfulness.table import FEWEST_PAIRS, UNBIASED

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
        return text_table(f"{self.similarity} similarity on {self.n_pairs} pairs", self._cells())

    def _repr_html_(self) -> str:
        return html_table(f"{self.similarity} similarity on {self.n_pairs} pairs", self._cells())


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
    """Comparison of references for explaining a model as it is, and for making an exact one. Prints as a table."""

    similarity: str
    """``"cosine"`` or ``"dot"``."""
    n_pairs: int
    """Number of pairs whose scores are compared."""
    rows: tuple[ReferenceChoiceRow, ...]
    """One row for each reference."""
    faithfulness: Faithfulness | None = field(default=None, compare=False, repr=False)
    """Faithfulness of the interactions with each reference, in the order of the rows; None if it was not measured."""

    @property
    def for_explaining(self) -> ReferenceChoiceRow | None:
        """The reference for explaining the model as it is; None if faithfulness was not measured.

        Of the references that do not differ from the most faithful one on the same pairs (95 % bootstrap interval),
        it is the one with the highest rank agreement: the smaller the effect of the shift, the less main effects and
        baseline have to cancel.
        """
        table = self.faithfulness
        if table is None or table.estimate(table.recommended_row, operator=UNBIASED).n < FEWEST_PAIRS:
            return None
        found = zip(self.rows, table.rows, strict=True)
        best = table.recommended_row
        ties = [row for row, each in found if each is best or table.difference(best, each, operator=UNBIASED).is_zero]
        return max(ties, key=lambda row: row.rank_agreement)

    @property
    def for_exact(self) -> ReferenceChoiceRow:
        """The reference for making an exact model: the one with the highest rank agreement."""
        return max(self.rows, key=lambda row: row.rank_agreement)

    @property
    def best(self) -> ReferenceChoiceRow:
        """The same as ``for_exact``."""
        return self.for_exact

    @property
    def advice(self) -> str:
        """Both answers in a sentence each."""
        row, table = self.for_explaining, self.faithfulness
        if row is None or table is None:
            explaining = (
                f"To explain the model as it is: not measured, which takes {FEWEST_PAIRS} pairs of texts of two words "
                "or more."
            )
        else:
            best = self.rows[table.rows.index(table.recommended_row)]
            by = "the interactions follow removed words best"
            if row is not best:
                by = f"as faithful as {best.reference} within the uncertainty, and closer to the model's scores"
            explaining = f"To explain the model as it is: {row.reference} ({by})."
        exact = f"To make an exact model: {self.for_exact.reference} (the shift keeps the order of the scores best)."
        return f"{explaining}\n{exact}"

    @property
    def _title(self) -> str:
        told = f"{self.similarity} similarity; scores shifted against unshifted on {self.n_pairs} pairs"
        return told if self.faithfulness is None else f"{told}, faithfulness on {self.faithfulness.n_pairs}"

    def _cells(self) -> list[tuple[str, ...]]:
        cells = [("reference", "rank agreement", "mean change")]
        cells += [(row.reference, f"{row.rank_agreement:.4f}", f"{row.mean_change:.4f}") for row in self.rows]
        table = self.faithfulness
        if table is None:
            return cells
        faithful = ["faithfulness", *(str(table.estimate(row, operator=UNBIASED)) for row in table.rows)]
        return [(row[0], more, *row[1:]) for row, more in zip(cells, faithful, strict=True)]

    def __str__(self) -> str:
        return f"{text_table(self._title, self._cells())}\n{self.advice}"

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(line, quote=False)}</p>" for line in self.advice.splitlines())
        return html_table(self._title, self._cells()) + lines
