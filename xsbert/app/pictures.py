"""Pictures of results, as PNG or PDF."""

from __future__ import annotations

from io import BytesIO
from threading import Lock
from typing import Any

import numpy as np

from ..attribution.attribution import Attribution
from ..ranking.ranking import Ranking
from ..text.display import display_units, shorten
from ..text.units import TEXT

__all__ = ["KINDS", "picture"]

KINDS = ("heatmap", "bipartite", "highlight", "waterfall")
_drawing = Lock()  # pyplot is not made for several threads


def picture(result: Attribution | Ranking, form: str, kind: str = "heatmap") -> bytes:
    """Return a picture.

    Args:
        result: A pair, or a ranking.
        form: ``"png"`` or ``"pdf"``.
        kind: One of `KINDS` for a pair. A ranking has one picture: what the words of the query add to each score.

    Raises:
        ValueError: The kind is unknown, or there is nothing to draw.
    """
    with _drawing:
        import matplotlib as mpl
        from matplotlib import pyplot as plt

        mpl.use("Agg")
        figure = _query_words(result) if isinstance(result, Ranking) else result.plot(kind)[0]
        try:
            buffer = BytesIO()
            figure.savefig(buffer, format=form, dpi=150, bbox_inches="tight")
            return buffer.getvalue()
        finally:
            plt.close(figure)


def _query_words(ranking: Ranking) -> Any:
    """Draw the (n hits, S) contributions of the words of the query."""
    from matplotlib import pyplot as plt

    from ..view.plot.fonts import find_fonts

    words = ranking.query_words
    kept = [at for at, role in enumerate(words.roles) if role == TEXT]
    labels = [display_units(words)[at] for at in kept]
    hits = [hit for hit in ranking if hit.explained]
    names = [f"{hit.score:.2f}  {shorten(hit.text, 28)}".replace("-", "−", hit.score < 0) for hit in hits]
    title = shorten(f"What each word of the query adds to the score: {ranking.query}", 70)
    fonts = find_fonts(*labels, *names, title)
    values = np.array([hit.query.values[kept] for hit in hits])
    largest = float(np.abs(values).max()) or 1.0
    figure, ax = plt.subplots(figsize=(2.6 + 0.7 * len(kept), 1.2 + 0.32 * len(hits)))
    image = ax.pcolormesh(values, cmap="RdBu_r", vmin=-largest, vmax=largest, edgecolors="white", linewidth=0.5)
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if abs(value) > 0.6 * largest else "black"
        text = f"{value:+.2f}".replace("-", "−")
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=ink, fontsize=8)
    ax.set_xticks(np.arange(len(kept)) + 0.5, labels, rotation=45, ha="right")
    ax.set_yticks(np.arange(len(hits)) + 0.5, names)
    for label, text in zip([*ax.get_xticklabels(), *ax.get_yticklabels()], [*labels, *names], strict=True):
        label.set(**fonts.style(text))
    ax.invert_yaxis()
    ax.set_title(title, fontsize=9, **fonts.style(title))
    figure.colorbar(image, ax=ax, fraction=0.05)
    return figure
