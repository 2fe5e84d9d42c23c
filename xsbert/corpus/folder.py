"""The folder of a job. Its files are written atomically.

    part-00000.parquet …       the rows, in shards
    _corpus.json               the manifest: the job, and the circumstances of its runs
    .work/source.parquet       the rows to explain, one row group per shard
    .work/shared.parquet       texts that more than one shard needs, one row group per unit
    .work/shared-00000 …       factors of such a unit, until the job is finished
    .work/source-00001.parquet, .work/shared-texts-00001.parquet, .work/shared-00001-00000 …
                               the same of the first addition, the rows of a later call with ``append=True``
    .work/done/*.json          size, checksum and counts of each finished file
    .work/lock                 held while a job runs

A file is written under a temporary name and renamed. It counts as finished if its record in ``done`` matches it. The
manifest contains the checksums of the tables in ``.work``. The manifest and each record have their own checksum.
"""

from __future__ import annotations

import errno
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

from .._utils.table_files.advice import advise
from .segments import starts_of

__all__ = ["FORMAT_VERSION", "Folder", "Record", "checksum_of", "output_folder"]

FORMAT_VERSION = 2
# Manifests of format 1, written by xsbert 0.1.0, have no checksum.
UNSEALED = 1
SEAL = "sealed_by"
UNFINISHED = ".unfinished-"
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
CUT_AGAIN = "Run the job again with the same source: it is cut again, and what is finished stays"


@dataclass(frozen=True)
class Record:
    """A finished file."""

    file: str
    n_bytes: int
    checksum: str
    counts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Folder:
    """Paths and files of a job's folder."""

    path: Path
    segment: int = 0
    """The part of the job that the working files belong to: 0 for the first rows, then the number of an addition."""

    @property
    def work(self) -> Path:
        """Path of the working files."""
        return self.path / ".work"

    @property
    def manifest(self) -> Path:
        """Path of the manifest."""
        return self.path / "_corpus.json"

    @property
    def source(self) -> Path:
        """Path of the rows to explain."""
        return self.work / (f"source-{self.segment:05d}.parquet" if self.segment else "source.parquet")

    @property
    def shared(self) -> Path:
        """Path of the texts that more than one shard needs."""
        return self.work / (f"shared-texts-{self.segment:05d}.parquet" if self.segment else "shared.parquet")

    def part(self, number: int) -> Path:
        """Returns the path of a shard of results."""
        return self.path / f"part-{number:05d}.parquet"

    def unit(self, number: int) -> Path:
        """Returns the path of the factors of a unit of shared texts."""
        return self.work / f"{self._prefix}{number:05d}.safetensors"

    def units(self) -> list[Path]:
        """Returns the existing factors of units of shared texts of this segment."""
        return sorted(self.work.glob(f"{self._prefix}{'[0-9]' * 5}.safetensors"))

    @property
    def _prefix(self) -> str:
        return f"shared-{self.segment:05d}-" if self.segment else "shared-"

    @contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Locks the folder for one job. The lock is released when the process ends, also after a crash.

        A finished job needs no lock, and its folder may be read-only.

        Raises:
            BlockingIOError: another job holds the lock for longer than the timeout in seconds.
            OSError: the folder is read-only, and its job is not finished.
        """
        lock = FileLock(self.work / "lock")
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout)
        except Timeout:
            raise advise(
                BlockingIOError(f"another job is running in {self.path}"),
                "{lock_timeout} sets how many seconds to wait for it",
            ) from None
        except OSError as error:
            if error.errno not in READ_ONLY or not self._all_finished():
                raise
            yield
            return
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    def _all_finished(self) -> bool:
        """Whether the folder has a job with all shards, unchanged since they were written."""
        manifest = self.read_manifest()
        return manifest is not None and all(
            self.finished(self.part(number)) is not None for number in range(len(starts_of(manifest)))
        )

    def _sweep(self) -> None:
        """Removes unfinished files of a killed job."""
        for folder in (self.path, self.work, self.work / "done"):
            for file in folder.glob(f"{UNFINISHED}*"):
                file.unlink(missing_ok=True)
        # The names of unfinished files of `save_factors`.
        for file in self.work.glob(".shared-*"):
            file.unlink(missing_ok=True)

    def write_json(self, path: Path, content: Any) -> None:
        """Writes JSON atomically."""
        self._write(path, lambda beside: beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))

    def write_table(self, path: Path, table: pa.Table, metadata: dict[str, str] | None = None) -> None:
        """Writes a table atomically, as one row group."""
        metadata = {**(table.schema.metadata or {}), **(metadata or {})}
        with self.table_writer(path, table.schema.with_metadata(metadata)) as write:
            write(table.replace_schema_metadata(metadata))

    @contextmanager
    def table_writer(self, path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
        """Yields a function that writes tables, one row group each. The file appears when the block succeeds."""
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

    def n_groups(self, path: Path) -> int:
        """Returns the number of row groups of a table in ``.work``.

        Raises:
            ValueError: the table is missing or damaged.
        """
        with _reading(path):
            return pq.ParquetFile(path).num_row_groups

    def read_group(self, path: Path, number: int) -> pa.Table:
        """Returns one row group of a table in ``.work``.

        Raises:
            ValueError: the table is missing or damaged.
        """
        with _reading(path):
            return pq.ParquetFile(path, page_checksum_verification=True).read_row_group(number)

    def finish(self, path: Path, counts: dict[str, Any]) -> Record:
        """Writes the record of a finished file."""
        record = Record(path.name, path.stat().st_size, checksum_of(path), counts)
        self.write_json(self._record_path(path), _sealed(asdict(record)))
        return record

    def record(self, path: Path) -> Record | None:
        """Returns the record of a finished file; None if it does not exist or is not readable."""
        try:
            content = json.loads(self._record_path(path).read_text(encoding="utf-8"))
            sealed = _take_seal(content)
            record = Record(**content)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        # Records of xsbert 0.1.0 have no checksum. They are valid for shards; files in `.work` are computed again.
        return record if record.file == path.name and (sealed or path.parent == self.path) else None

    def remove(self, path: Path) -> None:
        """Removes a file and its record. In a read-only folder they stay."""
        for each in (path, self._record_path(path)):
            try:
                each.unlink(missing_ok=True)
            except OSError as error:
                if error.errno not in READ_ONLY:
                    raise

    def finished(self, path: Path) -> Record | None:
        """Returns the record of an unchanged file; None if the file is missing or damaged."""
        record = self.record(path)
        if record is None or not path.is_file() or path.stat().st_size != record.n_bytes:
            return None
        return record if checksum_of(path) == record.checksum else None

    def write_manifest(self, content: dict[str, Any]) -> None:
        """Writes the manifest, with its own checksum, and those of this segment's tables in ``.work``."""
        tables = {path.name: _stamp(path) for path in (self.source, self.shared)}
        self.write_sealed(content, tables)

    def write_sealed(self, content: dict[str, Any], tables: dict[str, Any] | None = None) -> None:
        """Writes the manifest with its own checksum, and further entries for tables in ``.work``."""
        self.write_json(self.manifest, _sealed({**content, "work": {**content.get("work", {}), **(tables or {})}}))

    def is_recorded(self, path: Path, manifest: dict[str, Any]) -> bool:
        """Whether a table in ``.work`` matches the manifest. Manifests of xsbert 0.1.0 do not record the tables."""
        stamp = manifest.get("work", {}).get(path.name)
        return stamp is not None and path.is_file() and _stamp(path) == stamp

    def read_manifest(self) -> dict[str, Any] | None:
        """Returns the manifest, or None if there is none.

        Raises:
            ValueError: the manifest is damaged, or of a newer version.
        """
        if not self.manifest.exists():
            return None
        try:
            content = json.loads(self.manifest.read_text(encoding="utf-8"))
            version = content["format_version"]
            newer = version > FORMAT_VERSION
            if not newer and _take_seal(content) != (version > UNSEALED):
                raise ValueError("it has no checksum" if version > UNSEALED else "it has a checksum, unlike its format")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"the manifest {self.manifest} is damaged: {error}. Restore it from a copy, or run the job in another "
                "folder; shards that are there can be read by pyarrow"
            ) from None
        if newer:
            raise ValueError(f"{self.manifest} was written by a newer version of xsbert (format {version})")
        return content

    def _record_path(self, path: Path) -> Path:
        return self.work / "done" / f"{path.name}.json"


