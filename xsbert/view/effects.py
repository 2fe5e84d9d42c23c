"""Contributions of words and pairs to the score. All views rank and shade by them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from .._utils.arrays import largest_entries
from .._utils.validation import checked_integer
from ..text.display import display_tokens
from ..text.units import PROMPT, TEXT, holds_text
from .protocols import PairView, TextView

__all__ = [
    "WordEffect",
    "by_word",
    "effects",
    "top_pairs",
    "unknown_units",
    "word_effects",
    "words_of",
]

# Names of the unknown token: [UNK], <unk>, <|unk|>, unk.
UNKNOWN = re.compile(r"[\[<|]*unk(nown)?[\]>|]*", re.IGNORECASE)


class WordEffect(NamedTuple):
    """The contribution of one word to the score."""

    word: str
    value: float
    """The sum of its row or column of interactions plus its main effect, in units of the score."""
    role: str
    """``"text"``, ``"special"``, ``"prompt"`` or ``"rest"``."""
    span: tuple[int, int] | None
    """Characters [start, end) of the text with its prompt, or None if the tokenizer has no offsets."""


def words_of(text: TextView) -> Any:
    """Return the text in words, or in its own units if the tokenizer has no word ids."""
    return text if text.word_ids is None or text.spans is None else text.words()


def by_word(result: Any) -> Any:
    """Return the result in words, for each text with word ids."""
    sides = ("words" if side.word_ids is not None and side.spans is not None else None for side in (result.a, result.b))
    return result.over(*sides)


def effects(result: PairView) -> tuple[np.ndarray, np.ndarray]:
    """Compute the (S,) and (T,) effects of the units: interactions with the whole other text plus main effect.

    The effect of a unit of text a is V_a · (Σ_t V_b[t] + ρ_b) / c. It equals V_a · f(b) / c up to the integration error
    of b. Each interaction counts in both texts.
    """
    return result.matrix.sum(1) + result.main_effects_a, result.matrix.sum(0) + result.main_effects_b


def word_effects(result: Any) -> tuple[list[WordEffect], list[WordEffect]]:
    """Return the effects of the words of a and of b, in text order."""
    words = by_word(result)
    effects_a, effects_b = effects(words)
    return _word_effects(words.a, effects_a), _word_effects(words.b, effects_b)


def _word_effects(side: TextView, values: np.ndarray) -> list[WordEffect]:
    spans = side.spans or [None] * len(side.tokens)
    units = zip(display_tokens(side), values, side.roles, spans, strict=True)
    return [WordEffect(label, float(value), role, span) for label, value, role, span in units]


def top_pairs(result: PairView, top_k: int, special_tokens: bool = True) -> list[tuple[int, int, float]]:
    """Return the pairs with the largest absolute attributions as (position in a, position in b, value).

    Args:
        result: A result of S × T units.
        top_k: Number of pairs, at least 1.
        special_tokens: Include pairs with special tokens or prompts.

    Raises:
        TypeError: ``top_k`` is not an integer.
        ValueError: ``top_k`` is below 1.
    """
    top_k = checked_integer(top_k, "top_k", least=1)
    rows, columns = (
        np.array([at for at, role in enumerate(side.roles) if special_tokens or holds_text(role)], dtype=int)
        for side in (result.a, result.b)
    )
    part = result.matrix if special_tokens else result.matrix[np.ix_(rows, columns)]
    places = [(int(rows[s]), int(columns[t])) for s, t in largest_entries(part, top_k)]
    return [(s, t, float(result.matrix[s, t])) for s, t in places]


def unknown_units(text: TextView) -> list[bool]:
    """Return (S,) flags of the tokens of the text that the model saw as unknown.

    The spelling of the token decides. A text that contains “[UNK]” itself is not marked.
    """
    spans = text.spans or ((0, 0),) * len(text.tokens)
    return [
        role in (TEXT, PROMPT) and bool(UNKNOWN.fullmatch(token)) and text.text[start:end].strip() != token
        for role, token, (start, end) in zip(text.roles, text.tokens, spans, strict=True)
    ]
