"""What becomes of a text that cannot be explained: an error, or a warning and the rest."""

from __future__ import annotations

import warnings

from .._utils.stacklevel import caller_level

__all__ = ["OF_A_TEXT", "SkippedWarning", "check_errors", "skip_or_raise"]

POLICIES = ("raise", "skip")
# What can be wrong with a single text: what it is, its length, the numbers that the model makes of it.
OF_A_TEXT = (TypeError, ValueError, FloatingPointError, MemoryError)


class SkippedWarning(UserWarning):
    """A text could not be explained and was left out, as ``errors="skip"`` asks."""


def check_errors(errors: str) -> None:
    """Raise ValueError unless ``errors`` is ``"raise"`` or ``"skip"``."""
    if errors not in POLICIES:
        raise ValueError(f"errors must be one of {', '.join(map(repr, POLICIES))}, got {errors!r}")


def skip_or_raise(error: Exception, errors: str, name: str) -> None:
    """Warn that a text is left out, or raise the error.

    Args:
        error: says what is wrong.
        errors: ``"raise"`` or ``"skip"``.
        name: of the text, by its place; put before a message that does not have it.
    """
    message = str(error)
    named = message if name in message else f"{name}: {message}"
    if errors == "skip":
        warnings.warn(f"left out: {named}", SkippedWarning, stacklevel=caller_level())
    elif named == message:
        raise error
    else:
        kind = next(kind for kind in OF_A_TEXT if isinstance(error, kind))
        raise kind(named) from error
