"""Definitions of the numbers on a page, one line each."""

from __future__ import annotations

from ..protocols import PairView, RankingView

__all__ = ["DOCUMENTATION", "Legend", "pair_legend", "ranking_legend"]

DOCUMENTATION: str | None = None
"""Address of the published documentation, such as ``"https://example.org/xsbert"``. None: pages have no links."""

Legend = list[tuple[str, str, str | None]]
"""Name, definition, and address in the glossary."""


def pair_legend(result: PairView) -> Legend:
    """Return the definitions for a result. A shifted model has interactions alone."""
    reference = f"the reference, a text as long with {result.settings.described_reference} for each word"
    lines = [
        (
            "interactions",
            "What the words of a and of b add in pairs. Each cell of the matrix is one pair; all cells sum to it.",
            "interaction",
        )
    ]
    if not result.settings.shift:
        lines += [
            ("main effects a", f"What the words of a add with {reference}, in place of b.", "main-effect"),
            ("main effects b", "The same for the words of b, with the reference in place of a.", "main-effect"),
            ("baseline", "What the two references have in common. No word adds it.", "baseline"),
        ]
    lines.append(
        ("error", "The score minus the sum of the parts: what the numerical integration leaves open.", "error")
    )
    colours = "Red adds to the score, blue and dashed lines subtract. Stronger colours are larger numbers."
    return [*((name, text, _address(anchor)) for name, text, anchor in lines), ("colours", colours, None)]


def ranking_legend(ranking: RankingView) -> Legend:
    """Return the definitions for a ranking."""
    how = ranking.query_factors.settings
    token = "one token" if how is None else how.described_reference
    return [
        ("contribution", "What a word adds to the score of its document.", _address("contribution")),
        (
            "(reference)",
            f"What the reference adds: a query as long with {token} for each word. All numbers of a hit sum to its "
            "score.",
            _address("reference"),
        ),
        (
            "colours",
            "Red adds to the score, blue subtracts. The strongest word of a document is as strong as its score beside "
            "that of the best hit.",
            None,
        ),
    ]


def _address(anchor: str) -> str | None:
    return None if DOCUMENTATION is None else f"{DOCUMENTATION.rstrip('/')}/glossary.html#{anchor}"
