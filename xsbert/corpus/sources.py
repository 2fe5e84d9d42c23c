"""Sources of rows: files, datasets and iterables. All become Arrow tables with the same columns.

row     int64    0, 1, … in the order of the source
id      string, int64 or uint64, if the source has a column of ids; null if an id is missing
texts   string   one or two columns, named by `xsbert.corpus.task.TEXT_COLUMNS`; null if the text is not valid
bad_…   string   for each column of texts: the problem of the text, or null
others  the kept columns, as read by `xsbert.corpus.kept`
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .._utils.table_files.advice import advise
from .._utils.table_files.parquet import is_parquet
from .._utils.table_files.records import BadRecord, Record, json_problem
from .._utils.table_files.rows import MissingColumnError, check_quoting, parquet_columns, read_rows
from .._utils.tables import as_table, column_values, is_missing, plain_rows
from .arrow_types import comparable
from .kept import IdColumn, KeptColumn

__all__ = ["Fingerprint", "rows_of_source"]

CHUNK = 4096
Row = Mapping[str, Any] | Sequence[Any] | str | BadRecord
NAMING = "columns are named by {columns}, {id_column} and {keep}"


def rows_of_source(
    source: Any,
    wanted: Sequence[str],
    columns: Sequence[str] | None,
    id_column: str | None,
    keep: Sequence[str],
    reserved: Collection[str] = (),
    quoting: bool | None = None,
) -> Iterator[pa.Table]:
    """Yields tables of a few thousand rows each.

    Args:
        source: the path of a Parquet, CSV, TSV or JSONL file or of a folder of Parquet files; a table, as
            `xsbert._utils.tables.as_table` reads them; or an iterable of strings, tuples or dictionaries.
        wanted: names of the columns of texts in the result.
        columns: their names in the source; None uses ``wanted``. Tuples and strings have no names.
        id_column: name of the column of ids.
        keep: names of further columns.
        reserved: names that further columns cannot have.
        quoting: for CSV and TSV files, whether quotes enclose fields; None means True for CSV and False for TSV.

    Raises:
        TypeError: the type of the source is not supported.
        ValueError: no row has a needed column, a file is malformed or not text, or a kept column has several types or
            a reserved name.
        OSError: a file cannot be read.
    """
    names = tuple(wanted if columns is None else columns)
    if isinstance(columns, str) or len(names) != len(wanted):
        raise ValueError(f"columns must name {len(wanted)} columns, of {' and '.join(wanted)}, got {columns!r}")
    if isinstance(keep, str):
        raise ValueError(f"keep must be a sequence of names of columns, got {keep!r}")
    clashing = sorted({*reserved, *wanted} & set(keep))
    if clashing:
        raise ValueError(f"keep names columns that the results use: {', '.join(clashing)}")
    unnamed = [name for name in keep if not isinstance(name, str)]
    if unnamed:
        raise TypeError(f"keep must hold names of columns that are strings, got {unnamed[0]!r}")
    if quoting is not None and not isinstance(source, (str, PathLike)):
        raise ValueError(f"quoting applies to CSV and TSV files, not to {type(source).__name__}")
    needed = [*names, *([id_column] if id_column is not None else []), *keep]
    batches = _table_batches(source, needed, quoting)
    stated = {} if batches is not None else _stated_types(source, keep)
    if batches is None:
        chunks = _with_columns(_chunks(source, needed, id_column, quoting), needed)
        batches = _row_batches(chunks, names, id_column, keep)
        if isinstance(source, (list, tuple)):
            # If all rows are in memory, the type of a column depends on all of them.
            batches = _joined(batches)
    ids = [] if id_column is None else [IdColumn(id_column)]
    beside = [*ids, *(KeptColumn(name, stated.get(name)) for name in keep)]
    start = 0
    for texts, others in _read_batches(batches, len(names), beside):
        n_rows = len(texts[0])
        arrays: dict[str, pa.Array] = {"row": pa.array(range(start, start + n_rows), pa.int64())}
        arrays |= zip(["id"], others[: len(ids)], strict=False)
        for name, values in zip(wanted, texts, strict=True):
            checked = [_checked(text) for text in values]
            arrays[name] = pa.array([text for text, _ in checked], pa.string())
            arrays[f"bad_{name}"] = pa.array([problem for _, problem in checked], pa.string())
        arrays |= zip(keep, others[len(ids) :], strict=True)
        yield pa.table(arrays)
        start += n_rows


def _table_batches(source: Any, needed: Sequence[Any], quoting: bool | None) -> Iterator[list[Any]] | None:
    """Returns an iterator over columns of a table or of Parquet files; None for other sources."""
    if isinstance(source, (str, PathLike)):
        if not is_parquet(source) or not Path(source).exists():
            return None
        check_quoting(quoting, "parquet")
        return _parquet_columns(Path(source), needed)
    table = as_table(source)
    try:
        return None if table is None else table.batches(needed, CHUNK)
    except ValueError as error:
        raise advise(error, NAMING) from None


def _parquet_columns(path: Path, needed: Sequence[str]) -> Iterator[list[Any]]:
    try:
        yield from parquet_columns(path, needed)
    except MissingColumnError as error:
        raise advise(error, NAMING) from None


def _row_batches(
    chunks: Iterable[Sequence[Row]], names: Sequence[Any], id_column: str | None, keep: Sequence[str]
) -> Iterator[list[Any]]:
    start = 0
    for rows in chunks:
        yield _read_rows(rows, start, names, id_column, keep)
        start += len(rows)


def _joined(batches: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Joins all batches into one, if there are any."""
    columns: list[list[Any]] = []
    for batch in batches:
        columns = columns or [[] for _ in batch]
        for column, values in zip(columns, batch, strict=True):
            column.extend(values)
    if columns:
        yield columns


