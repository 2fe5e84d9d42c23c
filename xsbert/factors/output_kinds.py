"""The kinds of outputs that files hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._utils.json_fields import read_entry, require
from .outputs import Outputs, Terms
from .vectors import Matched, Vectors

__all__ = ["read_outputs"]

KINDS: dict[str, Callable[[dict[str, Any], int, str], Outputs]] = {
    each.kind: each.read for each in (Terms, Vectors, Matched)
}
"""Readers of saved outputs, by their kind. Each takes entries, E, and the name of the text for messages."""


def read_outputs(entries: Any, width: int, name: str) -> Outputs | None:
    """Build the outputs of a saved text; None for those of a dense model.

    Raises:
        ValueError: the kind is unknown, or entries are missing or inconsistent.
    """
    if entries is None:
        return None
    require(isinstance(entries, dict), f"the outputs of {name} are {entries!r:.40}")
    kind = read_entry(entries, "kind", str)
    require(kind in KINDS, f"the outputs of {name} are of an unknown kind, {kind!r:.40}")
    return KINDS[kind](entries, width, name)