def output_folder(output: Any, source: Any) -> Path:
    """Returns the output folder of a job, checked before anything is read.

    Raises:
        TypeError: ``output`` is not a path.
        ValueError: the path is empty, has an invalid character, is in the source's folder or contains the source.
    """
    try:
        name = os.fspath(output)
    except TypeError:
        name = None
    if not isinstance(name, str):
        raise TypeError(f"output must be the path of a folder, got {type(output).__name__}: {output!r:.80}")
    if not name:
        raise ValueError("output must name a folder, got an empty string; '.' is the current one")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"output must be a path in Unicode, got {name!a:.200}: {error.reason}") from None
    if "\0" in name:
        raise ValueError(f"output must be a path without NUL characters, got {name!r:.200}")
    path = Path(name)
    if isinstance(source, (str, os.PathLike)):
        _check_apart(path, source)
    return path


def _check_apart(output: Path, source: str | os.PathLike[Any]) -> None:
    """Checks that neither the output folder nor the source contains the other."""
    try:
        place, origin = Path(os.path.realpath(output)), Path(os.path.realpath(os.fsdecode(source)))
    except ValueError:
        # The path of the source has a NUL character; reading it raises an error.
        return
    if origin.is_dir() and place.is_relative_to(origin):
        raise ValueError(f"output must lie outside the source, got {str(output)!r} in {os.fsdecode(source)!r}")
    if origin != place and origin.is_relative_to(place):
        raise ValueError(f"source must lie outside the output, got {os.fsdecode(source)!r} in {str(output)!r}")


def checksum_of(path: Path) -> str:
    """Returns the BLAKE2b hash of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _stamp(path: Path) -> dict[str, Any]:
    return {"n_bytes": path.stat().st_size, "checksum": checksum_of(path)}


def _sealed(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, SEAL: _seal(content)}


def _take_seal(content: dict[str, Any]) -> bool:
    """Removes and verifies the checksum of JSON content. Returns whether there was one.

    Raises:
        ValueError: the checksum does not match the content.
    """
    if SEAL not in content:
        return False
    if content.pop(SEAL) != _seal(content):
        raise ValueError("it does not fit its checksum")
    return True


def _seal(content: dict[str, Any]) -> str:
    """Returns the BLAKE2b hash of JSON content, independent of its formatting."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Adds the path and advice to errors of a table's content. Errors of the system are unchanged."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path} is missing. {CUT_AGAIN}") from None
    except (pa.ArrowException, OSError, IndexError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise ValueError(f"{path} is damaged: {error}. {CUT_AGAIN}") from error


def _keep(beside: Path, path: Path) -> None:
    """Moves a complete file to its path, durably even if the machine fails afterwards."""
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)
