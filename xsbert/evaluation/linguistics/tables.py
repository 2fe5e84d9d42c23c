"""Tables of contributions to similarities, by size, by linguistic label and by identity of words.

These are the analyses of the pilot studies of Moeller et al. (EMNLP 2023, EACL 2024), as functions of results. Frequent
classes have large sums, so each table gives the number of cells beside the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, cast

import numpy as np

from ..._utils.arrays import spearman
from ..._utils.sequences import as_entries
from ..._utils.validation import check_one_of, checked_real, finite_or_none
from ...attribution.pair_result import PairResult
from ...text.units import TEXT
from .labels import Labeller, unit_labels

__all__ = ["CONTENT", "Table", "contributions", "cumulative_share", "kept_by_label", "kept_correlation", "lexical_bias"]

CONTENT = ("NOUN", "PROPN", "VERB", "ADJ", "ADV", "NUM")


@dataclass(frozen=True)
class Table:
    """A table with named columns. Prints as text and as HTML."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = field(default=())

    def column(self, name: str) -> list[Any]:
        """Returns the entries of a column.

        Raises:
            ValueError: no column has the name.
        """
        return [row[self.columns.index(name)] for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Returns a dictionary for JSON. None replaces non-finite values, such as a fraction of a zero sum."""
        rows = [[finite_or_none(cell) for cell in row] for row in self.rows]
        return {"title": self.title, "rows": [dict(zip(self.columns, row, strict=True)) for row in rows]}

    def __str__(self) -> str:
        cells = [self.columns, *([_shown(each) for each in row] for row in self.rows)]
        widths = [max(len(row[place]) for row in cells) for place in range(len(self.columns))]
        lines = [
            "  ".join(f"{cell:<{width}}" if not at else f"{cell:>{width}}" for at, (cell, width) in enumerate(pairs))
            for pairs in (list(zip(row, widths, strict=True)) for row in cells)
        ]
        return "\n".join([self.title, *lines, *self.notes])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = ("<tr>" + "".join(f"<td>{escape(_shown(each))}</td>" for each in row) + "</tr>" for row in self.rows)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table><caption>{escape(self.title)}</caption><tr>{head}</tr>{''.join(rows)}</table>{notes}"


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def cumulative_share(results: Iterable[PairResult], shares: Sequence[float] = (0.05, 0.1, 0.2, 0.5, 1.0)) -> Table:
    """Computes the fraction of the scores that the strongest pairs of units contribute.

    Args:
        results: results of pairs of texts.
        shares: fractions of the cells of each matrix, above 0 and at most 1; at least one cell is used.

    Returns:
        For each fraction, the sum of the largest cells over all pairs of texts, divided by the sum of the scores and
        by that of the interactions. Both can exceed 1 for a model that is not shifted, since its score has three other
        parts.
    """
    shares = _checked_shares(shares)
    results = _checked(results)
    score, total = sum(each.score for each in results), sum(each.matrix.sum() for each in results)
    rows = []
    for share in shares:
        kept = sum(kept_sum(each.matrix, share) for each in results)
        rows.append((f"{share:.0%}", kept / score, kept / total))
    return Table(
        f"strongest pairs of {len(results)} results", ("pairs", "of the score", "of interactions"), tuple(rows)
    )


def kept_sum(matrix: np.ndarray, share: float) -> float:
    """Returns the sum of the given fraction of cells, largest first."""
    n = max(1, round(share * matrix.size))
    return float(np.sort(matrix, axis=None)[::-1][:n].sum())


def kept_correlation(
    results: Iterable[PairResult], scores: Sequence[float], shares: Sequence[float] = (0.05, 0.1, 0.2, 0.5, 1.0)
) -> Table:
    """Computes the rank correlation of sums of the strongest pairs of units with human scores.

    Args:
        results: results of n pairs of texts.
        scores: n human scores.
        shares: as for `cumulative_share`.

    Raises:
        ValueError: the numbers of scores and results differ, or a score is not finite.
        TypeError: a score is not a number.
    """
    shares = _checked_shares(shares)
    results = _checked(results)
    scores = _checked_scores(results, scores)
    rows = [
        (f"strongest {share:.0%}", spearman([kept_sum(each.matrix, share) for each in results], scores))
        for share in shares
    ]
    rows.append(("the model's score", spearman([each.score for each in results], scores)))
    return Table(f"Spearman correlation with human scores, {len(results)} pairs", ("kept", "Spearman"), tuple(rows))


def kept_by_label(
    results: Iterable[PairResult],
    scores: Sequence[float],
    labeller: Labeller,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Computes the rank correlation of sums over pairs of units with certain labels with human scores.

    Args:
        results: results of n pairs of texts.
        scores: n human scores.
        labeller: function from a text to labelled spans.
        groups: names and labels of groups; None uses nouns and verbs, content words, and all words.

    Raises:
        ValueError: spans exceed the text or overlap, lengths differ, a score is not finite, or no unit has a label of
            a group.
        TypeError: a score is not a number, or the labels of a group are a single string.
    """
    results = as_entries(results, "results", "attributions")
    scores = _checked_scores(results, scores)
    known = {"nouns and verbs": ("NOUN", "PROPN", "VERB"), "content words": CONTENT} if groups is None else dict(groups)
    labels = [tuple(unit_labels(side, labeller)[0] for side in (each.a, each.b)) for each in results]
    rows, found = [], {label for couple in labels for side in couple for label in side}
    for name, wanted in known.items():
        if isinstance(wanted, str):
            raise TypeError(f"groups[{name!r}] must be a list of labels, got {wanted!r}")
        if not found.intersection(wanted):
            raise ValueError(
                f"groups[{name!r}]: no unit has one of the labels {list(wanted)}; units have {sorted(found)}"
            )
        sums = [_sum_over(each, a, b, set(wanted)) for each, (a, b) in zip(results, labels, strict=True)]
        rows.append((name, spearman(sums, scores)))
    everything = [_sum_over(each, a, b, None) for each, (a, b) in zip(results, labels, strict=True)]
    rows.append(("all words", spearman(everything, scores)))
    rows.append(("the model's score", spearman([each.score for each in results], scores)))
    return Table(f"Spearman correlation with human scores, {len(results)} pairs", ("kept", "Spearman"), tuple(rows))


def _sum_over(result: PairResult, a: Sequence[str], b: Sequence[str], wanted: set[str] | None) -> float:
    rows, columns = (
        [role == TEXT and (wanted is None or label in wanted) for role, label in zip(side.roles, labels, strict=True)]
        for side, labels in ((result.a, a), (result.b, b))
    )
    return float(result.matrix[np.ix_(rows, columns)].sum())


def contributions(results: Iterable[PairResult], labeller: Labeller, by: str = "pair") -> Table:
    """Computes contributions by class.

    Args:
        results: results of pairs of texts.
        labeller: function from a text to labelled spans.
        by: ``"label"`` assigns half of each cell to the label of its row and half to that of its column; ``"pair"``
            uses unordered pairs of labels; ``"relation"`` is as ``"label"``, for relations.

    Returns:
        For each class, the fraction of the total sum, the fraction of the cells, their ratio, and the number of cells.
        A ratio above 1 means that a cell of the class contributes more than the average cell.

    Raises:
        ValueError: ``by`` is unknown, there is no result, or spans exceed the text or overlap.
    """
    check_one_of(by, "by", ("label", "pair", "relation"))
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    results, n_without = _checked(results), 0
    for result in results:
        sides = []
        for side in (result.a, result.b):
            found, without = unit_labels(side, labeller, relations=by == "relation")
            sides.append([(at, label) for at, label in enumerate(found) if side.roles[at] == TEXT])
            n_without += without
        for s, one in sides[0]:
            for t, other in sides[1]:
                cell = cast(float, result.matrix[s, t])
                names = [" · ".join(sorted((one, other)))] if by == "pair" else [one, other]
                for name in names:
                    sums[name] = sums.get(name, 0.0) + cell / len(names)
                    counts[name] = counts.get(name, 0.0) + 1 / len(names)
    total, number = sum(sums.values()), sum(counts.values())
    rows = [
        (name, sums[name] / total, counts[name] / number, sums[name] / total / (counts[name] / number), counts[name])
        for name in sorted(sums, key=lambda name: -sums[name])
    ]
    columns = (by, "share of the sum", "share of cells", "times the mean cell", "cells")
    notes = (f"{n_without} labelled spans hold no token and are not counted",) if n_without else ()
    return Table(f"contributions by {by}, {len(results)} results", columns, tuple(rows), notes)


def lexical_bias(results: Iterable[PairResult]) -> Table:
    """Compares the contributions of pairs of equal words with those of all other pairs. Best with words as units.

    Raises:
        ValueError: there is no result.
    """
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    results = _checked(results)
    for result in results:
        rows, columns = ([at for at, role in enumerate(side.roles) if role == TEXT] for side in (result.a, result.b))
        for s in rows:
            for t in columns:
                same = result.a.tokens[s].casefold() == result.b.tokens[t].casefold()
                sums[same] += float(result.matrix[s, t])
                counts[same] += 1
    total, number = sum(sums.values()), sum(counts.values())
    shown = tuple(
        (name, sums[same] / total, counts[same] / number, sums[same] / max(counts[same], 1), counts[same])
        for name, same in (("the same word", True), ("other pairs", False))
    )
    columns = ("pairs", "share of the sum", "share of cells", "mean cell", "cells")
    return Table(f"lexical bias, {len(results)} results", columns, shown)


def _checked_shares(shares: Sequence[float]) -> list[float]:
    shares = as_entries(shares, "shares", "numbers")
    for place, share in enumerate(shares):
        if not 0 < checked_real(share, f"shares[{place}]") <= 1:
            raise ValueError(f"shares must be above 0 and at most 1, got {tuple(shares)}")
    return shares


def _checked(results: Iterable[PairResult]) -> list[PairResult]:
    found = as_entries(results, "results", "attributions")
    if not found:
        raise ValueError("results must hold at least one attribution, got none")
    return found


def _checked_scores(results: Sequence[PairResult], scores: Sequence[float]) -> list[float]:
    """Returns scores as floats, one for each result."""
    scores = as_entries(scores, "scores", "numbers")
    if len(results) != len(scores) or len(results) < 3:
        raise ValueError(f"scores must be as many as results, 3 at least, got {len(scores)} and {len(results)}")
    for place, score in enumerate(scores):
        checked_real(score, f"scores[{place}]")
    return [float(score) for score in scores]
