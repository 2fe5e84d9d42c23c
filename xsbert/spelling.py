"""Units of a text as readers spell them."""

from __future__ import annotations

import unicodedata
from typing import Protocol

from .units import SPECIAL

__all__ = ["Spelled", "display_tokens", "shorten"]

# Byte-level vocabularies (GPT-2's) write each byte as a visible character: itself, or the next one from U+0100 on.
_VISIBLE_BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]
_BYTES = {byte: chr(byte) for byte in _VISIBLE_BYTES}
_BYTES |= {byte: chr(256 + n) for n, byte in enumerate(byte for byte in range(256) if byte not in _BYTES)}


class Spelled(Protocol):
    """A text of S units, as `TextFactors` is."""

    @property
    def text(self) -> str: ...
    @property
    def tokens(self) -> tuple[str, ...]: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def word_ids(self) -> tuple[int | None, ...] | None: ...
    @property
    def spans(self) -> tuple[tuple[int, int], ...] | None: ...


def display_tokens(text: Spelled) -> list[str]:
    """Spell the units of a text for readers, without the marks of the vocabulary.

    ``Ġword`` and ``▁word`` become ``word``; a token that goes on with the word before it, as ``##ing`` does, becomes
    ``·ing``. Bytes of a byte-level vocabulary become the characters of the text; white space becomes ``␣`` or ``↵``.
    Special tokens stay as they are, ``[UNK]`` among them: it is what the model saw.

    Args:
        text: S tokens or words.

    Returns:
        (S,) labels, none empty.

    >>> display_tokens(model.text_factors(["unpacked"], layer=6, n_steps=1)[0])
    ['[CLS]', 'un', '·pack', '·ed', '[SEP]']
    """
    return [_display_token(text, position) for position in range(len(text.tokens))]


def _display_token(text: Spelled, position: int) -> str:
    token = text.tokens[position]
    if text.roles[position] == SPECIAL:
        return token
    start, end = text.spans[position] if text.spans is not None else (0, 0)
    piece = text.text[start:end]
    marked = token.startswith("##") and len(token) > 2 and token != piece
    label = token[2:] if marked else token.removeprefix("Ġ").replace("▁", " ")
    if not label.isascii() and label in "".join(_BYTES[byte] for byte in piece.encode()):
        label = piece
    label = " ".join(label.split()) or ("↵" if "\n" in piece else "␣")
    return f"·{label}" if marked or _continues_word(text, position) else label


def _continues_word(text: Spelled, position: int) -> bool:
    """Whether the token goes on with the word of the one before it, in a script that has white space between words."""
    words, spans = text.word_ids, text.spans
    if words is None or spans is None or position == 0 or words[position] is None:
        return False
    start, end = spans[position]
    if words[position] != words[position - 1] or spans[position - 1][1] != start or not 0 < start < end:
        return False
    return all(
        unicodedata.category(character)[0] in "LMN" and unicodedata.east_asian_width(character) not in "WF"
        for character in text.text[start - 1 : start + 1]
    )


def shorten(text: str, length: int) -> str:
    """A text on one line of at most ``length`` characters; a longer one ends in an ellipsis.

    >>> shorten("The coffee\\n is bad.", 12)
    'The coffee …'
    """
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
