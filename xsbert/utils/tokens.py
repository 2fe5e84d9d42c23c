"""Reduce tokens to larger units. Reductions sum, so that the total is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

__all__ = ["PROMPT", "SPECIAL", "TEXT", "sum_groups", "word_groups"]

TEXT, SPECIAL, PROMPT = "text", "special", "prompt"


def sum_groups(values: np.ndarray, groups: Sequence[Sequence[int]], axis: int = 0) -> np.ndarray:
    """Sum a token axis over groups of tokens.

    Args:
        values: any shape, with S entries on ``axis``.
        groups: G lists of token positions that together hold every position exactly once.
        axis: the token axis.

    Returns:
        as ``values``, with G entries on ``axis``; its sum is that of ``values``.

    Raises:
        ValueError: the groups leave a position out or hold one twice.
    """
    values = np.asarray(values)
    n_tokens = values.shape[axis]
    held = [position for group in groups for position in group]
    if sorted(held) != list(range(n_tokens)):
        raise ValueError(f"groups must hold each of the positions 0 … {n_tokens - 1} exactly once, got {groups!r:.200}")
    return np.stack([values.take(group, axis=axis).sum(axis) for group in groups], axis=axis)


def word_groups(
    word_ids: Sequence[int | None],
    roles: Sequence[str],
    spans: Sequence[tuple[int, int]],
    text: str,
) -> list[list[int]]:
    """Group tokens by the tokenizer's own words; special tokens stay alone.

    Some tokenizers (Gemma's, Llama's) take a whole sentence for one word. Where a word of theirs runs over
    white space, it is split there, by the tokens' character offsets.

    Args:
        word_ids: the tokenizer's word of each of the S tokens, None for special tokens.
        roles: ``"text"``, ``"special"`` or ``"prompt"`` of each token.
        spans: characters [start, end) of each token in ``text``.
        text: the tokenized text, prompt included.

    Returns:
        lists of token positions, in order.
    """
    white = [match.start() for match in re.finditer(r"\s", text)]
    groups: list[list[int]] = []
    previous: tuple | None = None
    for position, (word, role, (start, end)) in enumerate(zip(word_ids, roles, spans, strict=True)):
        # A token belongs to the piece of text between two white spaces that holds its last visible character.
        visible = text[start:end].rstrip()
        piece = int(np.searchsorted(white, start + len(visible) - 1)) if visible.strip() else None
        if piece is None and previous is not None:
            piece = previous[2]
        key = (word, role, piece)
        if word is None or key != previous:
            groups.append([])
        groups[-1].append(position)
        previous = None if word is None else key
    return groups
