"""`explain_corpus`: explain a whole table of texts into a folder that can be resumed."""

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

__all__ = ["explain_corpus"]


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
    """Explain all rows of a source into a folder of Parquet shards.

    The job can be stopped at any moment, by a crash too, and called again with the same arguments: finished shards are
    checked and skipped, and the rows are in the end those of an undisturbed run. Working files that are damaged are
    made again. Each distinct text is computed once.

    Args:
        model: explains.
        source: path of a Parquet, CSV, TSV or JSONL file or of a folder of Parquet files; a data frame of pandas (with
            any index) or polars, an Arrow table or whatever has ``__arrow_c_stream__``, a `datasets.Dataset` in any
            format; or an iterable of texts, of tuples of texts, or of dictionaries.
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
        id_column: name of a column of the source that identifies rows, and is kept as ``id``: whole numbers, or
            strings, and null where one is missing.
        keep: names of further columns of the source that are kept, each of one type, with null where a value is
            missing.
        quoting: of CSV and TSV files, whether quotes enclose fields as RFC 4180 defines it; None says yes for CSV, and
            no for TSV, in which quotes are characters.
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
        TypeError, ValueError: an argument is of the wrong type or outside what is allowed; the folder and the source
            lie within each other; the folder holds a job with other settings, model, source or versions, and the
            message says which; or its manifest is damaged.
        FileExistsError: the folder holds a job and ``resume`` is False, or it holds other files.
        BlockingIOError: another job is running in the folder.
        OSError: a file cannot be read or written. What was finished stays.

    Warns:
        UserWarning: rows have a text of which nothing but special tokens is left, once for all of them.
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
            raise advise(
                FileExistsError(f"{path} holds a job already"), "{resume=True} goes on with it; or take another folder"
            )
    elif path.exists() and any(file.name != folder.work.name for file in path.iterdir()):
        raise FileExistsError(f"{path} holds files that are of no job: take another folder")
