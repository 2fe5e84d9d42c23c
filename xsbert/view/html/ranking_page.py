"""An interactive page of a ranking. The HTML is self-contained and needs no network.

Without JavaScript it shows a plain list. Contributions are embedded as base64 of little-endian float32. Pairs have
eight bits, in steps of 1/127 of the largest in their document, finer than visible colour differences.
"""

from __future__ import annotations

import base64
from html import escape
from typing import Any

import numpy as np

from ..._utils.validation import finite_or_none
from ...text.display import display_units
from ...text.units import TEXT
from ..hit_marks import marked
from ..protocols import ContributionsView, HitView, RankingView
from .document import document, floats, style_of, view
from .legend import ranking_legend

__all__ = ["fragment", "page"]

# Documents of more than FOLDED_ABOVE words show only their N_PASSAGES best passages of N_WORDS words each.
FOLDED_ABOVE, N_PASSAGES, N_WORDS = 90, 3, 24

SCRIPTS = ("numbers.js", "query.js", "hits.js", "contrast.js", "start.js")


def page(ranking: RankingView) -> str:
    """Return a whole HTML page that shows a ranking.

    Raises:
        ValueError: The ranking holds numbers that are not finite.
    """
    return document(f"{ranking.query:.80}", fragment(ranking), style_of("ranking"))


def fragment(ranking: RankingView) -> str:
    """Return the body of the page, for a notebook's output.

    Raises:
        ValueError: The ranking holds numbers that are not finite.
    """
    words = next((hit.query for hit in ranking if hit.explained), None)
    content = {
        "query": ranking.query,
        "words": [] if words is None else display_units(words),
        "roles": [] if words is None else list(words.roles),
        "how": _how(ranking),
        "legend": ranking_legend(ranking),
        "hits": [_hit(rank, hit) for rank, hit in enumerate(ranking)],
    }
    return view(content, _plain(ranking), "ranking", SCRIPTS)


def _hit(rank: int, hit: HitView) -> dict[str, Any]:
    content: dict[str, Any] = {
        "rank": rank,
        "name": f"document {hit.index}" + ("" if hit.id is None else f", {hit.id}"),
        "score": _finite(hit.score) if hit.explained else finite_or_none(hit.score),
        "text": hit.text,
        "notes": _notes(hit),
        "reason": hit.reason,
        "stopped": bool(hit.n_cut) and hit.n_passages == 1,
    }
    if not hit.explained:
        return content
    kept, spans = _placed(hit.document)
    before, flat = 0, []
    for start, end in spans:
        flat += [start - before, end - start]
        before = end
    content |= {
        "spans": flat,
        "values": floats(hit.document.values[kept], "ranking"),
        "query": floats(hit.query.values, "ranking"),
        "query_baseline": _finite(hit.query.baseline),
        "fold": _folded(hit.document.values[kept]),
    }
    if hit.has_pairs and len(hit.passages) == 1:
        content |= _pairs(hit, kept)
    return content


def _placed(shares: ContributionsView) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the places of units with characters in the text, and these characters."""
    if shares.spans is None:
        return [], []
    kept = [at for at, (start, end) in enumerate(shares.spans) if shares.roles[at] == TEXT and start < end]
    return kept, [shares.spans[at] for at in kept]


def _pairs(hit: HitView, kept: list[int]) -> dict[str, Any]:
    """Return the interactions of query units with document units."""
    values = hit.attribution.matrix[:, kept]
    scale = float(np.abs(values).max()) / 127 if values.size else 0.0
    rounded = np.rint(values / scale if scale else values).astype("i1")
    return {"pairs": base64.b64encode(rounded.tobytes()).decode("ascii"), "pair_scale": _finite(scale)}


def _folded(values: np.ndarray) -> list[list[int]] | None:
    """Return the ranges of units with the largest sums, shown in a folded document. None for short documents."""
    if len(values) <= FOLDED_ABOVE:
        return None
    sums = np.convolve(values, np.ones(N_WORDS), "valid")
    shown = np.zeros(len(values), dtype=bool)
    for _ in range(N_PASSAGES):
        best = int(np.argmax(sums))
        shown[best : best + N_WORDS] = True
        sums[max(0, best - N_WORDS + 1) : best + N_WORDS] = -np.inf
    edges = np.flatnonzero(np.diff(np.concatenate([[0], shown.astype(int), [0]])))
    return edges.reshape(-1, 2).tolist()


def _notes(hit: HitView) -> list[str]:
    notes = []
    if hit.reason is not None:
        notes.append(f"Not explained: {hit.reason}")
    if hit.n_cut:
        notes.append(f"{hit.n_cut} tokens were cut off by the model's limit and have no share in the score.")
    if hit.n_passages > 1 and hit.passages:
        first = hit.passages[0]
        one = f"its best passage of {hit.n_passages}, characters {first.start} to {first.end}"
        notes.append(
            f"The score is that of {one}." if len(hit.passages) == 1 else "The score is the mean over passages."
        )
    if hit.explained and hit.score_unshifted is not None:
        notes.append(f"The model's own score, without the shift that was added to it, is {hit.score_unshifted:.4f}.")
    return notes


def _how(ranking: RankingView) -> list[str]:
    how = ranking.query_factors.settings
    lines = [f"{len(ranking)} of {ranking.n_documents} documents", f"{ranking.similarity} similarity"]
    if how is not None:
        lines += [
            how.model,
            how.described_layer,
            f"reference {how.described_reference}",
            how.precision,
        ]
    if ranking.query_factors.n_cut:
        lines.append(f"{ranking.query_factors.n_cut} tokens of the query were cut off by the model's limit")
    residuals = [hit.residual for hit in ranking if hit.explained]
    if residuals:
        lines.append(f"residuals up to {max(residuals):.1e}")
    return lines


def _plain(ranking: RankingView) -> str:
    """Return the view without scripts."""
    lines = [f'<h2 dir="auto">{escape(ranking.query)}</h2>', "<ol>"]
    for hit in ranking:
        known = hit.explained and hit.document.spans is not None
        text = marked(hit, ranking, "<mark>", "</mark>", 0.4, escape) if known else escape(hit.text)
        notes = "".join(f"<br>{escape(note)}" for note in _notes(hit))
        score = "no score" if finite_or_none(hit.score) is None else f"{hit.score:+.4f}"
        lines.append(f'<li><b>{score}</b> <span dir="auto">{text}</span>{notes}</li>')
    return "\n".join([*lines, "</ol>", f"<p>{escape(' · '.join(_how(ranking)))}</p>"])


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise ValueError("the ranking holds numbers that are not finite, which a page cannot show")
    return float(value)
