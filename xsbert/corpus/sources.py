"""Where rows come from: files, datasets, iterables. All become Arrow tables with the same columns.

row     int64    0, 1, … in the order of the source
id      string, int64 or uint64, where the source has a column of ids; null where one is missing
texts   string   one or two columns, named as `xsbert.corpus.task.TEXT_COLUMNS` says; null where Arrow holds no such
bad_…   string   beside each: what is wrong with it, or null
others  the columns that are kept, as `xsbert.corpus.kept` reads them
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from ..tables import Table, as_table, column_values, is_missing
from .arrow_types import comparable
from .kept import IdColumn, KeptColumn

__all__ = ["Fingerprint", "rows_of_source"]

CHUNK = 4096
Row = Mapping[str, Any] | Sequence[Any] | str


def rows_of_source(
    source: Any,
    wanted: Sequence[str],
    columns: Sequence[str] | None,
    id_column: str | None,
    keep: Sequence[str],
    reserved: Collection[str] = (),
) -> Iterator[pa.Table]:
    """Tables of a few thousand rows each.

    Args:
        source: the path of a Parquet, CSV, TSV or JSONL file or of a folder of Parquet files; a `datasets.Dataset`, a
            `pyarrow.Table`, a data frame; or an iterable of strings, tuples or dictionaries.
        wanted: names that the columns of texts get.
        columns: their names in the source; None takes ``wanted``. Tuples and strings have no names.
        id_column: name of the column of ids.
        keep: names of further columns.
        reserved: names that these cannot have.

    Raises:
        TypeError: there is no reading the source.
        ValueError: it lacks a column, a file is malformed, or a column that is kept is of several types or clashes.
        OSError: a file cannot be read.
    """
    names = tuple(wanted if columns is None else columns)
    if isinstance(columns, str) or len(names) != len(wanted):
        raise ValueError(f"columns must name {len(wanted)} columns, of {' and '.join(wanted)}, got {columns!r}")
    if isinstance(keep, str):
        raise ValueError(f"keep must be a sequence of names of columns, got {keep!r}")
    clashing = sorted({*reserved, *wanted} & set(keep))
    if clashing:
        raise ValueError(f"keep names columns that the results have already: {', '.join(clashing)}")
    unnamed = [name for name in keep if not isinstance(name, str)]
    if unnamed:
        raise TypeError(f"keep must hold names of columns that are strings, got {unnamed[0]!r}")
    table = as_table(source)
    if isinstance(source, (str, PathLike)) and _is_parquet(Path(source)) and Path(source).exists():
        table = as_table(ds.dataset(source, format="parquet"))
    ids = [] if id_column is None else [IdColumn(id_column)]
    stated = {} if table is not None else _stated_types(source, keep)
    beside = [*ids, *(KeptColumn(name, stated.get(name)) for name in keep)]
    found = _of_rows(source, names, id_column, keep, beside) if table is None else _of_table(table, names, beside)
    start = 0
    for texts, others in found:
        n_rows = len(texts[0])
        columns: dict[str, pa.Array] = {"row": pa.array(range(start, start + n_rows), pa.int64())}
        columns |= zip(["id"], others[: len(ids)], strict=False)
        for name, values in zip(wanted, texts, strict=True):
            checked = [_checked(text) for text in values]
            columns[name] = pa.array([text for text, _ in checked], pa.string())
            columns[f"bad_{name}"] = pa.array([problem for _, problem in checked], pa.string())
        columns |= zip(keep, others[len(ids) :], strict=True)
        yield pa.table(columns)
        start += n_rows


Batch = tuple[list[list[Any]], list[pa.Array]]
"""Texts of each column, and the columns beside them."""


def _of_table(table: Table, names: Sequence[Any], beside: Sequence[IdColumn | KeptColumn]) -> Iterator[Batch]:
    try:
        batches = table.batches([*names, *(column.name for column in beside)], CHUNK)
    except ValueError as error:
        raise ValueError(f"{error}. columns, id_column and keep say which are read") from None
    start = 0
    for batch in batches:
        texts, others = batch[: len(names)], batch[len(names) :]
        # The type of a column that comes whole is that of all its rows.
        arrays = [column.array(values, start) for column, values in zip(beside, others, strict=True)]
        for first in range(0, len(texts[0]), CHUNK):
            rows = slice(first, first + CHUNK)
            read = [column_values(text.iloc[rows] if hasattr(text, "iloc") else text[rows]) for text in texts]
            yield read, [array[rows] for array in arrays]
        start += len(texts[0])


def _of_rows(
    source: Any, names: Sequence[Any], id_column: str | None, keep: Sequence[str], beside: list[Any]
) -> Iterator[Batch]:
    start = 0
    for rows in _chunks(source):
        texts, others = _read_rows(rows, start, names, id_column, keep)
        arrays = [column.array(values, start) for column, values in zip(beside, others, strict=True)]
        if start == 0 and isinstance(source, (list, tuple)) and any(column.is_open for column in beside):
            _look_ahead(source, names, id_column, keep, beside)
            arrays = [column.array(values, start) for column, values in zip(beside, others, strict=True)]
        yield texts, arrays
        start += len(rows)


def _look_ahead(
    source: Sequence[Row], names: Sequence[Any], id_column: str | None, keep: Sequence[str], beside: list[Any]
) -> None:
    """The types of columns that are null in the first rows, where the later ones are at hand."""
    for start in range(CHUNK, len(source), CHUNK):
        _, others = _read_rows(source[start : start + CHUNK], start, names, id_column, keep)
        for column, values in zip(beside, others, strict=True):
            if column.is_open:
                column.look_ahead(values, start)
        if not any(column.is_open for column in beside):
            return


class Fingerprint:
    """Of all rows, in order: of ids, texts and kept columns. The same for the same content in any kind of file."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self.n_rows = 0

    def update(self, table: pa.Table) -> None:
        """Take in further rows."""
        names = [name for name in table.column_names if name != "row"]
        for row in zip(*(comparable(table[name]) for name in names), strict=True):
            encoded = repr(tuple(zip(names, row, strict=True))).encode("utf-8", "surrogatepass")
            self._digest.update(len(encoded).to_bytes(8, "little") + encoded)
        self.n_rows += len(table)

    def __str__(self) -> str:
        return self._digest.hexdigest()


