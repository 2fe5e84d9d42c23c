"""The folder of a job, in which every file is whole or not there.

    part-00000.parquet …       the rows, in shards
    _corpus.json               the manifest: what the job is, and what it was run with
    .work/source.parquet       the rows that were asked for, one row group a shard
    .work/shared.parquet       texts that more than one shard needs, one row group a unit
    .work/shared-00000 …       factors of such a unit, until the job is finished
    .work/done/*.json          of each finished file its size, its checksum and counts
    .work/lock                 held while a job runs

A file is written beside its place and renamed. It counts as finished when its record lies in ``done`` and fits it. The
manifest holds the checksums of both tables in ``.work``. It has a checksum of its own, and so has each record.
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

__all__ = ["FORMAT_VERSION", "Folder", "Record", "checksum_of", "output_folder"]

FORMAT_VERSION = 2
# Manifests of format 1, which xsbert 0.1.0 wrote, have no checksum.
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

        A finished job needs no lock, and its folder may be one that cannot be written to.

        Raises:
            BlockingIOError: another job holds it for longer than the timeout in seconds.
            OSError: the folder cannot be written to, and its job is not finished.
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
        """Whether a job is here, all shards of which are there as they were written."""
        manifest = self.read_manifest()
        return manifest is not None and all(
            self.finished(self.part(number)) is not None for number in range(len(manifest["starts"]))
        )

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

    def n_groups(self, path: Path) -> int:
        """Row groups of a table in ``.work``.

        Raises:
            ValueError: it is missing or damaged.
        """
        with _reading(path):
            return pq.ParquetFile(path).num_row_groups

    def read_group(self, path: Path, number: int) -> pa.Table:
        """One row group of a table in ``.work``.

        Raises:
            ValueError: it is missing or damaged.
        """
        with _reading(path):
            return pq.ParquetFile(path, page_checksum_verification=True).read_row_group(number)

    def finish(self, path: Path, counts: dict[str, Any]) -> Record:
        """Record that a file is finished."""
        record = Record(path.name, path.stat().st_size, checksum_of(path), counts)
        self.write_json(self._record_path(path), _sealed(asdict(record)))
        return record

    def record(self, path: Path) -> Record | None:
        """Of a file that was finished; None where there is none, or none that can be read."""
        try:
            content = json.loads(self._record_path(path).read_text(encoding="utf-8"))
            sealed = _take_seal(content)
            record = Record(**content)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        # Shards of xsbert 0.1.0 have records without a checksum. What is in `.work` is computed again.
        return record if record.file == path.name and (sealed or path.parent == self.path) else None

    def remove(self, path: Path) -> None:
        """Remove a file that is not needed any more, and its record. Where nothing can be written it stays."""
        for each in (path, self._record_path(path)):
            try:
                each.unlink(missing_ok=True)
            except OSError as error:
                if error.errno not in READ_ONLY:
                    raise

    def finished(self, path: Path) -> Record | None:
        """The record of a file that is there as it was written; None where it is missing or damaged."""
        record = self.record(path)
        if record is None or not path.is_file() or path.stat().st_size != record.n_bytes:
            return None
        return record if checksum_of(path) == record.checksum else None

    def write_manifest(self, content: dict[str, Any]) -> None:
        """Write the manifest, with the sizes and checksums of both tables in ``.work`` and a checksum of its own."""
        tables = {path.name: _stamp(path) for path in (self.source, self.shared)}
        self.write_json(self.manifest, _sealed({**content, "work": tables}))

    def is_recorded(self, path: Path, manifest: dict[str, Any]) -> bool:
        """Whether a table in ``.work`` is as the manifest says. Those of xsbert 0.1.0 say nothing of it."""
        stamp = manifest.get("work", {}).get(path.name)
        return stamp is not None and path.is_file() and _stamp(path) == stamp

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
    """The folder that a job is to write to, checked before anything is read.

    Raises:
        TypeError: it is no path.
        ValueError: it is empty, holds a character that no path can have, is in the source's folder or holds the source.
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
    """Refuse a folder that a later run would find in its source, or the source in it."""
    try:
        place, origin = Path(os.path.realpath(output)), Path(os.path.realpath(os.fsdecode(source)))
    except ValueError:
        # The source has a NUL character, which reading it refuses.
        return
    if origin.is_dir() and place.is_relative_to(origin):
        raise ValueError(f"output must lie outside the source, got {str(output)!r} in {os.fsdecode(source)!r}")
    if origin != place and origin.is_relative_to(place):
        raise ValueError(f"source must lie outside the output, got {os.fsdecode(source)!r} in {str(output)!r}")


def checksum_of(path: Path) -> str:
    """BLAKE2b of a file's bytes."""
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
    """Take the checksum out of what was read; whether there was one.

    Raises:
        ValueError: it is not that of the content.
    """
    if SEAL not in content:
        return False
    if content.pop(SEAL) != _seal(content):
        raise ValueError("it does not fit its checksum")
    return True


def _seal(content: dict[str, Any]) -> str:
    """BLAKE2b of what is said, however it is spelled."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of what is in a table name it, and say what to do; those of the system are left alone."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path} is missing. {CUT_AGAIN}") from None
    except (pa.ArrowException, OSError, IndexError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise ValueError(f"{path} is damaged: {error}. {CUT_AGAIN}") from error


def _keep(beside: Path, path: Path) -> None:
    """Put a whole file in its place, also where the machine goes down right after."""
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)
