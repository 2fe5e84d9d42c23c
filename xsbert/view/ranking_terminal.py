"""Terminal output of a ranking: hits with score bars and marked words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from .._utils.validation import finite_or_none
from ..text.display import display_units
from ..text.marks import tagged
from ..text.units import TEXT
from .protocols import HitView, RankingView
from .terminal import printable

__all__ = ["summarize"]

BAR = 10
N_STRONGEST = 6
# Fraction of the largest word's weight above which the best hit marks words. Lower-scored hits mark fewer.
THRESHOLD = 0.3
# Marks around words without and with colours.
PLAIN, BOLD = ("«", "»"), ("\x1b[1;31m", "\x1b[0m")


def summarize(ranking: RankingView, width: int = 100, most: int = 20, colours: bool = False) -> list[str]:
    """Return lines with the query, and each hit's score, marked words and contributions of query words.

    Args:
        ranking: The hits to describe.
        width: Width in columns.
        most: Maximum number of listed hits. The others are counted.
        colours: Mark words by ANSI colours.
    """
    lines = _head(ranking)
    for rank, hit in enumerate(ranking.hits[:most]):
        lines += ["", *_hit_lines(rank, hit, ranking, width, BOLD if colours else PLAIN)]
    if len(ranking) > most:
        lines += ["", f"  … and {len(ranking) - most} further hits"]
    return lines


def _head(ranking: RankingView) -> list[str]:
    how = ranking.query_factors.settings
    lines = [f"{len(ranking)} of {ranking.n_documents} documents for “{printable(ranking.query)}”"]
    if how is not None:
        lines.append(
            f"  {how.model}, {ranking.similarity} similarity, {how.described_layer}, "
            f"reference {how.described_reference}{', shifted' if how.shift else ''}, {how.precision}"
        )
    if ranking.query_factors.n_cut:
        lines.append(
            f"  {ranking.query_factors.n_cut} tokens of the query were cut off by the model's limit and have no share "
            "in the scores"
        )
    if ranking.pooling is not None:
        lines.append(f"  documents score the {ranking.pooling} of their passages")
    return lines


def _hit_lines(rank: int, hit: HitView, ranking: RankingView, width: int, marks: tuple[str, str]) -> Iterator[str]:
    largest = max((abs(score) for score in ranking.scores), default=0.0)
    filled = round(BAR * max(0.0, hit.score) / largest) if largest else 0
    score = "no score" if finite_or_none(hit.score) is None else f"{hit.score:+.4f}"
    name = f" ({hit.id})" if hit.id is not None else ""
    retriever = "" if hit.retriever_score is None else f", retriever {hit.retriever_score:.4f}"
    yield printable(
        f"{rank + 1:>3}  {score}  {'█' * filled}{'░' * (BAR - filled)}  document {hit.index}{name}{retriever}"
    )
    if hit.n_cut:
        yield f"     {hit.n_cut} tokens were cut off by the model's limit and have no share in the score"
    if hit.reason is not None:
        yield printable(f"     not explained: {hit.reason}")
        yield from _wrapped(hit.text, width)
        return
    if hit.n_passages > 1:
        used = "its best passage" if len(hit.passages) == 1 else "all of its passages"
        yield f"     {used} of {hit.n_passages}"
    if hit.document.spans is not None:
        shown = _shown(hit, _scale(hit, ranking))
        yield from _wrapped(shown, width, marks)
    strongest = sorted(
        zip(display_units(hit.query), hit.query.roles, hit.query.values, strict=True), key=lambda row: -abs(row[2])
    )
    words = [f"{printable(unit)} {value:+.3f}" for unit, role, value in strongest if role == TEXT][:N_STRONGEST]
    yield from textwrap.wrap(
        "query: " + " · ".join(words),
        width,
        initial_indent="     ",
        subsequent_indent="       ",
        break_long_words=False,
    )
    yield f"     baseline {hit.baseline:+.4f}, error {hit.error:.1e}, residual {hit.residual:.1e}"


def _scale(hit: HitView, ranking: RankingView) -> float:
    """Return the reference weight for the marks of a hit: its largest word over its score relative to the best hit.

    Words of long documents have small weights, so each hit has its own scale. Hits with low scores get few marks.
    """
    own = max((each.weight for each in hit.highlights()), default=0.0)
    best = max(ranking.scores)
    share = hit.score / best if best > 0 else 1.0
    return own / share if own > 0 and share > 0 else float("inf")


def _shown(hit: HitView, largest: float) -> str:
    """Return the text with marks as control characters, which `printable` removes from texts."""
    start, end = min(each.start for each in hit.passages), max(each.end for each in hit.passages)
    marked = tagged(hit.text, hit.highlights(), "\x02", "\x03", THRESHOLD, printable, largest)
    if (start, end) == (0, len(hit.text)):
        return marked
    # Positions do not count the marks.
    plain, kept = 0, []
    for character in marked:
        if start <= plain < end or character in "\x02\x03":
            kept.append(character)
        plain += character not in "\x02\x03"
    return "… " * (start > 0) + "".join(kept) + " …" * (end < len(hit.text))


def _wrapped(text: str, width: int, marks: tuple[str, str] | None = None) -> Iterator[str]:
    before, after = ("", "") if marks is None else marks
    safe = text if marks is not None else printable(text)
    on = False
    for line in textwrap.wrap(" ".join(safe.split()), max(20, width - 5), break_long_words=True):
        # A mark that crosses a line break is closed and reopened.
        opened = (before if on else "") + line
        on = (line.rfind("\x02") > line.rfind("\x03")) if "\x02" in line or "\x03" in line else on
        yield "     " + opened.replace("\x02", before).replace("\x03", after) + (after if on else "")