def _stated_types(source: Any, keep: Sequence[str]) -> dict[str, pa.DataType]:
    """Types of columns, where an iterable data set knows them."""
    schema = getattr(getattr(source, "features", None), "arrow_schema", None)
    return {} if schema is None else {name: schema.field(name).type for name in keep if name in schema.names}


def _chunks(source: Any) -> Iterator[Sequence[Row]]:
    if isinstance(source, (str, PathLike)):
        return _file_chunks(Path(source))
    if isinstance(source, (bytes, Mapping, set, frozenset)) or not isinstance(source, Iterable):
        raise TypeError(
            "source must be a path, a data frame, a table, a datasets.Dataset or an iterable of texts, tuples or "
            f"dictionaries, got {type(source).__name__}"
        )
    if isinstance(source, np.ndarray) and source.ndim != 1:
        if source.ndim != 2:
            raise TypeError(f"source must have one or two dimensions, got an array of shape {source.shape}")
        return _cut(source.tolist())
    if hasattr(type(source), "with_format"):
        # Rows as Python values, whatever the format, except what a transform of the user's own makes of them.
        return _cut(source if hasattr(type(source), "format") else source.with_format(None))
    if any(hasattr(type(source), name) for name in ("to_pylist", "isna", "to_list", "dtype")):
        return _cut(column_values(source))
    return _cut(source)


def _cut(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    iterator = iter(rows)
    return iter(lambda: list(itertools.islice(iterator, CHUNK)), [])


def _file_chunks(path: Path) -> Iterator[Sequence[Row]]:
    if not path.exists():
        raise FileNotFoundError(f"there is no source {path}")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _cut(_csv_rows(path, "\t" if suffix == ".tsv" else ","))
    if suffix in (".jsonl", ".ndjson"):
        return _cut(_json_rows(path))
    raise ValueError(f"source {path} must end in .parquet, .csv, .tsv or .jsonl, or be a folder of Parquet files")


def _is_parquet(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in (".parquet", ".pq")


def _csv_rows(path: Path, delimiter: str) -> Iterator[dict[str, Any]]:
    # Bytes that are no UTF-8 become lone surrogates, and their row one with a reason.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        for row in csv.DictReader(file, delimiter=delimiter):
            if None in row or None in row.values():
                raise ValueError(f"{path} has a row with another number of fields than its header: {row!r:.200}")
            yield row


def _json_rows(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from None


def _read_rows(
    rows: Sequence[Row], start: int, names: Sequence[Any], id_column: str | None, keep: Sequence[str]
) -> tuple[list[list[Any]], list[list[Any]]]:
    """Columns of texts, and those beside them, ids first."""
    read = [_read_row(row, start + place, names, id_column, keep) for place, row in enumerate(rows)]
    texts = [[None if is_missing(text[place]) else text[place] for _, text, _ in read] for place in range(len(names))]
    others = [[] if id_column is None else [identity for identity, _, _ in read]]
    kept = [[values[place] for _, _, values in read] for place in range(len(keep))]
    return texts, [*(others if id_column is not None else []), *kept]


def _read_row(
    row: Row, number: int, names: Sequence[str], id_column: str | None, keep: Sequence[str]
) -> tuple[Any, Sequence[Any], Sequence[Any]]:
    """Id, texts, and columns that are kept."""
    if isinstance(row, Mapping):
        # Whether the columns of texts are named rightly, the first row tells; one that lacks a text is as with null.
        needed = [*(names if number == 0 else ()), *([id_column] if id_column else []), *keep]
        missing = [name for name in needed if name not in row]
        if missing:
            raise ValueError(f"row {number} has no column {', '.join(missing)}; it has {', '.join(map(str, row))}")
        return row.get(id_column or ""), [row.get(name) for name in names], [row[name] for name in keep]
    if id_column is not None or keep:
        raise ValueError(f"id_column and keep need rows with named columns, got {type(row).__name__} in row {number}")
    # One text without a name, whatever it is: what is no string becomes a row with a reason.
    values = row.tolist() if isinstance(row, np.ndarray) else row if isinstance(row, (tuple, list)) else [row]
    if len(values) != len(names):
        raise ValueError(f"row {number} must have {len(names)} texts, got {len(values)}: {row!r:.80}")
    return None, values, []


def _checked(text: Any) -> tuple[str | None, str | None]:
    """A text as Arrow can hold it, or None, and what is wrong with it, or None."""
    if text is None:
        return None, "there is no text (null)"
    if not isinstance(text, str):
        return None, f"a text must be a string, got {type(text).__name__}: {text!r:.80}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return None, f"the text is no Unicode text: {error.reason} at {error.start} of {text!a:.80}"
    return text, None if text.strip() else "the text is empty or only white space"
