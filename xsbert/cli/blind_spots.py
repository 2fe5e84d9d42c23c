"""`xsbert blind-spots texts.txt`: find the changes of meaning that a model's scores do not show."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .options import add_attribution, add_model, add_quoting, conflict, positive
from .parser import Parser

__all__ = ["parse"]

# Copies of names in xsbert.evaluation.blindness, which needs torch.
KINDS = ("negation", "number", "date", "entity", "quantifier", "modal", "antonym", "order")

EPILOG = """\
The file holds English texts and is read as the one of `xsbert rank`: a table with the column "text" (--columns names
another), JSON objects, or one text per line. Two --columns are the texts of pairs, and the score of each pair is
compared before and after an edit of either text.

The exit status is 0, or 3 where --fail-above or --fail-if-worse is given and the model does not pass; it is 1 after
another failure and 2 for arguments that make no sense.

examples:
  xsbert blind-spots texts.txt --model sentence-transformers/all-mpnet-base-v2
  xsbert blind-spots texts.txt --kinds negation number --fail-above 0.2
  xsbert blind-spots pairs.csv --columns question answer --model new/ --against old/ --fail-if-worse
"""


def parser() -> argparse.ArgumentParser:
    """Returns the argument parser."""
    found = Parser(
        prog="xsbert blind-spots",
        description="Edit texts so that their meaning changes, and find the edits that hardly move a model's score.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("texts", metavar="FILE", help="texts or pairs of texts, - for standard input")
    found.add_argument(
        "--columns", nargs="+", default=["text"], metavar="NAME", help="column of the texts, or both of the pairs"
    )
    add_quoting(found)
    edits = found.add_argument_group("edits")
    edits.add_argument("--kinds", nargs="+", choices=KINDS, metavar="KIND", help=f"default: {' '.join(KINDS)}")
    edits.add_argument("--language", default="en", help="of the texts; there are rules for en alone (default: en)")
    edits.add_argument(
        "--quantile",
        type=positive(float),
        default=0.9,
        help="of the changes by edits that keep the meaning, which is the threshold (default: 0.9)",
    )
    edits.add_argument("--threshold", type=float, help="of the score, in place of the quantile")
    edits.add_argument("--explain", type=int, default=20, metavar="N", help="explain the N worst (default: 20)")
    gate = found.add_argument_group("gate")
    gate.add_argument(
        "--fail-above", type=float, metavar="SHARE", help="exit with status 3 if more of a kind's edits collapse"
    )
    gate.add_argument("--against", metavar="MODEL", help="another model, which is set beside --model")
    gate.add_argument(
        "--fail-if-worse", action="store_true", help="exit with status 3 if --model collapses more often than --against"
    )
    add_model(found, "all texts, in place of the model's own", "one for each text of a pair")
    add_attribution(found)
    output = found.add_argument_group("output")
    output.add_argument("--json", metavar="FILE", help="write all numbers; - for standard output, in place of the text")
    output.add_argument("--csv", metavar="FILE", help="write a row for each edit")
    return found


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the options.

    Raises:
        SystemExit: the options are invalid, or request help.
    """
    found = parser()
    options = found.parse_args(arguments)
    problem = _problem(options)
    if problem:
        found.error(problem)
    return options


def _problem(options: argparse.Namespace) -> str | None:
    if len(options.columns) > 2:
        return f"--columns takes one name, or two for pairs, got {len(options.columns)}"
    if options.fail_above is not None and not 0 <= options.fail_above <= 1:
        return f"--fail-above must be between 0 and 1, got {options.fail_above}"
    if options.quantile > 1:
        return f"--quantile must be at most 1, got {options.quantile}"
    if options.explain < 0:
        return f"--explain must be at least 0, got {options.explain}"
    if options.fail_if_worse and options.against is None:
        return "--fail-if-worse needs --against, the model to compare with"
    if options.csv and options.csv == options.json:
        return "--csv and --json must be different files"
    return conflict(options)
