"""Printed and written output of a result."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO

from .._utils.atomic_files import write, write_text
from ..attribution.attribution import Attribution
from ..text.display import display_tokens
from ..view.effects import top_pairs
from ..view.pictures import heatmap
from ..view.summary import summarize
from ..view.terminal import matrix_lines, printable

__all__ = ["check_folders", "print_account", "record", "to_json", "write_files"]


def check_folders(*paths: str | None) -> None:
    """Checks before any computation that output files can be written.

    Args:
        *paths: paths of files; None for a file that was not asked for.

    Raises:
        OSError: a folder does not exist, a path is that of a folder, or a file cannot be written.
    """
    for path in filter(None, paths):
        folder = Path(path).parent
        if Path(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder} to write to", path)
        if not os.access(path if Path(path).exists() else folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def record(result: Attribution, top_k: int | None = None) -> dict[str, Any]:
    """Returns `Attribution.to_dict` of a result. With ``top_k``, the strongest pairs replace the matrix."""
    content = result.to_dict()
    if top_k is None:
        return content
    del content["matrix"]
    return content | {"top_pairs": _strongest(result, top_k)}


def to_json(content: dict[str, Any]) -> str:
    """Returns one line of JSON in ASCII."""
    return json.dumps(content, allow_nan=False)


def _strongest(result: Attribution, top_k: int) -> list[dict[str, Any]]:
    """Returns positions, tokens and values of `top_pairs` without special tokens and prompts."""
    labels_a, labels_b = display_tokens(result.a), display_tokens(result.b)
    return [
        {"a": s, "b": t, "token_a": labels_a[s], "token_b": labels_b[t], "value": value}
        for s, t, value in top_pairs(result, top_k, special_tokens=False)
    ]


def write_files(result: Attribution, html: str | None, png: str | None, json: str | None, top_k: int | None) -> None:
    """Writes the requested files."""
    if html:
        result.to_html(html)
    if png:
        write(png, [_picture(result)])
    if json:
        write_text(json, to_json(record(result, top_k)) + "\n")


def print_account(result: Attribution, out: TextIO, top_k: int | None = None) -> None:
    """Prints the summary and, on a terminal, the coloured matrix."""
    lines = printable(str(result) if top_k is None else summarize(result, top_k)).split("\n")
    if out.isatty() and (true_colour := _colours()) is not None:
        lines += _matrix(result, true_colour)
    for line in lines:
        print(line.encode(out.encoding or "utf-8", "replace").decode(out.encoding or "utf-8"), file=out)


def _picture(result: Attribution) -> bytes:
    import matplotlib as mpl

    mpl.use("Agg")
    buffer = BytesIO()
    heatmap(result)[0].savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _matrix(result: Attribution, true_colour: bool) -> Iterable[str]:
    drawn = matrix_lines(result, shutil.get_terminal_size().columns, true_colour)
    return ["", "  attributions: rows a, columns b", "", *drawn] if drawn else []


def _colours() -> bool | None:
    """Whether the terminal supports 24-bit colours; None if it supports no colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return None
    return os.environ.get("COLORTERM") in ("truecolor", "24bit")
