"""`xsbert rank "query" documents.jsonl`: rank documents of a file and explain the ranking."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .options import REFERENCE_HELP, add_quoting, reference

__all__ = ["parse"]

# A copy of the names in xsbert.text.units, which needs numpy.
UNITS = ("tokens", "words", "sentences")

EPILOG = """\
The file is a table where its name ends in .csv, .tsv or .parquet, or where it is a folder of Parquet files, with its
texts in the column "text" (--text-key names another, --id-key that of a name; a column "id" is taken by itself).
Otherwise it holds one document per line: JSON objects with such keys where the first line begins with { or the name
ends in .jsonl, or else plain text. Empty lines are skipped. Files are read as those of `xsbert --pairs`, and one with a
line that cannot be used is refused, with the number of that line: a ranking has all of the documents, or is none.

examples:
  xsbert rank "how do plants make sugar" documents.jsonl --top-k 10 --html ranking.html
  xsbert rank "who sings" songs.txt --passages 128 --json -
"""


def parser() -> argparse.ArgumentParser:
    """Returns the argument parser."""
    found = argparse.ArgumentParser(
        prog="xsbert rank",
        description="Rank the documents of a file by the model's own scores, and tell which words made them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("query", metavar="QUERY")
    found.add_argument("documents", metavar="FILE", help="documents, - for standard input")
    found.add_argument("--top-k", type=int, default=10, help="explain the best k (default: 10)")
    found.add_argument("--text-key", default="text", help='key or column of the text (default: "text")')
    found.add_argument("--id-key", help="key or column of a document's name (default: id, if there)")
    add_quoting(found)

    model = found.add_argument_group("model")
    model.add_argument("--model", help="model id or local path (default: all-MiniLM-L6-v2)")
    model.add_argument("--reference", type=reference, help=REFERENCE_HELP)
    model.add_argument("--query-prompt", help="put before the query, in place of the model's own")
    model.add_argument("--document-prompt", help="put before the documents, in place of the model's own")

    how = found.add_argument_group("attribution")
    how.add_argument("--pairs", action="store_true", help="pairs of words as well, which take longer")
    how.add_argument("--units", choices=UNITS, default="words", help="of the documents (default: words)")
    how.add_argument("--passages", type=int, metavar="N", help="score documents by passages of N tokens")
    how.add_argument("--overlap", type=int, default=32, help="tokens that passages share (default: 32)")
    how.add_argument("--pooling", choices=("max", "mean"), default="max", help="of passages' scores (default: max)")
    how.add_argument("--layer", type=int, default=-2, help="layer whose inputs are explained, 0 … L (default: -2)")
    how.add_argument("--similarity", choices=("cosine", "dot"), help="default: the model's own")
    how.add_argument("--tolerance", type=float, help="relative residual to be reached (default: 0.01)")
    how.add_argument(
        "--factor-tolerance", type=float, help="relative error of the factors to be held as well (default: none)"
    )

    output = found.add_argument_group("output")
    output.add_argument("--html", metavar="FILE", help="write the interactive page")
    output.add_argument("--save", metavar="FILE", help="write the ranking, which Ranking.load reads")
    output.add_argument("--json", metavar="FILE", help="write all numbers; - for standard output, in place of the text")
    return found


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the options, including those for loading a model.

    Raises:
        SystemExit: the options are invalid, or request help.
    """
    options = parser().parse_args(arguments)
    options.shift, options.reference_positions = False, None
    return options
