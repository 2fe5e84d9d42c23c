"""Parsing of JSON from untrusted files, with limits on its structure and strict rules."""

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
# For each byte: whether it begins a value (an opening bracket or a comma), and its change of the depth.
BEGINS, DEPTHS = np.zeros(256, bool), np.zeros(256, np.int8)
BEGINS[list(b"[{,")] = True
DEPTHS[list(b"[{")], DEPTHS[list(b"]}")] = 1, -1


def check_structure(text: bytes, most_values: int) -> None:
    """Checks, in linear time, that parsing a JSON text does not need too much memory or recursion.

    Args:
        text: UTF-8. Invalid JSON may pass; the parser rejects it.
        most_values: largest number of values. Each element of a list, each entry of an object, each list and each
            object counts.

    Raises:
        ValueError: the text has more values, or its depth exceeds `MAX_DEPTH`.
    """
    # After escapes are removed, every other quotation mark begins a string.
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
    """Returns the value of a JSON text in which all numbers are finite.

    Args:
        text: JSON from a file.
        most_values: as for `check_structure`.

    Raises:
        ValueError: the text is not JSON, has too many values or a non-finite number, or an object has a duplicate key.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    check_structure(raw, most_values)
    # For bytes, `loads` would guess the encoding.
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
