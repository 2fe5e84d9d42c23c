"""Corpus jobs on a Ray cluster: actors with the model process the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np

from .._utils.deprecation import renamed_keywords
from .._utils.optional_imports import optional
from .._utils.progress import Progress
from .._utils.validation import check_keywords, keywords_of
from ..models import XSTransformer
from .explain import check_folder, finished_corpus
from .folder import Folder, output_folder
from .growth import Growth
from .job import Job
from .opening import Opening
from .reading import Corpus
from .task import OPTIONS, Task

__all__ = ["ray_job"]

Batch = dict[str, np.ndarray]


class _Worker:
    """An actor that loads the model once and runs units of shared texts, or shards, by number."""

    def __init__(self, load: Callable[[], XSTransformer], job: Job, kind: str) -> None:
        self._model = load()
        self._job = job
        self._kind = kind

    def __call__(self, batch: Batch) -> Batch:
        run = self._job.run_unit if self._kind == "unit" else self._job.run_shard
        for number in batch["number"]:
            run(self._model, int(number))
        return batch


@renamed_keywords(id_column="id", side="task")
def ray_job(
    load: Callable[[], XSTransformer] | str,
    source: Any,
    output: str | PathLike[str],
    *,
    n_actors: int = 2,
    num_gpus: float = 0,
    num_cpus: float = 1,
    columns: Sequence[str] | None = None,
    id: str | None = None,
    keep: Sequence[str] = (),
    quoting: bool | None = None,
    what: str = "pairs",
    shard_size: int = 1000,
    resume: bool = True,
    append: bool = False,
    changed: str = "refuse",
    removed: str = "refuse",
    memory_budget: float | None = None,
    lock_timeout: float = 0.0,
    show_progress_bar: bool | None = None,
    **options: Any,
) -> Corpus:
    """Explain all rows of a source with Ray Data: `xsbert.corpus.explain_corpus` distributed over actors.

    The folder, its manifest and its rows are the same, so either function can resume a job of the other. A lost actor
    is replaced, and its shard is computed again. Needs ``pip install "xsbert[ray]"`` on every machine, and a folder
    with the same path on all machines, such as a network file system.

    Args:
        load: function that returns the model, called in this process and in every actor; or an id or path for
            `XSTransformer`. If ``num_gpus`` is above 0, the function must move the model to the GPU; `XSTransformer`
            does so by default.
        n_actors: number of actors, each with its own model.
        num_gpus, num_cpus: resources of one actor, also fractions.
        source, output, columns, id, keep, quoting, what, shard_size, resume: as for `explain_corpus`.
        append, changed, removed, lock_timeout: as for `explain_corpus`.
        memory_budget: as for `explain_corpus`, for one actor.
        show_progress_bar: as for `explain_corpus`; the bar counts shards.
        options: ``top_k``, ``units``, ``similarity``, ``dtype``, ``prompt``, ``prompt_name``, ``task``,
            ``tolerance`` and the others of `explain_corpus`.

    Returns:
        As `explain_corpus`. It raises the same errors.
    """
    check_keywords(options, [*keywords_of(ray_job), *keywords_of(Task.of), *OPTIONS])
    data = optional("ray.data", '"xsbert[ray]"', "ray_job")
    make = _loader(load)
    model = make()
    task = Task.of(model, what, **options)
    folder = Folder(output_folder(output, source).resolve())
    growth = Growth(append, changed, removed)
    growth.check_ids(id)
    check_folder(folder, resume or append)
    actors = {"num_cpus": num_cpus, "num_gpus": num_gpus}
    with folder.locked(lock_timeout):
        check_folder(folder, resume or append)
        reading = {"columns": columns, "id_column": id, "keep": keep, "quoting": quoting}
        opening = Opening(model, source, folder, task, shard_size, memory_budget, reading, growth)
        for job in opening.jobs():
            shards = job.pending_shards()
            for kind, numbers in (("unit", job.pending_units(shards)), ("shard", shards)):
                with Progress(len(numbers), f"{kind}s", show=show_progress_bar, unit=kind, leave=True) as progress:
                    for n_done in _run(data, numbers, make, job, kind, n_actors, actors):
                        progress.update(n_done)
            job.clean_up()
    return finished_corpus(folder, opening)


def _loader(load: Callable[[], XSTransformer] | str) -> Callable[[], XSTransformer]:
    if isinstance(load, str):
        return lambda: XSTransformer(load)
    if not callable(load):
        raise TypeError(f"load must be a function that returns the model, or its id or path, got {type(load).__name__}")
    return load


def _run(
    data: Any,
    numbers: Sequence[int],
    make: Callable[[], XSTransformer],
    job: Job,
    kind: str,
    n_actors: int,
    resources: dict[str, Any],
) -> Iterator[int]:
    """Distributes numbers one at a time and yields how many are done."""
    if not numbers:
        return
    items = [{"number": number} for number in numbers]
    dataset = data.from_items(items, override_num_blocks=len(items)).map_batches(
        _Worker,
        batch_size=1,
        fn_constructor_args=(make, job, kind),
        compute=data.ActorPoolStrategy(size=min(n_actors, len(numbers))),
        **resources,
    )
    for batch in dataset.iter_batches(batch_size=None):
        yield len(batch["number"])
