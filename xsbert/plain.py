"""What is given, before anything is done with it: numbers, of Python or as good as those, and text that is Unicode."""

from __future__ import annotations

import operator
from numbers import Integral, Real
from typing import Any

__all__ = ["half_surrogate", "is_integer", "is_real", "plain_number"]


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, of Python, numpy or another library; True and False are none.

    >>> is_integer(3), is_integer(np.int64(3)), is_integer(True), is_integer(3.0)
    (True, True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether a value is a real number, of Python, numpy or another library; True and False are none.

    >>> is_real(0.5), is_real(np.float32(0.5)), is_real(1), is_real(np.True_), is_real("1")
    (True, True, True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def plain_number(value: Any) -> Any:
    """Python's own number, which JSON can hold, for an integer or a real number; anything else as it is.

    >>> plain_number(np.int64(3)), plain_number(np.float32(0.5)), plain_number(None)
    (3, 0.5, None)
    """
    if is_integer(value):
        return operator.index(value)
    return float(value) if is_real(value) else value


def half_surrogate(text: str) -> int | None:
    """The index of the first lone half of a surrogate pair, which makes a text no Unicode; None where there is none.

    >>> half_surrogate("a dog"), half_surrogate("a \\ud800 dog")
    (None, 2)
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None
