"""Comparison of a source with the rows of a folder, by id: which rows are new, which have changed, which are gone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from .._utils.table_files.advice import advise
from .arrow_types import comparable

__all__ = ["CHANGED", "REMOVED", "Changes", "Comparison", "Growth"]

CHANGED = ("refuse", "keep", "replace")
REMOVED = ("refuse", "keep", "drop")
MOST_NAMED = 5
# Ids of changed and of removed rows that the manifest and events name.
MOST_RECORDED = 100

Id = str | int


@dataclass(frozen=True)
class Growth:
    """How a source that has grown is added to the rows of a folder. Checked on creation."""

    append: bool = False
    changed: str = "refuse"
    removed: str = "refuse"

    def __post_init__(self) -> None:
        for name, allowed in (("changed", CHANGED), ("removed", REMOVED)):
            given = getattr(self, name)
            if given not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {given!r}")
            if given != "refuse" and not self.append:
                raise advise(ValueError(f"{name}={given!r} says what happens to rows of the folder"), "give {append}")

    def check_ids(self, id_column: str | None) -> None:
        """Checks that rows have ids.

        Raises:
            ValueError: rows are to be added, and the source has no column of ids.
        """
        if self.append and id_column is None:
            raise advise(ValueError("rows are compared by their ids"), "{append} needs {id}")


@dataclass(frozen=True)
class Changes:
    """How a source differs from the folder that it was added to."""

    n_new: int
    """Rows with ids that the folder did not have. They were added."""
    n_unchanged: int
    """Rows that the folder has with the same texts and kept columns."""
    changed: tuple[Id, ...]
    """Ids of rows that have other texts or kept columns than in the folder."""
    removed: tuple[Id, ...]
    """Ids of rows of the folder that the source lacks."""
    n_without_id: int
    """Rows of the source without an id. They are left out."""
    growth: Growth = field(default_factory=Growth)
    """What was to be done with changed and removed rows."""

    def to_json(self) -> dict[str, Any]:
        """Returns numbers, and at most 100 ids each, for JSON."""
        return {
            "new": self.n_new,
            "unchanged": self.n_unchanged,
            "changed": len(self.changed),
            "changed_ids": [*self.changed[:MOST_RECORDED]],
            "changed_rows": self.growth.changed,
            "removed": len(self.removed),
            "removed_ids": [*self.removed[:MOST_RECORDED]],
            "removed_rows": self.growth.removed,
            "without_id": self.n_without_id,
        }

    def __str__(self) -> str:
        done = {"keep": "kept as they are", "replace": "replaced", "drop": "dropped", "refuse": "refused"}
        parts = [f"{self.n_new} new rows, {self.n_unchanged} unchanged"]
        for ids, name, choice in (
            (self.changed, "changed", self.growth.changed),
            (self.removed, "no longer in the source", self.growth.removed),
        ):
            parts.append(f"{len(ids)} {name}" + (f" and {done[choice]} ({_named(ids)})" if ids else ""))
        if self.n_without_id:
            parts.append(f"{self.n_without_id} without an id left out")
        return ", ".join(parts)


class Comparison:
    """Compares rows of a source with the rows of a folder.

    Args:
        place: the folder, for messages.
        growth: what happens to changed and removed rows.
        texts: names of the columns of texts.
    """

    def __init__(self, place: str, growth: Growth, texts: Sequence[str]) -> None:
        self._place = place
        self._growth = growth
        # What made a text unusable is not compared: shards do not store it.
        self._apart = {"row", "id", *(f"bad_{name}" for name in texts)}
        self._known: dict[Id, tuple[int, bytes]] = {}
        self._seen: dict[Id, int] = {}
        self._schema: pa.Schema | None = None
        self._changed: list[Id] = []
        self._replaced: list[int] = []
        self._n_new = self._n_unchanged = self._n_without_id = 0

    def learn(self, tables: Iterable[pa.Table], retired: Iterable[int]) -> None:
        """Reads rows of the folder.

        Args:
            tables: tables with ``row``, ``id``, texts and kept columns.
            retired: rows that count no more.

        Raises:
            ValueError: two rows have the same id, or the folder has no ids.
        """
        gone = frozenset(retired)
        for table in tables:
            if "id" not in table.column_names:
                raise advise(
                    ValueError(f"the rows in {self._place} have no ids, so that new rows cannot be told from others"),
                    "begin in another folder, with {id}",
                )
            self._schema = self._schema or table.schema
            for row, identity, digest in self._digests(table):
                if row in gone or identity is None:
                    continue
                if identity in self._known:
                    raise ValueError(
                        f"the id {identity!r} belongs to the rows {self._known[identity][0]} and {row} in "
                        f"{self._place}: rows can be added only where ids differ"
                    )
                self._known[identity] = row, digest

    def rows_to_add(self, tables: Iterable[pa.Table], start: int) -> Iterator[pa.Table]:
        """Yields the new rows of a source, and the changed ones that replace others, numbered anew.

        Args:
            tables: all rows of the source.
            start: number of the first row to add.

        Raises:
            ValueError: two rows have the same id, or the columns are not those of the folder.
        """
        for table in tables:
            if self._schema is not None:
                names = [name for name in table.column_names if name in ("row", "id") or name not in self._apart]
                table = _of_schema(table, names, self._schema, self._place)
            chosen = [place for place, found in enumerate(self._digests(table)) if self._is_to_add(*found)]
            if chosen:
                rows = pa.array(range(start, start + len(chosen)), pa.int64())
                start += len(chosen)
                yield table.take(chosen).set_column(table.column_names.index("row"), "row", rows)

    def _is_to_add(self, row: int, identity: Id | None, digest: bytes) -> bool:
        if identity is None:
            self._n_without_id += 1
            return False
        if identity in self._seen:
            raise ValueError(
                f"the id {identity!r} belongs to the rows {self._seen[identity]} and {row} of the source: rows can be "
                "added only where ids differ"
            )
        self._seen[identity] = row
        known = self._known.get(identity)
        if known is None:
            self._n_new += 1
            return True
        if known[1] == digest:
            self._n_unchanged += 1
            return False
        self._changed.append(identity)
        if self._growth.changed == "replace":
            self._replaced.append(known[0])
        return self._growth.changed == "replace"

    def _digests(self, table: pa.Table) -> Iterator[tuple[int, Id | None, bytes]]:
        """Yields row, id, and a hash of texts and kept columns."""
        names = sorted(name for name in table.column_names if name not in self._apart)
        values = zip(*(comparable(table[name]) for name in names), strict=True)
        for row, identity, content in zip(table["row"].to_pylist(), table["id"].to_pylist(), values, strict=True):
            encoded = repr(tuple(zip(names, content, strict=True))).encode("utf-8", "surrogatepass")
            yield row, identity, hashlib.blake2b(encoded, digest_size=16).digest()

    def changes(self) -> Changes:
        """Returns the differences, after all rows of the source have been read.

        Raises:
            ValueError: the source has no rows, or rows have changed or are gone that must not.
        """
        if not self._seen and not self._n_without_id:
            raise ValueError("source has no rows")
        removed = tuple(identity for identity in self._known if identity not in self._seen)
        changes = Changes(
            self._n_new, self._n_unchanged, tuple(self._changed), removed, self._n_without_id, self._growth
        )
        problems, advice = [], []
        if changes.changed and self._growth.changed == "refuse":
            problems.append(f"{_counted(changes.changed)} other texts or kept columns than in the folder")
            advice.append("{changed} says whether rows of the folder are to 'keep' or to 'replace'")
        if removed and self._growth.removed == "refuse":
            problems.append(f"{_counted(removed, of_folder=True)} gone from the source")
            advice.append("{removed} says whether rows of the folder are to 'keep' or to 'drop'")
        if problems:
            raise advise(
                ValueError(f"the source does not only add to {self._place}, {'; '.join(problems)}"), "; ".join(advice)
            )
        return changes

    def retired(self) -> list[int]:
        """Returns the rows of the folder that are replaced or dropped, once all rows of the source have been read."""
        gone = [row for identity, (row, _) in self._known.items() if identity not in self._seen]
        return sorted([*self._replaced, *(gone if self._growth.removed == "drop" else [])])


def _of_schema(table: pa.Table, names: Sequence[str], schema: pa.Schema, place: str) -> pa.Table:
    """Returns rows with the types of the folder's columns.

    Raises:
        ValueError: the columns differ, or a value does not fit the type.
    """
    if set(names) != set(schema.names):
        raise advise(
            ValueError(f"the rows in {place} keep the columns {_listed(schema.names)}, these have {_listed(names)}"),
            "give the same {id} and {keep}",
        )
    for name in names:
        kind, wanted = table[name].type, schema.field(name).type
        if kind == wanted:
            continue
        try:
            if not _may_cast(kind, wanted):
                raise pa.ArrowInvalid(f"{kind} is another type")
            column = table[name].cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(
                f"the column {name!r} holds {wanted} in {place} and {kind} in the source: {error}. A column is of one "
                "type, also in later additions"
            ) from None
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _may_cast(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether equal values of two types mean the same, as those of 7 and 7.0 do, and those of 7 and "7" do not."""
    types = pa.types
    if types.is_null(kind):
        return True
    number = [types.is_integer(each) or types.is_floating(each) for each in (kind, wanted)]
    alike = [
        (types.is_timestamp, types.is_timestamp),
        (types.is_duration, types.is_duration),
        (types.is_time, types.is_time),
        (types.is_nested, types.is_nested),
    ]
    return all(number) or any(one(kind) and other(wanted) for one, other in alike)


def _counted(ids: Sequence[Id], of_folder: bool = False) -> str:
    verb = ("is" if len(ids) == 1 else "are") if of_folder else ("has" if len(ids) == 1 else "have")
    return f"{len(ids)} row{'s' * (len(ids) != 1)} ({_named(ids)}) {verb}"


def _named(ids: Sequence[Id]) -> str:
    named = ", ".join(json.dumps(each, ensure_ascii=False)[:40] for each in ids[:MOST_NAMED])
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return f"id{'s' * (len(ids) != 1)} {named}{more}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(name for name in names if name != "row"))
