"""Options of the command line. The module imports nothing heavy, so usage errors are reported at once."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

from .._utils.version import __version__

__all__ = ["EPILOG", "REFERENCE_HELP", "RULES", "add_quoting", "parse", "positive", "reference"]

# A copy of the names in xsbert.integrated_jacobian.rules, which needs scipy.
RULES = ("gauss-legendre", "midpoint", "riemann-right")
FORMATS = ("auto", "csv", "tsv", "jsonl")

EPILOG = """\
A file of pairs is CSV, TSV or JSON lines, told by the ending of its name, else by its first line: JSON where that
begins with {, and otherwise two texts with a tab between them. Columns of the names text_a and text_b, sentence1 and
sentence2, query and document and the like are found by themselves, others are named by --text-a and --text-b; a first
line with such names is a header. Each pair becomes one line of JSON, in the order of the file, with the number of its
line and, from a column "id" or the one of --id, its id. A line that cannot be used is reported, and the rest goes on.

Files are read as `xsbert corpus` and `xsbert rank` read them, in UTF-8, or in UTF-16 with a byte order mark. CSV is
strict, as RFC 4180 defines it: a quote that is not closed or out of place, and a record with another number of fields
than the first, refuse the file and are named by their line before anything is explained. In TSV quotes are characters,
and each line is a pair; --quoting reads TSV as strictly as CSV, --no-quoting CSV line by line. No text is altered.

examples:
  xsbert "The coffee is bad." "This is not a good coffee." --html view.html
  xsbert "who sings" "She sings." --model intfloat/e5-small-v2 --prompt "query: " --prompt "passage: "
  xsbert --pairs pairs.tsv --words > results.jsonl
  xsbert --pairs pairs.csv --text-a question --text-b answer --top 5 --output results.jsonl --resume
  xsbert -- rank "another text"                             (the text “rank”, not the command)
  xsbert rank --help                                        (documents for a query)
  xsbert corpus --help                                      (tables of texts, resumable)
"""

REFERENCE_HELP = (
    "reference token: unk (default), pad, mask or any of the vocabulary; several with commas between, as unk,mask, for "
    "the mean over them"
)
# Options that are valid only with --pairs, and only with two texts.
OF_PAIRS = ("format", "text_a", "text_b", "id", "header", "quoting", "output", "resume")
OF_A_PAIR = ("html", "png", "json")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments.

    Raises:
        SystemExit: with status 2 for invalid arguments, with 0 after ``--help`` and ``--version``.
    """
    parser = argparse.ArgumentParser(
        prog="xsbert",
        description="Explain why an embedding model finds two texts similar.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="text a and text b")
    parser.add_argument("--version", action="version", version=f"xsbert {__version__}")
    _add_pairs(parser)
    _add_model(parser)
    _add_attribution(parser)
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
    pairs.add_argument("--text-a", metavar="COLUMN", help="column of text a: its name, or its number from 1")
    pairs.add_argument("--text-b", metavar="COLUMN", help="column of text b")
    pairs.add_argument("--id", metavar="COLUMN", help="column that is passed through as id (default: id, if there)")
    pairs.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="csv and tsv: whether the first line names the columns (default: if it has the names looked for)",
    )
    add_quoting(pairs)
    pairs.add_argument("--output", metavar="FILE", help="write the results here, not to standard output")
    pairs.add_argument("--resume", action="store_true", help="go on after the results that --output already holds")


def add_quoting(parser: argparse._ActionsContainer) -> None:
    """Add ``--quoting``, an option of all commands that read files."""
    parser.add_argument(
        "--quoting",
        action=argparse.BooleanOptionalAction,
        help="csv and tsv: whether quotes enclose fields, as RFC 4180 defines it (default: in csv, not in tsv)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument("--model", help="model id or local path (default: all-MiniLM-L6-v2)")
    model.add_argument(
        "--shift",
        action="store_true",
        help="explain the model with the reference subtracted: exact, but of another score",
    )
    model.add_argument("--reference", type=reference, help=REFERENCE_HELP)
    model.add_argument(
        "--reference-positions",
        choices=("text", "padding"),
        help="positions of its tokens: the text's (default), or all at the position of padding (RoBERTa, MPNet)",
    )
    prompts = model.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", action="append", help="put before both texts; given twice, one for each")
    prompts.add_argument("--prompt-name", action="append", help="the same by the model's name for the prompt")


def _add_attribution(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("attribution")
    how.add_argument("--layer", type=int, default=-2, help="layer whose inputs are explained, 0 … L (default: -2)")
    how.add_argument("--similarity", choices=("cosine", "dot"), help="default: the model's own")
    how.add_argument("--tolerance", type=positive(float), help="relative residual to be reached (default: 0.01)")
    how.add_argument(
        "--factor-tolerance",
        type=positive(float),
        help="relative error of the tokens' factors to be held as well, by its estimate (default: none)",
    )
    how.add_argument("--n-steps", type=positive(int), help="number of nodes, in place of a tolerance")
    how.add_argument("--rule", choices=RULES, help="where they lie (default: gauss-legendre)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--words", action="store_true", help="sum tokens to words")
    output.add_argument(
        "--top",
        type=positive(int),
        metavar="K",
        help="the K strongest pairs, special tokens and prompts left out; in JSON they take the place of the matrix",
    )
    output.add_argument("--html", metavar="FILE", help="write the interactive view")
    output.add_argument("--png", metavar="FILE", help="write the heat map")
    output.add_argument("--json", metavar="FILE", help="write all numbers; - for standard output, in place of the text")


def _problem(options: argparse.Namespace) -> str | None:
    """Returns the conflict between options, or None."""
    many = options.pairs is not None
    given = [name for name in (OF_A_PAIR if many else OF_PAIRS) if getattr(options, name) not in (None, False)]
    given += [f"no_{name}" for name in ("header", "quoting") if getattr(options, name) is False and not many]
    for name in ("prompt", "prompt_name"):
        if len(getattr(options, name) or ()) > 2:
            return f"{_option(name)} can be given twice at most, for text a and text b"
    if not many and len(options.texts) != 2:
        return f"give two texts or --pairs FILE, got {len(options.texts)} of 2 texts"
    if many and options.texts:
        return "give two texts or --pairs FILE, not both"
    if many and given:
        return "--html, --png and --json are for one pair; --pairs writes JSON to standard output or to --output"
    if given:
        return f"{_option(given[0])} goes with --pairs"
    if options.resume and options.output is None:
        return "--resume needs --output, whose results it goes on after"
    if (options.text_a is None) != (options.text_b is None):
        return "--text-a and --text-b belong together"
    if options.tolerance is not None and options.n_steps is not None:
        return "give --tolerance or --n-steps, not both"
    if options.factor_tolerance is not None and options.n_steps is not None:
        return "give --factor-tolerance or --n-steps, not both"
    if options.rule is not None and options.n_steps is None:
        return "--rule needs --n-steps: for a tolerance the nodes are placed where they are needed"
    return None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def reference(text: str) -> str | tuple[str, ...]:
    """Returns the token of a reference, or several tokens. A comma by itself is a token.

    >>> reference("unk"), reference("unk,mask"), reference(",")
    ('unk', ('unk', 'mask'), ',')
    """
    tokens = tuple(text.split(","))
    return tokens if len(tokens) > 1 and all(tokens) else text


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Returns a parser of finite numbers above 0."""

    def read(text: str) -> float:
        number = kind(text)
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return number

    read.__name__ = kind.__name__
    return read
