"""Files of figures."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

__all__ = ["save"]

# TrueType. Type 3 fonts, matplotlib's default, are refused by many publishers.
FONTS = {"pdf.fonttype": 42, "ps.fonttype": 42, "savefig.bbox": None}
# A date makes a file differ from the same one of yesterday.
DATES = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
SALT = {"svg.hashsalt": "xsbert"}


def save(fig: Any, path: str | PathLike[str], dpi: float | None) -> None:
    if not isinstance(fig, Figure):
        raise TypeError(f"fig must be a matplotlib Figure, got {type(fig).__name__}")
    kind = Path(fspath(path)).suffix.lstrip(".").lower()
    known = fig.canvas.get_supported_filetypes()
    if kind not in known:
        raise ValueError(f"path must end in one of .{', .'.join(sorted(known))}, got {fspath(path)!r}")
    settings: Any = {**FONTS, **SALT}
    with matplotlib.rc_context(settings):
        fig.savefig(path, dpi="figure" if dpi is None else dpi, metadata=DATES.get(kind))
