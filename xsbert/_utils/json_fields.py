"""Validated entries of JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from math import isfinite
from typing import Any, TypeVar, cast, get_type_hints

import numpy as np

__all__ = ["read_entry", "read_error", "read_fields", "read_list", "require", "require_finite"]

Kind = TypeVar("Kind")


def require(condition: Any, problem: str) -> None:
    """Raises a ValueError with the problem unless the condition holds."""
    if not condition:
        raise ValueError(problem)


def require_finite(array: np.ndarray, name: str) -> None:
    """Raises a ValueError if the array has infinities or NaN."""
    require(np.isfinite(array).all(), f"{name} holds numbers that are not finite")


def read_entry(content: dict[str, Any], key: str, kind: Any) -> Any:
    """Returns one entry of the given type. Booleans do not count as integers."""
    require(key in content, f"{key!r} is missing")
    value = content[key]
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    require(fits, f"{key!r} has a value of the wrong type: {value!r:.60}")
    return value


def read_fields(kind: type[Kind], content: dict[str, Any]) -> Kind:
    """Returns an instance of a dataclass from the entries of its fields. Fields with a default may be missing."""
    kinds = get_type_hints(kind)
    names = [field.name for field in fields(cast(Any, kind)) if field.default is MISSING or field.name in content]
    return kind(**{name: read_entry(content, name, kinds[name]) for name in names})


def read_error(entries: dict[str, Any], key: str, name: str) -> float | None:
    """Returns an error of a text; None if the file does not have it."""
    if entries.get(key) is None:
        return None
    error = float(read_entry(entries, key, (int, float)))
    require(isfinite(error) and error >= 0, f"{key} of {name} is {error}")
    return error


def read_list(entries: dict[str, Any], key: str, length: int, fits: Callable[[Any], bool]) -> tuple:
    """Returns a list of ``length`` entries that satisfy ``fits``."""
    values = read_entry(entries, key, list)
    require(len(values) == length, f"{key!r} has {len(values)} entries for {length} units")
    for value in values:
        require(fits(value), f"{key!r} has an entry of the wrong kind: {value!r:.60}")
    return tuple(values)
