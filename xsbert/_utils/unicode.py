"""Unicode that cannot be written as UTF-8."""

from __future__ import annotations

__all__ = ["half_surrogate"]


def half_surrogate(text: str) -> int | None:
    r"""Return the index of the first lone surrogate, which is not valid Unicode text; None if there is none.

    >>> half_surrogate("a dog"), half_surrogate("a \ud800 dog")
    (None, 2)
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None
