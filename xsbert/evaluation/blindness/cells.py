"""Compares the explanations of a score before and after an edit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..._utils.progress import Progress
from ...attribution.attribution import Attribution
from ...factors.text_factors import TextFactors
from ...models.comparing import ComparingModel
from ...text.display import display_tokens
from ...text.units import TEXT
from ...view.effects import by_word, effects
from .results import Cell, EditedCells, EditEffect

__all__ = ["compared_cells", "with_cells"]

MOST_CELLS = 10
CHUNK = 32


def with_cells(
    model: ComparingModel,
    chosen: Sequence[EditEffect],
    threshold: float,
    how: dict[str, Any],
    show_progress_bar: bool | None,
) -> list[EditEffect]:
    """Returns effects with the cells that did not move.

    Args:
        model: not modified.
        chosen: effects to explain.
        threshold: see `compared_cells`.
        how: arguments of `explain_pairs`, without ``units``.
        show_progress_bar: as for `blind_spots`.
    """
    # Collapses of one text share its factors.
    order = sorted(range(len(chosen)), key=lambda place: chosen[place].place)
    pairs = [pair for place in order for pair in _pairs(chosen[place])]
    found = _explained(model, pairs, {**how, "show_progress_bar": False}, show_progress_bar)
    explained = {
        place: replace(chosen[place], cells=compared_cells(chosen[place], next(found), next(found), threshold))
        for place in order
    }
    return [explained[place] for place in range(len(chosen))]


def _explained(
    model: ComparingModel, pairs: Sequence[tuple[str, str]], how: dict[str, Any], show: bool | None
) -> Iterator[Attribution]:
    with Progress(len(pairs), "collapses", show=show) as progress:
        # A few at once bound the memory.
        for start in range(0, len(pairs), CHUNK):
            for result in model.explain_pairs(pairs[start : start + CHUNK], **how):
                yield by_word(result)
                progress.update()


def _pairs(effect: EditEffect) -> list[tuple[str, str]]:
    edit, other = effect.edit, effect.other
    return [(text, other) if effect.side == "a" else (other, text) for text in (edit.before, edit.after)]


def compared_cells(effect: EditEffect, before: Attribution, after: Attribution, threshold: float) -> EditedCells | None:
    """Compares the contributions of edited words.

    Args:
        effect: the edit.
        before, after: results of the pair before and after it, in words.
        threshold: a cell that moves by no more than this did not move.

    Returns:
        None if the tokenizer has no offsets, so that no word of the text is known.
    """
    sides = [result.a if effect.side == "a" else result.b for result in (before, after)]
    if any(side.spans is None for side in sides):
        return None
    other = before.b if effect.side == "a" else before.a
    columns = [place for place, role in enumerate(other.roles) if role == TEXT]
    labels = display_tokens(other)
    matrices = [result.matrix if effect.side == "a" else result.matrix.T for result in (before, after)]
    of_words = [effects(result)[0 if effect.side == "a" else 1] for result in (before, after)]
    cells = []
    spans = zip(effect.edit.spans_before, effect.edit.spans_after, effect.edit.changes, strict=True)
    taken: list[set[int]] = [set(), set()]
    for *places, (old, new) in spans:
        rows = [_units_in(side, span) for side, span in zip(sides, places, strict=True)]
        sums = [matrix[own].sum(0) for matrix, own in zip(matrices, rows, strict=True)]
        for own, known in zip(rows, taken, strict=True):
            known.update(own)
        cells += [
            Cell(old.strip(), new.strip(), labels[column], float(sums[0][column]), float(sums[1][column]))
            for column in columns
        ]
    contributed = [float(values[sorted(own)].sum()) for values, own in zip(of_words, taken, strict=True)]
    unmoved = sorted(
        (cell for cell in cells if abs(cell.change) <= threshold),
        key=lambda cell: -max(abs(cell.before), abs(cell.after)),
    )
    edited = contributed[1] - contributed[0]
    moved = effect.score_after - effect.score_before
    return EditedCells(edited, moved - edited, tuple(unmoved[:MOST_CELLS]), len(unmoved), len(cells))


def _units_in(side: TextFactors, span: tuple[int, int]) -> np.ndarray:
    """Returns positions of the units of text that overlap a range of characters of the text without its prompt."""
    start, end = (at + len(side.prompt) for at in span)
    assert side.spans is not None
    found = [
        place
        for place, (role, (first, last)) in enumerate(zip(side.roles, side.spans, strict=True))
        if role == TEXT and first < end and last > start
    ]
    return np.array(found, dtype=int)
