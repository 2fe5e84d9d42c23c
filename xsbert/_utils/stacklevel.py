"""Stack level of warnings: the line of the user's code."""

from __future__ import annotations

import os
import sys

import typing_extensions

__all__ = ["caller_level"]

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# Its decorator for deprecated functions adds a frame between the user's code and the function.
DECORATOR = os.path.abspath(typing_extensions.__file__)


def caller_level() -> int:
    """Returns the ``stacklevel`` with which a warning of the calling function points outside the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(os.path.abspath(frame.f_code.co_filename)):
        level, frame = level + 1, frame.f_back
    return level


def _is_ours(file: str) -> bool:
    return file.startswith(PACKAGE) or file == DECORATOR
