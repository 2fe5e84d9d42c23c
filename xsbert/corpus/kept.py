"""Columns that a corpus stores besides the texts: ids, and kept columns.

Null stays null and integers stay integers. No value is converted to another kind. A column of several kinds, or with a
value that Parquet does not support, raises an error that gives its name and row.
"""

from __future__ import annotations

import datetime
import decimal
import math
import operator
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .._utils.tables import column_values, is_missing
from .._utils.unicode import half_surrogate
from .._utils.validation import is_integer, is_real
from .arrow_types import is_open_type, parquet_problem, plain_type

__all__ = ["IdColumn", "KeptColumn"]

MOST_EXACT = 2**53
"""Largest integer up to which a double represents every integer."""
FAILURES = (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError, AttributeError)
SCALARS = (str, bool, int, float)
NO_ID = (float, decimal.Decimal, bytes, bytearray, Mapping, list, tuple, set, frozenset, np.ndarray)


class KeptColumn:
    """A kept column, read in batches.

    Args:
        name: name of the column.
        stated: its type, if the source specifies it.
    """

    def __init__(self, name: str, stated: pa.DataType | None = None) -> None:
        self.name = name
        self.type: pa.DataType | None = None
        self._stated = None if stated is None else plain_type(stated)
        self._kinds: dict[str, str] = {}

    def array(self, column: Any, start: int) -> pa.Array:
        """Converts further rows to Arrow.

        Args:
            column: a column of Arrow, pandas, polars or numpy, or a list of values.
            start: index of its first row.

        Raises:
            ValueError: the values are of several kinds, or of a kind that Parquet does not support.
        """
        found = None if isinstance(column, list) else _of_library(column)
        if found is None or (self.type is not None and found.type != self.type):
            # Files of one folder may differ in the types of a column.
            found = self._of_values([_plain(value) for value in column_values(column)], start)
        problem = parquet_problem(found.type)
        if problem:
            at = next((place for place, value in enumerate(found) if value.is_valid), 0)
            raise self._error(found[at].as_py(), start + at, "", problem)
        if self.type is None:
            self.type = found.type
        return found

    def _of_values(self, values: Sequence[Any], start: int) -> pa.Array:
        for place, value in enumerate(values):
            problem = self._learn(value, "") or (self.type is not None and _lacks(self.type, value))
            if problem:
                raise self._error(value, start + place, self._known(values[:place]), problem)
        kind = self.type
        if kind is not None and all(value is None for value in values):
            return pa.nulls(len(values), kind)
        if kind is None or is_open_type(kind):
            kind = _type_for(values)
        try:
            found = pa.array(values, kind)
        except FAILURES as error:
            # Bisection finds the longest prefix with one type: if a prefix does not fit, longer ones do not.
            at = bisect_left(range(1, len(values)), True, key=lambda n: not _fit(values[:n], kind))
            raise self._error(values[at], start + at, self._known(values[:at], kind), ONE_TYPE) from error
        if self.type is None and self._stated is not None and is_open_type(found.type):
            return pa.array(values, self._stated)
        if self.type is not None and found.type != self.type:
            at = next(place for place, value in enumerate(values) if value is not None)
            raise self._error(values[at], start + at, f" after {self.type}", ONE_TYPE)
        return found

    def _learn(self, value: Any, path: str) -> str | None:
        """Returns the conflict of a value with the previous ones, or None."""
        if value is None:
            return None
        kind = _kind(value)
        if self._kinds.setdefault(path, kind) != kind:
            return ONE_TYPE
        if kind == "set":
            return "a set has no order: give a sorted list"
        if path and _nanoseconds(value):
            return "nanoseconds are kept in a column of their own alone"
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                return "the keys of a dictionary must be strings"
            return next(filter(None, (self._learn(each, f"{path}.{key}") for key, each in value.items())), None)
        if isinstance(value, (list, tuple)):
            types = {*map(type, value)} - {type(None)}
            alike = len(types) == 1 and types <= {*SCALARS}
            each = value[:1] if alike and value[0] is not None else value
            return next(filter(None, (self._learn(one, f"{path}[]") for one in each)), None)
        return None

    def _known(self, before: Sequence[Any], kind: pa.DataType | None = None) -> str:
        kind = self.type if self.type is not None else kind
        if kind is None and before and _fit(before, None):
            kind = pa.array(before).type
        if kind is None or (pa.types.is_null(kind) and self.type is None):
            return ""
        return f" after {kind}"

    def _error(self, value: Any, row: int, before: str, problem: str) -> ValueError:
        return ValueError(
            f"the column {self.name!r} that is to be kept has {type(value).__name__} {value!r:.60} in row {row}"
            f"{before}: {problem}"
        )


