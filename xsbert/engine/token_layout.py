"""The layout of a text's tokens: special and prompt tokens, character spans, and truncation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sentence_transformers.sentence_transformer.modules import Transformer

from ..text.units import PROMPT, SPECIAL, TEXT, visible_span

__all__ = ["TokenLayout", "layout_of_encoding", "special_tokens", "token_layout", "tokenizer_of"]

Span = tuple[int, int]


@dataclass(frozen=True)
class TokenLayout:
    """The layout of S tokens, special tokens included."""

    tokens: tuple[str, ...]
    roles: tuple[str, ...]
    word_ids: tuple[int | None, ...] | None
    spans: tuple[Span, ...] | None
    """Characters [start, end) of prompt and text, without surrounding white space. The span of a text token never
    starts before the text, even if the token contains the prompt's last characters."""
    n_cut: int
    n_cut_of_prompt: int = 0
    cut_at_start: bool = False
    """Whether the first tokens were truncated instead of the last."""


def token_layout(transformer: Transformer, features: Mapping[str, Any], text: str, prompt: str) -> TokenLayout:
    """Return the layout of one text.

    A token belongs to the prompt if its last visible character does. Without offsets, the prompt is the longest common
    prefix of the tokens of prompt and text and the tokens of the prompt alone.

    Args:
        transformer: the first module of a sentence transformer.
        features: its inputs for prompt and text, batch size 1.
        text: the text itself.
        prompt: the prompt before it, or an empty string.
    """
    ids, tokenizer = features["input_ids"][0].tolist(), tokenizer_of(transformer)
    # The tokenizer of a static model is one of the package tokenizers.
    tokens = tuple(
        tokenizer.convert_ids_to_tokens(ids)
        if hasattr(tokenizer, "convert_ids_to_tokens")
        else map(tokenizer.id_to_token, ids)
    )
    encodings = getattr(features, "encodings", None)
    if encodings:
        return _widened(layout_of_encoding(encodings[0], tokens, prompt + text, len(prompt)))
    return _of_ids(transformer, features, tokens, text, prompt)


def _widened(layout: TokenLayout) -> TokenLayout:
    """Return the layout with tokens that a query expansion appended behind the tokenizer's."""
    n_more = len(layout.tokens) - len(layout.roles)
    if not n_more:
        return layout
    assert layout.word_ids is not None
    assert layout.spans is not None
    return replace(
        layout,
        roles=layout.roles + (SPECIAL,) * n_more,
        word_ids=layout.word_ids + (None,) * n_more,
        spans=layout.spans + ((0, 0),) * n_more,
    )


def layout_of_encoding(encoding: Any, tokens: tuple[str, ...], text: str, n_prompt: int) -> TokenLayout:
    """Return the layout by the offsets of a fast tokenizer."""
    found = [visible_span(text, span) for span in encoding.offsets]
    roles = _roles(found, encoding.special_tokens_mask, n_prompt)
    spans = [
        (max(start, n_prompt), end) if role == TEXT else (start, end)
        for (start, end), role in zip(found, roles, strict=True)
    ]
    cut_at_start, cut_roles = False, []
    for part in encoding.overflowing:
        places = [visible_span(text, span) for span in part.offsets]
        cut_roles += [role for role in _roles(places, part.special_tokens_mask, n_prompt) if role != SPECIAL]
    if cut_roles:
        kept, cut = (_first_start(each) for each in (encoding, encoding.overflowing[-1]))
        cut_at_start = kept is None or (cut is not None and cut < kept)
    return TokenLayout(
        tokens=tokens,
        roles=tuple(roles),
        word_ids=tuple(encoding.word_ids),
        spans=tuple(spans),
        n_cut=len(cut_roles),
        n_cut_of_prompt=cut_roles.count(PROMPT),
        cut_at_start=cut_at_start,
    )


def _roles(spans: Sequence[Span], special: Sequence[int], n_prompt: int) -> list[str]:
    return [
        SPECIAL if flag else PROMPT if n_prompt and end <= n_prompt else TEXT
        for (_, end), flag in zip(spans, special, strict=True)
    ]


def _first_start(encoding: Any) -> int | None:
    """Return the first character of an encoding's text; None if it has only special tokens."""
    pairs = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
    return min((start for (start, _), special in pairs if not special), default=None)


def _of_ids(
    transformer: Transformer, features: Mapping[str, Any], tokens: tuple[str, ...], text: str, prompt: str
) -> TokenLayout:
    """Return the layout by ids alone, for a tokenizer without offsets."""
    ids, special = features["input_ids"][0].tolist(), special_tokens(transformer, features)
    whole = _content(transformer, text, prompt)
    kept = [each for each, flag in zip(ids, special, strict=True) if not flag]
    n_cut = len(whole) - len(kept)
    # Tokens are truncated at the start if they are missing there. If both are possible, the last tokens are assumed.
    cut_at_start = n_cut > 0 and whole[: len(kept)] != kept
    n_prompt = _n_common(_content(transformer, prompt), whole) if prompt else 0
    n_cut_of_prompt = min(n_cut, n_prompt) if cut_at_start else max(0, n_prompt - len(kept))
    roles, at = [], n_cut if cut_at_start else 0
    for flag in special:
        roles.append(SPECIAL if flag else PROMPT if at < n_prompt else TEXT)
        at += not flag
    return TokenLayout(tokens, tuple(roles), None, None, n_cut, n_cut_of_prompt, cut_at_start)


def _content(transformer: Transformer, text: str, prompt: str = "") -> list[int]:
    """Return all ids of a text except special tokens, without truncation."""
    whole: Any = {"text": {"truncation": False, "verbose": False}}
    features = transformer.preprocess([text], prompt=prompt or None, processing_kwargs=whole)
    ids = features["input_ids"][0].tolist()
    return [each for each, flag in zip(ids, special_tokens(transformer, features), strict=True) if not flag]


def special_tokens(transformer: Transformer, features: Mapping[str, Any]) -> list[bool]:
    """Return (S,) whether each token of a text is special. The unknown token is not, because it represents text.

    Args:
        transformer: the first module of a sentence transformer.
        features: its inputs, batch size 1. A fast tokenizer marks the special tokens in them.
    """
    encodings = getattr(features, "encodings", None)
    if encodings:
        return [bool(flag) for flag in encodings[0].special_tokens_mask]
    tokenizer = tokenizer_of(transformer)
    known = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    return [each in known for each in features["input_ids"][0].tolist()]


def _n_common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the longest common prefix of two sequences of ids."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def tokenizer_of(transformer: Transformer) -> Any:
    """Return the tokenizer. Models without one have been rejected before."""
    return transformer.tokenizer
