"""A job: rows are cut into shards, and one shard after the other is explained and written.

Texts that more than one shard needs are found beforehand, by a 64-bit hash of each. They are computed first, in units
of their own, longest first, and their factors lie in the folder until the job is finished. So each distinct text of a
job is computed once, and what a shard or a unit holds depends on nothing but the rows: not on which others were
finished before a crash, on the order, or on the machine.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from ..engine.options import check_keywords, keywords_of
from ..factor_files import load_factors, save_factors
from ..factors import TextFactors
from ..memory import check_memory_budget
from ..models import XSTransformer
from ..plain import is_integer, plain_number
from ..progress import Progress
from ..storage import library_versions
from ..units import REST, TEXT
from .columns import Key, explain_columns, factors_or_failures, keys_of
from .folder import FORMAT_VERSION, Folder
from .reading import Corpus, read_corpus, warn_of_unseen
from .rows import names_of
from .sources import Fingerprint, rows_of_source
from .task import OPTIONS, Task, model_identity, resolved_options

__all__ = ["Job", "explain_corpus"]

# Bytes of factors that a shard or unit may hold, and that are kept of those that shards have in common, where no
# budget says otherwise.
FACTORS_AT_ONCE = 512e6
UNIT_SIZE = 256
# Characters of a token, as a lower estimate.
CHARACTERS = 3


def explain_corpus(
    model: XSTransformer,
    source: Any,
    output: str | PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    what: str = "pairs",
    top_k: int | None = None,
    units: str = "tokens",
    similarity: str | None = None,
    dtype: str = "float16",
    id_column: str | None = None,
    keep: Sequence[str] = (),
    prompt: str | tuple[str | None, str | None] | None = None,
    prompt_name: str | tuple[str | None, str | None] | None = None,
    side: str | tuple[str | None, str | None] | None = None,
    tolerance: float | None = None,
    shard_size: int = 1000,
    resume: bool = True,
    memory_budget: float | None = None,
    lock_timeout: float = 0.0,
    show_progress_bar: bool | None = None,
    **options: Any,
) -> Corpus:
    """Explain all rows of a source into a folder of Parquet shards.

    The job can be stopped at any moment, by a crash too, and called again with the same arguments: finished shards are
    checked and skipped, and the rows are in the end those of an undisturbed run. Each distinct text is computed once.

    Args:
        model: explains.
        source: path of a Parquet, CSV, TSV or JSONL file or of a folder of Parquet files, a `datasets.Dataset`, a
            `pyarrow.Table`, a data frame, or an iterable of texts, of tuples of texts, or of dictionaries.
        output: the folder; is made.
        columns: names of the columns of texts in the source. None takes ``text_a`` and ``text_b`` for pairs, ``text``
            for factors, ``query`` and ``document`` for highlights.
        what: ``"pairs"``: score, parts, and the matrix of pairs of units, or its strongest cells. ``"factors"``: what
            any later explanation needs of a text. ``"highlights"``: what each unit of a document contributes to its
            score for a query.
        top_k: with pairs, keep the top_k cells of largest absolute value between units of the texts themselves, and
            what each unit contributes; None keeps the whole matrix.
        units: ``"tokens"``, ``"words"`` or ``"sentences"``, as for `XSTransformer.text_factors`.
        similarity: ``"cosine"`` or ``"dot"``; None takes the model's own.
        dtype: of stored factors, ``"float16"``, ``"float32"`` or ``"float64"``.
        id_column: name of a column of the source that identifies rows, and is kept as ``id``.
        keep: names of further columns of the source that are kept.
        prompt, prompt_name: put before texts as in `encode`; a tuple gives each column its own.
        side: ``"query"`` or ``"document"`` embeds texts as `encode_query` or `encode_document`; a tuple gives each
            column its own. Highlights take ``("query", "document")`` where neither this nor a prompt is given.
        tolerance: as for `XSTransformer.text_factors`.
        shard_size: most rows of a shard; fewer where their factors would take more than the budget allows.
        resume: go on with a job that the folder holds. False refuses such a folder.
        memory_budget: bytes that the work may take besides the model: half for derivatives, a quarter for the factors
            of a shard, a quarter for factors that shards have in common. None lets the library choose.
        lock_timeout: seconds to wait for another job in the same folder.
        show_progress_bar: True or False; None shows a bar when the work takes longer than two seconds.
        **options: ``layer``, ``factor_tolerance``, ``n_steps``, ``rule``, ``reference``, ``reference_positions``,
            ``max_steps`` or ``derivative_dtype``, as for `XSTransformer.text_factors`.

    Returns:
        the finished corpus. Texts that could not be explained are rows with a ``reason``.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or outside what is allowed; or the folder holds a job
            with other settings, model, source or versions, and the message says which.
        FileExistsError: the folder holds a job and ``resume`` is False, or it holds other files.
        BlockingIOError: another job is running in the folder.
        OSError: a file cannot be read or written. What was finished stays.

    Warns:
        UserWarning: rows have a text of which nothing but special tokens is left, once for all of them.
    """
    check_keywords(options, [*keywords_of(explain_corpus), *OPTIONS])
    check_memory_budget(memory_budget, None)
    task = Task.of(
        model,
        what,
        similarity=similarity,
        units=units,
        top_k=top_k,
        dtype=dtype,
        prompt=prompt,
        prompt_name=prompt_name,
        side=side,
        tolerance=tolerance,
        **options,
    )
    folder = Folder(Path(output))
    check_folder(folder, resume)
    with folder.locked(lock_timeout):
        check_folder(folder, resume)
        reading = {"columns": columns, "id_column": id_column, "keep": keep}
        job = Job.begin(model, source, folder, task, shard_size, memory_budget, reading)
        job.run(model, show_progress_bar)
    corpus = read_corpus(folder.path)
    warn_of_unseen(corpus)
    return corpus


def check_folder(folder: Folder, resume: bool) -> None:
    """Refuse a folder that holds something else, or a job that is not to be resumed.

    Raises:
        FileExistsError: it does.
        NotADirectoryError: it is a file.
    """
    path = folder.path
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"output must be a folder, got the file {path}")
    if folder.manifest.exists():
        if not resume:
            raise FileExistsError(f"{path} holds a job already: resume it, or take another folder")
    elif path.exists() and any(file.name != folder.work.name for file in path.iterdir()):
        raise FileExistsError(f"{path} holds files that are of no job: take another folder")


@dataclass
class Job:
    """A job whose rows are cut into shards. Can be sent to other processes, without the model."""

    folder: Folder
    task: Task
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
        """Cut a source into shards, or find it cut already, with the same content.

        Raises:
            ValueError: the folder holds another job.
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
            limit = _share(memory_budget)
            source_fingerprint, starts = _cut(tables, folder, task, shard_size, limit, model.max_seq_length)
            _find_shared(folder, task, limit, model.max_seq_length)
            manifest = {
                "format_version": FORMAT_VERSION,
                **identity,
                "source": {"fingerprint": str(source_fingerprint), "n_rows": source_fingerprint.n_rows},
                "starts": starts,
                "model_name": model.label,
                "first_run": _circumstances(model, plain_number(memory_budget)),
            }
            folder.write_json(folder.manifest, manifest)
        else:
            _check_same(folder, _resolved(manifest, model), _resolved(identity, model), tables)
        return cls(folder, task, manifest["source"]["n_rows"], memory_budget)

    def run(self, model: XSTransformer, show_progress_bar: bool | None) -> None:
        """All shards that are not finished, one after the other."""
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
        """Shards that are not there whole."""
        n_shards = pq.ParquetFile(self.folder.source).num_row_groups
        return [number for number in range(n_shards) if self.folder.finished(self.folder.part(number)) is None]

    def pending_units(self, shards: Iterable[int]) -> list[int]:
        """Units of shared texts that these shards need and that are not there whole."""
        if not self.shared:
            return []
        keys = (key for number in shards for row in self._rows(number).to_pylist() for key in keys_of(row, self.task))
        needed = sorted({self.shared[key][0] for key in keys if key in self.shared})
        return [number for number in needed if self.folder.finished(self.folder.unit(number)) is None]

    def run_unit(self, model: XSTransformer, number: int, show_progress_bar: bool | None = False) -> None:
        """Compute the shared texts of one unit and keep their factors in the folder."""
        rows = pq.ParquetFile(self.folder.shared).read_row_group(number).to_pylist()
        keys = [(row["side"], row["text"]) for row in rows]
        found = factors_or_failures(model, keys, self.task, **self._limits(show_progress_bar))
        # A text that failed is not kept: it fails again in its rows, which tell the reason.
        factors = [found[key] for key in keys]
        good = {place: one for place, one in enumerate(factors) if isinstance(one, TextFactors)}
        path = self.folder.unit(number)
        if good:
            save_factors(path, [*good.values()])
        else:
            path.write_bytes(b"")
        self.folder.finish(path, {"places": [*good]})

    def run_shard(self, model: XSTransformer, number: int, show_progress_bar: bool | None = False) -> dict[str, Any]:
        """Explain the rows of one shard and write them; returns counts of them."""
        rows = self._rows(number)
        known = self._known(key for row in rows.to_pylist() for key in keys_of(row, self.task))
        table = explain_columns(model, rows, self.task, known, **self._limits(show_progress_bar))
        path = self.folder.part(number)
        self.folder.write_table(path, table)
        return self.folder.finish(path, _counts(table, self.task)).counts

    def clean_up(self) -> None:
        """Remove factors that no shard needs any more."""
        for path in self.folder.work.glob("shared-*.safetensors"):
            path.unlink()
            (self.folder.work / "done" / f"{path.name}.json").unlink(missing_ok=True)

    @property
    def shared(self) -> dict[Key, tuple[int, int]]:
        """Unit and place in it of each text that more than one shard needs."""
        if self._shared is None:
            file = pq.ParquetFile(self.folder.shared)
            self._shared = {
                (row["side"], row["text"]): (unit, place)
                for unit in range(file.num_row_groups)
                for place, row in enumerate(file.read_row_group(unit).to_pylist())
            }
        return self._shared

    def n_rows_of(self, number: int) -> int:
        """Rows of a shard."""
        return pq.read_metadata(self.folder.source).row_group(number).num_rows

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_shared": None, "_cache": OrderedDict()}

    def _rows(self, number: int) -> pa.Table:
        return pq.ParquetFile(self.folder.source, page_checksum_verification=True).read_row_group(number)

    def _limits(self, show_progress_bar: bool | None) -> dict[str, Any]:
        budget = None if self.memory_budget is None else self.memory_budget / 2
        return {"memory_budget": budget, "show_progress_bar": show_progress_bar}

    def _known(self, keys: Iterable[Key]) -> dict[Key, TextFactors]:
        """Factors of those texts that are shared, from memory or the folder."""
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
                loaded = load_factors(path, [places[self.shared[key][1]] for key in there])
                known.update(zip(there, loaded, strict=True))
        self._remember(known)
        return known

    def _remember(self, known: dict[Key, TextFactors]) -> None:
        """Keep the texts that were used last, as far as the budget goes."""
        for key, factors in known.items():
            self._cache[key] = factors
            self._cache.move_to_end(key)
        held = sum(factors.factors.nbytes for factors in self._cache.values())
        while held > _share(self.memory_budget):
            held -= self._cache.popitem(last=False)[1].factors.nbytes


