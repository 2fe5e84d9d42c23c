"""Terminal output of a ranking: hits with score bars and the strongest stretch of each text, on one screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np

from .._utils.validation import finite_or_none
from ..text.display import display_units, shorten
from ..text.units import TEXT
from .hit_marks import marked
from .protocols import HitView, RankingView
from .terminal import printable

__all__ = ["summarize"]

SCREEN = 24
"""Lines of a screen, with room for the prompt that follows."""
BAR = 10
N_STRONGEST = 6
MOST_LINES_OF_TEXT = 3
# Fraction of the largest word's weight above which the best hit marks words. Lower-scored hits mark fewer.
THRESHOLD = 0.3
# Marks around words without and with colours.
PLAIN, BOLD = ("«", "»"), ("\x1b[1;31m", "\x1b[0m")


def summarize(ranking: RankingView, width: int = 100, most: int | None = None, colours: bool = False) -> list[str]:
    """Return lines with the query, and each hit's score, query words and strongest stretch of text.

    `to_html` and `to_dict` have the whole texts.

    Args:
        ranking: The hits to describe.
        width: Width in columns.
        most: Maximum number of listed hits. The others are counted. None lists as many as fit a screen of 24 lines.
        colours: Mark words by ANSI colours.
    """
    lines = _head(ranking, width)
    room = SCREEN - 1 - len(lines)
    if most is None:
        most = len(ranking) if 2 * len(ranking) <= room else (room - 1) // 2
    shown, more = ranking.hits[:most], len(ranking) - most
    n_lines = max(1, min(MOST_LINES_OF_TEXT, (room - (more > 0)) // max(1, len(shown)) - 1))
    for rank, hit in enumerate(shown):
        lines += [_hit_line(rank, hit, ranking, width)]
        lines += _text_lines(hit, ranking, width, n_lines, BOLD if colours else PLAIN)
    if more > 0:
        lines.append(f"  … and {more} further hit{'s' if more > 1 else ''}")
    return lines


def _head(ranking: RankingView, width: int) -> list[str]:
    how = ranking.query_factors.settings
    lines = [
        shorten(f"{len(ranking)} of {ranking.n_documents} documents for “{printable(ranking.query)}”", max(20, width))
    ]
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
    explained = [hit for hit in ranking if hit.explained]
    if explained:
        means = np.mean([hit.query.values for hit in explained], axis=0)
        note = f"residuals up to {max(hit.residual for hit in explained):.1e}"
        words = _words(explained[0], means, width - len(note) - 26)
        lines.append(f"  query words on average: {words}; {note}" if words else f"  {note}")
    return lines


def _words(hit: HitView, values: np.ndarray, width: int) -> str:
    """Return the strongest words of the query that fit, with values."""
    strongest = sorted(
        zip(display_units(hit.query), hit.query.roles, values, strict=True), key=lambda row: -abs(row[2])
    )
    text = ""
    for unit, value in [(unit, value) for unit, role, value in strongest if role == TEXT][:N_STRONGEST]:
        longer = f"{text} · " * bool(text) + f"{printable(unit)} {value:+.3f}"
        if len(longer) > width:
            break
        text = longer
    return text


def _hit_line(rank: int, hit: HitView, ranking: RankingView, width: int) -> str:
    largest = max((abs(score) for score in ranking.scores), default=0.0)
    filled = round(BAR * max(0.0, hit.score) / largest) if largest else 0
    score = "no score" if finite_or_none(hit.score) is None else f"{hit.score:+.4f}"
    facts = [f"document {hit.index}{'' if hit.id is None else f' ({hit.id})'}"]
    if hit.retriever_score is not None:
        facts.append(f"retriever {hit.retriever_score:.4f}")
    if hit.n_passages > 1:
        facts.append(f"{'best' if len(hit.passages) == 1 else 'mean'} of {hit.n_passages} passages")
    if hit.n_cut:
        facts.append(f"{hit.n_cut} tokens cut off")
    if hit.reason is not None:
        facts.append(f"not explained: {hit.reason}")
    line = printable(f"{rank + 1:>3}  {score}  {'█' * filled}{'░' * (BAR - filled)}  {', '.join(facts)}")
    words = _words(hit, hit.query.values, width - len(line) - 2) if hit.explained else ""
    return f"{line}  {words}" if words else line


def _text_lines(hit: HitView, ranking: RankingView, width: int, n_lines: int, marks: tuple[str, str]) -> Iterator[str]:
    """Return the stretch of the text that adds most, on at most ``n_lines`` lines."""
    columns = max(20, width - 5)
    room = n_lines * columns
    lines = _wrapped(hit, ranking, room, columns)
    while len(lines) > n_lines:
        # Marks take columns, and lines break between words.
        room -= 4
        lines = _wrapped(hit, ranking, room, columns)
    on = False
    for line in lines:
        # A mark that crosses a line break is closed and reopened.
        opened = (marks[0] if on else "") + line
        on = (line.rfind("\x02") > line.rfind("\x03")) if "\x02" in line or "\x03" in line else on
        yield "     " + opened.replace("\x02", marks[0]).replace("\x03", marks[1]) + (marks[1] if on else "")


def _wrapped(hit: HitView, ranking: RankingView, room: int, columns: int) -> list[str]:
    start, end = _stretch(hit, room)
    if hit.explained and hit.document.spans is not None:
        text = marked(hit, ranking, "\x02", "\x03", THRESHOLD, printable, (start, end))
    else:
        text = printable(hit.text[start:end])
    text = f"{'… ' * (start > 0)}{text}{' …' * (end < len(hit.text))}"
    return textwrap.wrap(" ".join(text.split()), columns, break_long_words=True)


def _stretch(hit: HitView, room: int) -> tuple[int, int]:
    """Return characters [start, end) of at most ``room`` characters whose words add most to the score."""
    if not hit.explained or hit.document.spans is None:
        return 0, min(room, len(hit.text))
    first = min(each.start for each in hit.passages)
    last = max(each.end for each in hit.passages)
    words = sorted((each for each in hit.highlights() if each.weight > 0), key=lambda each: each.start)
    if last - first <= room or not words:
        return first, min(last, first + room)
    best, chosen = 0.0, (first, first + room)
    for at, word in enumerate(words):
        inside = [each for each in words[at:] if each.end <= word.start + room]
        total = sum(each.weight for each in inside)
        if total > best:
            best, chosen = total, (word.start, inside[-1].end)
    # What remains of the room goes to both sides, up to white space.
    spare = (room - (chosen[1] - chosen[0])) // 2
    start = max(first, chosen[0] - spare)
    end = min(last, start + room)
    if start > first and " " in hit.text[start : chosen[0]]:
        start = hit.text.index(" ", start, chosen[0]) + 1
    if end < last and " " in hit.text[chosen[1] : end]:
        end = hit.text.rindex(" ", chosen[1], end)
    return start, end
