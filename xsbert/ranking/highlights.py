"""Highlights of a text: words or sentences with their weights."""

from __future__ import annotations

from .._utils.validation import check_one_of
from ..factors.contributions import Contributions, by_sentence
from ..text.marks import Highlight
from ..text.units import TEXT, visible_span

__all__ = ["HIGHLIGHT_UNITS", "highlights_of"]

HIGHLIGHT_UNITS = ("words", "sentences")


def highlights_of(shares: Contributions, units: str = "words") -> list[Highlight]:
    """Return spans of a text with the sums of their units' contributions, largest first.

    ``"words"`` are the units of the contributions, except those of only white space. ``"sentences"`` contain the units
    that begin in them (see `sentence_ranges`).

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
    found = []
    for span, value in zip(spans, values, strict=True):
        start, end = visible_span(shares.text, span)
        found.append(Highlight(start, end, float(value), shares.text[start:end]))
    return sorted(found, key=lambda each: -each.weight)
