"""Splits of long documents into overlapping passages, cut between words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["passage_ranges", "passages_of"]


def passage_ranges(
    spans: Sequence[tuple[int, int]], words: Sequence[int | None] | None, size: int, overlap: int
) -> list[tuple[int, int]]:
    """Return character ranges of windows over the tokens of a text.

    Args:
        spans: (T,) characters [start, end) of each token, without special tokens.
        words: (T,) the tokenizer's word id of each token. Windows begin and end between words and may be shorter
            than ``size``. None cuts between tokens.
        size: Maximum number of tokens in a window.
        overlap: Tokens shared with the previous window, fewer than ``size``, up to the next word's start.

    Returns:
        Characters [start, end) of each window. The windows cover all tokens.

    >>> passage_ranges([(0, 1), (2, 3), (4, 5), (6, 7)], None, 2, 1)
    [(0, 3), (2, 5), (4, 7)]
    """
    n_tokens = len(spans)
    if words is None or all(word is None for word in words):
        starts = set(range(n_tokens))
    else:
        starts = {at for at in range(n_tokens) if at == 0 or words[at] != words[at - 1] or words[at] is None}
    ranges: list[tuple[int, int]] = []
    first = reached = 0
    while reached < n_tokens:
        last = _between_words(min(first + size, n_tokens), first, starts, n_tokens)
        if last <= reached < n_tokens and first < reached:
            # The overlap and a long word left no room for new tokens.
            first = reached
            last = _between_words(min(first + size, n_tokens), first, starts, n_tokens)
        ranges.append((spans[first][0], spans[last - 1][1]))
        reached = last
        first = max(last - overlap, first + 1)
        while first < last and first not in starts:
            first += 1
    return ranges


def passages_of(text: str, tokenizer: Any, size: int, overlap: int) -> list[tuple[int, int]]:
    """Return `passage_ranges` of a whole text with a fast tokenizer, ignoring the model's limit.

    Raises:
        ValueError: The tokenizer has no character offsets.
    """
    if hasattr(tokenizer, "encode_batch_fast"):
        # A static model has a tokenizer of the package tokenizers, which holds its own limit.
        whole = type(tokenizer).from_str(tokenizer.to_str())
        whole.no_truncation()
        encoding = whole.encode(text, add_special_tokens=False)
        return passage_ranges(encoding.offsets, encoding.word_ids, size, overlap) or [(0, len(text))]
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError("passages need the tokenizer's offsets, which only fast tokenizers have")
    found = tokenizer(text, add_special_tokens=False, truncation=False, return_offsets_mapping=True, verbose=False)
    spans = [tuple(span) for span in found["offset_mapping"]]
    return passage_ranges(spans, found.word_ids(0), size, overlap) or [(0, len(text))]


def _between_words(last: int, first: int, starts: set[int], n_tokens: int) -> int:
    """Return the last word boundary at or before ``last``, or ``last`` itself if one word fills the window."""
    if last == n_tokens:
        return last
    at = last
    while at > first and at not in starts:
        at -= 1
    return at if at > first else last
