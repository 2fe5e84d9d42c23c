"""`xsbert TEXT TEXT` and `xsbert --pairs FILE`: explain one pair of texts, or those of a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .._utils.version import __version__
from .options import add_attribution, add_id, add_model, add_quoting, add_renamed, add_units, conflict, option, positive
from .parser import Parser, nearest

__all__ = ["parse"]

FORMATS = ("auto", "csv", "tsv", "jsonl")

EPILOG = """\
A file of pairs is CSV, TSV, JSON lines or Parquet, told by the ending of its name, else by its first line: JSON where
that begins with {, and otherwise two texts with a tab between them. Of a folder, the Parquet files are read. Columns of
the names text_a and text_b, sentence1 and sentence2, query and document and the like are found by themselves, others
are named by --columns; a first line with such names is a header. Each pair becomes one line of JSON, in the order of
the file, with the number of its line (of Parquet, its row, from 0) and, from a column "id" or the one of --id, its id.
A line that cannot be used is reported, and the rest goes on.

Files are read as `xsbert corpus` and `xsbert rank` read them, in UTF-8, or in UTF-16 with a byte order mark. CSV is
strict, as RFC 4180 defines it: a quote that is not closed or out of place, and a record with another number of fields
than the first, refuse the file and are named by their line before anything is explained. In TSV quotes are characters,
and each line is a pair; --quoting reads TSV as strictly as CSV, --no-quoting CSV line by line. No text is altered.

examples:
  xsbert "The coffee is bad." "This is not a good coffee." --html view.html
  xsbert "who sings" "She sings." --model intfloat/e5-small-v2 --prompt "query: " --prompt "passage: "
  xsbert --pairs pairs.tsv --units words > results.jsonl
  xsbert --pairs pairs.csv --columns question answer --top-k 5 --output results.jsonl --resume
  xsbert -- rank "another text"                             (the text “rank”, not the command)
  xsbert rank --help                                        (documents for a query)
  xsbert corpus --help                                      (tables of texts, resumable)
  xsbert blind-spots --help                                 (changes of meaning that a model does not see)
  xsbert app                                                (a local page in the browser)
  xsbert cite                                               (BibTeX entries)
"""

# Options that are valid only with --pairs, and only with two texts.
OF_PAIRS = ("format", "columns", "id", "header", "quoting", "output", "resume")
OF_A_PAIR = ("html", "png", "json")
COMMANDS = ("app", "blind-spots", "cite", "corpus", "rank")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments.

    Raises:
        SystemExit: with status 2 for invalid arguments, with 0 after ``--help`` and ``--version``.
    """
    parser = Parser(
        prog="xsbert",
        description="Explain why an embedding model finds two texts similar.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="text a and text b")
    parser.add_argument("--version", action="version", version=f"xsbert {__version__}")
    _add_pairs(parser)
    add_model(parser, "both texts", "one for each")
    add_attribution(parser)
    _add_output(parser)
    options = parser.parse_intermixed_args(argv)
    problem = _problem(options)
    if problem:
        parser.error(problem)
    return options


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    pairs = parser.add_argument_group("many pairs")
    pairs.add_argument("--pairs", metavar="FILE", help="explain all pairs of a file, - for standard input")
    pairs.add_argument("--format", choices=FORMATS, help="of the file (default: auto)")
    pairs.add_argument(
        "--columns", nargs=2, metavar=("A", "B"), help="columns of the texts: their names, or their numbers from 1"
    )
    add_id(pairs, "id, if there")
    pairs.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="csv and tsv: whether the first line names the columns (default: if it has the names looked for)",
    )
    add_quoting(pairs)
    pairs.add_argument("--output", metavar="FILE", help="write the results here, not to standard output")
    pairs.add_argument("--resume", action="store_true", help="go on after the results that --output already holds")
    add_renamed(pairs, "--text-a", "--columns", place=0)
    add_renamed(pairs, "--text-b", "--columns", place=1)


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    add_units(output, "tokens")
    output.add_argument(
        "--top-k",
        type=positive(int),
        metavar="K",
        help="the K strongest pairs, special tokens and prompts left out; in JSON they take the place of the matrix",
    )
    output.add_argument("--html", metavar="FILE", help="write the interactive view")
    output.add_argument("--png", metavar="FILE", help="write the heat map")
    output.add_argument("--json", metavar="FILE", help="write all numbers; - for standard output, in place of the text")
    add_renamed(output, "--words", "--units words", nargs=0, const="words")
    add_renamed(output, "--top", "--top-k", type=positive(int))


def _problem(options: argparse.Namespace) -> str | None:
    """Returns the conflict between options, or None."""
    many = options.pairs is not None
    given = [name for name in (OF_A_PAIR if many else OF_PAIRS) if getattr(options, name) not in (None, False)]
    given += [f"no_{name}" for name in ("header", "quoting") if getattr(options, name) is False and not many]
    if not many and len(options.texts) != 2:
        command = nearest(options.texts[0], COMMANDS) if options.texts else None
        meant = f"; did you mean xsbert {command}?" if command is not None else ""
        return f"give two texts or --pairs FILE, got {len(options.texts)} of 2 texts{meant}"
    if many and options.texts:
        return "give two texts or --pairs FILE, not both"
    if many and given:
        return "--html, --png and --json are for one pair; --pairs writes JSON to standard output or to --output"
    if given:
        return f"{option(given[0])} goes with --pairs"
    if options.resume and options.output is None:
        return "--resume needs --output, whose results it goes on after"
    if options.columns is not None and (len(options.columns) != 2 or None in options.columns):
        return "--columns takes both columns of texts: --text-a and --text-b belong together"
    return conflict(options)
