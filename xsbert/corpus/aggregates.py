"""Sums of contributions over a corpus in one pass: by word, by pair of words, or by any label of units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import t as student

from ..factors.text_factors import TextFactors
from ..text.display import display_tokens
from ..text.units import SPECIAL, unit_label
from .reading import Corpus, read_corpus
from .rows import side_of_row

__all__ = ["UnitsOfRow", "aggregate"]

BATCH = 256


@dataclass(frozen=True)
class UnitsOfRow:
    """The units of one text of one row: the input of a function that returns labels."""

    text: str
    """Prompt and text."""
    units: tuple[str, ...]
    """(S,) strings of the units."""
    roles: tuple[str, ...]
    """(S,) ``"text"``, ``"special"``, ``"prompt"`` or ``"rest"``."""
    spans: tuple[tuple[int, int], ...] | None
    """(S,) characters [start, end) of ``text``, or None."""
    side: str
    """The text of the row: ``"a"`` or ``"b"`` of a pair, ``"document"`` of highlights."""
    row: Mapping[str, Any]
    """The whole row, by column name."""


Labels = Callable[[UnitsOfRow], Sequence[str | None]]
Label = str | None | tuple[str | None, str | None]


def aggregate(
    folder: str | PathLike[str] | Corpus,
    by: str | Labels = "word",
    *,
    of: str = "units",
    confidence: float = 0.95,
) -> pa.Table:
    """Sum contributions over all rows of a corpus by label, in one pass.

    The contribution of a unit of a pair is half of its interactions plus its main effect, so that all units and the
    baseline sum to the score. The contribution of a unit of a document is its highlight. Rows without explanation are
    skipped. Memory grows with the number of labels, not with the number of rows.

    Args:
        folder: folder of a corpus of pairs or highlights.
        by: ``"word"`` uses the words as spelled in the texts, and null for special tokens; tokens are summed to words
            first. ``"role"`` uses ``"text"``, ``"special"`` and so on. A function returns one label, a string or None,
            for each unit of a text, such as a part of speech, an entity or a language.
        of: ``"units"``, or ``"pairs"`` of a unit of text a and one of text b. Pairs need a corpus of pairs with
            whole matrices.
        confidence: level of the intervals, between 0 and 1.

    Returns:
        One row for each label (``label``, or ``label_a`` and ``label_b``), in descending order of absolute sum:
        ``count`` of its units or pairs, ``rows`` with the label, ``sum``, ``mean``, and the bounds ``low`` and
        ``high`` of the mean's confidence interval, null if only one row has the label. Units of one row are not
        independent, so the interval treats rows as clusters. It uses the linearised variance of a ratio (Cochran,
        Sampling Techniques, chapter 6) and Student's t. It ignores that texts may recur in several rows.

    Raises:
        ValueError: the corpus does not store what is needed, or an argument is outside its allowed values.
        TypeError: a function returns a wrong number of labels, or labels of another type.
    """
    corpus = folder if isinstance(folder, Corpus) else read_corpus(folder)
    _check(corpus, by, of, confidence)
    sums: dict[Label, _Sums] = {}
    for row in _rows(corpus, of):
        sides = [_labelled(row, side, shares, by) for side, shares in _shares(corpus, row)]
        entries = _units(sides) if of == "units" else _cells(row, sides)
        for label, (n, total) in _by_label(*entries).items():
            sums.setdefault(label, _Sums()).add(n, total)
    return _table(sums, of, confidence)


@dataclass
class _Sums:
    """Sums over rows with n entries of a label that sum to y: Σ n, Σ y, and the squares for a variance."""

    rows: int = 0
    count: int = 0
    total: float = 0.0
    yy: float = 0.0
    yn: float = 0.0
    nn: float = 0.0

    def add(self, n: int, y: float) -> None:
        self.rows += 1
        self.count += n
        self.total += y
        self.yy += y * y
        self.yn += y * n
        self.nn += n * n

    def margin(self, confidence: float) -> float | None:
        """Returns half the width of the interval around the mean."""
        if self.rows < 2:
            return None
        mean = self.total / self.count
        spread = max(0.0, self.yy - 2 * mean * self.yn + mean**2 * self.nn)
        error = np.sqrt(spread * self.rows / (self.rows - 1)) / self.count
        return float(student.ppf(0.5 + confidence / 2, self.rows - 1) * error)


def _check(corpus: Corpus, by: str | Labels, of: str, confidence: float) -> None:
    if corpus.task.what == "factors":
        raise ValueError("a corpus of factors has no contributions: aggregate needs a corpus of pairs or highlights")
    if of not in ("units", "pairs"):
        raise ValueError(f"of must be 'units' or 'pairs', got {of!r}")
    if of == "pairs" and (corpus.task.what != "pairs" or corpus.task.top_k is not None):
        raise ValueError(
            "of='pairs' needs a corpus of what='pairs' without top_k: sums over only the strongest pairs would be "
            f"biased; this corpus has what={corpus.task.what!r}, top_k={corpus.task.top_k}"
        )
    if not callable(by) and by not in ("word", "role"):
        raise ValueError(f"by must be 'word', 'role' or a function, got {by!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}")


def _rows(corpus: Corpus, of: str) -> Iterator[dict[str, Any]]:
    """Yields explained rows. Matrices are read only for pairs of units."""
    names = [name for name in corpus.dataset().schema.names if of == "pairs" or name not in ("matrix", "top")]
    for batch in corpus.batches(names, BATCH):
        yield from (row for row in batch.to_pylist() if row["reason"] is None)


def _shares(corpus: Corpus, row: Mapping[str, Any]) -> list[tuple[str, list[float]]]:
    if corpus.task.what == "highlights":
        return [("document", row["contributions"])]
    return [(side, row[f"contributions_{side}"]) for side in "ab"]


def _labelled(
    row: Mapping[str, Any], side: str, shares: Sequence[float], by: str | Labels
) -> tuple[list[str | None], TextFactors]:
    """Returns a label for each unit, and the units. Their factors hold contributions and token positions."""
    name, suffix = ("document", "") if side == "document" else (f"text_{side}", f"_{side}")
    numbers = np.concatenate([np.array(shares)[:, None], np.eye(len(shares))], axis=1)
    empty = np.zeros(1)
    text = side_of_row(row, name, suffix, factors=numbers, embedding=empty, reference_term=empty, normalisation=1.0)
    if by == "word" and text.word_ids is not None:
        text = text.words()
    if by == "word":
        return _words(text), text
    if isinstance(by, str):
        return list(text.roles), text
    given = UnitsOfRow(text.text, text.tokens, text.roles, text.spans, side, row)
    labels = list(by(given))
    if len(labels) != len(text.tokens):
        raise TypeError(f"by must give {len(text.tokens)} labels for the units of {text.text!r:.60}, got {len(labels)}")
    wrong = [label for label in labels if not isinstance(label, (str, type(None)))]
    if wrong:
        raise TypeError(f"by must give strings or None, got {wrong[0]!r:.80}")
    return labels, text


def _words(text: TextFactors) -> list[str | None]:
    """Returns the units as spelled in the text, and None for special tokens."""
    labels = display_tokens(text)
    if text.spans is not None:
        pieces = [text.text[start:end] for start, end in text.spans]
        labels = [*map(unit_label, pieces, text.roles, ([token] for token in text.tokens))]
    return [None if role == SPECIAL else label for label, role in zip(labels, text.roles, strict=True)]


def _units(sides: Sequence[tuple[list[str | None], TextFactors]]) -> tuple[Sequence[Label], np.ndarray]:
    labels = [label for own, _ in sides for label in own]
    return labels, np.concatenate([text.factors[:, 0] for _, text in sides])


def _cells(
    row: Mapping[str, Any], sides: Sequence[tuple[list[str | None], TextFactors]]
) -> tuple[Sequence[Label], np.ndarray]:
    (labels_a, a), (labels_b, b) = sides
    matrix = a.factors[:, 1:] @ np.array(row["matrix"]) @ b.factors[:, 1:].T
    return [(one, other) for one in labels_a for other in labels_b], matrix.ravel()


def _by_label(labels: Sequence[Label], values: np.ndarray) -> dict[Label, tuple[int, float]]:
    """Returns the number and the sum of the entries of each label in one row."""
    found: dict[Label, tuple[int, float]] = {}
    for label, value in zip(labels, values.tolist(), strict=True):
        n, total = found.get(label, (0, 0.0))
        found[label] = n + 1, total + value
    return found


def _table(sums: Mapping[Label, _Sums], of: str, confidence: float) -> pa.Table:
    ordered = sorted(sums.items(), key=lambda item: -abs(item[1].total))
    means = [entry.total / entry.count for _, entry in ordered]
    margins = [entry.margin(confidence) for _, entry in ordered]
    ends = [(None, None) if m is None else (mean - m, mean + m) for mean, m in zip(means, margins, strict=True)]
    names = {"label": [label for label, _ in ordered]}
    if of == "pairs":
        both = [label if isinstance(label, tuple) else (label, label) for label, _ in ordered]
        names = {f"label_{side}": [label[place] for label in both] for place, side in enumerate("ab")}
    return pa.table(
        {
            **{name: pa.array(values, pa.string()) for name, values in names.items()},
            "count": pa.array([entry.count for _, entry in ordered], pa.int64()),
            "rows": pa.array([entry.rows for _, entry in ordered], pa.int64()),
            "sum": pa.array([entry.total for _, entry in ordered], pa.float64()),
            "mean": pa.array(means, pa.float64()),
            "low": pa.array([low for low, _ in ends], pa.float64()),
            "high": pa.array([high for _, high in ends], pa.float64()),
        }
    )
