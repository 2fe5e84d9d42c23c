"""Types and values of Arrow columns that a corpus keeps."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ["comparable", "is_open_type", "parquet_problem", "plain_type"]


def comparable(column: pa.ChunkedArray) -> list[Any]:
    """Returns Python values that are equal for equal content, whatever the unit of times.

    Python has no nanoseconds, so a time comes with its remainder below a microsecond.
    """
    kind = column.type
    temporal = pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind)
    if not temporal or kind.unit != "ns":
        return column.to_pylist()
    coarse = {"timestamp": lambda: pa.timestamp("us", kind.tz), "duration": lambda: pa.duration("us")}
    name = str(kind).partition("[")[0]
    whole = column.cast(pa.int64()).to_pylist()
    floored = pa.array([None if each is None else each // 1000 for each in whole], pa.int64())
    times = floored.cast(coarse[name]() if name in coarse else pa.time64("us")).to_pylist()
    return [
        time if each is None or each % 1000 == 0 else (time, each % 1000)
        for time, each in zip(times, whole, strict=True)
    ]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Returns the type without dictionaries, views or runs, and with 32-bit offsets, for all readers of Parquet."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type), kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind):
        return pa.list_(plain_type(kind.value_type))
    if types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([(kind.field(at).name, plain_type(kind.field(at).type)) for at in range(kind.num_fields)])
    return kind


def parquet_problem(kind: pa.DataType) -> str | None:
    """Returns why Parquet does not support a type, or None."""
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return "Parquet holds no dictionary without keys; null or None stands for one"
    if pa.types.is_union(kind) or kind == pa.month_day_nano_interval():
        return f"Parquet holds no {kind}"
    if pa.types.is_nested(kind):
        return next(filter(None, (parquet_problem(kind.field(at).type) for at in range(kind.num_fields))), None)
    return None


def is_open_type(kind: pa.DataType) -> bool:
    """Whether the values so far do not determine a type, or the type of their elements."""
    if pa.types.is_nested(kind):
        return any(is_open_type(kind.field(at).type) for at in range(kind.num_fields))
    return pa.types.is_null(kind)
