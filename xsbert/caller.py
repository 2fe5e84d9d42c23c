"""Where in the user's code a warning belongs."""

from __future__ import annotations

import os
import sys

__all__ = ["caller_level"]

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def caller_level() -> int:
    """The ``stacklevel``, for a warning of the function that calls this, of the first line outside the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
