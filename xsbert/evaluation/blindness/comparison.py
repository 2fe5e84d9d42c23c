"""Two models side by side: how often each of them collapses on the same edits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..._utils.optional_imports import pandas
from ..._utils.printed_tables import TableMixin, html_table, text_table
from ..._utils.validation import checked_integer
from .results import EditEffect, Rate, wilson

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BlindSpotsComparison", "ComparedKind", "compared"]


class Compared(Protocol):
    """What a comparison reads of a table."""

    @property
    def model(self) -> str: ...
    @property
    def effects(self) -> tuple[EditEffect, ...]: ...
    @property
    def kinds(self) -> tuple[str, ...]: ...
    @property
    def threshold(self) -> float: ...
    def collapsed(self, effect: EditEffect) -> bool: ...


@dataclass(frozen=True)
class ComparedKind:
    """The shares of collapses of two models, over the same edits of one kind."""

    kind: str
    one: Rate
    other: Rate
    difference: float
    """Share of the first model minus that of the second; ``low`` and ``high`` are its 95 % bootstrap interval."""
    low: float
    high: float

    @property
    def is_worse(self) -> bool:
        """Whether the first model collapses more often, its interval above zero."""
        return self.low > 0


@dataclass(frozen=True)
class BlindSpotsComparison(TableMixin):
    """The blind spots of two models on the same edits. Prints as a table."""

    model: str
    other_model: str
    threshold: float
    other_threshold: float
    rows: tuple[ComparedKind, ...]
    """One for each kind with edits."""
    n_bootstrap: int
    seed: int

    @property
    def worse(self) -> list[ComparedKind]:
        """The kinds on which the first model collapses more often than the second."""
        return [row for row in self.rows if row.is_worse]

    def to_dict(self) -> dict[str, Any]:
        """Returns the table for JSON."""
        return {**vars(self), "rows": [self._plain(row) for row in self.rows]}

    def to_dataframe(self) -> pd.DataFrame:
        """Returns a row for each kind: ``kind``, ``n``, ``one``, ``other``, ``difference``, ``low`` and ``high``.

        Raises:
            ImportError: pandas is not installed.
        """
        return pandas().DataFrame([self._plain(row) for row in self.rows])

    @staticmethod
    def _plain(row: ComparedKind) -> dict[str, Any]:
        shares = {"one": row.one.value, "other": row.other.value}
        return {
            "kind": row.kind, "n": row.one.n, **shares,
            "difference": row.difference, "low": row.low, "high": row.high,
        }  # fmt: skip

    def _cells(self) -> list[list[str]]:
        head = ["edit", "edits", "first", "second", "difference [95 %]"]
        return [
            head,
            *(
                [
                    row.kind,
                    str(row.one.n),
                    f"{row.one.value:.2f}",
                    f"{row.other.value:.2f}",
                    f"{row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}]",
                ]
                for row in self.rows
            ),
        ]

    def _title(self) -> str:
        return f"collapses of {self.model} (first) and {self.other_model} (second), the same edits"

    def _notes(self) -> list[str]:
        worse = ", ".join(row.kind for row in self.worse)
        return [
            f"Thresholds {self.threshold:.4f} and {self.other_threshold:.4f}. "
            + (f"The first is worse on {worse}." if worse else "The first is worse on no kind.")
        ]

    def __str__(self) -> str:
        return text_table(self._title(), self._cells(), self._notes())

    def _repr_html_(self) -> str:
        return html_table(self._title(), self._cells(), self._notes())


def compared(one: Compared, other: Compared, n_bootstrap: int, seed: int) -> BlindSpotsComparison:
    """Returns the comparison of two tables. See `BlindSpots.compare`."""
    n_bootstrap = checked_integer(n_bootstrap, "n_bootstrap", least=1)
    generator = np.random.default_rng(checked_integer(seed, "seed", least=0))
    of_other = {(*effect.key, effect.edit.after): effect for effect in other.effects}
    rows = []
    for kind in one.kinds:
        both = [
            (effect, of_other[key])
            for effect in one.effects
            if effect.edit.kind == kind and (key := (*effect.key, effect.edit.after)) in of_other
        ]
        if both:
            flags = np.array([(one.collapsed(first), other.collapsed(second)) for first, second in both])
            rows.append(_row(kind, flags, np.array([first.place for first, _ in both]), n_bootstrap, generator))
    if not rows:
        raise ValueError("the two tables have no edit in common: both models need the same texts and kinds")
    return BlindSpotsComparison(one.model, other.model, one.threshold, other.threshold, tuple(rows), n_bootstrap, seed)


def _row(
    kind: str, flags: np.ndarray, places: np.ndarray, n_bootstrap: int, generator: np.random.Generator
) -> ComparedKind:
    gaps = flags[:, 0].astype(float) - flags[:, 1]
    # Both texts of a pair are resampled together.
    _, group = np.unique(places, return_inverse=True)
    sums, counts = np.bincount(group, gaps), np.bincount(group)
    drawn = generator.integers(len(sums), size=(n_bootstrap, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    first, second = (wilson(int(flags[:, side].sum()), len(flags)) for side in (0, 1))
    return ComparedKind(kind, first, second, float(gaps.mean()), float(low), float(high))
