"""Pairs of texts in CSV, TSV and JSON lines, read as they come. Lines that cannot be used do not stop the others."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ..plain import half_surrogate

__all__ = ["BadLine", "Columns", "Pair", "read_pairs"]

# Of text a and text b, where they are not named; whatever their case.
NAMES = (
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("query", "document"),
    ("query", "passage"),
    ("question", "answer"),
    ("premise", "hypothesis"),
    ("anchor", "positive"),
    ("source", "target"),
)
ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Pair:
    """Two texts, and where they come from."""

    line: int
    """Number of the line that they begin in, from 1."""
    text_a: str
    text_b: str
    id: Any = None

    @property
    def texts(self) -> tuple[str, str]:
        """Text a and text b."""
        return self.text_a, self.text_b


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be used."""

    line: int
    problem: str


@dataclass(frozen=True)
class Columns:
    """Where in a file the texts are."""

    text_a: str | None = None
    """A name, or a number from 1; None looks for `NAMES`, and without a header takes the first column."""
    text_b: str | None = None
    id: str | None = None
    """None takes the column ``"id"`` where there is one."""
    header: bool | None = None
    """Whether the first line of a table names its columns; None looks for the names."""

    @property
    def asked(self) -> list[str]:
        """The columns that are given."""
        return [column for column in (self.text_a, self.text_b, self.id) if column is not None]


def read_pairs(
    lines: Iterable[bytes], name: str, kind: str, columns: Columns, note: Callable[[str], None]
) -> Iterator[Pair | BadLine | None]:
    """The pairs of a file.

    Args:
        lines: without the line feeds at their ends.
        name: of the file, whose ending tells its format.
        kind: ``"csv"``, ``"tsv"``, ``"jsonl"`` or ``"auto"``, which goes by the ending and else by the first line.
        columns: where the texts are.
        note: called with what was taken for a header.

    Yields:
        a pair, or a line that cannot be used, or None for an empty line; as soon as its line has come.

    Raises:
        ValueError: the columns that were asked for are not there.
    """
    numbered = _Decoded(lines)
    first, held = "", []
    while not first.strip() and (line := next(numbered, None)) is not None:
        first = line
        held.append(line)
    for line in reversed(held):
        numbered.put_back(line)
    if kind == "auto":
        kind = ENDINGS.get(PurePath(name).suffix.lower()) or ("jsonl" if first.lstrip().startswith("{") else "tsv")
    if kind == "jsonl":
        yield from _json_pairs(numbered, columns)
    else:
        yield from _table_pairs(_csv_rows(numbered) if kind == "csv" else _tsv_rows(numbered), columns, note)


