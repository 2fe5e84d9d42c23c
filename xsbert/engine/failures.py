"""Handling of texts that cannot be explained: an error, or a warning."""

from __future__ import annotations

import warnings

from .._utils.stacklevel import caller_level
from .._utils.validation import check_one_of

__all__ = ["OF_A_TEXT", "SkippedWarning", "check_errors", "skip_or_raise"]

POLICIES = ("raise", "skip")
# Errors that a single text can cause, by its type, its length or the model's output for it.
OF_A_TEXT = (TypeError, ValueError, FloatingPointError, MemoryError)


class SkippedWarning(UserWarning):
    """A text could not be explained and was skipped because of ``errors="skip"``."""


def check_errors(errors: str) -> None:
    """Raise ValueError unless ``errors`` is ``"raise"`` or ``"skip"``."""
    check_one_of(errors, "errors", POLICIES)


def skip_or_raise(error: Exception, errors: str, name: str) -> None:
    """Warn that a text is skipped, or raise the error.

    Args:
        error: the error of the text.
        errors: ``"raise"`` or ``"skip"``.
        name: name of the text with its position; prepended to a message that lacks it.
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
