"""`xsbert corpus`: explain all rows of a file into a folder of Parquet shards."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .._utils.table_files.advice import option_message
from .log import FORMATS, Log
from .options import (
    add_attribution,
    add_id,
    add_model,
    add_quoting,
    add_renamed,
    add_units,
    conflict,
    how_of,
    positive,
    prompts_of,
)
from .parser import Parser

__all__ = ["main"]

FAILURE, INTERRUPTED = 1, 130

EPILOG = """\
Progress goes to standard error, a line that counts the rows to standard output; --quiet leaves both out. The exit
status is 0 when all rows are there, also where some could not be explained: these have a reason. It is 1 after a
failure, 2 for arguments that make no sense, and 130 after an interrupt, which leaves the finished shards and no half
ones; --resume and --append go on from there.

--append adds the new rows of a source that has grown, by the ids of --id, and begins the job if the folder has none, so
that one command can run every night. Rows that have changed or are gone end it with status 1 and are named, and nothing
is added, unless --changed and --removed say what to do with them.

--log-format json writes one JSON object a line to standard error, and nothing else, with "time" and "event": "begun",
"shard", "changes", "finished", "warning", "error" or "interrupted". Arguments that make no sense are reported as text.

Files are read as those of `xsbert --pairs`: CSV strictly, as RFC 4180 defines it, TSV with quotes as characters unless
--quoting is given, in UTF-8, or in UTF-16 with a byte order mark. A malformed file is refused, with the number of the
line; a line of TSV or JSON that cannot be used is a row with a reason. Of a folder, the Parquet files are read.

examples:
  xsbert corpus pairs.parquet out/ --columns a b --top-k 10 --resume
  xsbert corpus passages.jsonl out/ --what factors --columns text --id id --units words
  xsbert corpus judged.csv out/ --what highlights --columns query passage --units sentences
  xsbert corpus all.jsonl out/ --append --id id --changed replace --removed keep --quiet --log-format json
"""


def main(argv: Sequence[str]) -> int:
    """Run the subcommand.

    Args:
        argv: arguments after ``corpus``.

    Returns:
        The exit status: 0, 1 after a failure, 130 after an interrupt.

    Raises:
        SystemExit: with status 2 for invalid arguments, with 0 after ``--help``.
    """
    options = _parse(argv)
    log = Log(options.log_format)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warnings_to(log)
            summary = _run(options, log)
            if not options.quiet:
                print(summary)
    except KeyboardInterrupt:
        goes_on = "--append" if options.append else "--resume"
        log.message("interrupted", f"interrupted; finished shards are kept, {goes_on} goes on with the others")
        return INTERRUPTED
    except Exception as error:
        log.message("error", option_message(error), type=type(error).__name__)
        return FAILURE
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="xsbert corpus",
        description="Explain all rows of a file into a folder of Parquet shards.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="a .parquet, .csv, .tsv or .jsonl file, or a folder of Parquet files")
    parser.add_argument("output", help="folder of the results; is made")
    parser.add_argument("--columns", nargs="+", metavar="NAME", help="columns of the texts (default: by --what)")
    add_id(parser, "none")
    parser.add_argument("--keep", nargs="+", default=[], metavar="NAME", help="further columns that are kept")
    add_quoting(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the job that the folder holds, if it does")
    parser.add_argument("--shard-size", type=positive(int), default=1000, help="most rows of a shard (default: 1000)")
    parser.add_argument("--memory-budget", type=positive(float), metavar="BYTES", help="besides the model")
    parser.add_argument(
        "--lock-timeout", type=positive(float), default=0.0, metavar="SECONDS", help="wait for a job in the folder"
    )
    _add_growth(parser)
    _add_what(parser)
    add_model(parser, "all texts", "one for each column")
    add_attribution(parser)
    _add_reports(parser)
    add_renamed(parser, "--wait", "--lock-timeout", type=positive(float))
    add_renamed(parser, "--top", "--top-k", type=positive(int))
    options = parser.parse_args(argv)
    problem = _problem(options)
    if problem:
        parser.error(problem)
    return options


def _problem(options: argparse.Namespace) -> str | None:
    """Returns the conflict between options, or None."""
    if options.top_k is not None and options.what != "pairs":
        return "--top-k goes with --what pairs"
    if options.append and options.id is None:
        return "--append needs --id: rows are compared by their ids"
    for name in ("changed", "removed"):
        if getattr(options, name) != "refuse" and not options.append:
            return f"--{name} goes with --append"
    n_texts = 1 if options.what == "factors" else 2
    if options.columns is not None and len(options.columns) != n_texts:
        return f"--what {options.what} takes {n_texts} --columns, got {len(options.columns)}"
    return conflict(options, n_texts)


def _add_growth(parser: argparse.ArgumentParser) -> None:
    growth = parser.add_argument_group("a source that has grown")
    growth.add_argument("--append", action="store_true", help="add the rows with new ids to those of the folder")
    growth.add_argument(
        "--changed",
        choices=("refuse", "keep", "replace"),
        default="refuse",
        help="rows whose texts or kept columns have changed: end with an error (default), keep the rows of the folder, "
        "or add the new ones and retire the old ones",
    )
    growth.add_argument(
        "--removed",
        choices=("refuse", "keep", "drop"),
        default="refuse",
        help="rows of the folder that the source lacks: end with an error (default), keep them, or retire them",
    )


def _add_reports(parser: argparse.ArgumentParser) -> None:
    reports = parser.add_argument_group("reports")
    reports.add_argument("--quiet", action="store_true", help="no progress and no line that counts the rows")
    reports.add_argument("--log-format", choices=FORMATS, default="text", help="of standard error (default: text)")


def _add_what(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is kept")
    what.add_argument("--what", choices=("pairs", "factors", "highlights"), default="pairs", help="default: pairs")
    what.add_argument("--top-k", type=positive(int), metavar="K", help="strongest cells of a pair (default: all cells)")
    add_units(what, "tokens")
    what.add_argument("--dtype", choices=("float16", "float32", "float64"), default="float16", help="of factors")


def _run(options: argparse.Namespace, log: Log) -> str:
    from ..corpus import explain_corpus
    from .loading import load_model

    model = load_model(options)
    corpus = explain_corpus(
        model,
        options.source,
        options.output,
        columns=options.columns,
        what=options.what,
        top_k=options.top_k,
        units=options.units,
        dtype=options.dtype,
        id=options.id,
        keep=options.keep,
        quoting=options.quoting,
        shard_size=options.shard_size,
        resume=options.resume,
        append=options.append,
        changed=options.changed,
        removed=options.removed,
        show_progress_bar=False if options.quiet or options.log_format == "json" else None,
        on_event=log.event,
        memory_budget=options.memory_budget,
        lock_timeout=options.lock_timeout,
        **how_of(options),
        **prompts_of(options),
    )
    return str(corpus) if corpus.changes is None else f"{corpus.changes}\n{corpus}"


def _warnings_to(log: Log) -> Callable[..., None]:
    def show(message: Warning | str, category: type[Warning], *_place: Any) -> None:
        if issubclass(category, UserWarning):
            log.message("warning", str(message))

    return show
