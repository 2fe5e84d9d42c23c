"""The segments of a corpus: the first rows, and the rows of each addition. A segment has shards of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Segment", "n_rows_of", "retired_of", "segments_of", "starts_of"]


@dataclass(frozen=True)
class Segment:
    """A segment, as the manifest describes it."""

    number: int
    """0 for the first rows, then the number of the addition."""
    starts: tuple[int, ...]
    """First row of each shard, in the whole corpus."""
    end: int
    """Row after the last one."""
    first_shard: int
    """Number of the first shard."""
    entries: Mapping[str, Any]
    """Entries of the segment in the manifest: source, versions and circumstances."""


def segments_of(manifest: Mapping[str, Any]) -> list[Segment]:
    """Returns the segments of a corpus, in order.

    Raises:
        KeyError, TypeError, ValueError: the manifest is damaged.
    """
    found: list[Segment] = []
    end = n_shards = 0
    for number, entries in enumerate((manifest, *manifest.get("additions", ()))):
        starts = tuple(entries["starts"])
        end += entries["source"]["n_rows"]
        found.append(Segment(number, starts, end, n_shards, entries))
        n_shards += len(starts)
    return found


def starts_of(manifest: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the first row of each shard of all segments."""
    return tuple(start for segment in segments_of(manifest) for start in segment.starts)


def n_rows_of(manifest: Mapping[str, Any]) -> int:
    """Returns the number of rows of all segments, including retired ones."""
    return segments_of(manifest)[-1].end


def retired_of(manifest: Mapping[str, Any]) -> list[int]:
    """Returns the retired rows: those that later rows replaced, or that were dropped."""
    return list(manifest.get("retired", ()))
