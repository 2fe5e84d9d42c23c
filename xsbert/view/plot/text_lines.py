"""Line breaking of texts, in both reading directions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ...text.display import display_tokens
from ...text.units import REST, SPECIAL, holds_text
from ..protocols import TextView
from .fonts import Fonts
from .measure import is_wide, text_inches

__all__ = ["RIGHT_TO_LEFT_MARK", "Block", "Piece", "Side", "lay_out_sides", "space_inches", "visual_order"]

RIGHT_TO_LEFT_MARK = "\u200f"


@dataclass(frozen=True)
class Side:
    """One text, split into shaded words."""

    name: str
    text: TextView
    values: np.ndarray
    """(S,)"""
    kept: tuple[bool, ...]
    """(S,) whether each word is drawn."""

    @property
    def words(self) -> list[str]:
        return [" ".join(word.split()) or "␣" for word in display_tokens(self.text)]

    @property
    def spaced(self) -> list[bool]:
        """(S,) whether white space or the edge of the text precedes each word."""
        spans = self.text.spans
        if spans is None:
            return [not token.startswith("##") for token in self.text.tokens]
        before = [SPECIAL, *self.text.roles]
        edges = [0, *(end for _, end in spans)]
        return [
            not {SPECIAL, REST}.isdisjoint((role, before[place]))
            or start > edges[place]
            or self.text.text[start : start + 1].isspace()
            or start == end
            for place, (role, (start, end)) in enumerate(zip(self.text.roles, spans, strict=True))
        ]


@dataclass(frozen=True)
class Piece:
    """A word, or a part of a word that is longer than a line."""

    shown: str
    value: float
    muted: bool
    spaced: bool
    width: float
    x: float = 0.0


@dataclass(frozen=True)
class Block:
    """One text in lines, top to bottom. Lengths are in inches."""

    heading: str
    lines: list[list[Piece]]
    right_to_left: bool
    width: float
    top: float
    size: float

    @property
    def line_height(self) -> float:
        return 1.75 * self.size / 72


def lay_out_sides(sides: Sequence[Side], fonts: Fonts, size: float, width: float) -> tuple[list[Block], float]:
    """Break the texts into lines of at most ``width`` inches. Also return the used height."""
    blocks, top = [], 0.0
    for side in sides:
        pieces = _pieces(side, fonts, size, width)
        lines = _break_lines(pieces, width, space_inches(size))
        block = Block(side.name, lines, _is_right_to_left(side.text.text), width, top, size)
        blocks.append(block)
        top += block.line_height * (len(lines) + 1.4)
    return blocks, top


def _pieces(side: Side, fonts: Fonts, size: float, width: float) -> list[Piece]:
    pieces = []
    right_to_left = _is_right_to_left(side.text.text)
    units = zip(side.words, side.values, side.text.roles, side.spaced, side.kept, strict=True)
    for word, value, role, spaced, kept in units:
        if not kept:
            continue
        shown = fonts.shown(word)
        if right_to_left and not _has_direction(word):
            # Brackets in right-to-left texts are mirrored.
            shown = RIGHT_TO_LEFT_MARK + shown
        parts = [(shown, _text_inches(shown, fonts, size))]
        if parts[0][1] > width:
            parts = _split(shown, fonts, size, width)
        pieces += [
            Piece(part, float(value), not holds_text(role), spaced and place == 0, extent)
            for place, (part, extent) in enumerate(parts)
        ]
    return pieces


def _split(word: str, fonts: Fonts, size: float, width: float) -> list[tuple[str, float]]:
    """Split a word wider than a line: at spaces, or else anywhere except between a letter and its marks."""

    def fits(part: str) -> bool:
        return _text_inches(part, fonts, size) <= width

    parts = [""]
    for chunk in re.findall(r"\S+\s*", word):
        if fits(parts[-1] + chunk):
            parts[-1] += chunk
        elif fits(chunk):
            parts.append(chunk)
        else:
            for character in chunk:
                if unicodedata.category(character)[0] == "M" or fits(parts[-1] + character):
                    parts[-1] += character
                else:
                    parts.append(character)
    return [(part, _text_inches(part, fonts, size)) for part in parts if part]


def _break_lines(pieces: list[Piece], width: float, space: float) -> list[list[Piece]]:
    lines: list[list[Piece]] = [[]]
    used = 0.0
    for cluster in _clusters(pieces):
        extent = sum(piece.width for piece in cluster)
        gap = space if lines[-1] and cluster[0].spaced else 0.0
        if lines[-1] and used + gap + extent > width:
            lines.append([])
            used, gap = 0.0, 0.0
        if extent <= width:
            lines[-1] += cluster
            used += gap + extent
            continue
        for piece in cluster:
            if lines[-1] and used + piece.width > width:
                lines.append([])
                used = 0.0
            lines[-1].append(piece)
            used += piece.width
    return lines


def _clusters(pieces: list[Piece]) -> list[list[Piece]]:
    """Group pieces that stay on one line: a word with punctuation. Scripts without white space break anywhere."""
    clusters: list[list[Piece]] = []
    for piece in pieces:
        breaks = piece.spaced or (unicodedata.category(piece.shown[0]) == "Lo" and is_wide(piece.shown[0]))
        if breaks or not clusters:
            clusters.append([])
        clusters[-1].append(piece)
    return clusters


def visual_order(line: list[Piece], right_to_left: bool) -> list[tuple[Piece, bool]]:
    """Order pieces from the line's start, each with a preceding-space flag. Opposite runs are reversed."""
    ordered: list[tuple[Piece, bool]] = []
    directed = [(piece, _direction(piece.shown, right_to_left, piece.muted)) for piece in line]
    for direction, group in groupby(directed, key=lambda item: item[1]):
        run = [piece for piece, _ in group]
        spaces = [piece.spaced for piece in run]
        if direction != right_to_left:
            run, spaces = run[::-1], [spaces[0], *spaces[:0:-1]]
        ordered += zip(run, spaces, strict=True)
    return ordered


def _direction(word: str, right_to_left: bool, muted: bool) -> bool:
    """Return whether a word runs right to left. Special tokens and signs follow their text."""
    return right_to_left if muted or not _has_direction(word) else _is_right_to_left(word)


def _strong(text: str) -> list[str]:
    kinds = map(unicodedata.bidirectional, text.replace(RIGHT_TO_LEFT_MARK, ""))
    return [kind for kind in kinds if kind in ("L", "R", "AL")]


def _has_direction(text: str) -> bool:
    return bool(_strong(text))


def _is_right_to_left(text: str) -> bool:
    """Decide by the first letter, like browsers."""
    return _has_direction(text) and _strong(text)[0] != "L"


def _text_inches(shown: str, fonts: Fonts, size: float) -> float:
    return text_inches(shown, size, fonts.style(shown)) + 0.12 * size / 72


def space_inches(size: float) -> float:
    return 0.22 * size / 72
