"""Roles of tokens, and sums of tokens over words, sentences and other ranges. Sums keep the total."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import index

import numpy as np

__all__ = [
    "PROMPT",
    "REST",
    "SPECIAL",
    "TEXT",
    "UNITS",
    "check_ranges",
    "check_units",
    "holds_text",
    "range_groups",
    "sentence_ranges",
    "sum_groups",
    "unit_label",
    "visible_span",
    "word_groups",
]

TEXT, SPECIAL, PROMPT, REST = "text", "special", "prompt", "rest"
# The units of explanations.
UNITS = ("tokens", "words", "sentences")

# Chinese and Japanese put no space after a sentence.
# Matches start only at the first mark of a run. Starting at every mark takes quadratic time for long runs.
SENTENCE_END = re.compile(r"""(?<![.!?…؟।])[.!?…؟।]+["'”’»)\]]*(?=\s|$)|[。！？]+[」』”’）]*|\n\s*\n""")


def holds_text(role: str) -> bool:
    """Return whether units of a role hold the text itself, inside or outside ranges. Other units are added to it.

    >>> [role for role in (TEXT, SPECIAL, PROMPT, REST) if holds_text(role)]
    ['text', 'rest']
    """
    return role in (TEXT, REST)


def check_units(units: str) -> None:
    """Raise ValueError unless the units are ``"tokens"``, ``"words"`` or ``"sentences"``.

    >>> check_units("word")
    Traceback (most recent call last):
    ValueError: units must be one of 'tokens', 'words', 'sentences', got 'word'
    """
    if units not in UNITS:
        raise ValueError(f"units must be one of {', '.join(map(repr, UNITS))}, got {units!r}")


def sum_groups(values: np.ndarray, groups: Sequence[Sequence[int]], axis: int = 0) -> np.ndarray:
    """Sum a token axis over groups of tokens.

    Args:
        values: An array of any shape, with S entries on ``axis``.
        groups: G lists of token positions that together hold every position exactly once.
        axis: The token axis.

    Returns:
        An array like ``values``, with G entries on ``axis`` and the same sum.

    Raises:
        ValueError: The groups omit or repeat a position.

    >>> sum_groups(np.array([1.0, 2.0, 3.0]), [[0], [1, 2]])
    array([1., 5.])
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
    """Group tokens by the tokenizer's words. Special tokens stay separate.

    Some tokenizers (Gemma's, Llama's) treat a whole sentence as one word. A word that contains white space is split
    there, by the tokens' character offsets. A white-space token joins visible tokens of the same tokenizer word: those
    before it or, at the beginning, those after it.

    Args:
        word_ids: The tokenizer's word id of each of the S tokens, None for special tokens.
        roles: ``"text"``, ``"special"`` or ``"prompt"`` for each token.
        spans: Characters [start, end) of each token in ``text``.
        text: The tokenized text, prompt included.

    Returns:
        Lists of token positions, in order.

    >>> word_groups([None, 0, 0, 1, None], ["special", "text", "text", "text", "special"],
    ...             [(0, 0), (0, 4), (4, 6), (7, 9), (0, 0)], "unpack it")
    [[0], [1, 2], [3], [4]]
    """
    white = [match.start() for match in re.finditer(r"\s", text)]
    pieces = [_piece(text, span, white) for span in spans]
    words = [*zip(word_ids, roles, strict=True)]
    for position in range(len(words) - 1, -1, -1):
        begins = position == 0 or words[position - 1] != words[position]
        goes_on = position + 1 < len(words) and words[position + 1] == words[position]
        if pieces[position] is None and begins and goes_on:
            pieces[position] = pieces[position + 1]
    groups: list[list[int]] = []
    previous: tuple | None = None
    for position, ((word, role), piece) in enumerate(zip(words, pieces, strict=True)):
        if piece is None and previous is not None:
            piece = previous[2]
        key = (word, role, piece)
        if word is None or key != previous:
            groups.append([])
        groups[-1].append(position)
        previous = None if word is None else key
    return groups


def _piece(text: str, span: tuple[int, int], white: Sequence[int]) -> int | None:
    """Return the index of the white-space-separated piece with the last visible character of a span, or None."""
    start, end = visible_span(text, span)
    return bisect_left(white, end - 1) if text[start:end].strip() else None


def visible_span(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """Trim white space from a span. A span of only white space does not change.

    >>> visible_span("a cold day", (1, 6))
    (2, 6)
    """
    start, end = span
    piece = text[start:end]
    return (end - len(piece.lstrip()), start + len(piece.rstrip())) if piece.strip() else (start, end)


def unit_label(piece: str, role: str, tokens: Sequence[str]) -> str:
    r"""Return the label of a unit: its characters in the text, not in the vocabulary.

    Args:
        piece: The unit's characters in the text.
        role: The unit's role.
        tokens: The unit's tokens as in the vocabulary. They are the label of special tokens.

    Returns:
        The characters without surrounding white space; ``↵`` or ``␣`` for a line break or other white space that the
        vocabulary writes differently; ``(rest)`` for the role ``"rest"``.

    >>> unit_label(" naïve", TEXT, ["Ġna", "Ã", "¯", "ve"]), unit_label("\n\n", TEXT, ["ĊĊ"])
    ('naïve', '↵')
    """
    if role == REST:
        return "(rest)"
    spelled = "".join(tokens)
    if role == SPECIAL or (piece and spelled == piece):
        return spelled.strip() or spelled
    return piece.strip() or ("↵" if "\n" in piece else "␣")


def sentence_ranges(text: str) -> list[tuple[int, int]]:
    """Split a text into sentences by punctuation.

    A sentence ends after . ! ? … ؟ । before white space or the end of the text, after any 。！？, and at a blank line.
    Closing quotes and brackets are included. The rule is simple: it splits after abbreviations (“Dr. Smith”), and does
    not split sentences without such a mark, as in headings and lists.

    Returns:
        Characters [start, end) of each sentence, in order, without surrounding white space.

    >>> sentence_ranges("It rains. We stay in!")
    [(0, 9), (10, 21)]
    """
    starts = [0, *(match.end() for match in SENTENCE_END.finditer(text))]
    ranges = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        piece = text[start:end]
        if piece.strip():
            ranges.append((end - len(piece.lstrip()), start + len(piece.rstrip())))
    return ranges


def check_ranges(ranges: Iterable[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Validate character ranges and return them as pairs of integers.

    Args:
        ranges: Ranges [start, end), in any order.
        length: Length of the text.

    Raises:
        TypeError: A range is not a pair of integers.
        ValueError: A range is empty or exceeds the text, or two overlap.

    >>> check_ranges([(4, 9), (0, 3)], 9)
    [(4, 9), (0, 3)]
    """
    checked = []
    for pair in ranges:
        try:
            start, end = map(index, pair)
        except (TypeError, ValueError):
            raise TypeError(f"a range must be a pair (start, end) of integers, got {pair!r:.80}") from None
        if not 0 <= start < end <= length:
            raise ValueError(f"a range must have 0 ≤ start < end ≤ {length}, the length of the text, got {pair!r}")
        checked.append((start, end))
    for first, second in pairwise(sorted(checked)):
        if second[0] < first[1]:
            raise ValueError(f"ranges must not overlap, got {first} and {second}")
    return checked


