"""Attributes that are computed on first access."""

from __future__ import annotations

import functools
from typing import Any, TypeVar, cast, overload

__all__ = ["cached_property"]

Value = TypeVar("Value")
MISSING = object()


class cached_property(functools.cached_property[Value]):
    """`functools.cached_property` as in Python 3.12, without its earlier lock.

    Earlier versions hold one lock for all objects of the class during the computation. After a fork in another thread,
    that lock is never released.

    >>> class Text:
    ...     @cached_property
    ...     def words(self) -> list[str]:
    ...         print("once")
    ...         return ["a", "dog"]
    >>> text = Text()
    >>> text.words is text.words
    once
    True
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> cached_property[Value]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Value: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> cached_property[Value] | Value:
        if instance is None:
            return self
        name, known = cast(str, self.attrname), vars(instance)
        value = known.get(name, MISSING)
        if value is MISSING:
            value = known[name] = self.func(instance)
        return cast(Value, value)
