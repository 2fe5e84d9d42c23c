"""Libraries that are imported when they are used, and said by name where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["optional", "pandas"]


def optional(module: str, package: str, what: str) -> Any:
    """Import a module.

    Args:
        module: its name.
        package: what to install for it.
        what: what needs it, for the message.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs {package}: pip install {package}") from error


def pandas() -> Any:
    """The module pandas.

    Raises:
        ImportError: it is not installed.
    """
    return optional("pandas", "pandas", "to_dataframe")
