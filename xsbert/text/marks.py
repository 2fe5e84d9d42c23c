"""Highlighted spans of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._utils.validation import checked_real

__all__ = ["Highlight", "tagged"]


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
    if not 0 <= checked_real(threshold, "threshold") <= 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold!r}")
    kept = (lambda piece: piece) if escape is None else escape
    if largest is None:
        largest = max((each.weight for each in highlights), default=0.0)
    chosen = sorted(
        (each.start, each.end) for each in highlights if each.weight > 0 and each.weight >= threshold * largest
    )
    merged: list[tuple[int, int]] = []
    for start, end in chosen:
        if merged and (start <= merged[-1][1] or not text[merged[-1][1] : start].strip()):
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    pieces, at = [], 0
    for start, end in merged:
        pieces += [kept(text[at:start]), pre, kept(text[start:end]), post]
        at = end
    return "".join([*pieces, kept(text[at:])])
