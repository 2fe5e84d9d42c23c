"""Parsing of lines to records: fields of CSV and TSV, objects of JSON lines."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["BadRecord", "Record", "check_names", "delimited", "json_objects", "json_problem", "width_problem"]

# Largest number of characters of a quoted field. A longer field is probably due to an unclosed quote.
LONGEST_FIELD = 1 << 27
MARGIN = 50
JSON_ARRAY = re.compile(r'\s*\[\s*([\[{"]|$)')


@dataclass(frozen=True)
class Record:
    """The fields or the object of one record."""

    place: str
    """Position of its beginning: ``"line 3"``, counted from 1, or ``"row 3"`` of Parquet, counted from 0."""
    content: Any
    """A list of fields, or a dictionary."""

    @property
    def line(self) -> int:
        """The number in `place`."""
        return int(self.place.rpartition(" ")[2])


@dataclass(frozen=True)
class BadRecord:
    """An invalid record. Later records can be valid."""

    place: str
    problem: str

    @property
    def line(self) -> int:
        """The number in `place`."""
        return int(self.place.rpartition(" ")[2])


def delimited(lines: Iterable[str], name: str, delimiter: str, quoting: bool) -> Iterator[Record]:
    """Yields the records of CSV or TSV. Blank lines are skipped.

    Args:
        lines: lines as returned by `TextLines`.
        name: name of the file, for messages.
        delimiter: ``","`` or a tab.
        quoting: True reads quotes as in RFC 4180: a quoted field ends at its closing quote and may contain line feeds,
            delimiters and doubled quotes. False reads quotes as ordinary characters, so that each line is a record.

    Raises:
        ValueError: with quoting, a quote is not closed or is not allowed by RFC 4180, a carriage return is outside
            quotes, or a record has another number of fields than the first.
    """
    numbered = _Numbered(lines)
    width = None
    for line in numbered:
        if not line.strip() and delimiter not in line:
            continue
        start = numbered.number
        if not quoting:
            yield Record(f"line {start}", _without_ending(line).split(delimiter))
            continue
        fields = _quoted_fields(line, numbered, name, delimiter)
        if width is None:
            width = len(fields)
        elif len(fields) != width:
            raise ValueError(
                f"{name}, line {start}: it has {_counted(len(fields))}, the first record has {width}; a text that "
                "contains the delimiter must be quoted"
            )
        yield Record(f"line {start}", fields)


def json_objects(lines: Iterable[str], name: str) -> Iterator[Record | BadRecord]:
    """Yields the objects of JSON lines, and the lines without object. Empty lines are skipped.

    Raises:
        ValueError: the file is a JSON array.
    """
    begun = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not begun and line.lstrip().startswith("["):
            raise ValueError(f"{name} is a JSON array; expected JSON lines, with one object per line")
        begun = True
        try:
            content = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            yield BadRecord(f"line {number}", f"it is no JSON: {error}")
            continue
        if isinstance(content, dict):
            yield Record(f"line {number}", content)
        else:
            yield BadRecord(f"line {number}", f"a JSON object is needed, got {line.strip()!r:.60}")


def check_names(names: Sequence[str], name: str, place: str) -> None:
    """Checks the names of a header. Several columns may have no name.

    Raises:
        ValueError: two columns have the same name.
    """
    twice = [column for column, n in Counter(names).items() if n > 1 and column]
    if twice:
        raise ValueError(
            f"{name}, {place}: the column name {', '.join(map(repr, twice))} occurs more than once; column "
            "names must be unique"
        )


def json_problem(value: Any) -> str | None:
    """Returns why a value of JSON lines cannot be written as JSON, such as NaN or an overflow to infinity; or None.

    >>> json_problem({"id": [7, "a"]}), json_problem({"id": [float("nan")]})
    (None, 'Out of range float values are not JSON compliant')
    """
    # The value is nested further, since it will be part of a record.
    for _ in range(MARGIN):
        value = [value]
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        return str(error).partition(":")[0]
    return None


def width_problem(fields: Sequence[str], width: int) -> str:
    """Returns the problem of a record with another number of fields than the header."""
    problem = f"it has {_counted(len(fields))}, the header has {width}"
    if any(field.startswith('"') or field.endswith('"') for field in fields):
        problem += "; quotes are read as characters, unless quoting is asked for"
    return problem


class _Numbered:
    """An iterator over lines, with the number of the last line, counted from 1."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        return line


def _quoted_fields(text: str, lines: _Numbered, name: str, delimiter: str) -> list[str]:
    """Returns the fields of the record that begins with a line. Reads further lines if a field continues there."""
    fields, at = [], 0
    plain = re.compile(f'[^"\r\n{delimiter}]*')
    while True:
        in_quotes, start = text.startswith('"', at), lines.number
        if in_quotes:
            field, text, at = _in_quotes(text, at + 1, lines, name)
        else:
            found = plain.match(text, at)
            assert found is not None
            field, at = found[0], found.end()
        fields.append(field)
        if text.startswith(delimiter, at):
            at += 1
            continue
        # A carriage return without a line feed is a line ending only at the end of the file.
        if text[at:] in ("", "\n", "\r\n", "\r"):
            return fields
        raise ValueError(f"{name}, line {lines.number}: {_misplaced(text[at], in_quotes, len(fields), start)}")


def _in_quotes(text: str, at: int, lines: _Numbered, name: str) -> tuple[str, str, int]:
    """Returns a field after its opening quote, the line of its closing quote, and the index after that quote."""
    start, pieces, n_characters = lines.number, [], 0
    while True:
        end = text.find('"', at)
        doubled = end >= 0 and text.startswith('"', end + 1)
        piece = text[at : end + doubled] if end >= 0 else text[at:]
        pieces.append(piece)
        if end >= 0 and not doubled:
            return "".join(pieces), text, end + 1
        n_characters += len(piece)
        if n_characters > LONGEST_FIELD:
            raise ValueError(f"{name}, line {start}: a quote is not closed within {LONGEST_FIELD} characters")
        if doubled:
            at = end + 2
            continue
        try:
            text, at = next(lines), 0
        except StopIteration:
            raise ValueError(f"{name}, line {start}: a quote is opened but never closed") from None


def _misplaced(character: str, in_quotes: bool, number: int, start: int) -> str:
    if character == "\r":
        return f"a carriage return stands outside quotes, in or behind field {number}"
    if in_quotes:
        return (
            f"{character!r} follows the closing quote of field {number}, which begins in line {start}, where a "
            "delimiter or the end of the line is expected; a quote within a field is written twice"
        )
    return f"field {number} holds a quote and does not begin with one; it must stand in quotes, and its own be doubled"


def _without_ending(line: str) -> str:
    """Returns a line without its ending, which includes a carriage return."""
    return line.removesuffix("\n").removesuffix("\r")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        raise ValueError(f"the key {', '.join(map(repr, twice))} occurs more than once")
    return found


def _counted(n_fields: int) -> str:
    return "1 field" if n_fields == 1 else f"{n_fields} fields"
