"""Read a corpus of explanations: tables, single rows and attributions."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import index
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from .._utils.json_fields import require
from .._utils.stacklevel import caller_level
from ..attribution.attribution import Attribution
from ..factors.text_factors import TextFactors
from .folder import Folder, checksum_of
from .rows import attribution_of_row, factors_of_row
from .task import Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Corpus", "read_corpus", "warn_of_unseen"]

COUNTS = ("rows", "failed", "cut", "missed")
# Pages have checksums, which pyarrow verifies when it reads them.
CHECKED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def read_corpus(folder: str | PathLike[str], *, partial: bool = False) -> Corpus:
    """Open a folder written by `explain_corpus` or `ray_job`. Rows stay on disk until they are requested.

    Args:
        folder: folder of the corpus.
        partial: accept an unfinished job, with the existing shards.

    Raises:
        FileNotFoundError: the folder has no corpus, or shards are missing and ``partial`` is False.
        ValueError: the manifest is damaged or was written by a newer version.
    """
    place = Folder(Path(folder))
    manifest = place.read_manifest()
    if manifest is None:
        raise FileNotFoundError(f"{folder} is not a corpus: it has no {place.manifest.name}")
    try:
        task = Task.from_json(manifest["task"])
        starts, n_rows = [*manifest["starts"]], manifest["source"]["n_rows"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the manifest {place.manifest} is damaged: {error!r}") from None
    there = [number for number in range(len(starts)) if place.part(number).exists()]
    if len(there) < len(starts) and not partial:
        raise FileNotFoundError(
            f"{len(starts) - len(there)} of {len(starts)} shards are missing in {folder}: resume the job, or pass "
            "partial=True to read the shards that exist"
        )
    return Corpus(place, task, manifest, tuple(starts), n_rows, tuple(there))


@dataclass(frozen=True)
class Corpus:
    """Explanations in a folder. Rows are counted from 0, in the order of the source.

    The first read of a shard verifies its recorded size and checksum. Every read of a page verifies the checksum of the
    page. A damaged shard raises a ValueError that names it.
    """

    folder: Folder
    task: Task
    manifest: dict[str, Any]
    """Task, model, source, versions, and circumstances of the first run."""
    starts: tuple[int, ...]
    """First row of each shard."""
    n_rows: int
    shards: tuple[int, ...]
    """Numbers of the existing shards."""
    _checked: set[int] = field(default_factory=set, repr=False, compare=False)

    def __len__(self) -> int:
        return self.n_rows

    def dataset(self) -> ds.Dataset:
        """Returns all rows as a `pyarrow.dataset.Dataset`, which reads selected columns and applies filters lazily.

        Raises:
            ValueError: a shard is damaged. Later damage raises an OSError of pyarrow when it is read.
        """
        for number in self.shards:
            self._check(number)
        return ds.dataset([str(self.folder.part(number)) for number in self.shards], format=CHECKED)

    def batches(self, columns: Sequence[str] | None = None, batch_size: int = 1024) -> Iterator[pa.RecordBatch]:
        """Yields rows in order, in batches.

        Args:
            columns: column names; None reads all.
            batch_size: largest number of rows of a batch.

        Raises:
            ValueError: a shard is damaged. The rows of earlier shards are yielded first.
        """
        for number in self.shards:
            with self._reading(number) as part:
                yield from part.to_batches(columns=None if columns is None else [*columns], batch_size=batch_size)

    def to_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns all rows as a table in memory, with all or some columns.

        Raises:
            ValueError: a shard is damaged.
        """
        tables = []
        for number in self.shards:
            with self._reading(number) as part:
                tables.append(part.to_table(columns=None if columns is None else [*columns]))
        return pa.concat_tables(tables) if tables else self.dataset().to_table()

    def to_dataframe(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Returns all rows as a data frame, as `to_table`. Needs pandas."""
        return self.to_table(columns).to_pandas()

    def row(self, row: int) -> dict[str, Any]:
        """Returns one row, by column name.

        Raises:
            IndexError: the index is out of range.
            FileNotFoundError: its shard does not exist yet.
            ValueError: its shard is damaged.
        """
        row = index(row)
        if not 0 <= row < self.n_rows:
            raise IndexError(f"row must be between 0 and {self.n_rows - 1}, got {row}")
        number = bisect_right(self.starts, row) - 1
        if number not in self.shards:
            raise FileNotFoundError(f"row {row} is in shard {number}, which is not there yet")
        with self._reading(number) as part:
            found = part.to_table(filter=pc.field("row") == row).to_pylist()
        require(len(found) == 1, f"shard {number} has {len(found)} rows of number {row}")
        return found[0]

    def factors(self, row: int) -> TextFactors:
        """Returns the factors of a row of a corpus of factors; see `xsbert.corpus.factors_of_row`."""
        return factors_of_row(self.row(row))

    def attribution(self, row: int, other: int | None = None) -> Attribution:
        """Returns the attribution of a row of pairs, or of two rows of factors. Needs no model.

        Args:
            row: row of a pair (see `xsbert.corpus.attribution_of_row`), or of the first text in a corpus of factors.
            other: row of the second text in a corpus of factors.

        Raises:
            ValueError: the row has no matrix or could not be explained; or ``other`` does not fit the kind of corpus.
        """
        if (other is not None) != (self.task.what == "factors"):
            raise ValueError(
                f"pass two rows of a corpus of factors, and one row of a corpus of pairs, got {(row, other)} of "
                f"what={self.task.what!r}"
            )
        if other is None:
            return attribution_of_row(self.row(row))
        return Attribution.of(self.factors(row), self.factors(other), self.task.similarity)

    def failures(self) -> pa.Table:
        """Returns the rows that could not be explained, with texts and reasons."""
        dataset = self.dataset()
        names = [name for name in ("row", "id", *self.task.columns, "reason") if name in dataset.schema.names]
        return dataset.to_table(columns=names, filter=pc.field("reason").is_valid())

    def counts(self) -> dict[str, int]:
        """Numbers of all ``rows``, of ``failed`` rows, and of rows with a ``cut`` text or a ``missed`` tolerance."""
        records = [self.folder.record(self.folder.part(number)) for number in self.shards]
        return {name: sum(record.counts[name] for record in records if record is not None) for name in COUNTS}

    def unseen(self) -> list[int]:
        """Returns the indices of rows with a text that consists only of special tokens and the prompt.

        For highlights, only documents count. Shards of version 0.1.0 do not record these rows.
        """
        records = [self.folder.record(self.folder.part(number)) for number in self.shards]
        return sorted(row for record in records if record is not None for row in record.counts.get("unseen", []))

    def damaged(self) -> list[Path]:
        """Returns the shards that differ from their record. Resuming the job computes them again."""
        parts = [self.folder.part(number) for number in self.shards]
        return [part for part in parts if self.folder.finished(part) is None]

    @contextmanager
    def _reading(self, number: int) -> Iterator[ds.Dataset]:
        """Yields one shard. Errors of reading name it."""
        self._check(number)
        path = self.folder.part(number)
        try:
            yield ds.dataset(str(path), format=CHECKED)
        except OSError as error:
            # Errors of the system have numbers; checksum errors have none.
            if error.errno is not None:
                raise
            raise ValueError(_damaged(path, str(error))) from error

    def _check(self, number: int) -> None:
        """Compares a shard with its record once. Without a record, only its pages have checksums."""
        if number in self._checked:
            return
        path = self.folder.part(number)
        record = self.folder.record(path)
        if record is not None:
            n_bytes = path.stat().st_size
            if n_bytes != record.n_bytes:
                raise ValueError(_damaged(path, f"it has {n_bytes} bytes of {record.n_bytes}"))
            if checksum_of(path) != record.checksum:
                raise ValueError(_damaged(path, "its checksum has changed since it was written"))
        self._checked.add(number)

    def __str__(self) -> str:
        counts = self.counts()
        return (
            f"{self.task.what} of {counts['rows']} of {self.n_rows} rows in {len(self.shards)} of {len(self.starts)} "
            f"shards; {counts['failed']} could not be explained, {counts['cut']} have texts that the model's limit "
            f"cut, {counts['missed']} miss the tolerance"
        )


def warn_of_unseen(corpus: Corpus) -> None:
    """Warns of rows with a text that consists only of special tokens."""
    rows = corpus.unseen()
    if rows:
        others = f" and {len(rows) - 1} further rows (Corpus.unseen)" if len(rows) > 1 else ""
        warnings.warn(
            f"a text has only special tokens left in row {rows[0]}{others}: the tokenizer drops its "
            "characters, or the length limit cuts it off, so the explanation covers only what the model read",
            stacklevel=caller_level(),
        )


def _damaged(path: Path, why: str) -> str:
    return f"the shard {path} is damaged: {why}. Resuming the job computes it again"
