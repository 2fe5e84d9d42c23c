"""Highlighted spans of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._utils.validation import checked_real

__all__ = ["Highlight", "marked_spans", "tagged"]


@dataclass(frozen=True)
class Highlight:
    """A highlighted span of a text."""

    start: int
    end: int
    """Characters [start, end)."""
    weight: float
    """The sum of the contributions of its units to the score."""
    text: str


def tagged(
    text: str,
    highlights: Sequence[Highlight],
    pre: str,
    post: str,
    threshold: float,
    escape: Callable[[str], str] | None = None,
    largest: float | None = None,
) -> str:
    """Mark the highlights with positive weight of at least ``threshold`` times the largest weight.

    Args:
        pre, post: Inserted before and after each marked span. Spans separated only by white space are merged.
        threshold: A fraction of the largest weight, between 0 and 1.
        escape: Applied to each piece of the text, such as `html.escape`. None leaves it unchanged.
        largest: The reference weight for the threshold. None takes the largest weight of the highlights.

    Raises:
        ValueError: The threshold is outside 0 … 1.
    """
    kept = (lambda piece: piece) if escape is None else escape
    pieces, at = [], 0
    for each in marked_spans(text, highlights, threshold, largest):
        pieces += [kept(text[at : each.start]), pre, kept(each.text), post]
        at = each.end
    return "".join([*pieces, kept(text[at:])])


def marked_spans(
    text: str, highlights: Sequence[Highlight], threshold: float, largest: float | None = None
) -> list[Highlight]:
    """Return the spans that `tagged` marks, in text order. Spans separated only by white space are merged.

    Args:
        text, highlights, threshold, largest: As for `tagged`.

    Raises:
        ValueError: The threshold is outside 0 … 1.
    """
    if not 0 <= checked_real(threshold, "threshold") <= 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold!r}")
    if largest is None:
        largest = max((each.weight for each in highlights), default=0.0)
    chosen = [each for each in highlights if each.weight > 0 and each.weight >= threshold * largest]
    merged: list[Highlight] = []
    for each in sorted(chosen, key=lambda one: (one.start, one.end)):
        before = merged[-1] if merged else None
        if before is not None and (each.start <= before.end or not text[before.end : each.start].strip()):
            start, end = before.start, max(each.end, before.end)
            merged[-1] = Highlight(start, end, before.weight + each.weight, text[start:end])
        else:
            merged.append(Highlight(each.start, each.end, each.weight, text[each.start : each.end]))
    return merged
