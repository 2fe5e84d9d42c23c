"""The table that `xsbert.evaluation.blind_spots` returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._utils.optional_imports import pandas
from ..._utils.printed_tables import TableMixin, html_table, text_table
from ..._utils.validation import check_one_of, checked_real, finite_or_none
from .comparison import BlindSpotsComparison, compared
from .edits import CHANGING, KEEPING, Edit
from .results import EditEffect, Rate, wilson

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ROUNDING", "BlindSpots", "checked_limits"]

ROUNDING = 1e-6
"""Scores of equal embeddings differ by less than this, in units of the score."""
N_SHOWN = 5
N_CELLS_SHOWN = 3
MOST_CHARACTERS = 100


@dataclass(frozen=True)
class BlindSpots(TableMixin):
    """How far edits that change the meaning move a model's scores. Prints as a table with the worst collapses.

    A collapse is an edit that changes the meaning and moves the score by no more than the threshold.
    """

    model: str
    similarity: str
    language: str
    n_texts: int
    """Number of texts, or pairs of texts, without those that the model does not read to the end."""
    n_cut: int
    """Number of texts, or pairs, that are left out since the model does not read them to the end."""
    pairs: bool
    """Whether pairs of texts were given."""
    threshold: float
    """In units of the score."""
    quantile: float | None
    """The quantile of the meaning-keeping changes that the threshold is; None if the threshold was given."""
    effects: tuple[EditEffect, ...] = field(repr=False)
    """All edits, those that keep the meaning as well, by text."""
    kinds: tuple[str, ...]
    """The kinds of edits that change the meaning, of those in `CHANGING`."""
    n_untouched: Mapping[str, int] = field(repr=False)
    """For each kind, the number of texts in which it finds nothing to edit; of pairs, both texts count."""
    n_without: int
    """Number of texts in which no kind that changes the meaning finds anything to edit."""
    unrelated: float
    """Median change of the score when another of the texts takes the place of the edited one; NaN for one text."""

    def effects_of(self, kind: str) -> list[EditEffect]:
        """Returns the edits of a kind, in the order of the texts.

        Raises:
            ValueError: the table has no such kind.
        """
        check_one_of(kind, "kind", [*self.kinds, *KEEPING])
        return [effect for effect in self.effects if effect.edit.kind == kind]

    def collapsed(self, effect: EditEffect) -> bool:
        """Whether an effect is a collapse."""
        return effect.changes_meaning and effect.change <= self.threshold + ROUNDING

    def collapses(self, kind: str | None = None) -> list[EditEffect]:
        """Returns the collapses, smallest change first.

        Args:
            kind: one of `kinds`; None returns those of all.

        Raises:
            ValueError: the table has no such kind.
        """
        check_one_of(kind, "kind", self.kinds, optional=True)
        found = [each for each in self.effects if self.collapsed(each) and kind in (None, each.edit.kind)]
        return sorted(found, key=lambda each: each.change)

    def rate(self, kind: str | None = None) -> Rate:
        """Returns the share of edits that collapse.

        Args:
            kind: one of `kinds`; None counts the edits of all.

        Raises:
            ValueError: the table has no such kind.
        """
        check_one_of(kind, "kind", self.kinds, optional=True)
        n = sum(each.changes_meaning and kind in (None, each.edit.kind) for each in self.effects)
        return wilson(len(self.collapses(kind)), n)

    @property
    def separates(self) -> bool:
        """Whether another text moves the score further than the threshold. False for a model that tells none apart."""
        return not self.unrelated <= self.threshold + ROUNDING

    def failures(self, fail_above: float | Mapping[str, float] = 0.2) -> dict[str, Rate]:
        """Returns the kinds that collapse too often.

        Args:
            fail_above: largest share of collapses, between 0 and 1; or one for each kind that matters.

        Raises:
            TypeError: a share is not a number.
            ValueError: a share is not between 0 and 1, a kind is unknown, or a kind with its own share has no edits.
        """
        limits = checked_limits(fail_above, self.kinds)
        rates = {kind: self.rate(kind) for kind in limits}
        if isinstance(fail_above, Mapping):
            for kind, rate in rates.items():
                if not rate.n:
                    raise ValueError(f"fail_above[{kind!r}]: no text has anything that the edit could change")
        return {kind: rate for kind, rate in rates.items() if rate.n and rate.value > limits[kind]}

    def compare(self, other: BlindSpots, *, n_bootstrap: int = 1000, seed: int = 0) -> BlindSpotsComparison:
        """Sets the table beside that of another model, over the edits that both have.

        Each model keeps its own threshold.

        Args:
            other: the table of another model on the same texts.
            n_bootstrap: samples of the intervals, which resample texts.
            seed: their seed.

        Raises:
            ValueError: the tables have no edit in common.
        """
        return compared(self, other, n_bootstrap, seed)

    @property
    def sentence(self) -> str:
        """What the table says."""
        by = f"the {self.quantile:.0%} quantile of the changes by edits that keep it" if self.quantile else "as given"
        parts = [f"Threshold {self.threshold:.4f}, {by}."]
        if not self.separates:
            parts.append(
                f"The score does not tell these texts apart: another text moves it by {self.unrelated:.4f} in the "
                "median, no more than the threshold."
            )
        elif np.isfinite(self.unrelated):
            parts.append(f"Another text moves the score by {self.unrelated:.4f} in the median.")
        if self.n_without:
            has = "has" if self.n_without == 1 else "have"
            parts.append(f"{self._counted(self.n_without)} {has} nothing that an edit could change.")
        if self.n_cut:
            parts.append(f"Left out: {self._counted(self.n_cut)} beyond the model's limit of tokens.")
        return " ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Returns the table and all collapses for JSON. None replaces NaN."""
        return {
            "model": self.model,
            "similarity": self.similarity,
            "language": self.language,
            "pairs": self.pairs,
            "n_texts": self.n_texts,
            "n_cut": self.n_cut,
            "n_without": self.n_without,
            "threshold": self.threshold,
            "quantile": self.quantile,
            "unrelated": finite_or_none(self.unrelated),
            "sentence": self.sentence,
            "rows": [self._row(kind) for kind in (*self.kinds, *KEEPING)],
            "collapses": [effect.to_dict() for effect in self.collapses()],
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Returns a row for each edit.

        Returns:
            columns ``kind``, ``changes_meaning``, ``place``, ``side``, ``text``, ``edited``, ``other``,
            ``score_before``, ``score_after``, ``change``, ``collapsed`` and ``same_tokens``.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = []
        for effect in self.effects:
            row = {"changes_meaning": effect.changes_meaning, **effect.to_dict(), "collapsed": self.collapsed(effect)}
            rows.append(row)
        names = ["kind", "changes_meaning", "place", "side", "text", "edited", "other"]
        names += ["score_before", "score_after", "change", "collapsed", "same_tokens"]
        return pandas().DataFrame(rows, columns=names)

    def latex_frame(self) -> pd.DataFrame:
        """Returns the printed table: a row for each kind of edits."""
        head, *rows = self._cells()
        return pandas().DataFrame(rows, columns=head)

    def __str__(self) -> str:
        return text_table(self._title(), self._cells(), [self.sentence, *self._worst()])

    def _repr_html_(self) -> str:
        return html_table(self._title(), self._cells(), [self.sentence, *self._worst()])

    def _counted(self, n: int) -> str:
        return f"{n} {'pair' if self.pairs else 'text'}{'s' * (n != 1)}"

    def _title(self) -> str:
        return f"blind spots of {self.model}, {self._counted(self.n_texts)}, {self.similarity}"

    def _row(self, kind: str) -> dict[str, Any]:
        effects = self.effects_of(kind)
        row: dict[str, Any] = {
            "kind": kind,
            "changes_meaning": kind in CHANGING,
            "n": len(effects),
            "n_untouched": self.n_untouched[kind],
            "median_change": float(np.median([each.change for each in effects])) if effects else None,
        }
        if kind in CHANGING:
            rate = self.rate(kind)
            row |= {"n_collapsed": rate.n_collapsed, "rate": rate.value, "low": rate.low, "high": rate.high}
        return {name: finite_or_none(value) for name, value in row.items()}

    def _cells(self) -> list[list[str]]:
        rows = [["edit", "meaning", "edits", "no place", "median change", "collapses", "share [95 %]"]]
        for kind in (*self.kinds, *KEEPING):
            row = self._row(kind)
            median = "–" if row["median_change"] is None else f"{row['median_change']:.4f}"
            shown = [str(self.rate(kind).n_collapsed), str(self.rate(kind))] if kind in CHANGING else ["", ""]
            meaning = "changes" if kind in CHANGING else "stays"
            rows.append([kind, meaning, str(row["n"]), str(row["n_untouched"]), median, *shown])
        return rows

    def _worst(self) -> Iterable[str]:
        """Returns a paragraph for the smallest change of each kind, at most `N_SHOWN`."""
        seen: dict[str, EditEffect] = {}
        for effect in self.collapses():
            seen.setdefault(effect.edit.kind, effect)
        return [described(effect) for effect in [*seen.values()][:N_SHOWN]]


def described(effect: EditEffect) -> str:
    """Returns a collapse in a paragraph: the edit, the change of the score, and the largest cells that stayed."""
    label = (
        effect.edit.label if len(effect.edit.changes) <= 2 else _excerpt(replace(effect.edit, before=effect.edit.after))
    )
    found = f"{effect.edit.kind}: “{_excerpt(effect.edit)}” ({label}) moves the score by {effect.change:.4f}."
    if effect.cells is None:
        return found
    cells = effect.cells
    found += f" The edited words: {cells.edited:+.4f}; all else: {cells.rest:+.4f}."
    if cells.unmoved:
        found += f" {cells.n_unmoved} of {cells.n_cells} cells stayed: "
        found += "; ".join(map(str, cells.unmoved[:N_CELLS_SHOWN])) + "."
    return found


def _excerpt(edit: Edit) -> str:
    """Returns the text, or if it is long what stands around the first change."""
    if len(edit.before) <= MOST_CHARACTERS:
        return edit.before
    start = max(0, min(edit.spans_before[0][0] - MOST_CHARACTERS // 2, len(edit.before) - MOST_CHARACTERS))
    end = start + MOST_CHARACTERS
    return f"{'…' * (start > 0)}{edit.before[start:end]}{'…' * (end < len(edit.before))}"


def checked_limits(fail_above: float | Mapping[str, float], kinds: tuple[str, ...]) -> dict[str, float]:
    """Returns the largest allowed share of each kind.

    Raises:
        TypeError: a share is not a number.
        ValueError: a share is not between 0 and 1, a kind is unknown, or there is none.
    """
    if not isinstance(fail_above, Mapping):
        return dict.fromkeys(kinds, _share(fail_above, "fail_above"))
    if not fail_above:
        raise ValueError("fail_above must hold a kind at least, got none")
    for kind in fail_above:
        check_one_of(kind, "a kind of fail_above", kinds)
    return {kind: _share(value, f"fail_above[{kind!r}]") for kind, value in fail_above.items()}


def _share(value: float, name: str) -> float:
    found = checked_real(value, name)
    if not 0 <= found <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
    return found
