"""Validation of arguments: numbers of Python and other libraries, ids, scores and keywords."""

from __future__ import annotations

import datetime
import inspect
import math
import operator
from collections.abc import Callable, Iterable
from decimal import Decimal
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, Literal, overload
from uuid import UUID

from .unicode import half_surrogate

__all__ = [
    "check_keywords",
    "check_one_of",
    "checked_integer",
    "checked_real",
    "finite_or_none",
    "is_integer",
    "is_real",
    "keywords_of",
    "passed_id",
    "passed_score",
    "plain_number",
]


def check_keywords(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises TypeError for an unknown keyword, with the most similar known name.

    >>> check_keywords(["topk"], ["top_k", "layer"])
    Traceback (most recent call last):
    TypeError: unexpected keyword argument 'topk'; did you mean 'top_k'? Known are top_k, layer
    """
    known = [*known]
    for name in given:
        if name not in known:
            meant = get_close_matches(name, known, n=1)
            hint = f"; did you mean {meant[0]!r}?" if meant else "."
            raise TypeError(f"unexpected keyword argument {name!r}{hint} Known are {', '.join(known)}")


def check_one_of(value: Any, name: str, known: Iterable[Any], *, optional: bool = False) -> None:
    """Raises ValueError unless a value is one of the known ones.

    Args:
        value: the argument.
        name: name of the argument, for messages.
        known: allowed values.
        optional: allow None.

    >>> check_one_of("letters", "units", ["tokens", "words"])
    Traceback (most recent call last):
    ValueError: units must be one of 'tokens', 'words', got 'letters'
    """
    known = [*known]
    if value in known or (optional and value is None):
        return
    none = "None or " if optional else ""
    raise ValueError(f"{name} must be {none}one of {', '.join(map(repr, known)) or '(none)'}, got {value!r:.80}")


def keywords_of(function: Callable[..., Any]) -> list[str]:
    """Returns the keyword arguments of a function, without ``self`` and ``**options``."""
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind is not each.VAR_KEYWORD and each.name != "self"]


# Largest integer up to which a float represents every integer.
MOST_EXACT = 2**53


def is_integer(value: Any) -> bool:
    """Whether a value is an integer of Python, numpy or another library. Booleans are not integers.

    >>> is_integer(3), is_integer(np.int64(3)), is_integer(True), is_integer(3.0)
    (True, True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether a value is a real number of Python, numpy or another library. Booleans are not numbers.

    >>> is_real(0.5), is_real(np.float32(0.5)), is_real(1), is_real(np.True_), is_real("1")
    (True, True, True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def plain_number(value: Any) -> Any:
    """Returns a Python number, for JSON, for an integer or a real number; other values are unchanged.

    >>> plain_number(np.int64(3)), plain_number(np.float32(0.5)), plain_number(None)
    (3, 0.5, None)
    """
    if is_integer(value):
        return operator.index(value)
    return float(value) if is_real(value) else value


@overload
def checked_integer(
    value: Any, name: str, *, least: int | None = ..., optional: Literal[False] = ..., wrong_type: type[Exception] = ...
) -> int: ...


@overload
def checked_integer(
    value: Any, name: str, *, least: int | None = ..., optional: bool, wrong_type: type[Exception] = ...
) -> int | None: ...


def checked_integer(
    value: Any,
    name: str,
    *,
    least: int | None = None,
    optional: bool = False,
    wrong_type: type[Exception] = TypeError,
) -> int | None:
    """Returns an integer argument of Python, numpy or another library as a Python integer.

    Args:
        value: the argument.
        name: name of the argument, for messages.
        least: smallest allowed value; None for no limit.
        optional: allow None.
        wrong_type: exception for other types. With ValueError, one message states all allowed values.

    Raises:
        TypeError: ``value`` is not an integer; booleans are not integers.
        ValueError: ``value`` is below ``least``.

    >>> checked_integer(np.int64(3), "k", least=1)
    3
    >>> checked_integer(0, "k", least=1)
    Traceback (most recent call last):
    ValueError: k must be at least 1, got 0
    """
    if value is None and optional:
        return None
    given: Any = value
    kind = "None or an integer" if optional else "an integer"
    whole = f"{kind}{'' if least is None else f' of at least {least}'}"
    if not is_integer(value):
        raise wrong_type(f"{name} must be {whole if wrong_type is ValueError else kind}, got {value!r:.60}")
    if least is not None and given < least:
        allowed = whole if wrong_type is ValueError else f"at least {least}"
        raise ValueError(f"{name} must be {allowed}, got {value}")
    return operator.index(given)


def checked_real(value: Any, name: str) -> float:
    """Returns a finite number of Python, numpy or another library as a float.

    Args:
        value: the argument.
        name: name of the argument, for messages.

    Raises:
        TypeError: ``value`` is not a real number; booleans are not numbers.
        ValueError: ``value`` is NaN or infinite.

    >>> checked_real(np.float32(0.5), "threshold")
    0.5
    """
    if not is_real(value):
        raise TypeError(f"{name} must be a number, got {value!r:.60}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def finite_or_none(value: Any) -> Any:
    """Returns a Python number, and None for NaN and infinities, for JSON; other values are unchanged.

    >>> finite_or_none(np.float64("nan")), finite_or_none(np.int64(3)), finite_or_none("a")
    (None, 3, 'a')
    """
    plain = plain_number(value)
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def passed_id(value: Any, name: str) -> str | int | float | None:
    """Returns the id of a document in a form for JSON and Parquet.

    Strings and integers are unchanged. A float without fraction becomes an integer: pandas converts integers to floats
    if a value is missing. Dates and times become ISO 8601 strings, UUIDs their usual form. None, NaN, NaT and NA become
    None.

    Args:
        value: the id.
        name: name of the value, for messages.

    Raises:
        TypeError: ``value`` is of another type.
        ValueError: ``value`` is infinite, a float too large to be exact, an integer of more than 64 bits, or a string
            that is not valid Unicode.

    >>> passed_id(np.int64(7), "id"), passed_id(7.0, "id"), passed_id(float("nan"), "id")
    (7, 7, None)
    """
    value = _unwrapped(value)
    if value is None:
        return None
    if isinstance(value, (UUID, datetime.datetime, datetime.date, datetime.time)):
        return str(value) if isinstance(value, UUID) else value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        value = int(value) if value == value.to_integral_value() else float(value)
    value = plain_number(value)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        if abs(value) > MOST_EXACT:
            raise ValueError(f"{name} is too large to be exact as a float, got {value!r}; pass integers or strings")
        value = int(value)
    if isinstance(value, str):
        if half_surrogate(value) is not None:
            raise ValueError(f"{name} must be Unicode text, got half of a surrogate pair: {value!r:.60}")
        # For some subclasses str() returns another text.
        return str.__str__(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a string or a number, got {type(value).__name__}: {value!r:.60}; pass its str")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError(f"{name} must fit into 64 bits, got {value!r:.60}; pass its str")
    return value


def passed_score(value: Any, name: str) -> float | None:
    """Returns a score in a form for JSON and Parquet.

    None, NaN and NA mean no score and become None.

    Args:
        value: the score.
        name: name of the value, for messages.

    Raises:
        TypeError: ``value`` is not a number.
        ValueError: ``value`` is infinite.

    >>> passed_score(np.float32(0.5), "score"), passed_score(float("nan"), "score")
    (0.5, None)
    """
    value = _unwrapped(value)
    if value is None:
        return None
    if not (is_real(value) or isinstance(value, Decimal)):
        raise TypeError(f"{name} must be a number or None, got {type(value).__name__}: {value!r:.60}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def _unwrapped(value: Any) -> Any:
    """Returns a Python scalar for one of numpy, Arrow, pandas or torch; None for a missing value."""
    if hasattr(value, "as_py"):
        value = value.as_py()
    elif type(value).__module__ == "numpy" and type(value).__name__ == "datetime64":
        # The conversion of numpy returns an integer for nanoseconds.
        value = None if value != value else str(value)
    elif hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    missing = type(value).__name__ in ("NAType", "NaTType")
    if missing or (isinstance(value, Decimal) and value.is_nan()) or (is_real(value) and value != value):
        return None
    return value