def _read_batches(
    batches: Iterable[list[Any]], n_texts: int, beside: Sequence[IdColumn | KeptColumn]
) -> Iterator[tuple[list[list[Any]], list[pa.Array]]]:
    """Yields the columns of texts and the other columns, a few thousand rows at a time."""
    start = 0
    for batch in batches:
        texts, others = batch[:n_texts], batch[n_texts:]
        # A whole column has one type for all of its rows.
        arrays = [column.array(values, start) for column, values in zip(beside, others, strict=True)]
        for first in range(0, len(texts[0]), CHUNK):
            rows = slice(first, first + CHUNK)
            read = [column_values(text.iloc[rows] if hasattr(text, "iloc") else text[rows]) for text in texts]
            yield read, [array[rows] for array in arrays]
        start += len(texts[0])


class Fingerprint:
    """Hash of the ids, texts and kept columns of all rows, in order. It does not depend on the kind of source."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self.n_rows = 0

    def update(self, table: pa.Table) -> None:
        """Adds further rows."""
        names = [name for name in table.column_names if name != "row"]
        for row in zip(*(comparable(table[name]) for name in names), strict=True):
            encoded = repr(tuple(zip(names, row, strict=True))).encode("utf-8", "surrogatepass")
            self._digest.update(len(encoded).to_bytes(8, "little") + encoded)
        self.n_rows += len(table)

    def __str__(self) -> str:
        return self._digest.hexdigest()


def _stated_types(source: Any, keep: Sequence[str]) -> dict[str, pa.DataType]:
    """Returns the types of columns, if an iterable data set specifies them."""
    schema = getattr(getattr(source, "features", None), "arrow_schema", None)
    return {} if schema is None else {name: schema.field(name).type for name in keep if name in schema.names}


def _chunks(source: Any, needed: Sequence[str], id_column: str | None, quoting: bool | None) -> Iterator[Sequence[Row]]:
    if isinstance(source, (str, PathLike)):
        return _cut(_file_rows(source, needed, id_column, quoting))
    if isinstance(source, (bytes, Mapping, set, frozenset)) or not isinstance(source, Iterable):
        raise TypeError(
            "source must be a path, a data frame, a table, a datasets.Dataset or an iterable of texts, tuples or "
            f"dictionaries, got {type(source).__name__}"
        )
    if isinstance(source, np.ndarray) and source.ndim != 1:
        if source.ndim != 2:
            raise TypeError(f"source must have one or two dimensions, got an array of shape {source.shape}")
        return _cut(source.tolist())
    rows = plain_rows(source)
    if rows is not source:
        return _cut(rows)
    if any(hasattr(type(source), name) for name in ("to_pylist", "isna", "to_list", "dtype")):
        return _cut(column_values(source))
    return _cut(source)


def _cut(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    iterator = iter(rows)
    return iter(lambda: list(itertools.islice(iterator, CHUNK)), [])


def _file_rows(
    path: str | PathLike[str], needed: Sequence[str], id_column: str | None, quoting: bool | None
) -> Iterator[Row]:
    try:
        for row in read_rows(path, required=needed, quoting=quoting):
            problem = None
            if isinstance(row, Record) and id_column is not None and row.place.startswith("line"):
                problem = json_problem(row.content.get(id_column))
            if problem is not None:
                yield BadRecord(row.place, f"its {id_column!r} cannot be an id: {problem}")
            else:
                yield row if isinstance(row, BadRecord) else row.content
    except MissingColumnError as error:
        raise advise(error, NAMING) from None


def _with_columns(chunks: Iterator[Sequence[Row]], needed: Sequence[str]) -> Iterator[Sequence[Row]]:
    """Yields the same chunks.

    Raises:
        ValueError: no row has a needed column; raised at the end. Single rows may lack it.
    """
    missing, first = dict.fromkeys(needed), None
    for chunk in chunks:
        for row in chunk if missing else ():
            if isinstance(row, Mapping):
                first = row if first is None else first
                missing = {name: None for name in missing if name not in row}
        yield chunk
    if missing and first is not None:
        has = ", ".join(map(str, first))
        raise advise(ValueError(f"no row has a column {', '.join(missing)}; row 0 has {has}"), NAMING)


def _read_rows(
    rows: Sequence[Row], start: int, names: Sequence[Any], id_column: str | None, keep: Sequence[str]
) -> list[list[Any]]:
    """Returns the columns of texts, of ids if there are any, and the kept columns."""
    read = [_read_row(row, start + place, names, id_column, keep) for place, row in enumerate(rows)]
    texts = [[None if is_missing(text[place]) else text[place] for _, text, _ in read] for place in range(len(names))]
    ids = [] if id_column is None else [[identity for identity, _, _ in read]]
    return [*texts, *ids, *([values[place] for _, _, values in read] for place in range(len(keep)))]


def _read_row(
    row: Row, number: int, names: Sequence[str], id_column: str | None, keep: Sequence[str]
) -> tuple[Any, Sequence[Any], Sequence[Any]]:
    """Returns id, texts, and kept values. A `BadRecord` in place of a text gives the problem of the row."""
    if isinstance(row, BadRecord):
        return None, [row] * len(names), [None] * len(keep)
    if isinstance(row, Mapping):
        # A missing text counts as null.
        texts: list[Any] = [row.get(name) for name in names]
        if id_column is not None and id_column not in row:
            texts = [BadRecord(f"row {number}", f"it has no {id_column!r}, which is to be its id")] * len(names)
        return row.get(id_column or ""), texts, [row.get(name) for name in keep]
    if id_column is not None or keep:
        raise ValueError(f"id_column and keep need rows with named columns, got {type(row).__name__} in row {number}")
    # Any other value is one unnamed text. If it is not a string, the row gets a reason.
    values = row.tolist() if isinstance(row, np.ndarray) else row if isinstance(row, (tuple, list)) else [row]
    if len(values) != len(names):
        raise ValueError(f"row {number} must have {len(names)} texts, got {len(values)}: {row!r:.80}")
    return None, values, []


def _checked(text: Any) -> tuple[str | None, str | None]:
    """Returns a text that Arrow accepts, or None, and the problem of the text, or None."""
    if isinstance(text, BadRecord):
        return None, f"{text.place}: {text.problem}"
    if text is None:
        return None, "there is no text (null)"
    if not isinstance(text, str):
        return None, f"a text must be a string, got {type(text).__name__}: {text!r:.80}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return None, f"the text is no Unicode text: {error.reason} at {error.start} of {text!a:.80}"
    return text, None if text.strip() else "the text is empty or only white space"
