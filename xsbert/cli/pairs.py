"""Pairs of texts in CSV, TSV and JSON lines, read as they arrive. Invalid lines do not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .._utils.table_files.records import BadRecord, Record, check_names, json_objects, json_problem, width_problem
from .._utils.table_files.rows import check_quoting, peek, records_of
from .._utils.unicode import half_surrogate

__all__ = ["BadLine", "Columns", "Pair", "read_pairs", "spelled_id"]

# Default column names of text a and text b, case-insensitive.
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


@dataclass(frozen=True)
class Pair:
    """Two texts and their position in a file."""

    line: int
    """Number of the line in which the record begins, from 1."""
    text_a: str
    text_b: str
    id: Any = None

    @property
    def texts(self) -> tuple[str, str]:
        """Returns text a and text b."""
        return self.text_a, self.text_b


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be used."""

    line: int
    problem: str


@dataclass(frozen=True)
class Columns:
    """Columns of the texts in a file."""

    text_a: str | None = None
    """A name, or a number from 1. None searches `NAMES`, or uses the first column without a header."""
    text_b: str | None = None
    id: str | None = None
    """Column of ids. None uses the column ``"id"`` (case-insensitive) if it exists."""
    header: bool | None = None
    """Whether the first line of a table is a header; None decides by the column names."""

    @property
    def asked(self) -> list[str]:
        """Returns the specified columns."""
        return [column for column in (self.text_a, self.text_b, self.id) if column is not None]


def read_pairs(
    lines: Iterable[str],
    name: str,
    kind: str,
    columns: Columns,
    note: Callable[[str], None],
    quoting: bool | None = None,
) -> Iterator[Pair | BadLine | None]:
    """Reads the pairs of a file.

    Args:
        lines: lines as returned by `xsbert._utils.table_files.text.TextLines`.
        name: name of the file; its suffix determines the format.
        kind: ``"csv"``, ``"tsv"``, ``"jsonl"`` or ``"auto"``, which uses the suffix or else the first line.
        columns: columns of the texts.
        note: called with a message about the header.
        quoting: for CSV and TSV, whether quotes enclose fields; None means True for CSV and False for TSV.

    Yields:
        A pair, an invalid line, or None for a header, as soon as its line arrives.

    Raises:
        ValueError: the specified columns do not exist, or the file is malformed.
    """
    if kind == "auto":
        found, lines = peek(iter(lines), name)
        kind = found or "tsv"
    check_quoting(quoting, kind)
    if kind == "jsonl":
        yield from _json_pairs(json_objects(lines, name), columns)
    else:
        yield from _table_pairs(records_of(lines, name, kind, quoting), name, columns, note)


def _table_pairs(
    records: Iterator[Record | BadRecord], name: str, columns: Columns, note: Callable[[str], None]
) -> Iterator[Pair | BadLine | None]:
    places: dict[str, int] | None = None
    width = 0
    for record in records:
        if isinstance(record, BadRecord):
            yield BadLine(record.line, record.problem)
            continue
        line, fields = record.line, record.content
        if places is None:
            places, width = _places(fields, name, record.place, columns)
            if width:
                if columns.header is None:
                    note(f"line {line} names the columns, {_listed(fields[at] for at in places.values())} are read")
                yield None
                continue
        if width and len(fields) != width:
            yield BadLine(line, width_problem(fields, width))
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


def _places(first: list[str], name: str, place: str, columns: Columns) -> tuple[dict[str, int], int]:
    """Returns the indices of the columns, and the number of names in the header, 0 without header."""
    names = None if columns.header is False else _found(first, columns)
    if names is not None or columns.header:
        check_names(first, name, place)
    if names is not None:
        return {name: first.index(column) for name, column in names.items()}, len(first)
    by_number = all(column.isdecimal() for column in columns.asked)
    if columns.header is not False and not by_number:
        raise ValueError(f"{name}, {place}: {_missing(first, columns)}")
    if columns.header and not columns.asked and len(first) != 2:
        raise ValueError(f"{name}, {place}: {_missing(first, columns)}")
    return _numbered(columns, len(first)), len(first) if columns.header else 0


def _found(held: Sequence[str], columns: Columns) -> dict[str, str] | None:
    """Returns the specified or known column names among the existing ones."""
    if columns.text_a is not None and columns.text_b is not None:
        names = {"text_a": columns.text_a, "text_b": columns.text_b}
    else:
        spelled = {name.strip().casefold() for name in held}
        known = next((pair for pair in NAMES if pair[0] in spelled and pair[1] in spelled), None)
        if known is None:
            return None
        names = {
            "text_a": _spelled(known[0], held, "--text-a and --text-b"),
            "text_b": _spelled(known[1], held, "--text-a and --text-b"),
        }
    identity = columns.id or spelled_id(held)
    if identity is not None:
        names["id"] = identity
    return names if set(names.values()) <= set(held) else None


def spelled_id(held: Sequence[str], option: str = "--id") -> str | None:
    """Returns the name of a column ``id``, case-insensitive; None if there is none.

    Raises:
        ValueError: several columns match, and none is exactly ``"id"``.
    """
    return _spelled("id", held, option) if any(name.strip().casefold() == "id" for name in held) else None


def _spelled(name: str, held: Sequence[str], option: str) -> str:
    """Returns the spelling of a known name among the existing ones: an exact match, or the only match."""
    found = [other for other in held if other.strip().casefold() == name]
    if name in found:
        return name
    if len(found) > 1:
        raise ValueError(f"{_listed(found)} differ only in case; {option} says which is meant")
    return found[0]


def _numbered(columns: Columns, n_fields: int) -> dict[str, int]:
    """Returns the indices of columns given by number."""
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
    """Returns why no columns of texts were found."""
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


def _json_pairs(records: Iterator[Record | BadRecord], columns: Columns) -> Iterator[Pair | BadLine]:
    for record in records:
        if isinstance(record, BadRecord):
            yield BadLine(record.line, record.problem)
            continue
        held = list(record.content)
        try:
            names = _found(held, columns)
        except ValueError as error:
            yield BadLine(record.line, str(error))
            continue
        if names is None:
            yield BadLine(record.line, _missing(held, columns))
        else:
            yield _pair(record.line, {name: record.content[key] for name, key in names.items()})


def _pair(line: int, values: dict[str, Any]) -> Pair | BadLine:
    for name in ("text_a", "text_b"):
        text = values[name]
        if not isinstance(text, str) or not text.strip():
            return BadLine(line, f"{name} must hold some text, got {text!r:.80}")
    for name, value in values.items():
        if isinstance(value, str) and half_surrogate(value) is not None:
            escaped = value.encode("ascii", "backslashreplace").decode()
            return BadLine(line, f"{name} holds half a surrogate pair: '{escaped:.80}'")
    problem = json_problem(values.get("id"))
    if problem is not None:
        return BadLine(line, f"its id cannot be passed through, got {values['id']!r:.80}: {problem}")
    return Pair(line, values["text_a"], values["text_b"], values.get("id"))


def _counted(fields: list[str]) -> str:
    return "1 field" if len(fields) == 1 else f"{len(fields)} fields"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
