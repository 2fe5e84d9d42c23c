"""Adds a line to each notebook of the documentation: where it can be downloaded, and where it can be opened and run.

The one setting is the project's address, ``Source`` in ``[project.urls]`` of ``pyproject.toml``. Without it, the line
has the download alone.
"""

import re
from pathlib import Path

import tomllib

__all__ = ["source_address", "with_links"]


def source_address(pyproject: Path) -> str | None:
    """Return the address of the source repository, or None while it has none."""
    urls = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"].get("urls", {})
    return urls.get("Source")


def with_links(notebook: dict, name: str, address: str | None) -> dict:
    """Return the notebook with a cell of links after its first cell, the heading.

    Args:
        notebook: The content of an ``.ipynb`` file of ``demos/``.
        name: The name of that file.
        address: The address of the source repository, as ``https://github.com/OWNER/NAME``.

    Raises:
        ValueError: If the address is not one of a GitHub repository, which is all that Colab and Binder are given here.
    """
    links = [f"{{download}}`Download this notebook <{name}>`"]
    if address is not None:
        found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", address)
        if found is None:
            raise ValueError(f"address must be https://github.com/OWNER/NAME, got {address!r}")
        place = f"{found[1]}/blob/main/demos/{name}"
        links += [
            f"[open it in Colab](https://colab.research.google.com/github/{place})",
            f"[see it on GitHub](https://github.com/{place})",
        ]
    cell = {"cell_type": "markdown", "id": "links", "metadata": {}, "source": " · ".join(links)}
    first, *others = notebook["cells"]
    return notebook | {"cells": [first, cell, *others]}
