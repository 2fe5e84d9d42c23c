"""Highlights of a text: words, sentences or passages with their weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._utils.validation import check_one_of
from ..factors.contributions import Contributions, by_sentence
from ..text.marks import Highlight
from ..text.units import TEXT, visible_span

__all__ = ["HIGHLIGHT_UNITS", "best_stretches", "highlights_of"]

HIGHLIGHT_UNITS = ("words", "sentences", "passages")


def highlights_of(shares: Contributions, units: str = "words") -> list[Highlight]:
    """Return spans of a text with the sums of their units' contributions, largest first.

    ``"words"`` are the units of the contributions, except those of only white space. ``"sentences"`` contain the units
    that begin in them (see `sentence_ranges`). ``"passages"`` are runs of units with contributions above the mean: all
    maximal scoring subsequences (Ruzzo & Tompa, ISMB 1999) of the contributions minus their mean.

    Raises:
        ValueError: ``units`` is none of these, or the tokenizer has no character offsets.
    """
    check_one_of(units, "units", HIGHLIGHT_UNITS)
    if shares.spans is None:
        raise ValueError("highlights need the tokenizer's offsets, which only fast tokenizers have")
    known = by_sentence(shares) if units == "sentences" else shares
    every = known.spans or ()
    places = [at for at, (start, end) in enumerate(every) if known.roles[at] == TEXT and start < end]
    if units == "words":
        places = [at for at in places if shares.text[slice(*every[at])].strip()]
    spans, values = [every[at] for at in places], known.values[places]
    runs = [(at, at + 1) for at in range(len(spans))]
    if units == "passages" and len(values):
        runs = best_stretches(values - values.mean())
    found = []
    for first, last in runs:
        start, end = visible_span(shares.text, (spans[first][0], spans[last - 1][1]))
        found.append(Highlight(start, end, float(values[first:last].sum()), shares.text[start:end]))
    return sorted(found, key=lambda each: -each.weight)


def best_stretches(values: Sequence[float] | np.ndarray) -> list[tuple[int, int]]:
    """Return disjoint ranges [start, end) of largest sum: the best one, then the best on either side, recursively.

    >>> best_stretches([1.0, -3.0, 2.0, -1.0, 2.0])
    [(0, 1), (2, 5)]
    """
    found, waiting = [], [(0, len(values))]
    while waiting:
        first, last = waiting.pop()
        best, at, total, begin = 0.0, None, 0.0, first
        for place in range(first, last):
            if total <= 0:
                total, begin = 0.0, place
            total += float(values[place])
            if total > best:
                best, at = total, (begin, place + 1)
        if at is not None:
            found.append(at)
            waiting += [(first, at[0]), (at[1], last)]
    return sorted(found)
