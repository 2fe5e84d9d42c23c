"""Options that the commands share. The module imports nothing heavy, so usage errors are reported at once."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "REFERENCE_HELP",
    "RULES",
    "UNITS",
    "Renamed",
    "add_attribution",
    "add_id",
    "add_model",
    "add_quoting",
    "add_renamed",
    "add_units",
    "conflict",
    "how_of",
    "option",
    "positive",
    "prompts_of",
    "reference",
]

# Copies of names in xsbert.integrated_jacobian.rules and xsbert.text.units, which need scipy and numpy.
RULES = ("gauss-legendre", "midpoint", "riemann-right")
UNITS = ("tokens", "words", "sentences")
REFERENCE_HELP = (
    "reference token: unk (default), pad, mask or any of the vocabulary; several with commas between, as unk,mask, for "
    "the mean over them"
)


def add_quoting(parser: argparse._ActionsContainer) -> None:
    """Add ``--quoting``, an option of all commands that read files."""
    parser.add_argument(
        "--quoting",
        action=argparse.BooleanOptionalAction,
        help="csv and tsv: whether quotes enclose fields, as RFC 4180 defines it (default: in csv, not in tsv)",
    )


def add_id(parser: argparse._ActionsContainer, default: str) -> None:
    """Add ``--id``, the column of ids, with a description of its default."""
    parser.add_argument("--id", metavar="NAME", help=f"column of ids, which are passed through (default: {default})")


def add_units(parser: argparse._ActionsContainer, default: str, of: str = "") -> None:
    """Add ``--units``."""
    parser.add_argument("--units", choices=UNITS, default=default, help=f"{of}default: {default}")


def add_model(parser: argparse.ArgumentParser, sides: str, one_each: str) -> None:
    """Add the options of the model and its prompts.

    Args:
        parser: the parser of a command.
        sides: the texts that a prompt is put before, such as ``"both texts"``.
        one_each: what two prompts are for, such as ``"one for each"``.
    """
    model = parser.add_argument_group("model")
    model.add_argument("--model", help="model id or local path (default: all-MiniLM-L6-v2)")
    model.add_argument("--device", help="cpu, cuda, cuda:1 … (default: the best available)")
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
    model.add_argument(
        "--reference-prompt", choices=("keep", "replace"), help="what the reference does with a prompt (default: keep)"
    )
    prompts = model.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", action="append", help=f"put before {sides}; given twice, {one_each}")
    prompts.add_argument("--prompt-name", action="append", help="the same by the model's name for the prompt")


def add_attribution(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options of the integration, and return their group."""
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
    return how


def conflict(options: argparse.Namespace, n_texts: int = 2) -> str | None:
    """Returns the conflict between the options of `add_model` and `add_attribution`, or None.

    Args:
        options: the parsed options.
        n_texts: number of texts that can have a prompt of their own.
    """
    for name in ("prompt", "prompt_name"):
        if len(getattr(options, name) or ()) > n_texts:
            most = "twice at most, once for each text" if n_texts == 2 else "only once"
            return f"{option(name)} can be given {most}"
    if options.prompt is not None and options.prompt_name is not None:
        return "give --prompt or --prompt-name, not both"
    for name in ("tolerance", "factor_tolerance"):
        if getattr(options, name) is not None and options.n_steps is not None:
            return f"give {option(name)} or --n-steps, not both"
    if options.rule is not None and options.n_steps is None:
        return "--rule needs --n-steps: for a tolerance the nodes are placed where they are needed"
    return None


def how_of(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of an explanation that `add_attribution` reads."""
    names = ("layer", "similarity", "tolerance", "factor_tolerance", "n_steps", "reference_prompt")
    return {name: getattr(options, name) for name in names} | {"rule": options.rule or RULES[0]}


def prompts_of(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the prompt or its name: one for all texts, or a pair."""
    name = "prompt" if options.prompt_name is None else "prompt_name"
    values = getattr(options, name)
    return {name: None if values is None else values[0] if len(values) == 1 else (values[0], values[1])}


def option(name: str) -> str:
    """Returns the option of an argument.

    >>> option("n_steps")
    '--n-steps'
    """
    return f"--{name.replace('_', '-')}"


class Renamed(argparse.Action):
    """An earlier spelling of an option. It works as the present one, and standard error says what that is."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, *, now: str, place: int | None = None, **how: Any
    ) -> None:
        super().__init__(option_strings, dest, help=argparse.SUPPRESS, **how)
        self._now, self._place = now, place

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if sys.stderr is not None:
            print(f"xsbert: warning: {option_string} is deprecated, its name is {self._now}", file=sys.stderr)
        value = self.const if self.nargs == 0 else values
        if self._place is None:
            setattr(namespace, self.dest, value)
            return
        # One of the two values of the present option.
        known = [*(getattr(namespace, self.dest) or []), None, None][:2]
        known[self._place] = value
        setattr(namespace, self.dest, known)


def add_renamed(parser: argparse._ActionsContainer, old: str, now: str, **how: Any) -> None:
    """Add an earlier spelling of an option.

    Args:
        parser: the parser of a command.
        old: the earlier option.
        now: the present option, with its value if that differs.
        **how: ``place``, 0 or 1, for one of two values; others as for `argparse.ArgumentParser.add_argument`.
    """
    dest = now.split()[0].removeprefix("--").replace("-", "_")
    parser.add_argument(old, action=Renamed, now=now, **{"dest": dest, "default": argparse.SUPPRESS, **how})


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
