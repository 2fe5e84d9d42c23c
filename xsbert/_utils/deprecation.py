"""Earlier names of keyword arguments."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from .stacklevel import caller_level

__all__ = ["renamed_keywords"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def renamed_keywords(**names: str) -> Callable[[AnyFunction], AnyFunction]:
    """Accept earlier names of keyword arguments, with a DeprecationWarning.

    Args:
        **names: the present name of each earlier one.

    Raises:
        TypeError: on a call, both names of an argument are given.

    >>> @renamed_keywords(number="top_k")
    ... def first(items, top_k=1):
    ...     return items[:top_k]
    >>> first("abc", top_k=2)
    'ab'
    """

    def decorated(function: AnyFunction) -> AnyFunction:
        @wraps(function)
        def translated(*args: Any, **given: Any) -> Any:
            for old, new in names.items():
                if old not in given:
                    continue
                if new in given:
                    raise TypeError(f"give {new}, not {old} as well: {old} is its earlier name")
                message = f"{old}= is deprecated, its name is {new}="
                warnings.warn(message, DeprecationWarning, stacklevel=caller_level())
                given[new] = given.pop(old)
            return function(*args, **given)

        return cast(AnyFunction, translated)

    return decorated