def _share(memory_budget: float | None) -> float:
    """Bytes for the factors of a shard, and as many again for those that shards have in common."""
    return FACTORS_AT_ONCE if memory_budget is None else memory_budget / 4


def _cut(
    tables: Iterable[pa.Table], folder: Folder, task: Task, shard_size: int, limit: float, longest: int | None
) -> tuple[Fingerprint, list[int]]:
    """Write the source as one row group for each shard; returns its fingerprint and the shards' first rows."""
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
            boundaries = _boundaries(waiting, task, shard_size, limit, longest)
            for begin, end in pairwise(boundaries):
                write(waiting.slice(begin, end - begin))
                starts.append(starts[-1] + end - begin)
            waiting = waiting.slice(boundaries[-1])
        if len(waiting):
            write(waiting)
        else:
            starts.pop()
    return fingerprint, starts


def _chained(first: pa.Table, others: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from others


def _boundaries(table: pa.Table, task: Task, shard_size: int, limit: float, longest: int | None) -> list[int]:
    """Where shards begin within rows that follow each other; the last may yet grow."""
    texts = [table[name].to_pylist() for name in task.columns]
    lengths = [sum(len(text or "") for text in row) for row in zip(*texts, strict=True)]
    starts, held = [0], 0.0
    for place, length in enumerate(lengths):
        n_bytes = _n_bytes(length, task, longest)
        if place - starts[-1] == shard_size or (held + n_bytes > limit and place > starts[-1]):
            starts.append(place)
            held = 0.0
        held += n_bytes
    return starts


def _n_bytes(n_characters: int, task: Task, longest: int | None) -> int:
    """Of the factors of a text, about."""
    n_tokens = n_characters // CHARACTERS + 2
    return 8 * task.width * (n_tokens if longest is None else min(n_tokens, 2 * longest))


def _find_shared(folder: Folder, task: Task, limit: float, longest: int | None) -> None:
    """Write the texts that more than one shard needs, the longest first, one row group for each unit.

    Texts are told apart by a 64-bit hash. Should two have the same, both count as shared, which does no harm.
    """
    source = pq.ParquetFile(folder.source)
    hashes = [
        np.unique(np.array([_hash(key) for key in _keys(source, shard, task)], np.uint64))
        for shard in range(source.num_row_groups)
    ]
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    repeated = set(values[counts > 1].tolist())
    found: dict[Key, None] = {}
    if repeated:
        for shard in range(source.num_row_groups):
            found.update((key, None) for key in _keys(source, shard, task) if _hash(key) in repeated)
    ordered = sorted(found, key=lambda key: (-len(key[1]), key[1], key[0]))
    schema = pa.schema([("side", pa.int32()), ("text", pa.string())])
    with folder.table_writer(folder.shared, schema) as write:
        for unit in _units(ordered, task, limit, longest):
            write(pa.table({"side": [key[0] for key in unit], "text": [key[1] for key in unit]}, schema))


def _keys(source: pq.ParquetFile, shard: int, task: Task) -> Iterator[Key]:
    return (key for row in source.read_row_group(shard).to_pylist() for key in keys_of(row, task))


def _hash(key: Key) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")


def _units(keys: Sequence[Key], task: Task, limit: float, longest: int | None) -> Iterator[list[Key]]:
    unit: list[Key] = []
    held = 0.0
    for key in keys:
        n_bytes = _n_bytes(len(key[1]), task, longest)
        if unit and (len(unit) == UNIT_SIZE or held + n_bytes > limit):
            yield unit
            unit, held = [], 0.0
        unit.append(key)
        held += n_bytes
    if unit:
        yield unit


def _check_same(folder: Folder, manifest: dict[str, Any], identity: dict[str, Any], tables: Iterable[pa.Table]) -> None:
    """Refuse to resume a job under other settings, with another model or source, or with other versions."""
    fingerprint = Fingerprint()
    for table in tables:
        fingerprint.update(table)
    now = {**identity, "source": {"fingerprint": str(fingerprint), "n_rows": fingerprint.n_rows}}
    differences = [line for name, value in now.items() for line in _differences(name, manifest.get(name), value)]
    if differences:
        raise ValueError(
            f"the job in {folder.path} cannot be resumed, it was begun with {'; '.join(differences)}. "
            "Take another folder"
        )


def _resolved(identity: dict[str, Any], model: XSTransformer) -> dict[str, Any]:
    """With the options of the task by name, all of them: version 0.1.0 wrote those alone that were given, as given."""
    try:
        task = identity["task"]
        return {**identity, "task": {**task, "options": dict(resolved_options(model, dict(task["options"])))}}
    except (KeyError, TypeError, ValueError):
        # The model has no such layer, say. Then it is another one, which is told.
        return identity


def _differences(name: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [line for key in keys for line in _differences(f"{name} {key}", before.get(key), now.get(key))]
    return [] if before == now else [f"{name} {before!r:.80}, now {now!r:.80}"]


def _counts(table: pa.Table, task: Task) -> dict[str, Any]:
    """Of a shard: its rows, those that failed, those with texts that were cut or miss the tolerance, and the numbers of
    those with a text of which the model saw special tokens alone."""
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
    """Places of the rows with units none of which is text."""
    whole: Any = roles.combine_chunks()
    held = np.zeros(len(roles), dtype=bool)
    is_text = np.isin(whole.flatten().to_numpy(zero_copy_only=False), [TEXT, REST])
    held[whole.value_parent_indices().to_numpy()[is_text]] = True
    return np.flatnonzero(~held & roles.is_valid().to_numpy()).tolist()


def _filled(column: pa.ChunkedArray) -> np.ndarray:
    """As numpy, zero where it is null."""
    return pc.fill_null(column, 0).to_numpy()


def _circumstances(model: XSTransformer, memory_budget: float | None) -> dict[str, Any]:
    """What can change the rounding of numbers, and no more."""
    return {
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "memory_budget": memory_budget,
        "dtype": str(next(model.parameters()).dtype),
    }
