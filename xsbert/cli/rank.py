"""`xsbert rank "query" documents.jsonl`: rank documents of a file and explain the ranking."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .options import add_attribution, add_id, add_model, add_quoting, add_renamed, add_units, conflict, positive
from .parser import Parser

__all__ = ["parse"]

EPILOG = """\
The file is a table where its name ends in .csv, .tsv or .parquet, or where it is a folder of Parquet files, with its
texts in the column "text" (--columns names another, --id that of ids; a column "id" is taken by itself). Otherwise it
holds one document per line: JSON objects with such keys where the first line begins with { or the name ends in .jsonl,
or else plain text. Empty lines are skipped. Files are read as those of `xsbert --pairs`, and one with a line that
cannot be used is refused, with the number of that line: a ranking has all of the documents, or is none.

examples:
  xsbert rank "how do plants make sugar" documents.jsonl --top-k 10 --html ranking.html
  xsbert rank "who sings" songs.txt --passages 128 --json -
"""


def parser() -> argparse.ArgumentParser:
    """Returns the argument parser."""
    found = Parser(
        prog="xsbert rank",
        description="Rank the documents of a file by the model's own scores, and explain which words made them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("query", metavar="QUERY")
    found.add_argument("documents", metavar="FILE", help="documents, - for standard input")
    found.add_argument("--top-k", type=positive(int), default=10, metavar="K", help="explain the best K (default: 10)")
    found.add_argument(
        "--columns", nargs=1, default=["text"], metavar="NAME", help="column or key of the texts (default: text)"
    )
    add_id(found, "id, if there")
    add_quoting(found)
    add_model(found, "all texts, in place of the model's own", "for the query and for the documents")
    how = add_attribution(found)
    how.add_argument(
        "--detail",
        choices=("highlights", "pairs"),
        default="highlights",
        help="pairs: those of words as well, which take longer (default: highlights)",
    )
    add_units(how, "words", "of the documents; ")
    how.add_argument("--passages", type=positive(int), metavar="N", help="score documents by passages of N tokens")
    how.add_argument("--overlap", type=int, default=32, help="tokens that passages share (default: 32)")
    how.add_argument("--pooling", choices=("max", "mean"), default="max", help="of passages' scores (default: max)")

    output = found.add_argument_group("output")
    output.add_argument("--html", metavar="FILE", help="write the interactive page")
    output.add_argument("--save", metavar="FILE", help="write the ranking, which Ranking.load reads")
    output.add_argument("--json", metavar="FILE", help="write all numbers; - for standard output, in place of the text")

    add_renamed(found, "--text-key", "--columns", nargs=1)
    add_renamed(found, "--id-key", "--id")
    add_renamed(found, "--query-prompt", "--prompt", place=0)
    add_renamed(found, "--document-prompt", "--prompt", place=1)
    add_renamed(found, "--pairs", "--detail pairs", nargs=0, const="pairs")
    return found


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the options.

    Raises:
        SystemExit: the options are invalid, or request help.
    """
    found = parser()
    options = found.parse_args(arguments)
    problem = conflict(options)
    if problem:
        found.error(problem)
    return options
