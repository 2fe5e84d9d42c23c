"""Where in the user's code a warning belongs."""

from __future__ import annotations

import os
import sys

import typing_extensions

__all__ = ["caller_level"]

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# Its decorator of deprecated functions puts a frame of its own between a user and the function.
DECORATOR = os.path.abspath(typing_extensions.__file__)


def caller_level() -> int:
    """The ``stacklevel``, for a warning of the function that calls this, of the first line outside the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(os.path.abspath(frame.f_code.co_filename)):
        level, frame = level + 1, frame.f_back
    return level


def _is_ours(file: str) -> bool:
    return file.startswith(PACKAGE) or file == DECORATOR
