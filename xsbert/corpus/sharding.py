"""Working files of a job: the source split into shards, and the texts of several shards split into units.

If a file does not match the manifest, it is written again with the same borders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from .columns import Key, keys_in
from .folder import Folder
from .sources import Fingerprint
from .task import Task

__all__ = ["Limits", "Source", "columns_of", "cut_shared", "cut_source", "share"]

# Default limit in bytes for the factors of a shard or unit, and for cached factors of shared texts.
FACTORS_AT_ONCE = 512e6
UNIT_SIZE = 256
# Lower estimate of the characters per token.
CHARACTERS = 3


@dataclass(frozen=True)
class Limits:
    """Limits of a shard or a unit."""

    shard_size: int
    """Largest number of rows of a shard."""
    n_bytes: float
    """Largest size of its factors in bytes."""
    longest: int | None
    """Largest number of tokens of a text."""


@dataclass(frozen=True)
class Source:
    """The rows of a source, split into shards."""

    fingerprint: str
    n_rows: int
    columns: dict[str, str]
    """Types of the columns, by name."""
    starts: list[int]
    """First row of each shard."""


def share(memory_budget: float | None) -> float:
    """Returns the bytes for the factors of a shard. Factors of shared texts get the same amount."""
    return FACTORS_AT_ONCE if memory_budget is None else memory_budget / 4


def cut_source(
    tables: Iterable[pa.Table], folder: Folder, task: Task, limits: Limits, accept: Callable[[Source], object]
) -> Source:
    """Write the source with one row group for each shard.

    Args:
        tables: all rows, in order.
        folder: folder of the job.
        task: what to compute for each row.
        limits: limits of a shard.
        accept: raises if the rows are not the expected ones. The file is then unchanged.

    Raises:
        ValueError: the source has no rows.
    """
    fingerprint, starts = Fingerprint(), [0]
    tables = iter(tables)
    first = next(tables, None)
    if first is None:
        raise ValueError("source has no rows")
    waiting = first.slice(0, 0)
    with folder.table_writer(folder.source, first.schema) as write:
        for table in _chained(first, tables):
            fingerprint.update(table)
            waiting = pa.concat_tables([waiting, table]).combine_chunks()
            boundaries = _boundaries(waiting, task, limits)
            for begin, end in pairwise(boundaries):
                write(waiting.slice(begin, end - begin))
                starts.append(starts[-1] + end - begin)
            waiting = waiting.slice(boundaries[-1])
        if len(waiting):
            write(waiting)
        else:
            starts.pop()
        source = Source(str(fingerprint), fingerprint.n_rows, columns_of(first), starts)
        accept(source)
    return source


def columns_of(table: pa.Table) -> dict[str, str]:
    """Returns the types of columns, by name."""
    return {column.name: str(column.type) for column in table.schema}


def _chained(first: pa.Table, others: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from others


def _boundaries(table: pa.Table, task: Task, limits: Limits) -> list[int]:
    """Returns the first rows of shards within consecutive rows. The last shard may still grow."""
    texts = [table[name].to_pylist() for name in task.columns]
    lengths = [sum(len(text or "") for text in row) for row in zip(*texts, strict=True)]
    starts, held = [0], 0.0
    for place, length in enumerate(lengths):
        n_bytes = _n_bytes(length, task, limits.longest)
        n_before = place - starts[-1]
        if n_before == limits.shard_size or (held + n_bytes > limits.n_bytes and n_before):
            starts.append(place)
            held = 0.0
        held += n_bytes
    return starts


def _n_bytes(n_characters: int, task: Task, longest: int | None) -> int:
    """Returns the approximate size of the factors of a text."""
    n_tokens = n_characters // CHARACTERS + 2
    return 8 * task.width * (n_tokens if longest is None else min(n_tokens, 2 * longest))


def cut_shared(folder: Folder, task: Task, limits: Limits) -> None:
    """Write the texts that more than one shard needs, longest first, with one row group for each unit.

    A 64-bit hash identifies texts. Two texts with the same hash both count as shared, which is harmless.
    """
    n_shards = folder.n_groups(folder.source)
    hashes = [
        np.unique(np.array([_hash(key) for key in _keys(folder, shard, task)], np.uint64)) for shard in range(n_shards)
    ]
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    repeated = set(values[counts > 1].tolist())
    found: dict[Key, None] = {}
    if repeated:
        for shard in range(n_shards):
            found.update((key, None) for key in _keys(folder, shard, task) if _hash(key) in repeated)
    ordered = sorted(found, key=lambda key: (-len(key[1]), key[1], key[0]))
    schema = pa.schema([("side", pa.int32()), ("text", pa.string())])
    with folder.table_writer(folder.shared, schema) as write:
        for unit in _units(ordered, task, limits):
            write(pa.table({"side": [key[0] for key in unit], "text": [key[1] for key in unit]}, schema))


def _keys(folder: Folder, shard: int, task: Task) -> list[Key]:
    return keys_in(folder.read_group(folder.source, shard), task)


def _hash(key: Key) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")


def _units(keys: Sequence[Key], task: Task, limits: Limits) -> Iterator[list[Key]]:
    unit: list[Key] = []
    held = 0.0
    for key in keys:
        n_bytes = _n_bytes(len(key[1]), task, limits.longest)
        if unit and (len(unit) == UNIT_SIZE or held + n_bytes > limits.n_bytes):
            yield unit
            unit, held = [], 0.0
        unit.append(key)
        held += n_bytes
    if unit:
        yield unit
