"""Chooses forward or reverse mode for each text of many pairs, at the least cost.

Forward mode gives full factors. It costs S + 1 evaluations per node, for any number of partners. Reverse mode costs one
backward pass per node for each direction that a partner needs. Its factors are valid for these partners only, and the
partners need full factors. Costs are passes per node; a backward pass counts as `BACKWARD_COST` forward passes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from .._utils.sequences import as_pairs, column_names, plain_text
from .._utils.tables import as_table, plain_rows
from ..factors.text_factors import ProjectedFactors, TextFactors
from . import Explainer
from .batch_run import BACKWARD_COST, spanning
from .failures import OF_A_TEXT, skip_or_raise
from .tokenization import TokenizedText

__all__ = ["TEXT_PAIR", "factors_for_pairs", "in_units", "pairs_of", "pulled_back_texts", "two_texts"]

Key = TypeVar("Key", bound=Hashable)
TEXT_PAIR = ("text_a", "text_b")
"""Names of the columns of two texts in tables and dictionaries."""


def pairs_of(pairs: Any) -> list[Any]:
    """Return pairs by position. Rows of a table and dictionaries become tuples; other entries stay unchanged.

    Args:
        pairs: a table with the columns ``text_a`` and ``text_b``, or with only two columns (see
            `xsbert._utils.tables.as_table`); or a sequence of pairs or of dictionaries with these keys.

    Raises:
        TypeError: a table has neither; or ``pairs`` is a string, a dictionary or a set.

    >>> import pandas as pd
    >>> pairs_of(pd.DataFrame({"id": [7], "text_b": ["Freezing."], "text_a": ["A cold day."]}, index=[3]))
    [('A cold day.', 'Freezing.')]
    """
    table = as_table(pairs)
    if table is not None:
        named = set(TEXT_PAIR) <= set(table.names)
        if not named and len(table.names) != 2:
            raise TypeError(
                "pairs must be a table with the columns text_a and text_b, or with two columns alone, got a "
                f"{table.kind} with {', '.join(map(repr, table.names)) or 'none'}: pass two of its columns, such as "
                'frame[["premise", "hypothesis"]], or rename them'
            )
        return [*zip(*table.columns(TEXT_PAIR if named else table.names), strict=True)]
    return [
        tuple(row[name] for name in TEXT_PAIR) if isinstance(row, Mapping) and set(TEXT_PAIR) <= set(row) else row
        for row in as_pairs(plain_rows(pairs), "pairs")
    ]


def two_texts(pair: Any, place: int) -> tuple[Any, Any]:
    """Return texts a and b of an entry of ``pairs``, without checking their types.

    Args:
        pair: the entry.
        place: position of the entry, for the message.

    Raises:
        TypeError: the entry does not hold two texts.

    >>> two_texts("ab", 0)
    Traceback (most recent call last):
    TypeError: pairs[0] must be two texts, got 'ab'
    """
    # Strings, mappings and tables unpack to something else than texts, and sets in any order.
    if not isinstance(pair, (str, bytes, Mapping, Set)) and column_names(pair) is None:
        with suppress(TypeError, ValueError):
            text_a, text_b = pair
            return plain_text(text_a), plain_text(text_b)
    raise TypeError(f"pairs[{place}] must be two texts, got {pair!r:.80}")


def factors_for_pairs(
    explainer: Explainer,
    texts: Sequence[TokenizedText | None],
    pairs: Iterable[tuple[int, int]],
    *,
    units: str = "tokens",
    errors: str = "raise",
) -> list[TextFactors | None]:
    """Compute the factors that the given pairs need, each distinct text once and by the cheaper direction.

    Args:
        explainer: explainer of the model.
        texts: tokenized texts, None for texts that are already skipped.
        pairs: positions of the two texts of each pair.
        units: as for `XSTransformer.text_factors`.
        errors: ``"raise"``, or ``"skip"`` to warn of a text that cannot be explained and return None for it.

    Returns:
        for each text its factors in these units, or with reverse mode `ProjectedFactors` of its tokens. `in_units`
        converts these to factors that are valid for the partners of the text.
    """
    distinct = {text.key: text for text in texts if text is not None}
    partners: dict[tuple[str, str, str], dict[tuple[str, str, str], None]] = {key: {} for key in distinct}
    for a, b in pairs:
        one, other = texts[a], texts[b]
        if one is not None and other is not None:
            partners[one.key][other.key] = None
            partners[other.key][one.key] = None
    reverse = pulled_back_texts({key: len(text.tokens) for key, text in distinct.items()}, partners)
    own = [key for key in distinct if key not in set(reverse)]
    factors = explainer.factors_of([distinct[key] for key in own], units=units, errors=errors)
    known = dict(zip(own, factors, strict=True))
    sides = {key: [side for other in partners[key] if (side := known[other]) is not None] for key in reverse}
    left = [key for key in reverse if sides[key]]
    known |= dict.fromkeys(reverse)
    directions = [spanning(np.vstack([_needed(side) for side in sides[key]])) for key in left]
    known |= zip(left, _projected(explainer, [distinct[key] for key in left], directions, errors), strict=True)
    return [None if text is None else known[text.key] for text in texts]


def pulled_back_texts(lengths: Mapping[Key, int], partners: Mapping[Key, Iterable[Key]]) -> list[Key]:
    """Choose the texts for reverse mode. All their partners use forward mode.

    Args:
        lengths: number of tokens of each text.
        partners: partners of each text.

    Returns:
        the chosen texts, longest first. Of two partners, the one that saves more is chosen.

    >>> pulled_back_texts({"query": 10, "short": 12, "long": 200}, {"query": ["short", "long"], "short": ["query"],
    ...     "long": ["query"]})
    ['long']
    """
    savings = {}
    for key, others in partners.items():
        n_directions = sum(lengths[other] + 2 for other in others)
        savings[key] = lengths[key] + 1 - BACKWARD_COST * (n_directions + 1) if n_directions else 0
    chosen: dict[Key, None] = {}
    full: set[Key] = set()
    for key in sorted(savings, key=lambda key: -savings[key]):
        if savings[key] > 0 and key not in full and not any(other == key or other in chosen for other in partners[key]):
            chosen[key] = None
            full.update(partners[key])
    return sorted(chosen, key=lambda key: -lengths[key])


def in_units(side: TextFactors, units: str) -> TextFactors:
    """Convert a result of `factors_for_pairs` to factors for an `Attribution`."""
    if not isinstance(side, ProjectedFactors):
        return side
    full = side.expanded()
    if units == "tokens":
        return full
    return full.words() if units == "words" else full.over(units)


def _needed(partner: TextFactors) -> np.ndarray:
    return np.vstack([partner.factors, partner.reference_term[None], partner.embedding[None]])


def _projected(
    explainer: Explainer, texts: Sequence[TokenizedText], directions: Sequence[np.ndarray], errors: str
) -> list[ProjectedFactors | None]:
    """Compute the projected factors of all texts, or of each separately if that fails."""
    if not texts:
        return []
    try:
        return [*explainer.projected(texts, directions)]
    except OF_A_TEXT as error:
        if len(texts) == 1:
            skip_or_raise(error, errors, texts[0].name)
            return [None]
    return [
        each
        for text, own in zip(texts, directions, strict=True)
        for each in _projected(explainer, [text], [own], errors)
    ]