def range_groups(
    spans: Sequence[tuple[int, int]],
    roles: Sequence[str],
    text: str,
    ranges: Sequence[tuple[int, int]],
) -> tuple[list[list[int]], list[int | None]]:
    """Group tokens by ranges of characters.

    A token belongs to the range that holds at least half of its visible characters, the earlier one in a tie. A token
    without visible characters belongs to the range where it begins, or else to that of the previous token.

    Args:
        spans: Characters [start, end) of each of the S tokens in ``text``.
        roles: ``"text"``, ``"special"``, ``"prompt"`` or ``"rest"`` for each token.
        text: The tokenized text, prompt included.
        ranges: Characters [start, end), without overlaps.

    Returns:
        Lists of token positions, ordered by first position, and the place of each list's range in ``ranges``. The
        place is None for special tokens, the prompt, and text outside all ranges.

    >>> range_groups([(0, 2), (3, 5), (6, 10)], ["text"] * 3, "It is fine.", [(0, 5)])
    ([[0, 1], [2]], [0, None])
    """
    groups: dict[tuple[str, int | None], list[int]] = {}
    ordered = sorted((start, end, place) for place, (start, end) in enumerate(ranges))
    owner: int | None = None
    for position, (span, role) in enumerate(zip(spans, roles, strict=True)):
        if role == TEXT:
            owner = _owner(span, text, ordered, owner)
            key = (REST, None) if owner is None else (TEXT, owner)
        else:
            key = (role, position if role == SPECIAL else None)
        groups.setdefault(key, []).append(position)
    return list(groups.values()), [owner if role == TEXT else None for role, owner in groups]


def _owner(span: tuple[int, int], text: str, ordered: Sequence[tuple[int, int, int]], before: int | None) -> int | None:
    """Return the place of a token's range. ``ordered`` holds sorted ranges (start, end, place).

    Only ranges that the token touches are checked, which keeps the total time linear.
    """
    visible = [place for place in range(*span) if not text[place].isspace()]
    # Ranges do not overlap, so their ends are sorted as well.
    first = bisect_right(ordered, span[0], key=lambda known: known[1])
    for start, end, place in ordered[first : bisect_left(ordered, (max(span[1], span[0] + 1),))]:
        if not visible and start <= span[0]:
            return place
        n_held = bisect_left(visible, end) - bisect_left(visible, start)
        if visible and 2 * n_held >= len(visible):
            return place
    return None if visible else before
