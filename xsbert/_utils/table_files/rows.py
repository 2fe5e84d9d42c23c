"""Rows of a file by name of column, whatever its format."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path, PurePath
from typing import Any

from .advice import advise
from .parquet import is_parquet, parquet_batches, parquet_rows
from .records import JSON_ARRAY, BadRecord, Record, check_names, delimited, json_objects, width_problem
from .text import lines_of

__all__ = ["MissingColumnError", "kind_of", "parquet_columns", "read_rows", "rows_of_lines"]

ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
DELIMITERS = {"csv": ",", "tsv": "\t"}


class MissingColumnError(ValueError):
    """A file has no column of a name that was asked for."""


def read_rows(
    path: str | PathLike[str], *, required: Sequence[str] = (), quoting: bool | None = None
) -> Iterator[Record | BadRecord]:
    """The rows of a CSV, TSV, JSON-lines or Parquet file or of a folder of Parquet files.

    Args:
        path: of the file, whose ending tells its format; one that begins with ``{`` is JSON lines, too.
        required: names of columns. A row of JSON lines may lack some of them, as long as another has them. Of Parquet
            they and a column ``id`` are read; without any, all columns.
        quoting: of CSV and TSV, whether quotes enclose fields; None says yes for CSV, no for TSV.

    Yields:
        records with a dictionary as content, and those that cannot be used, while the others can.

    Raises:
        OSError: the file cannot be read.
        MissingColumnError: there is no column of a required name.
        ValueError: the file is in none of these formats, or malformed; the message names the line.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no source {path}")
    if is_parquet(path):
        check_quoting(quoting, "parquet")

        def choose(names: Sequence[str], name: str) -> list[str]:
            _check(names, required, name)
            return [column for column in names if not required or column in required or column.casefold() == "id"]

        yield from parquet_rows(Path(path), choose)
        return
    lines = lines_of(path, str(path))
    kind, lines = peek(lines, str(path))
    if kind is None:
        raise ValueError(
            f"source {path} must end in .parquet, .csv, .tsv or .jsonl, hold JSON objects, one a line, or be a folder "
            "of Parquet files"
        )
    yield from rows_of_lines(lines, str(path), kind, required=required, quoting=quoting)


def parquet_columns(path: str | PathLike[str], required: Sequence[str]) -> Iterator[list[Any]]:
    """Columns of a Parquet file or a folder of them, a batch of rows at a time.

    Args:
        path: of the file or folder.
        required: names of the columns.

    Yields:
        An array of Arrow for each name.

    Raises:
        OSError: A file cannot be read.
        MissingColumnError: A file has no column of a required name.
        ValueError: A file is no Parquet file, or damaged.
    """

    def choose(names: Sequence[str], name: str) -> Sequence[str]:
        _check(names, required, name)
        return [*dict.fromkeys(required)]

    for batch in parquet_batches(Path(path), choose):
        yield [batch.column(name) for name in required]


def kind_of(name: str, first: str) -> str | None:
    """``"csv"``, ``"tsv"``, ``"jsonl"``, or None where neither the ending nor the first line tells.

    Args:
        name: of the file.
        first: its first line that is not empty.

    Raises:
        ValueError: the file is a JSON array.
    """
    kind = ENDINGS.get(PurePath(name).suffix.lower())
    if kind is not None:
        return kind
    if JSON_ARRAY.match(first):
        raise ValueError(f"{name} begins with [ and is taken for a JSON array: JSON lines are read, one object a line")
    return "jsonl" if first.lstrip().startswith("{") else None


def peek(lines: Iterator[str], name: str) -> tuple[str | None, Iterator[str]]:
    """What `kind_of` says of lines, and all of the lines."""
    held, first = [], ""
    while not first.strip() and (line := next(lines, None)) is not None:
        first = line
        held.append(line)
    return kind_of(name, first), itertools.chain(held, lines)


def rows_of_lines(
    lines: Iterable[str], name: str, kind: str, *, required: Sequence[str] = (), quoting: bool | None = None
) -> Iterator[Record | BadRecord]:
    """The rows of text.

    Args:
        lines: as `TextLines` cuts them.
        name: of the file, for messages.
        kind: ``"csv"``, ``"tsv"`` or ``"jsonl"``. The first record of a table names its columns.
        required, quoting: as for `read_rows`.

    Yields, Raises:
        as for `read_rows`.
    """
    check_quoting(quoting, kind)
    if kind == "jsonl":
        yield from _objects(lines, name, required)
        return
    header: list[str] | None = None
    for record in records_of(lines, name, kind, quoting):
        if isinstance(record, BadRecord):
            yield record
            continue
        fields = record.content
        if header is None:
            check_names(fields, name, record.place)
            _check(fields, required, name)
            header = fields
        elif len(fields) != len(header):
            yield BadRecord(record.place, width_problem(fields, len(header)))
        else:
            yield Record(record.place, {column: field for column, field in zip(header, fields, strict=True) if column})


def records_of(lines: Iterable[str], name: str, kind: str, quoting: bool | None) -> Iterator[Record | BadRecord]:
    """The records of CSV or TSV; such whose fields are all empty are bad ones.

    Raises:
        ValueError: as for `delimited`.
    """
    for record in delimited(lines, name, DELIMITERS[kind], kind == "csv" if quoting is None else quoting):
        if any(field.strip() for field in record.content):
            yield record
        else:
            n_fields = len(record.content)
            yield BadRecord(record.place, f"it has {n_fields} field{'s' * (n_fields != 1)}, all of them empty")


def check_quoting(quoting: bool | None, kind: str) -> None:
    """Refuse an argument that goes with CSV and TSV.

    Raises:
        TypeError: it is no truth value.
        ValueError: it is given with another kind of file.
    """
    if not isinstance(quoting, (bool, type(None))):
        raise TypeError(f"quoting must be True, False or None, got {quoting!r}")
    if quoting is not None and kind not in DELIMITERS:
        raise advise(ValueError("quotes are read in one way in this kind of file"), "{quoting} goes with CSV and TSV")


def _objects(lines: Iterable[str], name: str, required: Sequence[str]) -> Iterator[Record | BadRecord]:
    missing, held = dict.fromkeys(required), None
    for record in json_objects(lines, name):
        if isinstance(record, Record):
            held = held or record
            for column in [column for column in missing if column in record.content]:
                del missing[column]
        yield record
    if missing and held is not None:
        raise MissingColumnError(
            f"no line of {name} has {', '.join(missing)}; {held.place} has {', '.join(held.content) or 'nothing'}"
        )


def _check(names: Sequence[str], required: Sequence[str], name: str) -> None:
    missing = [column for column in dict.fromkeys(required) if column not in names]
    if missing:
        raise MissingColumnError(f"{name} has no column {', '.join(missing)}; it has {', '.join(names)}")
