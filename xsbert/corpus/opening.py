"""Opens a job in a folder: begins a new one, resumes one, or adds the new rows of a source to one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .._utils.checksummed_safetensors import library_versions
from .._utils.stacklevel import caller_level
from .._utils.validation import is_integer, plain_number
from ..models.comparing import ComparingModel
from .folder import CUT_AGAIN, FORMAT_VERSION, Folder
from .growth import Changes, Comparison, Growth
from .identity import check_same, circumstances, differences_of, read_source, resolved, source_identity
from .job import Job
from .schema import names_of
from .segments import Segment, n_rows_of, retired_of, segments_of
from .sharding import Limits, Source, cut_shared, cut_source, share
from .sources import rows_of_source
from .task import Task, model_identity

__all__ = ["Opening"]


class Opening:
    """Opens a job.

    Args:
        model: the model to explain.
        source: rows, as for `explain_corpus`.
        folder: folder of the job, which must be locked.
        task: what to compute for each row.
        shard_size, memory_budget: as for `explain_corpus`.
        reading: further arguments of `rows_of_source`.
        growth: whether the new rows of the source are added to an existing job.

    Raises:
        TypeError, ValueError: ``shard_size`` is no positive integer, or rows to add have no ids.
    """

    def __init__(
        self,
        model: ComparingModel,
        source: Any,
        folder: Folder,
        task: Task,
        shard_size: int,
        memory_budget: float | None,
        reading: Mapping[str, Any],
        growth: Growth,
    ) -> None:
        if not is_integer(shard_size):
            raise TypeError(f"shard_size must be an integer, got {shard_size!r}")
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, got {shard_size}")
        growth.check_ids(reading.get("id_column"))
        self._model = model
        self._folder = folder
        self._task = task
        self._memory_budget = memory_budget
        self._growth = growth
        self._tables = rows_of_source(source, task.columns, reserved=names_of(task), **reading)
        self._own = {
            "task": task.to_json(),
            "model": model_identity(model),
            "shard_size": plain_number(shard_size),
            "versions": library_versions(),
        }
        self.changes: Changes | None = None
        """How the source differed from the folder. None if nothing was to be added, or before the last job."""

    def jobs(self) -> Iterator[Job]:
        """Yields the jobs to run. Each is opened when the one before it has finished.

        Raises:
            ValueError: the folder has a job with other settings, another model or source; or a row of the folder has
                changed or is gone, and must not.
        """
        manifest = self._folder.read_manifest()
        if manifest is None:
            yield self._begin()
        elif not self._growth.append:
            yield from self._resume(manifest)
        else:
            yield from self._finish(manifest)
            added = self._add(self._folder.read_manifest() or manifest)
            if added is not None:
                yield added

    def _begin(self) -> Job:
        """Cuts the source into shards and writes the manifest."""
        growth = Comparison(str(self._folder.path), self._growth, self._task.columns)
        tables = growth.rows_to_add(self._tables, 0) if self._growth.append else self._tables
        limits = self._limits()
        found = cut_source(tables, self._folder, self._task, limits, accept=lambda source: None)
        cut_shared(self._folder, self._task, limits)
        if self._growth.append:
            self.changes = growth.changes()
            self._tell_of_missing_ids()
        manifest = {"format_version": FORMAT_VERSION, **self._own, **self._entries(found), "columns": found.columns}
        self._folder.write_manifest({**manifest, "model_name": self._model.label})
        return self._job(segments_of(manifest)[-1])

    def _resume(self, manifest: dict[str, Any]) -> Iterator[Job]:
        """Checks that nothing has changed."""
        first, *added = segments_of(manifest)
        job = self._job(first)
        before, now = resolved(manifest, self._model), resolved(self._own, self._model)
        if job.pending_shards():
            # The budget of the first run keeps the borders of shards and units.
            limits = self._limits(share(manifest["first_run"]["memory_budget"]))
            job.mend(self._tables, manifest, limits, lambda source: check_same(self._folder, before, now, source))
        else:
            check_same(self._folder, before, now, read_source(self._tables))
        yield job
        jobs = map(self._unfinished, added)
        yield from (each for each in jobs if each.pending_shards())

    def _finish(self, manifest: dict[str, Any]) -> Iterator[Job]:
        """Yields jobs with unfinished shards, which need only the working files."""
        before, now = resolved(manifest, self._model), resolved(self._own, self._model)
        check_same(self._folder, before, {name: now[name] for name in ("task", "model")}, None)
        segments = segments_of(manifest)
        if len(segments) > 1 and not self._is_sound(segments[-1], manifest):
            manifest = self._without_unfinished(manifest, segments[-1])
            segments = segments_of(manifest)
        for segment in segments:
            job = self._unfinished(segment)
            if not job.pending_shards():
                continue
            if not self._is_sound(segment, manifest):
                raise ValueError(f"{job.folder.source} is damaged or missing. {CUT_AGAIN}, without append")
            yield job

    def _unfinished(self, segment: Segment) -> Job:
        """Returns the job of a segment. If it has shards to compute, versions must be those of the others."""
        job = self._job(segment)
        changed = differences_of("versions", segment.entries["versions"], self._own["versions"])
        if changed and job.pending_shards():
            raise ValueError(
                f"shards of the job in {self._folder.path} are unfinished, and it was started with "
                f"{'; '.join(changed)}. "
                "Finish it with those versions, or take another folder"
            )
        return job

    def _is_sound(self, segment: Segment, manifest: dict[str, Any]) -> bool:
        """Whether the working files of a segment are there, or no longer needed."""
        job = self._job(segment)
        files = (job.folder.source, job.folder.shared)
        return all(job.folder.is_recorded(path, manifest) for path in files) or not job.pending_shards()

    def _without_unfinished(self, manifest: dict[str, Any], last: Segment) -> dict[str, Any]:
        """Forgets rows of the last addition that are not explained and whose working files are lost.

        The source has them still, so they are added again.
        """
        job = self._job(last)
        pending = job.pending_shards()
        n_kept = pending[0]
        for number in range(n_kept, len(job.starts)):
            job.folder.remove(job.part(number))
        starts = last.starts[:n_kept]
        end = last.starts[n_kept]
        source = {**last.entries["source"], "n_rows": end - (last.end - last.entries["source"]["n_rows"])}
        additions = [*manifest["additions"][:-1], {**last.entries, "starts": [*starts], "source": source}]
        content = {**manifest, "additions": additions}
        self._folder.write_sealed(content)
        return content

    def _add(self, manifest: dict[str, Any]) -> Job | None:
        """Compares the source with the folder and cuts what is new into further shards."""
        comparison = Comparison(str(self._folder.path), self._growth, self._task.columns)
        segments = segments_of(manifest)
        retired = retired_of(manifest)
        for segment in segments:
            comparison.learn(self._rows_of(segment, manifest), retired)
        folder = replace(self._folder, segment=len(segments))
        rows = comparison.rows_to_add(self._tables, n_rows_of(manifest))
        first = next(rows, None)
        found = None
        if first is not None:
            limits = self._limits()
            # A source that is refused leaves no file.
            accept = lambda source: comparison.changes()  # noqa: E731
            found = cut_source(chain([first], rows), folder, self._task, limits, accept)
            cut_shared(folder, self._task, limits)
        self.changes = comparison.changes()
        self._tell_of_missing_ids()
        more = comparison.retired()
        content = {**manifest, "format_version": FORMAT_VERSION}
        if more:
            content["retired"] = sorted([*retired, *more])
        if found is None:
            if more:
                self._folder.write_sealed(content)
            return None
        self._tell_of_other_versions(segments[-1])
        starts = [start + n_rows_of(manifest) for start in found.starts]
        entries = {
            **self._entries(found),
            "starts": starts,
            "shard_size": self._own["shard_size"],
            "versions": self._own["versions"],
            "changes": self.changes.to_json(),
        }
        content["additions"] = [*manifest.get("additions", ()), entries]
        folder.write_manifest(content)
        return self._job(segments_of(content)[-1])

    def _rows_of(self, segment: Segment, manifest: dict[str, Any]) -> Iterator[pa.Table]:
        """Yields the rows of a segment before explanation, from the working file or else from its shards."""
        job = self._job(segment)
        if job.folder.is_recorded(job.folder.source, manifest):
            for number in range(job.folder.n_groups(job.folder.source)):
                table = job.folder.read_group(job.folder.source, number)
                yield table.drop_columns([f"bad_{name}" for name in self._task.columns])
            return
        results = names_of(self._task) - {"row", "id", *self._task.columns}
        for number in range(len(job.starts)):
            path = job.part(number)
            names = [name for name in pq.read_schema(path).names if name not in results]
            yield pq.read_table(path, columns=names, page_checksum_verification=True).replace_schema_metadata(None)

    def _job(self, segment: Segment) -> Job:
        return Job.of(self._folder, self._task, segment, self._memory_budget)

    def _limits(self, n_bytes: float | None = None) -> Limits:
        at_once = share(self._memory_budget) if n_bytes is None else n_bytes
        return Limits(self._own["shard_size"], at_once, self._model.max_seq_length)

    def _entries(self, found: Source) -> dict[str, Any]:
        return {
            "source": source_identity(found),
            "starts": found.starts,
            "first_run": circumstances(self._model, plain_number(self._memory_budget)),
        }

    def _tell_of_missing_ids(self) -> None:
        if self.changes is not None and self.changes.n_without_id:
            warnings.warn(
                f"{self.changes.n_without_id} rows of the source have no id and are left out: they could not be told "
                "from rows that the folder has",
                stacklevel=caller_level(),
            )

    def _tell_of_other_versions(self, last: Segment) -> None:
        changed = differences_of("versions", last.entries["versions"], self._own["versions"])
        if changed:
            warnings.warn(
                f"the rows before were explained with {'; '.join(changed)}: numbers of old and new rows may differ "
                "by what changed between them",
                stacklevel=caller_level(),
            )
