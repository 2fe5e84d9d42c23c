"""What is printed and written of a result."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from io import BytesIO
from typing import Any, TextIO

import numpy as np

from ..attribution import Attribution
from ..largest import largest_entries
from ..spelling import display_tokens
from ..storage import write, write_text
from ..units import SPECIAL
from ..view.terminal import columns, matrix_lines, printable

__all__ = ["print_account", "record", "strongest", "to_json", "write_files"]


def record(result: Attribution, top: int | None = None) -> dict[str, Any]:
    """All numbers of a result in full, as JSON can hold them; with ``top`` so many pairs in place of the matrix."""
    content: dict[str, Any] = {"text_a": result.a.text, "text_b": result.b.text}
    content |= {"similarity": result.similarity, "score": result.score, "score_unshifted": result.score_unshifted}
    content |= {"parts": result.parts}
    content |= {"error": result.error, "residual_a": result.residual_a, "residual_b": result.residual_b}
    content |= {"factor_error_a": result.factor_error_a, "factor_error_b": result.factor_error_b}
    for name, side in (("a", result.a), ("b", result.b)):
        content |= {f"tokens_{name}": side.tokens, f"roles_{name}": side.roles, f"n_cut_{name}": side.n_cut}
    if top is None:
        content["matrix"] = result.matrix.tolist()
    else:
        content["top_pairs"] = strongest(result, top)
    return content | {
        "main_effects_a": result.main_effects_a.tolist(),
        "main_effects_b": result.main_effects_b.tolist(),
        "baseline": result.baseline,
        "settings": asdict(result.settings),
    }


def to_json(content: dict[str, Any]) -> str:
    """One line of ASCII."""
    return json.dumps(content, allow_nan=False)


def strongest(result: Attribution, k: int) -> list[dict[str, Any]]:
    """The k pairs of largest absolute attribution, special tokens left out: positions, tokens and value."""
    rows, cells = (np.flatnonzero([role != SPECIAL for role in side.roles]) for side in (result.a, result.b))
    places = largest_entries(result.matrix[np.ix_(rows, cells)], k)
    labels_a, labels_b = display_tokens(result.a), display_tokens(result.b)
    return [
        {"a": int(s), "b": int(t), "token_a": labels_a[s], "token_b": labels_b[t], "value": float(result.matrix[s, t])}
        for s, t in ((rows[i], cells[j]) for i, j in places)
    ]


def write_files(result: Attribution, html: str | None, png: str | None, json: str | None, top: int | None) -> None:
    """Write those of the files that are asked for."""
    if html:
        result.to_html(html)
    if png:
        write(png, [_picture(result)])
    if json:
        write_text(json, to_json(record(result, top)) + "\n")


def print_account(result: Attribution, out: TextIO, top: int | None = None) -> None:
    """The account, and on a terminal the matrix in colours."""
    account = str(result)
    if top is not None:
        account = account.partition("  strongest pairs\n")[0] + "\n".join(_strongest_lines(result, top))
    lines = printable(account).split("\n")
    if out.isatty() and (true_colour := _colours()) is not None:
        lines += _matrix(result, true_colour)
    for line in lines:
        print(line.encode(out.encoding or "utf-8", "replace").decode(out.encoding or "utf-8"), file=out)


def _picture(result: Attribution) -> bytes:
    import matplotlib as mpl

    mpl.use("Agg")
    from ..view.plot import heatmap

    buffer = BytesIO()
    heatmap(result)[0].savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _strongest_lines(result: Attribution, k: int) -> list[str]:
    pairs = [(f"{pair['token_a']} · {pair['token_b']}", pair["value"]) for pair in strongest(result, k)]
    width = max((columns(label) for label, _ in pairs), default=0)
    lines = [f"    {label}{' ' * (width - columns(label))}{value:>+10.4f}" for label, value in pairs]
    return ["  strongest pairs", *(lines or ["    none but of special tokens"])]


def _matrix(result: Attribution, true_colour: bool) -> Iterable[str]:
    drawn = matrix_lines(result, shutil.get_terminal_size().columns, true_colour)
    return ["", "  attributions: rows a, columns b", "", *drawn] if drawn else []


def _colours() -> bool | None:
    """Whether the terminal has 24-bit colours; None for no colours at all."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return None
    return os.environ.get("COLORTERM") in ("truecolor", "24bit")
