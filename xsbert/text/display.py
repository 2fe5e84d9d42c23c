"""Display names of the units of a text."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple, Protocol

from .units import REST, SPECIAL

__all__ = ["Spelled", "display_tokens", "display_units", "shorten", "vocabulary_tokens"]

# Byte-level vocabularies (GPT-2's) write each byte as a visible character: itself, or the next one from U+0100 on.
_VISIBLE_BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]
_CHARACTERS = {byte: chr(byte) for byte in _VISIBLE_BYTES}
_CHARACTERS |= {byte: chr(256 + n) for n, byte in enumerate(byte for byte in range(256) if byte not in _CHARACTERS)}
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}
# A byte token of a vocabulary with byte fallback, such as Llama's.
_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
# Ends of words in other vocabularies, such as CLIP's.
_WORD_END = "</w>"


class Spelled(Protocol):
    """A text of S units, such as `TextFactors`."""

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


class UnitsOfText(Protocol):
    """Units of a text without the tokenizer's word ids, such as `Contributions`."""

    @property
    def text(self) -> str: ...
    @property
    def units(self) -> tuple[str, ...]: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def spans(self) -> tuple[tuple[int, int], ...] | None: ...


class _Tokens(NamedTuple):
    text: str
    tokens: tuple[str, ...]
    roles: tuple[str, ...]
    spans: tuple[tuple[int, int], ...] | None
    word_ids: tuple[int | None, ...] | None = None


def display_units(text: UnitsOfText) -> list[str]:
    """Return `display_tokens` of units without the tokenizer's word ids.

    >>> ranking = model.explain_ranking("weather", ["A cold day."], layer=6, n_steps=1)
    >>> display_units(ranking[0].document)
    ['[CLS]', 'A', 'cold', 'day', '.', '[SEP]']
    """
    return display_tokens(_Tokens(text.text, text.units, text.roles, text.spans))


def display_tokens(text: Spelled) -> list[str]:
    """Return display names of the units of a text, without the marks of the vocabulary.

    ``Ġword`` and ``▁word`` become ``word``. A token that continues the word before it, such as ``##ing``, becomes
    ``·ing``. Bytes become the characters of the text that they are part of. White space becomes ``␣`` or ``↵``.
    Marks that are part of the text itself stay. Special tokens stay, including ``[UNK]``, because the model saw them.

    Args:
        text: A text of S tokens or words.

    Returns:
        (S,) labels, none empty.

    >>> display_tokens(model.text_factors(["unpacked"], layer=6, n_steps=1)[0])
    ['[CLS]', 'un', '·pack', '·ed', '[SEP]']
    """
    return [_display_token(text, position) for position in range(len(text.tokens))]


def vocabulary_tokens(text: Spelled) -> list[str]:
    """Return the units of a text as in the vocabulary, with characters of the text for white space and bytes.

    ``##ing`` does not change, and ``Ġword`` becomes ``word``.

    Args:
        text: A text of S tokens or words.

    Returns:
        (S,) labels.

    >>> vocabulary_tokens(model.text_factors(["unpacked"], layer=6, n_steps=1)[0])
    ['[CLS]', 'un', '##pack', '##ed', '[SEP]']
    """
    spans = [(0, 0)] * len(text.tokens) if text.spans is None else text.spans
    pieces = [text.text[start:end] for start, end in spans]
    found = []
    for token, role, piece in zip(text.tokens, text.roles, pieces, strict=True):
        label = token if role in (SPECIAL, REST) else _without_marks(token, piece)
        found.append(label if label == token else _one_line(label, piece))
    return found


def _one_line(label: str, piece: str) -> str:
    return " ".join(label.split()) or ("↵" if "\n" in piece else "␣")


def _display_token(text: Spelled, position: int) -> str:
    token = text.tokens[position]
    if text.roles[position] in (SPECIAL, REST):
        return token
    start, end = text.spans[position] if text.spans is not None else (0, 0)
    piece = text.text[start:end]
    marked = token.startswith("##") and len(token) > 2 and token != piece
    label = token[2:] if marked else _without_marks(token, piece)
    label = _one_line(label, piece)
    return f"·{label}" if marked or _continues_word(text, position) else label


def _without_marks(token: str, piece: str) -> str:
    """Return a token without the marks of its vocabulary.

    Args:
        token: The token as in the vocabulary.
        piece: The characters of the text that the token covers, empty if unknown.
    """
    plain = token.replace("▁", " ")
    if token == piece or (plain.strip() and plain.strip() == piece.strip()):
        return piece
    fallback = _FALLBACK.fullmatch(token)
    if fallback is not None:
        return piece or token
    if piece and all(character in _BYTES for character in token):
        # Several tokens may share one character, apart from surrounding white space.
        coded = bytes(_BYTES[character] for character in token)
        if coded.strip() == piece.strip().encode() or (not token.isascii() and coded.strip() in piece.encode()):
            return piece
    if not piece and token[:1] in ("Ġ", "Ċ") and all(character in _BYTES for character in token):
        return bytes(_BYTES[character] for character in token).decode("utf-8", errors="replace")
    if "Ġ" not in piece:
        plain = plain.strip("Ġ")
    return plain if piece.endswith(_WORD_END) else plain.removesuffix(_WORD_END)


def _continues_word(text: Spelled, position: int) -> bool:
    """Return whether a token continues the previous token's word, in a script with white space between words."""
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
    r"""Return a text on one line of at most ``length`` characters. A longer text ends in an ellipsis.

    >>> shorten("The coffee\n is bad.", 12)
    'The coffee …'
    """
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"
