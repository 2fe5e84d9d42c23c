"""Installed fonts for characters that matplotlib's default fonts lack."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from ..._utils.stacklevel import caller_level

__all__ = ["Fonts", "candidates", "characters_of", "find_fonts", "is_invisible"]


@dataclass(frozen=True)
class Fonts:
    """The font families for a set of texts."""

    families: tuple[str, ...]
    """All families, defaults first."""
    found: Mapping[str, str]
    """Added families and their files."""
    absent: frozenset[str]
    """Characters without an installed font."""

    def style(self, text: str) -> dict[str, Any]:
        return {"fontfamily": self.families_of(text), "parse_math": False, "usetex": False}

    def families_of(self, text: str) -> list[str]:
        """Return the families for a text. An added family with the whole text comes first if the defaults lack some.

        Matplotlib 3.11 resets the rotation of an earlier text only for the first font. Other fonts are deformed after
        a rotated text.
        """
        visible = {character for character in text if not is_invisible(character)}
        if visible <= characters_of(self.families[: len(self.families) - len(self.found)]):
            return list(self.families)
        whole = [family for family, path in self.found.items() if visible <= _characters(path)]
        return [*whole[:1], *(family for family in self.families if family not in whole[:1])]

    def shown(self, text: str) -> str:
        """Return the text with a box for each character that cannot be drawn."""
        return "".join("□" if character in self.absent else character for character in text)


def find_fonts(*texts: str) -> Fonts:
    """Find installed fonts for the characters that the default fonts lack."""
    families = tuple(dict.fromkeys([*font_manager.FontProperties().get_family(), "DejaVu Sans"]))
    characters = {character for text in texts for character in text if not is_invisible(character)}
    characters -= characters_of(families)
    if any(unicodedata.bidirectional(character) in ("R", "AL") for text in texts for character in text):
        _warn_unshaped()
    added: dict[str, str] = {}
    for script in sorted({_script(character) for character in characters}):
        wanted = {character for character in characters if _script(character) == script}
        for family, path in candidates(script, _east_asian(characters)):
            found = wanted & _characters(path)
            if found:
                added[family] = path
                wanted -= found
                characters -= found
            if not wanted:
                break
    if characters:
        listed = ", ".join(f"{character} (U+{ord(character):04X})" for character in sorted(characters)[:10])
        more = f" and {len(characters) - 10} more" if len(characters) > 10 else ""
        warnings.warn(
            f"no installed font has the characters {listed}{more}; they are drawn as boxes. Install the Noto fonts "
            "(https://fonts.google.com/noto) and delete matplotlib's font cache to see them",
            stacklevel=caller_level(),
        )
    return Fonts((*families, *added), added, frozenset(characters))


def _warn_unshaped() -> None:
    version = tuple(int(part) for part in matplotlib.__version__.split(".")[:2])
    if version < (3, 11):
        warnings.warn(
            f"matplotlib {matplotlib.__version__} draws right-to-left text from left to right, with letters unjoined; "
            "3.11 and later draw it as it is read",
            stacklevel=caller_level(),
        )


def characters_of(families: Iterable[str]) -> frozenset[str]:
    paths = [font_manager.findfont(font_manager.FontProperties(family=[family])) for family in families]
    return frozenset().union(*(_characters(str(path)) for path in paths))


@lru_cache(maxsize=1024)
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


def candidates(script: str, east_asian: str) -> Iterable[tuple[str, str]]:
    """Return installed families with one file each: those named for the script first, then other sans-serif ones."""
    plain: dict[str, Any] = {}
    for entry in font_manager.fontManager.ttflist:
        # Last Resort fonts have boxes for all characters. Colour fonts have no outlines to draw.
        if entry.style != "normal" or any(
            word in entry.name for word in ("Last Resort", "LastResort", "Color", "Mono")
        ):
            continue
        other = plain.get(entry.name)
        if other is None or abs(_weight(entry) - 400) < abs(_weight(other) - 400):
            plain[entry.name] = entry

    def rank(name: str) -> tuple[bool, bool, bool, bool, str]:
        lower = name.lower()
        return (script not in lower, not name.endswith(east_asian), "sans" not in lower, "noto" not in lower, name)

    return [(name, plain[name].fname) for name in sorted(plain, key=rank)]


def _weight(entry: Any) -> int:
    return entry.weight if isinstance(entry.weight, int) else 400


def _script(character: str) -> str:
    """Return the name of a character's script in font names."""
    name = unicodedata.name(character, "").lower()
    if unicodedata.category(character) in ("So", "Sk"):
        return "emoji"
    first = name.split(" ")[0]
    return "cjk" if first in ("cjk", "hiragana", "katakana", "hangul", "bopomofo", "fullwidth", "halfwidth") else first


def _east_asian(characters: Iterable[str]) -> str:
    """Return the suffix of CJK families for the language of the characters. Glyphs differ between languages."""
    names = {unicodedata.name(character, "").split(" ")[0] for character in characters}
    return " JP" if names & {"HIRAGANA", "KATAKANA"} else " KR" if "HANGUL" in names else " SC"


def is_invisible(character: str) -> bool:
    """Return whether a character needs no glyph: spaces, joiners, variation selectors."""
    return character.isspace() or unicodedata.category(character) in ("Cf", "Cc") or "\ufe00" <= character <= "\ufe0f"
