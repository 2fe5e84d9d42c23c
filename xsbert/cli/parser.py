"""An argument parser that suggests what a mistyped option may have meant."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["Parser", "nearest"]

UNKNOWN = "unrecognized arguments: "
INVALID = re.compile(r"invalid choice: '?(?P<given>[^']*?)'? \(")
# A name of which less than this is common is no suggestion.
LEAST_COMMON = 0.6


class Parser(argparse.ArgumentParser):
    """An argument parser. Its errors name the nearest option, or the nearest value of an option with choices."""

    def error(self, message: str) -> NoReturn:
        """Prints usage and the problem, and exits with status 2."""
        if message.startswith(UNKNOWN):
            given = [each.partition("=")[0] for each in message.removeprefix(UNKNOWN).split() if each.startswith("-")]
            known = [option for action in self._actions for option in action.option_strings]
            found = [(each, nearest(each, known)) for each in given]
            advice = "; ".join(f"did you mean {option}?" for _, option in found if option is not None)
            message += f" ({advice})" if advice else ""
        elif (invalid := INVALID.search(message)) is not None:
            choices = [str(each) for action in self._actions for each in action.choices or () if str(each) in message]
            meant = nearest(invalid["given"], choices)
            message += f" (did you mean {meant}?)" if meant is not None else ""
        super().error(message)


def nearest(given: str, known: Sequence[str]) -> str | None:
    """Returns the most similar name, or None if none is similar.

    >>> nearest("--colums", ["--columns", "--keep"]), nearest("--x", ["--columns"])
    ('--columns', None)
    """
    return next(iter(difflib.get_close_matches(given, known, 1, LEAST_COMMON)), None)
