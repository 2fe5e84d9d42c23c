"""`explain_corpus`: explain a table of texts, with results in a folder that can be resumed."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from .._utils.memory import check_memory_budget
from .._utils.table_files.advice import advise
from .._utils.validation import check_keywords, keywords_of
from ..models import XSTransformer
from .folder import Folder, output_folder
from .job import Job
from .reading import Corpus, read_corpus, warn_of_unseen
from .task import OPTIONS, Task

__all__ = ["check_folder", "explain_corpus"]


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
    quoting: bool | None = None,
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
    """Explain all rows of a source and write the results to a folder of Parquet shards.

    The job can be interrupted at any moment, also by a crash, and resumed with the same arguments. Finished shards are
    verified and skipped. The final rows are those of an uninterrupted run. Damaged working files are written again.
    Each distinct text is computed once.

    Args:
        model: the model to explain.
        source: path of a Parquet, CSV, TSV or JSONL file or of a folder of Parquet files; a data frame of pandas (with
            any index) or polars, an Arrow table or any object with ``__arrow_c_stream__``, a `datasets.Dataset` in any
            format; or an iterable of texts, of tuples of texts, or of dictionaries.
        output: the folder; it is created if missing.
        columns: names of the columns of texts in the source. None uses ``text_a`` and ``text_b`` for pairs, ``text``
            for factors, ``query`` and ``document`` for highlights.
        what: ``"pairs"`` stores score, parts, and the matrix of pairs of units, or its strongest cells. ``"factors"``
            stores what any later explanation needs of a text. ``"highlights"`` stores the contribution of each unit of
            a document to its score for a query.
        top_k: for pairs, keep the top_k cells of largest absolute value between units of the texts themselves, and the
            contribution of each unit; None keeps the whole matrix.
        units: ``"tokens"``, ``"words"`` or ``"sentences"``, as for `XSTransformer.text_factors`.
        similarity: ``"cosine"`` or ``"dot"``; None uses the model's own.
        dtype: dtype of stored factors, ``"float16"``, ``"float32"`` or ``"float64"``.
        id_column: name of a column of the source that identifies rows, kept as ``id``: integers or strings, null if
            missing.
        keep: names of further columns of the source to keep, each of one type, null if missing.
        quoting: for CSV and TSV files, whether quotes enclose fields as in RFC 4180. None means True for CSV and False
            for TSV, in which quotes are ordinary characters.
        prompt, prompt_name: prompt of texts as in `encode`; a tuple has one for each column.
        side: ``"query"`` or ``"document"`` embeds texts as `encode_query` or `encode_document`; a tuple has one for
            each column. Highlights default to ``("query", "document")`` if no prompt is given.
        tolerance: as for `XSTransformer.text_factors`.
        shard_size: largest number of rows of a shard. Shards are smaller if their factors would exceed the budget.
        resume: continue an existing job in the folder. False raises an error for such a folder.
        memory_budget: bytes for the computation besides the model: half for derivatives, a quarter for the factors
            of a shard, a quarter for factors that shards share. None lets the library choose.
        lock_timeout: seconds to wait for another job in the same folder.
        show_progress_bar: True or False; None shows a bar after two seconds.
        **options: ``layer``, ``factor_tolerance``, ``n_steps``, ``rule``, ``reference``, ``reference_positions``,
            ``max_steps`` or ``derivative_dtype``, as for `XSTransformer.text_factors`.

    Returns:
        The finished corpus. Texts that could not be explained are rows with a ``reason``.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or outside its allowed values; one of folder and source
            contains the other; the folder has a job with other settings, model, source or versions (the message names
            the difference); or its manifest is damaged.
        FileExistsError: the folder has a job and ``resume`` is False, or it has other files.
        BlockingIOError: another job is running in the folder.
        OSError: a file cannot be read or written. Finished shards stay.

    Warns:
        UserWarning: texts of some rows have only special tokens. The warning is issued once for all rows.
    """
    check_keywords(options, [*keywords_of(explain_corpus), *OPTIONS])
    folder = Folder(output_folder(output, source))
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
    check_folder(folder, resume)
    with folder.locked(lock_timeout):
        check_folder(folder, resume)
        reading = {"columns": columns, "id_column": id_column, "keep": keep, "quoting": quoting}
        job = Job.begin(model, source, folder, task, shard_size, memory_budget, reading)
        job.run(model, show_progress_bar)
    corpus = read_corpus(folder.path)
    warn_of_unseen(corpus)
    return corpus


def check_folder(folder: Folder, resume: bool) -> None:
    """Checks that a folder is empty or has a job to resume.

    Raises:
        FileExistsError: the folder has other files, or a job that must not be resumed.
        NotADirectoryError: the path is a file.
    """
    path = folder.path
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"output must be a folder, got the file {path}")
    if folder.manifest.exists():
        if not resume:
            raise advise(
                FileExistsError(f"{path} holds a job already"), "{resume=True} goes on with it; or take another folder"
            )
    elif path.exists() and any(file.name != folder.work.name for file in path.iterdir()):
        raise FileExistsError(f"{path} holds files that do not belong to a job: choose another folder")
