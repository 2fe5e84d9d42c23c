"""Rows of a file of any format, by column name."""

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
    """A file lacks a requested column."""


def read_rows(
    path: str | PathLike[str], *, required: Sequence[str] = (), quoting: bool | None = None
) -> Iterator[Record | BadRecord]:
    """Yields the rows of a CSV, TSV, JSON-lines or Parquet file or of a folder of Parquet files.

    Args:
        path: path of the file. The suffix determines the format; a file that begins with ``{`` is also JSON lines.
        required: column names. A row of JSON lines may lack some of them if another row has them. Of Parquet, only
            these columns and ``id`` are read; without names, all columns.
        quoting: for CSV and TSV, whether quotes enclose fields; None means True for CSV and False for TSV.

    Yields:
        Records with a dictionary as content, and invalid records.

    Raises:
        OSError: the file cannot be read.
        MissingColumnError: a required column does not exist.
        ValueError: the file has another format, or is malformed; the message gives the line.
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
    """Yields columns of a Parquet file or a folder of them, in batches of rows.

    Args:
        path: path of the file or folder.
        required: column names.

    Yields:
        An Arrow array for each name.

    Raises:
        OSError: a file cannot be read.
        MissingColumnError: a file lacks a required column.
        ValueError: a file is not a Parquet file, or is damaged.
    """

    def choose(names: Sequence[str], name: str) -> Sequence[str]:
        _check(names, required, name)
        return [*dict.fromkeys(required)]

    for batch in parquet_batches(Path(path), choose):
        yield [batch.column(name) for name in required]


def kind_of(name: str, first: str) -> str | None:
    """Returns ``"csv"``, ``"tsv"``, ``"jsonl"``, or None if neither the suffix nor the first line determines it.

    Args:
        name: name of the file.
        first: its first non-empty line.

    Raises:
        ValueError: the file is a JSON array.
    """
    kind = ENDINGS.get(PurePath(name).suffix.lower())
    if kind is not None:
        return kind
    if JSON_ARRAY.match(first):
        raise ValueError(f"{name} begins with [ like a JSON array; expected JSON lines, with one object per line")
    return "jsonl" if first.lstrip().startswith("{") else None


def peek(lines: Iterator[str], name: str) -> tuple[str | None, Iterator[str]]:
    """Returns `kind_of` for lines, and an iterator over all lines."""
    held, first = [], ""
    while not first.strip() and (line := next(lines, None)) is not None:
        first = line
        held.append(line)
    return kind_of(name, first), itertools.chain(held, lines)


def rows_of_lines(
    lines: Iterable[str], name: str, kind: str, *, required: Sequence[str] = (), quoting: bool | None = None
) -> Iterator[Record | BadRecord]:
    """Yields the rows of lines of text.

    Args:
        lines: lines as returned by `TextLines`.
        name: name of the file, for messages.
        kind: ``"csv"``, ``"tsv"`` or ``"jsonl"``. The first record of a table is its header.
        required, quoting: as for `read_rows`.

    Yields, Raises:
        As for `read_rows`.
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
    """Yields the records of CSV or TSV. Records with only empty fields are invalid.

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
    """Checks ``quoting``, which is valid only for CSV and TSV.

    Raises:
        TypeError: ``quoting`` is not a boolean.
        ValueError: ``quoting`` is given for another kind of file.
    """
    if not isinstance(quoting, (bool, type(None))):
        raise TypeError(f"quoting must be True, False or None, got {quoting!r}")
    if quoting is not None and kind not in DELIMITERS:
        raise advise(ValueError("quoting cannot be chosen for this kind of file"), "{quoting} goes with CSV and TSV")


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
