"""JSON from files that are not trusted: bounded before it is parsed, strict while it is."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

import numpy as np

from .json_fields import require

__all__ = ["MAX_DEPTH", "check_structure", "parse_json"]

MAX_DEPTH = 64
CHUNK = 1 << 22
QUOTE = ord('"')
# For each byte, whether it begins a value (an opening bracket or a comma), and by how much it changes the depth.
BEGINS, DEPTHS = np.zeros(256, bool), np.zeros(256, np.int8)
BEGINS[list(b"[{,")] = True
DEPTHS[list(b"[{")], DEPTHS[list(b"]}")] = 1, -1


def check_structure(text: bytes, most_values: int) -> None:
    """Refuse a JSON text that would take too much memory or recursion to parse. Takes time linear in its length.

    Args:
        text: UTF-8. What is no JSON may pass; parsing stops there.
        most_values: how many values it may hold. Each element of a list and each entry of an object counts, and so does
            each list and each object.

    Raises:
        ValueError: it holds more values, or they are nested more than `MAX_DEPTH` deep.
    """
    # Without escapes, every other quotation mark begins a string.
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    within, depth, n_values = False, 0, 1
    for start in range(0, len(text), CHUNK):
        codes = np.frombuffer(text, np.uint8, min(CHUNK, len(text) - start), start)
        # Parity survives overflow.
        quoted = (np.cumsum(codes == QUOTE, dtype=np.uint8) + within) & 1
        outside = codes[quoted == 0]
        n_values += int(np.count_nonzero(BEGINS[outside]))
        require(n_values <= most_values, f"its JSON holds more than {most_values} values, which is more than it needs")
        if len(outside):
            depths = depth + np.cumsum(DEPTHS[outside], dtype=np.int32)
            require(depths.max() <= MAX_DEPTH, f"its JSON is nested more than {MAX_DEPTH} deep")
            depth = int(depths[-1])
        within = bool(quoted[-1])


def parse_json(text: str | bytes, most_values: int) -> Any:
    """The value of a JSON text, in which all numbers are finite.

    Args:
        text: from a file.
        most_values: as for `check_structure`.

    Raises:
        ValueError: it is no JSON, holds too many values or a number that is not finite, or an object in it has a key
            twice.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    check_structure(raw, most_values)
    # Given bytes, `loads` would guess their encoding.
    return json.loads(
        text if isinstance(text, str) else text.decode(),
        object_pairs_hook=_object,
        parse_float=_number,
        parse_constant=_number,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        known: set[str] = set()
        for key, _ in pairs:
            require(key not in known, f"the key {key!r:.40} stands twice in one JSON object")
            known.add(key)
    return content


def _number(text: str) -> float:
    value = float(text)
    require(isfinite(value), f"its JSON holds the number {text:.40}, which is not finite")
    return value
