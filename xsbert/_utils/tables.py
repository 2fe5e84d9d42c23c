"""Columns of tables in memory: data frames, Arrow tables and streams, `datasets`, structured arrays.

A table is read by column name and row position; the index of a pandas frame is ignored. Frames of pandas and polars
return their own columns, without pyarrow. Tables of other libraries are read through their Arrow C stream
(``__arrow_c_stream__``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .optional_imports import optional

__all__ = ["Table", "as_table", "column_values", "is_missing", "plain_rows"]

BATCH = 4096


@dataclass(frozen=True)
class Table:
    """A table of any library.

    Attributes:
        kind: name of its class, for messages.
        names: column names, in order. Those of pandas need not be strings.
        index_names: names of the index of a pandas frame, which is not read.
    """

    kind: str
    names: tuple[Hashable, ...]
    _read: Callable[[list[int], int], Iterator[list[Any]]]
    index_names: tuple[Hashable, ...] = ()

    def batches(self, names: Iterable[Hashable], size: int = BATCH) -> Iterator[list[Any]]:
        """Yields selected columns in batches of rows.

        Args:
            names: column names.
            size: largest number of rows of a batch. Columns of pandas, polars and numpy form one batch.

        Yields:
            One column for each name: a Series of pandas or polars, a numpy array, or an Arrow array. `column_values`
            converts any of them to a list.

        Raises:
            ValueError: the table lacks a column, or two columns have a requested name.
        """
        return self._read([self._place(name) for name in names], size)

    def columns(self, names: Iterable[Hashable]) -> list[list[Any]]:
        """Returns selected columns as lists of Python values, with None for missing values.

        Args:
            names: column names.

        Raises:
            ValueError: the table lacks a column, or two columns have a requested name.
        """
        wanted = list(names)
        found: list[list[Any]] = [[] for _ in wanted]
        for batch in self.batches(wanted):
            for values, column in zip(found, batch, strict=True):
                values.extend(column_values(column))
        return found

    def _place(self, name: Hashable) -> int:
        places = [place for place, each in enumerate(self.names) if each == name]
        if not places:
            at = f"; {name!r} is the name of its index, which reset_index() makes a column"
            raise ValueError(
                f"the {self.kind} has no column {name!r}; it has {', '.join(map(repr, self.names)) or 'none'}"
                f"{at if name in self.index_names else ''}"
            )
        if len(places) > 1:
            raise ValueError(f"the {self.kind} has {len(places)} columns named {name!r}: names must differ")
        return places[0]


def as_table(value: Any) -> Table | None:
    """Returns the value as a table, or None for other objects, such as a list of rows or a single column.

    Data sets of `datasets` that are iterable or have a transform are not tables; they are read by row.

    Args:
        value: a data frame of pandas or polars, lazy or not, an Arrow table, record batch, stream or data set, a
            `datasets.Dataset` in any format, a structured numpy array, or any object with ``__arrow_c_stream__``.

    Raises:
        TypeError: the value is a dictionary of data sets, such as a `datasets.DatasetDict`.

    >>> import pandas as pd
    >>> table = as_table(pd.DataFrame({"text": ["Rain", None]}, index=[7, 3]))
    >>> table.names, table.columns(["text"])
    (('text',), [['Rain', None]])
    """
    if isinstance(value, Mapping):
        _refuse_splits(value)
        return None
    if isinstance(value, (str, bytes, list, tuple)):
        return None
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        names = value.dtype.names
        if names is None or value.ndim != 1:
            return None
        return Table(kind, names, lambda places, _: iter([[value[names[place]] for place in places]]))
    # Attributes of the class: a pandas Series has its labels as attributes, and "columns" may be a label.
    has = lambda *attributes: all(hasattr(type(value), each) for each in attributes)  # noqa: E731
    if has("collect_schema", "collect"):
        # A lazy frame of polars.
        return as_table(value.collect())
    if has("iloc", "columns"):
        index = tuple(name for name in value.index.names if name is not None)
        return Table(
            kind,
            tuple(value.columns),
            lambda places, _: iter([[value.iloc[:, place] for place in places]]),
            index,
        )
    if has("get_column", "columns"):
        names = tuple(value.columns)
        return Table(kind, names, lambda places, _: iter([[value.get_column(names[place]) for place in places]]))
    if has("with_format", "column_names"):
        return _of_dataset(value, kind)
    return _of_arrow(value, kind)


def column_values(column: Any) -> list[Any]:
    """Returns the values of a column by position, with None for missing values.

    Args:
        column: a Series or Index of pandas, a Series of polars, a column of Arrow or of `datasets`, a one-dimensional
            numpy array, or any iterable of values.

    Raises:
        ValueError: a numpy array has another number of dimensions.

    >>> import pandas as pd
    >>> column_values(pd.Series(["b", "a", None], index=[2, 1, 0]))
    ['b', 'a', None]
    """
    if hasattr(column, "to_pylist"):
        return column.to_pylist()
    if isinstance(column, np.ndarray):
        if column.ndim != 1:
            raise ValueError(f"a column must have one dimension, got an array of shape {column.shape}")
        # `tolist` converts times in nanoseconds to integers.
        values = list(column) if column.dtype.kind in "Mm" else column.tolist()
    elif hasattr(column, "isna"):
        values = [None if gone else value for value, gone in zip(column.tolist(), column.isna(), strict=True)]
    else:
        values = column.to_list() if hasattr(column, "to_list") else list(column)
    return [None if is_missing(value) else value for value in values]


def plain_rows(value: Any) -> Any:
    """Returns an iterable data set of `datasets` with Python values, for any format. Other values are unchanged.

    A `datasets.Dataset` with a user-defined transform yields the results of the transform.
    """
    if hasattr(type(value), "with_format") and hasattr(type(value), "__iter__"):
        return iter(value) if hasattr(type(value), "format") else iter(value.with_format(None))
    return value


def is_missing(value: Any) -> bool:
    """Whether a value is missing: None, ``pandas.NA``, or NaT of pandas or numpy, but not a float NaN.

    >>> is_missing(None), is_missing(np.datetime64("NaT")), is_missing(float("nan"))
    (True, True, False)
    """
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _refuse_splits(value: Mapping[Any, Any]) -> None:
    if value and all(hasattr(each, "column_names") and hasattr(each, "with_format") for each in value.values()):
        splits = ", ".join(map(repr, value))
        raise TypeError(
            f"a {type(value).__name__} holds several data sets, {splits}: pass one of them, such as "
            f"data[{next(iter(value))!r}]"
        )


def _of_dataset(value: Any, kind: str) -> Table | None:
    """Returns the Arrow columns of a data set of `datasets`, which do not depend on its format."""
    state = getattr(value, "format", None)
    if not isinstance(state, dict) or state.get("type") == "custom" or value.column_names is None:
        return None
    names = tuple(value.column_names)

    def read(places: list[int], size: int) -> Iterator[list[Any]]:
        wanted = [names[place] for place in places]
        arrow = value.with_format("arrow", columns=list(dict.fromkeys(wanted)))
        for batch in arrow.iter(batch_size=size):
            yield [batch.column(name) for name in wanted]

    return Table(kind, names, read)


def _of_arrow(value: Any, kind: str) -> Table | None:
    """Returns a table for Arrow objects with names. A single column also has a stream, but no names."""
    names = _names(value)
    if names is None:
        return None
    if hasattr(type(value), "__arrow_c_stream__") or hasattr(type(value), "__arrow_c_array__"):
        return Table(
            kind, names, lambda places, size: ([batch.column(at) for at in places] for batch in _stream(value, size))
        )
    if hasattr(type(value), "scanner"):
        return Table(kind, names, lambda places, size: _scanned(value, [names[at] for at in places], size))
    return None


def _names(value: Any) -> tuple[Hashable, ...] | None:
    """Returns the column names, from the attribute that the library uses."""
    for attribute in ("column_names", "schema", "columns"):
        if hasattr(type(value), attribute):
            found = getattr(value, attribute)
            found = getattr(found, "names", None) if attribute == "schema" else found
            if found is not None and not callable(found):
                return tuple(found)
    return None


def _scanned(value: Any, names: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """Yields columns of a `pyarrow.dataset.Dataset`. Other columns are not read."""
    for batch in value.to_batches(columns=list(dict.fromkeys(names)), batch_size=size):
        if len(batch):
            yield [batch.column(name) for name in names]


def _stream(value: Any, size: int) -> Iterator[Any]:
    arrow = optional("pyarrow", '"xsbert[corpus]"', f"a {type(value).__name__}")
    if not hasattr(value, "__arrow_c_stream__"):
        value = arrow.table(arrow.record_batch(value))
    for batch in arrow.RecordBatchReader.from_stream(value):
        for start in range(0, len(batch), size):
            yield batch.slice(start, size)