ONE_TYPE = "a column is of one type, and null or None where nothing is known"


class IdColumn:
    """The column of ids, read in batches: integers, strings, or the string form of values of one other kind.

    Args:
        name: name of the column in the source.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.type: pa.DataType | None = None
        self._kind: str | None = None

    def array(self, column: Any, start: int) -> pa.Array:
        """Converts further ids to int64, to uint64 for large integers, or to string; missing ids are null.

        Args:
            column: as for `KeptColumn.array`.
            start: index of its first row.

        Raises:
            ValueError: an id is a fraction, a number too large to be exact, a list, bytes or a dictionary; or ids
                are of several kinds.
        """
        ids = [self._id(_plain(value), start + place) for place, value in enumerate(column_values(column))]
        if self.type is None:
            self.type = _stated_id(column)
        if self.type is None:
            self.type = pa.string() if self._kind not in (None, "number") else _whole_type(ids)
        try:
            return pa.array(ids, self.type)
        except FAILURES as error:
            at = bisect_left(range(1, len(ids)), True, key=lambda n: not _fit(ids[:n], self.type))
            raise ValueError(
                f"the id {ids[at]!r:.60} in row {start + at} does not fit {self.type}, the type of the rows before "
                f"it: pass the ids in {self.name!r} as strings"
            ) from error

    def _id(self, value: Any, row: int) -> str | int | None:
        if value is None or (isinstance(value, (float, decimal.Decimal)) and value != value):
            return None
        found: Any = value
        problem: str | None = None
        if isinstance(value, (float, decimal.Decimal)) and _is_whole(value):
            found = int(value)
            if isinstance(value, float) and abs(found) > MOST_EXACT:
                problem = "is too large to be exact as a float: read the ids as integers or strings"
            elif not -(2**63) <= found < 2**64:
                problem = "does not fit 64 bits: give the ids as strings"
        elif is_integer(value):
            found = operator.index(found)
            problem = None if -(2**63) <= found < 2**64 else "does not fit 64 bits: give the ids as strings"
        elif isinstance(value, str):
            found = str.__str__(value)
            problem = None if half_surrogate(found) is None else "is no Unicode text"
        elif isinstance(value, NO_ID):
            problem = "is neither a whole number nor a string"
        else:
            found = str(value)
        kind = "number" if isinstance(found, int) else _kind(value)
        self._kind = self._kind or kind
        if problem is None and kind != self._kind:
            problem = f"follows ids of another kind, {self._kind}"
        if problem is not None:
            raise ValueError(
                f"the column {self.name!r} of ids has {type(value).__name__} {value!a:.60} in row {row}, which "
                f"{problem}"
            )
        return found


def _of_library(column: Any) -> pa.Array | None:
    """Returns a column that has an Arrow type; None if the type depends on its values."""
    if not isinstance(column, (pa.Array, pa.ChunkedArray)):
        try:
            if hasattr(column, "iloc"):
                column = None if column.dtype == object else pa.Array.from_pandas(column)
            elif isinstance(column, np.ndarray):
                column = None if column.dtype == object else pa.array(np.ascontiguousarray(column))
            else:
                # For objects, polars exports addresses to Arrow.
                column = None if str(getattr(column, "dtype", "")) == "Object" else pa.chunked_array(column)
        except FAILURES:
            return None
        if column is None:
            return None
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    plain = plain_type(column.type)
    if plain == column.type:
        return column
    try:
        return column.cast(plain)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return pa.array(column.to_pylist(), plain)


def _kind(value: Any) -> str:
    """Returns the kind of a value. All values of a column must have the same kind."""
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if is_real(value):
        return "number"
    if isinstance(value, datetime.datetime):
        return "datetime" if value.tzinfo is None else "datetime with a time zone"
    known = {
        str: "string",
        (bytes, bytearray, memoryview): "bytes",
        datetime.date: "date",
        datetime.time: "time",
        (datetime.timedelta, np.timedelta64): "timedelta",
        np.datetime64: "datetime",
        Mapping: "dictionary",
        (list, tuple, np.ndarray): "list",
        (set, frozenset): "set",
    }
    return next((name for types, name in known.items() if isinstance(value, types)), type(value).__name__)


def _plain(value: Any) -> Any:
    """Returns None for null, Python values for scalars of numpy and torch, and lists for arrays."""
    if type(value) in SCALARS:
        return value
    if is_missing(value):
        return None
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return _exact_time(value)
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim != 1:
        return value.tolist()
    return value.item() if isinstance(value, (np.number, np.bool_)) else value


def _nanoseconds(value: Any) -> bool:
    """Whether a time has more digits than Python times."""
    return bool(getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0))


def _exact_time(value: np.datetime64 | np.timedelta64) -> Any:
    """Returns the Python date or time of a numpy value, if it is exact."""
    days = np.datetime_data(value.dtype)[0] == "D" and isinstance(value, np.datetime64)
    try:
        coarse = value if days else value.astype(f"{value.dtype.kind}8[us]")
    except TypeError:
        # Months and years have no fixed duration.
        return value
    found = coarse.item()
    return value if coarse != value or isinstance(found, int) else found


def _type_for(values: Sequence[Any]) -> pa.DataType | None:
    """Returns types that Arrow does not infer: integers above int64, and times with nanoseconds."""
    numbers = [value for value in values if value is not None]
    if numbers and all(type(value) is int for value in numbers) and max(numbers) >= 2**63:
        return pa.uint64()
    if any(map(_nanoseconds, numbers)):
        is_duration = isinstance(numbers[0], datetime.timedelta)
        return pa.duration("ns") if is_duration else pa.timestamp("ns", pa.scalar(numbers[0]).type.tz)
    return None


def _fit(values: Sequence[Any], kind: pa.DataType | None) -> bool:
    try:
        pa.array(values, kind)
    except FAILURES:
        return False
    return True


def _lacks(kind: pa.DataType, value: Any) -> str | None:
    """Returns why a fixed type would silently drop a part of a value, or None."""
    if value is None:
        return None
    if pa.types.is_struct(kind) and isinstance(value, Mapping):
        new = [key for key in value if kind.get_field_index(key) < 0]
        if new:
            return f"the first rows have no {', '.join(map(repr, new))}, and their type is that of the column"
        return next(filter(None, (_lacks(kind.field(key).type, each) for key, each in value.items())), None)
    if pa.types.is_integer(kind) and isinstance(value, float) and not _is_whole(value):
        return "the first rows are whole numbers, and their type is that of the column"
    if pa.types.is_list(kind) and isinstance(value, (list, tuple)):
        return next(filter(None, (_lacks(kind.value_type, each) for each in value)), None)
    if _nanoseconds(value) and getattr(kind, "unit", "ns") != "ns":
        return "the first rows have no nanoseconds, and their type is that of the column"
    return None


def _is_whole(value: float | decimal.Decimal) -> bool:
    return math.isfinite(value) and value == int(value)


def _stated_id(column: Any) -> pa.DataType | None:
    """Returns the type of ids for the type of an Arrow column. Later batches may have null or larger values."""
    if not isinstance(column, (pa.Array, pa.ChunkedArray)) or pa.types.is_null(column.type):
        return None
    if pa.types.is_uint64(column.type):
        return pa.uint64()
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return pa.int64() if any(is_number(column.type) for is_number in numbers) else pa.string()


def _whole_type(ids: Sequence[Any]) -> pa.DataType:
    numbers = [each for each in ids if each is not None]
    if not numbers:
        return pa.null()
    return pa.uint64() if max(numbers) >= 2**63 else pa.int64()
