"""The folder of a job, in which every file is whole or not there.

    part-00000.parquet …       the rows, in shards
    _corpus.json               the manifest: what the job is, and what it was run with
    .work/source.parquet       the rows that were asked for, one row group a shard
    .work/shared.parquet       texts that more than one shard needs, one row group a unit
    .work/shared-00000 …       factors of such a unit, until the job is finished
    .work/done/*.json          of each finished file its size, its checksum and counts
    .work/lock                 held while a job runs

A file is written beside its place and renamed. It counts as finished when its record lies in ``done`` and fits it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ..table_files import advise

__all__ = ["FORMAT_VERSION", "Folder", "Record"]

FORMAT_VERSION = 1
UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Record:
    """A finished file."""

    file: str
    n_bytes: int
    checksum: str
    counts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Folder:
    """Paths of a job's folder, and how files get there."""

    path: Path

    @property
    def work(self) -> Path:
        """Of what is no result."""
        return self.path / ".work"

    @property
    def manifest(self) -> Path:
        """Of the manifest."""
        return self.path / "_corpus.json"

    @property
    def source(self) -> Path:
        """Of the rows that were asked for."""
        return self.work / "source.parquet"

    @property
    def shared(self) -> Path:
        """Of the texts that more than one shard needs."""
        return self.work / "shared.parquet"

    def part(self, number: int) -> Path:
        """Of a shard of results."""
        return self.path / f"part-{number:05d}.parquet"

    def unit(self, number: int) -> Path:
        """Of the factors of a unit of shared texts."""
        return self.work / f"shared-{number:05d}.safetensors"

    @contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Hold the folder for one job. The lock ends with the process, however that ends.

        Raises:
            BlockingIOError: another job holds it for longer than the timeout in seconds.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.work / "lock")
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise advise(
                BlockingIOError(f"another job is running in {self.path}"),
                "{lock_timeout} sets how many seconds to wait for it",
            ) from None
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    def _sweep(self) -> None:
        """Remove what a job left that was killed while it wrote."""
        for folder in (self.path, self.work, self.work / "done"):
            for file in folder.glob(f"{UNFINISHED}*"):
                file.unlink(missing_ok=True)
        # As `save_factors` names a file that it has not finished.
        for file in self.work.glob(".shared-*"):
            file.unlink(missing_ok=True)

    def write_json(self, path: Path, content: Any) -> None:
        """All of it or nothing."""
        self._write(path, lambda beside: beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))

    def write_table(self, path: Path, table: pa.Table, metadata: dict[str, str] | None = None) -> None:
        """All of it or nothing, as one row group."""
        metadata = {**(table.schema.metadata or {}), **(metadata or {})}
        with self.table_writer(path, table.schema.with_metadata(metadata)) as write:
            write(table.replace_schema_metadata(metadata))

    @contextmanager
    def table_writer(self, path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
        """Writes tables, a row group each; the file is there when the block ends well."""
        beside = self._beside(path)
        try:
            with pq.ParquetWriter(beside, schema, compression="zstd", write_page_checksum=True) as writer:
                yield lambda table: writer.write_table(table, row_group_size=max(1, len(table)))
            _keep(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    def _write(self, path: Path, write: Callable[[Path], Any]) -> None:
        beside = self._beside(path)
        try:
            write(beside)
            _keep(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    def _beside(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f"{UNFINISHED}{path.name}.{uuid4().hex}")

    def finish(self, path: Path, counts: dict[str, Any]) -> Record:
        """Record that a file is finished."""
        record = Record(path.name, path.stat().st_size, checksum_of(path), counts)
        self.write_json(self._record_path(path), asdict(record))
        return record

    def record(self, path: Path) -> Record | None:
        """Of a file that was finished; None where there is none, or none that can be read."""
        try:
            return Record(**json.loads(self._record_path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def finished(self, path: Path) -> Record | None:
        """The record of a file that is there as it was written; None where it is missing or damaged."""
        record = self.record(path)
        if record is None or not path.is_file() or path.stat().st_size != record.n_bytes:
            return None
        return record if checksum_of(path) == record.checksum else None

    def read_manifest(self) -> dict[str, Any] | None:
        """None where there is none.

        Raises:
            ValueError: it is damaged, or of a newer version.
        """
        if not self.manifest.exists():
            return None
        try:
            content = json.loads(self.manifest.read_text(encoding="utf-8"))
            version = content["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"the manifest {self.manifest} is damaged: {error}") from None
        if version > FORMAT_VERSION:
            raise ValueError(f"{self.manifest} was written by a newer version of xsbert (format {version})")
        return content

    def _record_path(self, path: Path) -> Path:
        return self.work / "done" / f"{path.name}.json"


def checksum_of(path: Path) -> str:
    """BLAKE2b of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _keep(beside: Path, path: Path) -> None:
    """Put a whole file in its place, also where the machine goes down right after."""
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)
