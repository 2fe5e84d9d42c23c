"""Where rows come from: files, datasets, iterables. All become Arrow tables with the same columns.

row     int64    0, 1, … in the order of the source
id      string or int64, where the source has a column of ids
texts   string   one or two columns, named as `xsbert.corpus.task.TEXT_COLUMNS` says; null where Arrow holds no such
bad_…   string   beside each: what is wrong with it, or null
others  the columns that are kept, as they are
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..table_files import (
    BadRecord,
    MissingColumnError,
    Record,
    advise,
    is_parquet,
    json_problem,
    parquet_schema,
    read_rows,
)

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
    """Tables of a few thousand rows each.

    Args:
        source: the path of a Parquet, CSV, TSV or JSONL file or of a folder of Parquet files; a `datasets.Dataset`, a
            `pyarrow.Table`, a data frame; or an iterable of strings, tuples or dictionaries.
        wanted: names that the columns of texts get.
        columns: their names in the source; None takes ``wanted``. Tuples and strings have no names.
        id_column: name of the column of ids.
        keep: names of further columns.
        reserved: names that these cannot have.
        quoting: of CSV and TSV files, whether quotes enclose fields; None says yes for CSV, no for TSV.

    Raises:
        TypeError: there is no reading the source.
        ValueError: no row has a column that is needed, a file is malformed or no text, or a column that is kept is of
            several types or clashes.
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
    if quoting is not None and not isinstance(source, (str, PathLike)):
        raise ValueError(f"quoting goes with CSV and TSV files, not with {type(source).__name__}")
    stated = _stated_types(source, keep)
    schema: pa.Schema | None = None
    start = 0
    needed = [*names, *([id_column] if id_column else []), *keep]
    for chunk in _with_columns(_chunks(source, needed, id_column, quoting), needed):
        table = _table(chunk, start, wanted, names, id_column, keep)
        if schema is None:
            # What a column is, its first rows say; where they are null, the source's own schema.
            schema = pa.schema(
                [
                    field.with_type(stated[field.name]) if field.name in stated and _is_open(field.type) else field
                    for field in table.schema
                ]
            )
        try:
            yield table.cast(schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(
                f"rows {start} … {start + len(table) - 1} do not fit the types of the first: {error}"
            ) from None
        start += len(table)


class Fingerprint:
    """Of all rows, in order: of ids, texts and kept columns. The same for the same content in any kind of file."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self.n_rows = 0

    def update(self, table: pa.Table) -> None:
        """Take in further rows."""
        for row in table.drop_columns(["row"]).to_pylist():
            encoded = repr(tuple(row.items())).encode("utf-8", "surrogatepass")
            self._digest.update(len(encoded).to_bytes(8, "little") + encoded)
        self.n_rows += len(table)

    def __str__(self) -> str:
        return self._digest.hexdigest()


def _stated_types(source: Any, keep: Sequence[str]) -> dict[str, pa.DataType]:
    """Types of columns, where the source has a schema."""
    schema: Any = None
    if isinstance(source, (str, PathLike)):
        if is_parquet(source) and Path(source).exists():
            schema = parquet_schema(Path(source))
    elif isinstance(source, pa.Table):
        schema = source.schema
    elif hasattr(source, "features") and hasattr(source, "iter"):
        schema = getattr(source.features, "arrow_schema", None)
    if schema is None:
        return {}
    types = {name: schema.field(name).type for name in keep if name in schema.names}
    return {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in types.items()}


def _is_open(kind: pa.DataType) -> bool:
    """Whether the values so far do not tell a type, or not that of what is in them."""
    if pa.types.is_nested(kind):
        return any(_is_open(kind.field(place).type) for place in range(kind.num_fields))
    return pa.types.is_null(kind)


def _chunks(source: Any, needed: Sequence[str], id_column: str | None, quoting: bool | None) -> Iterator[Sequence[Row]]:
    if isinstance(source, (str, PathLike)):
        return _cut(_file_rows(source, needed, id_column, quoting))
    if isinstance(source, pa.Table):
        return (batch.to_pylist() for batch in source.to_batches(CHUNK))
    if hasattr(source, "column_names") and hasattr(source, "iter"):
        return (_rows_of_columns(batch) for batch in source.iter(batch_size=CHUNK))
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return (source.iloc[start : start + CHUNK].to_dict("records") for start in range(0, len(source), CHUNK))
    if isinstance(source, (bytes, Mapping)) or not isinstance(source, Iterable):
        raise TypeError(
            "source must be a path, a datasets.Dataset, a table or an iterable of texts, tuples or dictionaries, got "
            f"{type(source).__name__}"
        )
    return _cut(source)


def _cut(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    iterator = iter(rows)
    return iter(lambda: list(itertools.islice(iterator, CHUNK)), [])


def _rows_of_columns(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


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
    """The same chunks.

    Raises:
        ValueError: at the end, where no row has a column that is needed. Single rows may lack it.
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


def _table(
    rows: Sequence[Row],
    start: int,
    wanted: Sequence[str],
    names: Sequence[str],
    id_column: str | None,
    keep: Sequence[str],
) -> pa.Table:
    read = [_read_row(row, start + place, names, id_column, keep) for place, row in enumerate(rows)]
    columns: dict[str, pa.Array] = {"row": pa.array(range(start, start + len(rows)), pa.int64())}
    if id_column is not None:
        ids = [identity for identity, _, _ in read]
        whole = all(type(identity) is int for identity in ids)
        columns["id"] = pa.array(ids if whole else [None if i is None else str(i) for i in ids])
    for place, name in enumerate(wanted):
        checked = [_checked(texts[place]) for _, texts, _ in read]
        columns[name] = pa.array([text for text, _ in checked], pa.string())
        columns[f"bad_{name}"] = pa.array([problem for _, problem in checked], pa.string())
    for place, name in enumerate(keep):
        columns[name] = _kept([others[place] for _, _, others in read], name, start)
    return pa.table(columns)


def _kept(values: Sequence[Any], name: str, start: int) -> pa.Array:
    """A column that is kept.

    Raises:
        ValueError: its values are of several types, or of one that Arrow does not have.
    """
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        # As many of the first as fit together: what fits no more fits no better with others behind it.
        n_good = bisect_left(range(1, len(values)), True, key=lambda n: not _fit(values[:n]))
    before = f" after {pa.array(values[:n_good]).type}" if n_good else ""
    value = values[n_good]
    raise ValueError(
        f"the column {name!r} that is to be kept has {type(value).__name__} {value!r:.60} in row {start + n_good}"
        f"{before}: a column is of one type, and null or None where nothing is known"
    )


def _fit(values: Sequence[Any]) -> bool:
    try:
        pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return False
    return True


def _read_row(
    row: Row, number: int, names: Sequence[str], id_column: str | None, keep: Sequence[str]
) -> tuple[Any, Sequence[Any], Sequence[Any]]:
    """Id, texts, and columns that are kept. A `BadRecord` in place of a text tells what is wrong with the row."""
    if isinstance(row, BadRecord):
        return None, [row] * len(names), [None] * len(keep)
    if isinstance(row, Mapping):
        # One that lacks a text is as with null.
        texts: list[Any] = [row.get(name) for name in names]
        if id_column is not None and id_column not in row:
            texts = [BadRecord(f"row {number}", f"it has no {id_column!r}, which is to be its id")] * len(names)
        return row.get(id_column or ""), texts, [row.get(name) for name in keep]
    if id_column is not None or keep:
        raise ValueError(f"id_column and keep need rows with named columns, got {type(row).__name__} in row {number}")
    # One text without a name, whatever it is: what is no string becomes a row with a reason.
    values = row if isinstance(row, (tuple, list)) else [row]
    if len(values) != len(names):
        raise ValueError(f"row {number} must have {len(names)} texts, got {len(values)}: {row!r:.80}")
    return None, values, []


def _checked(text: Any) -> tuple[str | None, str | None]:
    """A text as Arrow can hold it, or None, and what is wrong with it, or None."""
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
