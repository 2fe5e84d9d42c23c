"""Messages that name an argument in Python, or the corresponding option on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

__all__ = ["advise", "option_message"]

ARGUMENT = re.compile(r"\{(\w+)(=\w+)?\}")
ATTRIBUTE = "_advice"

E = TypeVar("E", bound=Exception)


def advise(error: E, advice: str) -> E:
    """Add advice to the message of an exception.

    Args:
        error: an exception with the problem as its only argument.
        advice: the remedy. Names of Python arguments are in braces, with or without a value.

    >>> str(advise(ValueError("out holds a job"), "{resume=True} goes on with it"))
    'out holds a job: resume=True goes on with it'
    """
    problem = str(error)
    setattr(error, ATTRIBUTE, (problem, advice))
    error.args = (_joined(problem, advice, lambda name, value: f"{name}{value}"),)
    return error


def option_message(error: BaseException) -> str:
    """Returns the message of an exception for users of the command line.

    Args:
        error: any exception, with or without advice from `advise`.

    >>> option_message(advise(ValueError("out holds a job"), "{resume=True} goes on with it"))
    'out holds a job: --resume goes on with it'
    """
    added = getattr(error, ATTRIBUTE, None)
    if added is None:
        return str(error) or type(error).__name__

    def option(name: str, value: str) -> str:
        spelled = f"--{name.replace('_', '-')}"
        return spelled.replace("--", "--no-", 1) if value == "=False" else spelled

    problem, advice = added
    return _joined(problem, advice, option)


def _joined(problem: str, advice: str, spell: Callable[[str, str], str]) -> str:
    return f"{problem}: {ARGUMENT.sub(lambda found: spell(found[1], found[2] or ''), advice)}"
