"""Sequences of texts: lists, and columns of pandas, numpy, Arrow, polars and datasets, read by position.

Of these libraries only numpy is imported. Containers are recognised by their attributes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, KeysView, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["as_entries", "as_pairs", "as_texts", "by_position", "column_names", "plain_text"]


# Kinds of entries in one dimension; other entries may be rows of an array.
SCALARS = ("strings", "texts", "names", "numbers", "integers")


def as_texts(values: Any, name: str) -> list[str]:
    """Returns texts by position.

    Args:
        values: n strings: a list, tuple or generator, a pandas Series or Index with any labels, a numpy array, an Arrow
            array, a polars Series or a column of a data set.
        name: name of the argument, for messages.

    Returns:
        n Python strings.

    Raises:
        TypeError: ``values`` is a single string, a table, a dictionary or a set, or an entry is not a string. The
            message gives the expected input or the position of the entry.

    >>> import pandas as pd
    >>> as_texts(pd.Series(["a cold day", "rain"], index=[1, 0]), "texts")
    ['a cold day', 'rain']
    >>> as_texts(["a cold day", None], "texts")
    Traceback (most recent call last):
    TypeError: texts[1] must be a string, got NoneType: None
    """
    found = as_entries(values, name)
    for place, entry in enumerate(found):
        if not isinstance(entry, str):
            raise TypeError(f"{name}[{place}] must be a string, got {type(entry).__name__}: {entry!r:.60}")
    return found


def as_entries(values: Any, name: str, what: str = "strings") -> list[Any]:
    """Returns the entries of a sequence by position, without checking their types.

    Args:
        values: as for `as_texts`.
        name: name of the argument, for messages.
        what: expected entries, for messages.

    Raises:
        TypeError: ``values`` is a single string, a table, a dictionary or a set, or is not iterable.
    """
    return [plain_text(entry) for entry in _iterated(values, name, what)]


def as_pairs(values: Any, name: str) -> list[Any]:
    """Returns the entries of a sequence of pairs by position, as input of `xsbert.engine.pairing.two_texts`.

    Args:
        values: a list, an iterator such as ``zip(frame["text_a"], frame["text_b"])``, or an array of two columns.
        name: name of the argument, for messages.

    Raises:
        TypeError: as `as_entries`.
    """
    return [plain_text(entry) for entry in _iterated(values, name, "pairs")]


def by_position(values: Any, name: str) -> Column:
    """Returns a column that reads entries by position, on access.

    Args:
        values: as for `as_texts`.
        name: name of the argument, for messages.

    Raises:
        TypeError: as `as_entries`.

    >>> import pandas as pd
    >>> by_position(pd.Series(["a cold day", "rain"], index=[1, 0]), "texts")[0]
    'a cold day'
    """
    _check_container(values, name, "strings")
    if isinstance(values, np.ndarray) or not (hasattr(values, "__len__") and hasattr(values, "__getitem__")):
        values = [*_iterated(values, name, "strings")]
    return Column(values)


@dataclass(frozen=True)
class Column:
    """The entries of a sequence by position. A pandas Series, in contrast, is indexed by label."""

    values: Any

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: int) -> Any:
        by_place = self.values.iloc if hasattr(type(self.values), "iloc") else self.values
        return plain_text(by_place[operator.index(place)])


def column_names(values: Any) -> list[str] | None:
    """Returns the column names of a table of pandas, polars, Arrow, datasets or similar; None for other objects."""
    kind = type(values)
    if isinstance(values, Mapping):
        return None
    # Attributes of the type: a pandas Series has its labels as attributes, and "columns" may be a label.
    if hasattr(kind, "collect_schema"):
        return [*values.collect_schema().names()]
    for attribute in ("column_names", "columns"):
        if hasattr(kind, attribute):
            names = getattr(values, attribute)
            return [] if names is None or callable(names) else [str(each) for each in names]
    return None


def _iterated(values: Any, name: str, what: str) -> Iterable[Any]:
    _check_container(values, name, what)
    if isinstance(values, np.ndarray):
        if values.ndim == 0 or (values.ndim != 1 and what in SCALARS):
            raise TypeError(f"{name} must hold {what} in one dimension, got an array of shape {values.shape}")
        return values.tolist()
    try:
        return iter(values)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of {what}, got {type(values).__name__}: {values!r:.60}") from None


def _check_container(values: Any, name: str, what: str) -> None:
    """Rejects objects that iterate over characters, keys or column names, or without order."""
    kind = type(values).__name__
    if isinstance(values, str):
        raise TypeError(f"{name} must hold {what}, got one string: {values!r:.60}")
    if isinstance(values, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name} must hold {what}, got {kind}")
    if isinstance(values, Mapping):
        first = next(iter(values.values()), None)
        if column_names(first) is not None:
            advice = f"pass a column of one of its tables, such as d[{next(iter(values))!r}][{_column(first)}]"
        else:
            advice = "pass list(d.values())" + (" or list(d.items())" if what == "pairs" else "")
        raise TypeError(f"{name} must be a sequence of {what}, got a dictionary ({kind}): {advice}")
    if isinstance(values, Set) and not isinstance(values, KeysView):
        raise TypeError(f"{name} must be a sequence of {what}, got {kind}, which has no order: pass a list")
    names = column_names(values)
    if names is not None:
        if what == "pairs":
            columns = [f'frame["{each}"]' for each in (names if len(names) == 2 else ("text_a", "text_b"))]
            advice = f"pass zip({', '.join(columns)})"
        else:
            read = "frame.collect()" if kind == "LazyFrame" else "frame"
            advice = f"pass one of its columns, such as {read}[{_column(values)}]"
        raise TypeError(f"{name} must be a sequence of {what}, got a table ({kind}): {advice}")


def _column(table: Any) -> str:
    names = column_names(table) or ["text"]
    return f'"{"text" if "text" in names else names[0]}"'


def plain_text(entry: Any) -> Any:
    """Returns a Python string for a string of numpy or Arrow; other values are unchanged.

    >>> plain_text(np.str_("rain")), plain_text(3)
    ('rain', 3)
    """
    if type(entry) is not str:
        if hasattr(entry, "as_py"):
            return entry.as_py()
        if isinstance(entry, str):
            # For some subclasses str() returns another text.
            return str.__str__(entry)
    return entry