class _Decoded:
    """Lines as text. What is not UTF-8 becomes lone surrogates, which are refused where they are part of a text."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._held: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._held:
            self.number += 1
            return self._held.pop()
        line = next(self._lines).decode("utf-8", "surrogateescape").removesuffix("\r")
        self.number += 1
        return line.removeprefix(BYTE_ORDER_MARK) if self.number == 1 else line

    def put_back(self, line: str) -> None:
        self._held.append(line)
        self.number -= 1


# Number of the line that a row begins in, and its fields; or why it has none.
Row = tuple[int, list[str] | str]


def _tsv_rows(lines: _Decoded) -> Iterator[Row]:
    """Quotes are characters as others are."""
    for line in lines:
        yield lines.number, line.split("\t") if line.strip() or "\t" in line else []


def _csv_rows(lines: _Decoded) -> Iterator[Row]:
    """Fields in quotes may hold commas and line feeds."""
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader((line + "\n" for line in lines), strict=True)
    while True:
        start = lines.number + 1
        try:
            yield start, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            through = f", which goes on to line {lines.number}" if lines.number > start else ""
            yield start, f"{error}{through}"


def _table_pairs(rows: Iterator[Row], columns: Columns, note: Callable[[str], None]) -> Iterator[Pair | BadLine | None]:
    places: dict[str, int] | None = None
    width = 0
    for line, fields in rows:
        if isinstance(fields, str):
            yield BadLine(line, fields)
            continue
        if not fields or fields == [""]:
            yield None
            continue
        if not any(field.strip() for field in fields):
            yield BadLine(line, f"it has {_counted(fields)}, all of them empty")
            continue
        if places is None:
            places, width = _places(fields, columns)
            if width:
                if columns.header is None:
                    note(f"line {line} names the columns, {_listed(fields[at] for at in places.values())} are read")
                yield None
                continue
        if width and len(fields) != width:
            yield BadLine(line, f"it has {_counted(fields)}, the header has {width}")
        elif not width and not columns.asked and len(fields) != 2:
            yield BadLine(
                line,
                f"two texts with one separator between them are needed, got {_counted(fields)}; --text-a and "
                "--text-b say which columns hold the texts",
            )
        elif len(fields) <= max(places.values()):
            yield BadLine(line, f"it has {_counted(fields)}, column {max(places.values()) + 1} is missing")
        else:
            yield _pair(line, {name: fields[at] for name, at in places.items()})


def _places(first: list[str], columns: Columns) -> tuple[dict[str, int], int]:
    """The places of the columns, and how many a header names, none where the first line is none."""
    names = None if columns.header is False else _found(first, columns)
    if names is not None:
        return {name: first.index(column) for name, column in names.items()}, len(first)
    by_number = all(column.isdecimal() for column in columns.asked)
    if columns.header is not False and not by_number:
        raise ValueError(_missing(first, columns))
    if columns.header and not columns.asked and len(first) != 2:
        raise ValueError(_missing(first, columns))
    return _numbered(columns, len(first)), len(first) if columns.header else 0


def _found(held: Sequence[str], columns: Columns) -> dict[str, str] | None:
    """The names of the columns among those that are held: those asked for, or those that are known."""
    if columns.text_a is not None and columns.text_b is not None:
        names = {"text_a": columns.text_a, "text_b": columns.text_b}
    else:
        spelled = {name.strip().casefold(): name for name in reversed(held)}
        known = next((pair for pair in NAMES if pair[0] in spelled and pair[1] in spelled), None)
        if known is None:
            return None
        names = {"text_a": spelled[known[0]], "text_b": spelled[known[1]]}
    if columns.id is not None or "id" in held:
        names["id"] = columns.id or "id"
    return names if set(names.values()) <= set(held) else None


def _numbered(columns: Columns, n_fields: int) -> dict[str, int]:
    """Places of columns that are given by number."""
    given = {"text_a": columns.text_a or "1", "text_b": columns.text_b or "2"}
    if columns.id is not None:
        given["id"] = columns.id
    places = {name: int(column) - 1 if column.isdecimal() else -1 for name, column in given.items()}
    if min(places.values()) < 0:
        raise ValueError(
            f"without a header, columns are given by number from 1, got {', '.join(given.values())}; the first line "
            f"has {n_fields} fields"
        )
    return places


def _missing(held: Sequence[str], columns: Columns) -> str:
    """Why no columns of texts were found."""
    hint = "--text-a, --text-b and --id name columns"
    missing = [name for name in columns.asked if name not in held]
    if missing:
        return f"there is no column {_listed(missing)}, but {_listed(held) or 'none'}; {hint}"
    known = {name.strip().casefold() for name in held}
    partners = [other for pair in NAMES for one, other in (pair, pair[::-1]) if one in known]
    if partners:
        return f"the line has {_listed(held)}; {' or '.join(map(repr, partners))} is missing"
    has = _listed(held) or "no columns"
    return f"the line has {has}; no two of these are known column names, as 'text_a' and 'text_b' are; {hint}"


def _json_pairs(lines: _Decoded, columns: Columns) -> Iterator[Pair | BadLine | None]:
    for line in lines:
        if not line.strip():
            yield None
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield BadLine(lines.number, f"it is no JSON: {error}")
            continue
        if not isinstance(content, dict):
            yield BadLine(lines.number, f"a JSON object is needed, got {line.strip()!r:.60}")
            continue
        names = _found(list(content), columns)
        if names is None:
            yield BadLine(lines.number, _missing(list(content), columns))
        else:
            yield _pair(lines.number, {name: content[key] for name, key in names.items()})


def _pair(line: int, values: dict[str, Any]) -> Pair | BadLine:
    for name in ("text_a", "text_b"):
        text = values[name]
        if not isinstance(text, str) or not text.strip():
            return BadLine(line, f"{name} must hold some text, got {text!r:.80}")
    for name, value in values.items():
        if isinstance(value, str) and half_surrogate(value) is not None:
            escaped = value.encode("ascii", "backslashreplace").decode()
            return BadLine(line, f"{name} is not UTF-8 or holds half a surrogate pair: '{escaped:.80}'")
    return Pair(line, values["text_a"], values["text_b"], values.get("id"))


def _counted(fields: list[str]) -> str:
    return "1 field" if len(fields) == 1 else f"{len(fields)} fields"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
