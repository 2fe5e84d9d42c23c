"""Probes of negation and of antonyms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._utils.sequences import as_entries
from ...attribution.attribution import Attribution
from ...factors.text_factors import TextFactors
from ...models import XSTransformer
from .tables import Table

__all__ = ["ANTONYMS", "NEGATIONS", "SYNONYMS", "probe_negation", "probe_opposites"]

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
# (text, text with one word exchanged, the word in the first text, the word in the second)
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


def probe_negation(
    model: XSTransformer, sentences: Sequence[tuple[str, str, str]] = NEGATIONS, **options: Any
) -> Table:
    """Score texts against their negations, and compute the contribution of the negating word.

    Args:
        sentences: (text, negated text, negating word).
        **options: options of `XSTransformer.explain_pairs`, except ``units``.

    Returns:
        A row for each pair: the score, the sum of the column of the negating word, and the sum with its main effect.
        A negative number means that the word lowers the similarity.

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
    """Compare texts with a word exchanged for its antonym, for a synonym, or not at all.

    The table has the mean cell of the two words and the score.

    Args:
        antonyms, synonyms: (text, text with one word exchanged, word of the first text, word of the second).
        **options: options of `XSTransformer.explain_pairs`, except ``units``.

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
    """Returns the results of all pairs, in words. A probe needs all of them."""
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
