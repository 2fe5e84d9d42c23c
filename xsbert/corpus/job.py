"""A job: splits rows into shards, and explains and writes one shard after the other.

Texts that more than one shard needs are identified by a 64-bit hash. They are computed first, in separate units,
longest first. Their factors stay in the folder until the job is finished. So each distinct text of a job is computed
once. The content of a shard or a unit depends only on the rows, not on crashes, on the order or on the machine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._utils.checksummed_safetensors import library_versions
from .._utils.progress import Progress
from .._utils.validation import is_integer, plain_number
from ..factors.files import load_factors, save_factors
from ..factors.text_factors import TextFactors
from ..models import XSTransformer
from ..text.units import REST, TEXT
from .columns import Key, explain_columns, factors_or_failures, keys_in
from .folder import FORMAT_VERSION, Folder
from .identity import check_same, circumstances, differences_of, read_source, resolved, source_identity
from .schema import names_of
from .sharding import Limits, Source, columns_of, cut_shared, cut_source, share
from .sources import rows_of_source
from .task import Task, model_identity

__all__ = ["Job"]


@dataclass
class Job:
    """A job with rows in shards. It can be pickled; it does not contain the model."""

    folder: Folder
    task: Task
    starts: tuple[int, ...]
    """First row of each shard."""
    n_rows: int
    memory_budget: float | None
    _shared: dict[Key, tuple[int, int]] | None = field(default=None, repr=False)
    _cache: OrderedDict[Key, TextFactors] = field(default_factory=OrderedDict, repr=False)

    @classmethod
    def begin(
        cls,
        model: XSTransformer,
        source: Any,
        folder: Folder,
        task: Task,
        shard_size: int,
        memory_budget: float | None,
        reading: dict[str, Any],
    ) -> Job:
        """Splits a source into shards, or opens an existing job with the same content.

        Raises:
            ValueError: the folder has another job.
        """
        if not is_integer(shard_size):
            raise TypeError(f"shard_size must be an integer, got {shard_size!r}")
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, got {shard_size}")
        identity = {
            "task": task.to_json(),
            "model": model_identity(model),
            "shard_size": plain_number(shard_size),
            "versions": library_versions(),
        }
        tables = rows_of_source(source, task.columns, reserved=names_of(task), **reading)
        manifest = folder.read_manifest()
        if manifest is None:
            limits = Limits(shard_size, share(memory_budget), model.max_seq_length)
            found = cut_source(tables, folder, task, limits, accept=lambda source: None)
            cut_shared(folder, task, limits)
            manifest = {
                "format_version": FORMAT_VERSION,
                **identity,
                "source": source_identity(found),
                "columns": found.columns,
                "starts": found.starts,
                "model_name": model.label,
                "first_run": circumstances(model, plain_number(memory_budget)),
            }
            folder.write_manifest(manifest)
            return cls(folder, task, tuple(found.starts), found.n_rows, memory_budget)
        job = cls(folder, task, tuple(manifest["starts"]), manifest["source"]["n_rows"], memory_budget)
        before, now = resolved(manifest, model), resolved(identity, model)
        if job.pending_shards():
            # The budget of the first run keeps the borders of shards and units.
            limits = Limits(shard_size, share(manifest["first_run"]["memory_budget"]), model.max_seq_length)
            job.mend(tables, manifest, limits, lambda source: check_same(folder, before, now, source))
        else:
            check_same(folder, before, now, read_source(tables))
        return job

    def mend(
        self,
        tables: Iterable[pa.Table],
        manifest: dict[str, Any],
        limits: Limits,
        check: Callable[[Source], None],
    ) -> None:
        """Checks that the source has not changed, and writes damaged working files again.

        Args:
            tables: all rows of the source.
            manifest, limits: the manifest of the job, and the limits of its shards.
            check: raises ValueError if the source, or anything else, differs from the first run.
        """
        folder = self.folder

        def check_cut(source: Source) -> None:
            check(source)
            before = {"columns": manifest.get("columns", source.columns), "starts": manifest["starts"]}
            now = {"columns": source.columns, "starts": source.starts}
            changed = differences_of("source", before, now)
            if changed:
                raise ValueError(
                    f"{folder.source} is damaged or missing, and the source has changed, so it cannot be rebuilt: it "
                    "had "
                    f"{'; '.join(changed)}. Take another folder"
                )

        sound = {path: folder.is_recorded(path, manifest) for path in (folder.source, folder.shared)}
        if sound[folder.source]:
            check(read_source(tables))
        else:
            cut_source(tables, folder, self.task, limits, accept=check_cut)
        if not sound[folder.shared]:
            cut_shared(folder, self.task, limits)
            if not folder.is_recorded(folder.shared, manifest):
                # Units may differ now.
                self.clean_up()
        if not all(sound.values()):
            manifest = {name: value for name, value in manifest.items() if name != "work"}
            columns = columns_of(folder.read_group(folder.source, 0))
            folder.write_manifest({**manifest, "format_version": FORMAT_VERSION, "columns": columns})

    def run(self, model: XSTransformer, show_progress_bar: bool | None) -> None:
        """Runs all unfinished shards, one after the other."""
        shards = self.pending_shards()
        units = self.pending_units(shards)
        n_left = sum(self.n_rows_of(number) for number in shards)
        shared = Progress(len(units), "texts of several shards", show=show_progress_bar, unit="unit", leave=True)
        with shared as progress:
            for number in units:
                self.run_unit(model, number, show_progress_bar)
                progress.update()
        n_done = self.n_rows - n_left
        rows = Progress(self.n_rows, "corpus", show=show_progress_bar, unit="row", initial=n_done, leave=True)
        with rows as progress:
            for number in shards:
                self.run_shard(model, number, show_progress_bar)
                progress.update(self.n_rows_of(number))
        self.clean_up()

    def pending_shards(self) -> list[int]:
        """Returns the unfinished shards."""
        return [number for number in range(len(self.starts)) if self.folder.finished(self.folder.part(number)) is None]

    def pending_units(self, shards: Iterable[int]) -> list[int]:
        """Returns the unfinished units of shared texts that these shards need."""
        shards = list(shards)
        if not shards or not self.shared:
            return []
        keys = (key for number in shards for key in keys_in(self._rows(number), self.task))
        needed = sorted({self.shared[key][0] for key in keys if key in self.shared})
        return [number for number in needed if self.folder.finished(self.folder.unit(number)) is None]

    def run_unit(self, model: XSTransformer, number: int, show_progress_bar: bool | None = False) -> None:
        """Computes the shared texts of one unit and writes their factors to the folder."""
        rows = self.folder.read_group(self.folder.shared, number).to_pylist()
        keys = [(row["side"], row["text"]) for row in rows]
        found = factors_or_failures(model, keys, self.task, **self._limits(show_progress_bar))
        # A failed text is not stored. It fails again in its rows, which record the reason.
        factors = [found[key] for key in keys]
        good = {place: one for place, one in enumerate(factors) if isinstance(one, TextFactors)}
        path = self.folder.unit(number)
        if good:
            save_factors(path, [*good.values()])
        else:
            path.write_bytes(b"")
        self.folder.finish(path, {"places": [*good]})

    def run_shard(self, model: XSTransformer, number: int, show_progress_bar: bool | None = False) -> dict[str, Any]:
        """Explains the rows of one shard and writes them. Returns counts of rows."""
        rows = self._rows(number)
        known = self._known(keys_in(rows, self.task))
        table = explain_columns(model, rows, self.task, known, **self._limits(show_progress_bar))
        path = self.folder.part(number)
        self.folder.write_table(path, table)
        return self.folder.finish(path, _counts(table, self.task)).counts

    def clean_up(self) -> None:
        """Removes factors that no shard needs any more."""
        for path in self.folder.work.glob("shared-*.safetensors"):
            self.folder.remove(path)

    @property
    def shared(self) -> dict[Key, tuple[int, int]]:
        """The unit, and the index in it, of each text that more than one shard needs."""
        if self._shared is None:
            folder = self.folder
            self._shared = {
                (row["side"], row["text"]): (unit, place)
                for unit in range(folder.n_groups(folder.shared))
                for place, row in enumerate(folder.read_group(folder.shared, unit).to_pylist())
            }
        return self._shared

    def n_rows_of(self, number: int) -> int:
        """Returns the number of rows of a shard."""
        ends = (*self.starts[1:], self.n_rows)
        return ends[number] - self.starts[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_shared": None, "_cache": OrderedDict()}

    def _rows(self, number: int) -> pa.Table:
        return self.folder.read_group(self.folder.source, number)

    def _limits(self, show_progress_bar: bool | None) -> dict[str, Any]:
        budget = None if self.memory_budget is None else self.memory_budget / 2
        return {"memory_budget": budget, "show_progress_bar": show_progress_bar}

    def _known(self, keys: Iterable[Key]) -> dict[Key, TextFactors]:
        """Returns the factors of shared texts, from memory or from the folder."""
        wanted = [key for key in dict.fromkeys(keys) if key in self.shared]
        known = {key: self._cache[key] for key in wanted if key in self._cache}
        by_unit: dict[int, list[Key]] = {}
        for key in wanted:
            if key not in known:
                by_unit.setdefault(self.shared[key][0], []).append(key)
        for unit, members in by_unit.items():
            path = self.folder.unit(unit)
            record = self.folder.record(path)
            if record is None:
                raise FileNotFoundError(f"the factors {path} are missing: resume the job to compute them again")
            places = {place: at for at, place in enumerate(record.counts["places"])}
            there = [key for key in members if self.shared[key][1] in places]
            if there:
                try:
                    loaded = load_factors(path, [places[self.shared[key][1]] for key in there])
                except ValueError as error:
                    raise ValueError(f"{error}. Resume the job to compute them again") from error
                known.update(zip(there, loaded, strict=True))
        self._remember(known)
        return known

    def _remember(self, known: dict[Key, TextFactors]) -> None:
        """Caches the most recently used texts, within the budget."""
        for key, factors in known.items():
            self._cache[key] = factors
            self._cache.move_to_end(key)
        held = sum(factors.factors.nbytes for factors in self._cache.values())
        while held > share(self.memory_budget):
            held -= self._cache.popitem(last=False)[1].factors.nbytes


def _counts(table: pa.Table, task: Task) -> dict[str, Any]:
    """Return the numbers of all, failed, cut and missed rows of a shard, and those with only special tokens."""
    suffixes = ("_a", "_b") if task.what == "pairs" else ("",)
    cut, missed = np.zeros(len(table), bool), np.zeros(len(table), bool)
    tolerance = dict(task.options).get("tolerance", None if "n_steps" in dict(task.options) else 0.01)
    for suffix in suffixes:
        cut |= _filled(table[f"n_cut{suffix}"]) > 0
        if tolerance is not None:
            missed |= _filled(table[f"residual{suffix}"]) > tolerance
    failed = len(table) - table["reason"].null_count
    counts = {"rows": len(table), "failed": failed, "cut": int(cut.sum()), "missed": int(missed.sum())}
    unseen = {place for suffix in suffixes for place in _without_text(table[f"roles{suffix}"])}
    return {**counts, "unseen": [table["row"][place].as_py() for place in sorted(unseen)]}


def _without_text(roles: pa.ChunkedArray) -> list[int]:
    """Returns the indices of rows with units, but without units of text."""
    compute: Any = pc  # its functions are created at import, so type checkers do not know them
    whole = roles.combine_chunks()
    held = np.zeros(len(roles), dtype=bool)
    is_text = compute.is_in(compute.list_flatten(whole), pa.array([TEXT, REST])).to_numpy(zero_copy_only=False)
    held[compute.list_parent_indices(whole).to_numpy()[is_text]] = True
    return np.flatnonzero(~held & roles.is_valid().to_numpy()).tolist()


def _filled(column: pa.ChunkedArray) -> np.ndarray:
    """Returns the column as a numpy array, with zero for null."""
    return pc.fill_null(column, 0).to_numpy()
