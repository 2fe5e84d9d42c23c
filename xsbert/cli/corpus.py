"""`xsbert corpus`: explain all rows of a file into a folder of Parquet shards."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from .._utils.table_files.advice import option_message
from .options import REFERENCE_HELP, RULES, add_quoting, positive, reference

__all__ = ["main"]

FAILURE, INTERRUPTED = 1, 130
# Options with other names than the arguments of `explain_corpus`.
SPELLED = {"id_column": "--id", "lock_timeout": "--wait"}

EPILOG = """\
Progress goes to standard error, a line that counts the rows to standard output. The exit status is 0 when all rows are
there, also where some could not be explained: these have a reason. It is 1 after a failure, 2 for arguments that make
no sense, and 130 after an interrupt, which leaves the finished shards and no half ones; --resume goes on from there.

Files are read as those of `xsbert --pairs`: CSV strictly, as RFC 4180 defines it, TSV with quotes as characters unless
--quoting is given, in UTF-8, or in UTF-16 with a byte order mark. A malformed file is refused, with the number of the
line; a line of TSV or JSON that cannot be used is a row with a reason. Of a folder, the Parquet files are read.

examples:
  xsbert corpus pairs.parquet out/ --columns a b --top 10 --resume
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
        _say("error: " + " ".join(option_message(error, SPELLED).split()))
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
    parser.add_argument("--id", dest="id_column", metavar="NAME", help="column that identifies rows")
    parser.add_argument("--keep", nargs="+", default=[], metavar="NAME", help="further columns that are kept")
    add_quoting(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the job that the folder holds, if it does")
    parser.add_argument("--shard-size", type=positive(int), default=1000, help="most rows of a shard (default: 1000)")
    parser.add_argument("--memory-budget", type=positive(float), metavar="BYTES", help="besides the model")
    parser.add_argument("--wait", type=positive(float), default=0.0, metavar="SECONDS", help="for a job in the folder")
    _add_what(parser)
    _add_model(parser)
    options = parser.parse_args(argv)
    if options.tolerance is not None and options.n_steps is not None:
        parser.error("give --tolerance or --n-steps, not both")
    if options.factor_tolerance is not None and options.n_steps is not None:
        parser.error("give --factor-tolerance or --n-steps, not both")
    if options.rule is not None and options.n_steps is None:
        parser.error("--rule needs --n-steps: for a tolerance the nodes are placed where they are needed")
    if options.top is not None and options.what != "pairs":
        parser.error("--top goes with --what pairs")
    n_texts = 1 if options.what == "factors" else 2
    if options.columns is not None and len(options.columns) != n_texts:
        parser.error(f"--what {options.what} takes {n_texts} --columns, got {len(options.columns)}")
    for name in ("prompt", "prompt_name"):
        if len(getattr(options, name) or ()) > n_texts:
            parser.error(f"--{name.replace('_', '-')} can be given {n_texts} times at most")
    return options


def _add_what(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is kept")
    what.add_argument("--what", choices=("pairs", "factors", "highlights"), default="pairs", help="default: pairs")
    what.add_argument("--top", type=positive(int), metavar="K", help="strongest cells of a pair (default: all cells)")
    what.add_argument("--units", choices=("tokens", "words", "sentences"), default="tokens", help="default: tokens")
    what.add_argument("--dtype", choices=("float16", "float32", "float64"), default="float16", help="of factors")


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model and attribution")
    model.add_argument("--model", help="model id or local path (default: all-MiniLM-L6-v2)")
    model.add_argument("--device", help="cpu, cuda, cuda:1 … (default: the best there is)")
    model.add_argument("--shift", action="store_true", help="explain the model with the reference subtracted")
    model.add_argument("--reference", type=reference, help=REFERENCE_HELP)
    model.add_argument("--reference-positions", choices=("text", "padding"), help="positions of its tokens")
    prompts = model.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", action="append", help="put before all texts; given twice, one for each column")
    prompts.add_argument("--prompt-name", action="append", help="the same by the model's name for the prompt")
    model.add_argument("--layer", type=int, default=-2, help="layer whose inputs are explained (default: -2)")
    model.add_argument("--similarity", choices=("cosine", "dot"), help="default: the model's own")
    model.add_argument("--tolerance", type=positive(float), help="relative residual to be reached (default: 0.01)")
    model.add_argument(
        "--factor-tolerance",
        type=positive(float),
        help="relative error of the factors to be held as well (default: none)",
    )
    model.add_argument("--n-steps", type=positive(int), help="number of nodes, in place of a tolerance")
    model.add_argument("--rule", choices=RULES, help="where they lie (default: gauss-legendre)")


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
        top_k=options.top,
        units=options.units,
        similarity=options.similarity,
        dtype=options.dtype,
        id_column=options.id_column,
        keep=options.keep,
        quoting=options.quoting,
        prompt=_one_or_two(options.prompt),
        prompt_name=_one_or_two(options.prompt_name),
        tolerance=options.tolerance,
        factor_tolerance=options.factor_tolerance,
        shard_size=options.shard_size,
        resume=options.resume,
        memory_budget=options.memory_budget,
        lock_timeout=options.wait,
        layer=options.layer,
        n_steps=options.n_steps,
        rule=options.rule,
    )
    return str(corpus)


def _one_or_two(values: list[str] | None) -> str | tuple[str, str] | None:
    return None if values is None else values[0] if len(values) == 1 else (values[0], values[1])


def _show_warning(message: Warning | str, category: type[Warning], *_place: Any) -> None:
    if issubclass(category, UserWarning):
        _say(f"warning: {message}")


def _say(message: str) -> None:
    print(f"xsbert: {message}", file=sys.stderr)
