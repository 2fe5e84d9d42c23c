"""The columns of a shard: names, types, and rows as an Arrow table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .task import Task

__all__ = ["SIDE_FIELDS", "names_of", "schema_of", "table_of"]

FLOATS = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}
TOP = pa.list_(pa.struct([("a", pa.int32()), ("b", pa.int32()), ("value", pa.float64())]))
# Columns of one text, in every kind of row.
SIDE_FIELDS = {
    "prompt": pa.string(),
    "encoded_by": pa.string(),
    "tokens": pa.list_(pa.string()),
    "roles": pa.list_(pa.string()),
    "word_ids": pa.list_(pa.int32()),
    "starts": pa.list_(pa.int32()),
    "ends": pa.list_(pa.int32()),
    "n_cut": pa.int32(),
    "residual": pa.float64(),
    "factor_error": pa.float64(),
}
PAIR_SIDE_FIELDS = {"contributions": pa.list_(pa.float64()), "main_effects": pa.list_(pa.float64())}


def schema_of(task: Task, given: pa.Schema) -> pa.Schema:
    """Returns the schema of the rows of a task.

    Args:
        given: schema of the rows to explain. Columns other than texts are kept.
    """
    fields = [field for field in given if field.name not in _problem_names(task)]
    if task.what == "factors":
        number = FLOATS["float64" if task.dtype == "float64" else "float32"]
        added = {
            **SIDE_FIELDS,
            "factors": pa.list_(pa.list_(FLOATS[task.dtype])),
            # Vector indexes need a fixed size. The others may be null, which a fixed size does not allow.
            "embedding": pa.list_(number, task.width),
            "reference_term": pa.list_(number),
            "unshifted": pa.list_(number),
            "normalisation": pa.float64(),
        }
    elif task.what == "highlights":
        added = {
            **SIDE_FIELDS,
            "score": pa.float64(),
            "contributions": pa.list_(pa.float64()),
            "baseline": pa.float64(),
            "error": pa.float64(),
        }
    else:
        names = ("score", "score_unshifted", "interactions", "baseline", "error")
        added = {name: pa.float64() for name in names}
        for side in "ab":
            added |= {f"{name}_{side}": kind for name, kind in {**SIDE_FIELDS, **PAIR_SIDE_FIELDS}.items()}
        added |= {"matrix": pa.list_(pa.list_(pa.float32()))} if task.top_k is None else {"top": TOP}
    added |= {"settings": pa.string(), "reason": pa.string()}
    return pa.schema([*fields, *(pa.field(name, kind) for name, kind in added.items())])


def names_of(task: Task) -> frozenset[str]:
    """Returns the reserved names, which kept columns cannot have."""
    return frozenset({"row", "id", *task.columns, *_problem_names(task), *schema_of(task, pa.schema([])).names})


def _problem_names(task: Task) -> set[str]:
    """Returns the names of columns with the problems of texts. They are not result columns."""
    return {f"bad_{name}" for name in task.columns}


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Returns a table of rows. Missing values are null."""
    return pa.table([_array([row.get(field.name) for row in rows], field.type) for field in schema], schema)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind) and pa.types.is_list(kind.value_type):
        return _nested(values, kind)
    return pa.array(values, kind)


def _nested(matrices: Sequence[np.ndarray | None], kind: pa.DataType) -> pa.Array:
    """Converts matrices to lists of lists, without a Python object for each number."""
    shapes = [(0, 0) if matrix is None else matrix.shape for matrix in matrices]
    dtype = kind.value_type.value_type.to_pandas_dtype()
    flat = [np.zeros(0, dtype), *(matrix.ravel() for matrix in matrices if matrix is not None)]
    values = pa.array(np.concatenate(flat).astype(dtype, copy=False), kind.value_type.value_type)
    lengths = np.repeat([width for _, width in shapes], [height for height, _ in shapes])
    inner = pa.ListArray.from_arrays(pa.array(_offsets(lengths), pa.int32()), values)
    missing = pa.array([matrix is None for matrix in matrices])
    return pa.ListArray.from_arrays(
        pa.array(_offsets([height for height, _ in shapes]), pa.int32()), inner, mask=missing
    )


def _offsets(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))])
