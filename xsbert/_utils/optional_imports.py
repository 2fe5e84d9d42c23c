"""Imports of optional libraries, with errors that name a missing library."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["optional", "pandas"]


def optional(module: str, package: str, what: str) -> Any:
    """Import a module.

    Args:
        module: name of the module.
        package: name of the package to install.
        what: what needs the module, for the message.

    Raises:
        ImportError: the module is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs {package}: pip install {package}") from error


def pandas() -> Any:
    """Returns the module pandas.

    Raises:
        ImportError: pandas is not installed.
    """
    return optional("pandas", "pandas", "to_dataframe")
