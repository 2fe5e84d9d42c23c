"""What words and pairs add to the score: the numbers by which all views rank and shade them."""

from __future__ import annotations

import re
from dataclasses import replace
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

# What tokenizers call what they do not know: [UNK], <unk>, <|unk|>, unk.
UNKNOWN = re.compile(r"[\[<|]*unk(nown)?[\]>|]*", re.IGNORECASE)


class WordEffect(NamedTuple):
    """What one word adds to the score."""

    word: str
    value: float
    """Its row or column of the interactions, summed, plus its main effect; in units of the score."""
    role: str
    """``"text"``, ``"special"``, ``"prompt"`` or ``"rest"``."""
    span: tuple[int, int] | None
    """Characters [start, end) of the text with its prompt, or None where the tokenizer has no offsets."""


def words_of(text: TextView) -> Any:
    """The text in words, or in its own units where the tokenizer has no word ids."""
    return text if text.word_ids is None or text.spans is None else text.words()


def by_word(result: Any) -> Any:
    """The result in words, on each side whose tokenizer has word ids."""
    return replace(result, a=words_of(result.a), b=words_of(result.b), compute_feature_pairs=None)


def effects(result: PairView) -> tuple[np.ndarray, np.ndarray]:
    """(S,) and (T,): what each unit adds to the score, its interactions with the whole other text and its main effect.

    For a unit of text a that is V_a · (Σ_t V_b[t] + ρ_b) / c, which equals V_a · f(b) / c up to the integration error
    of b. Each interaction is counted in either text.
    """
    return result.matrix.sum(1) + result.main_effects_a, result.matrix.sum(0) + result.main_effects_b


def word_effects(result: Any) -> tuple[list[WordEffect], list[WordEffect]]:
    """The effects of the words of a and of b, in the order of the texts."""
    words = by_word(result)
    effects_a, effects_b = effects(words)
    return _word_effects(words.a, effects_a), _word_effects(words.b, effects_b)


def _word_effects(side: TextView, values: np.ndarray) -> list[WordEffect]:
    spans = side.spans or [None] * len(side.tokens)
    units = zip(display_tokens(side), values, side.roles, spans, strict=True)
    return [WordEffect(label, float(value), role, span) for label, value, role, span in units]


def top_pairs(result: PairView, k: int, special: bool = True) -> list[tuple[int, int, float]]:
    """The k pairs of largest absolute attribution as (position in a, position in b, value).

    Args:
        result: of S × T units.
        k: at least 1.
        special: let pairs with special tokens or prompts be among them.

    Raises:
        TypeError: ``k`` is not an integer.
        ValueError: ``k`` is below 1.
    """
    k = checked_integer(k, "k", least=1)
    rows, columns = (
        np.array([at for at, role in enumerate(side.roles) if special or holds_text(role)], dtype=int)
        for side in (result.a, result.b)
    )
    part = result.matrix if special else result.matrix[np.ix_(rows, columns)]
    places = [(int(rows[s]), int(columns[t])) for s, t in largest_entries(part, k)]
    return [(s, t, float(result.matrix[s, t])) for s, t in places]


def unknown_units(text: TextView) -> list[bool]:
    """(S,) which tokens the model saw as unknown, though the text says something there.

    Told by the spelling of the token: a text that itself says “[UNK]” is not marked.
    """
    spans = text.spans or ((0, 0),) * len(text.tokens)
    return [
        role in (TEXT, PROMPT) and bool(UNKNOWN.fullmatch(token)) and text.text[start:end].strip() != token
        for role, token, (start, end) in zip(text.roles, text.tokens, spans, strict=True)
    ]
