"""`Retrieved`: a document of a retriever, and what its score measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._utils.unicode import half_surrogate
from ..._utils.validation import passed_id, passed_score

__all__ = ["MEASURES", "Retrieved", "checked_document", "measure_of"]

MEASURES = {
    "similarity": "a similarity function of sentence-transformers, of the model's own embeddings",
    "index": "a similarity or distance of an index of the model's own embeddings, which may be compressed",
    "cosine": "the cosine of query and document",
    "dot product": "their dot product",
    "negative dot product": "minus their dot product",
    "cosine distance": "1 minus their cosine",
    "dot product distance": "1 minus their dot product",
    "Euclidean distance": "their Euclidean distance",
    "squared Euclidean distance": "its square",
    "Manhattan distance": "their Manhattan distance",
    "scaled cosine": "(1 + cosine) / 2",
    "scaled dot product": "(1 + dot product) / 2",
    "positive dot product": "1 + dot product, and 1 / (1 - dot product) where it is negative",
    "inverse Euclidean distance": "1 / (1 + Euclidean distance)",
    "inverse squared Euclidean distance": "1 / (1 + squared Euclidean distance)",
    "inverse Manhattan distance": "1 / (1 + Manhattan distance)",
    "inverse cosine distance": "1 / (2 - cosine)",
    "inverse angle": "1 / (1 + angle), the angle in radians",
}
"""Kinds of retriever scores that `XSTransformer.explain_ranking` compares with the model's own."""


@dataclass(frozen=True)
class Retrieved:
    """A document returned by a retriever. `XSTransformer.explain_ranking` checks it."""

    text: str
    id: str | int | float | None = None
    """A string or a number. Dates and UUIDs become their usual text; NaN and NaT become None."""
    score: float | None = None
    """Score on the retriever's own scale, which may be a distance. NaN becomes None; an infinite score is an error."""
    measure: str | None = field(default=None, compare=False)
    """A key of `MEASURES` if the score must equal one of the model's own scores. None for any other score, such as
    that of a hybrid search."""


def measure_of(metric: str | None, known: Mapping[str, str], name: str = "metric") -> str | None:
    """Returns the measure of a store's score.

    Args:
        metric: the store's name of its metric, or None.
        known: measures by metric.
        name: name of the argument, for messages.

    Raises:
        ValueError: the metric is not known.
    """
    if metric is None:
        return None
    if metric not in known:
        raise ValueError(f"{name} must be None or one of {', '.join(map(repr, known))}, got {metric!r:.60}")
    return known[metric]


def checked_document(text: Any, id: Any, score: Any, place: int, where: str, measure: str | None = None) -> Retrieved:
    """Create a document with checked fields of JSON types."""
    if measure is not None and measure not in MEASURES:
        raise ValueError(f"documents[{place}].measure must be None or of {list(MEASURES)}, got {measure!r:.60}")
    return Retrieved(
        _checked(text, place, where),
        passed_id(id, f"documents[{place}].id"),
        passed_score(score, f"documents[{place}].score"),
        measure,
    )


def _checked(text: Any, place: int, where: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"documents[{place}] must hold some text, and its {where} is {text!r:.60}")
    broken = half_surrogate(text)
    if broken is not None:
        # No model can embed it, so it has no score and no rank.
        raise ValueError(
            f"documents[{place}] must be Unicode text, and its {where} has half of a surrogate pair at character "
            f"{broken}: {text!r:.60}"
        )
    return text
