"""`xsbert corpus`: explain all rows of a file into a folder of Parquet shards."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from .._utils.table_files.advice import option_message
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

__all__ = ["main"]

FAILURE, INTERRUPTED = 1, 130

EPILOG = """\
Progress goes to standard error, a line that counts the rows to standard output. The exit status is 0 when all rows are
there, also where some could not be explained: these have a reason. It is 1 after a failure, 2 for arguments that make
no sense, and 130 after an interrupt, which leaves the finished shards and no half ones; --resume goes on from there.

Files are read as those of `xsbert --pairs`: CSV strictly, as RFC 4180 defines it, TSV with quotes as characters unless
--quoting is given, in UTF-8, or in UTF-16 with a byte order mark. A malformed file is refused, with the number of the
line; a line of TSV or JSON that cannot be used is a row with a reason. Of a folder, the Parquet files are read.

examples:
  xsbert corpus pairs.parquet out/ --columns a b --top-k 10 --resume
  xsbert corpus passages.jsonl out/ --what factors --columns text --id id --units words
  xsbert corpus judged.csv out/ --what highlights --columns query passage --units sentences
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
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            print(_run(options))
    except KeyboardInterrupt:
        _say("interrupted; finished shards are kept, --resume goes on with the others")
        return INTERRUPTED
    except Exception as error:
        _say("error: " + " ".join(option_message(error).split()))
        return FAILURE
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
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
    _add_what(parser)
    add_model(parser, "all texts", "one for each column")
    add_attribution(parser)
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
    n_texts = 1 if options.what == "factors" else 2
    if options.columns is not None and len(options.columns) != n_texts:
        return f"--what {options.what} takes {n_texts} --columns, got {len(options.columns)}"
    return conflict(options, n_texts)


def _add_what(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is kept")
    what.add_argument("--what", choices=("pairs", "factors", "highlights"), default="pairs", help="default: pairs")
    what.add_argument("--top-k", type=positive(int), metavar="K", help="strongest cells of a pair (default: all cells)")
    add_units(what, "tokens")
    what.add_argument("--dtype", choices=("float16", "float32", "float64"), default="float16", help="of factors")


def _run(options: argparse.Namespace) -> str:
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
        memory_budget=options.memory_budget,
        lock_timeout=options.lock_timeout,
        **how_of(options),
        **prompts_of(options),
    )
    return str(corpus)


def _show_warning(message: Warning | str, category: type[Warning], *_place: Any) -> None:
    if issubclass(category, UserWarning):
        _say(f"warning: {message}")


def _say(message: str) -> None:
    print(f"xsbert: {message}", file=sys.stderr)
