"""Marks around the strongest words of a hit. Hits with lower scores have fewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..text.marks import tagged
from .protocols import HitView, RankingView

__all__ = ["marked"]


def marked(
    hit: HitView,
    ranking: RankingView,
    pre: str,
    post: str,
    threshold: float,
    escape: Callable[[str], str] | None = None,
    part: tuple[int, int] | None = None,
) -> str:
    """Return the text of a hit with marks around its strongest words.

    The strongest word of a hit counts as the hit's score does beside the best one. Words of long documents have small
    weights, so each hit has its own scale.

    Args:
        hit: A hit with highlights.
        ranking: The ranking of the hit.
        pre, post: Put before and after each marked span.
        threshold: A fraction of the strongest word of the best hit, between 0 and 1.
        escape: Applied to each piece of the text.
        part: Characters [start, end) of the text. None returns the whole text.
    """
    words = hit.highlights()
    own, best = max((each.weight for each in words), default=0.0), max(ranking.scores)
    share = hit.score / best if best > 0 else 1.0
    largest = own / share if own > 0 and share > 0 else float("inf")
    start, end = (0, len(hit.text)) if part is None else part
    within = [
        replace(each, start=each.start - start, end=each.end - start)
        for each in words
        if start <= each.start and each.end <= end
    ]
    return tagged(hit.text[start:end], within, pre, post, threshold, escape, largest)
