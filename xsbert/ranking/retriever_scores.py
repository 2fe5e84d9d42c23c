"""Compares the scores of a retriever with those of the explained model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .._utils.stacklevel import caller_level
from .retrievers.document import Retrieved

__all__ = ["MAX_SCORE_GAP", "warn_of_other_scores"]

# Allowed difference of two scores of one pair, relative to the embeddings' norms: the rounding of eight bits.
MAX_SCORE_GAP = 0.02
# The same if an index may have compressed the embeddings.
COMPRESSED_DIFFERENCE = 0.1
# Product quantization of 8 bits gives the best hits differences of up to 7 times the median (384 dimensions, 8 to 96
# subquantizers). The allowed difference of a hit is this many times the median, if few hits exceed the one above.
TIMES_MEDIAN = 8
FEW = 1 / 4
MOST_NAMED = 5

Embeddings = tuple[np.ndarray, np.ndarray]
"""Embeddings of the query (E,) and of n documents (n, E)."""


@dataclass(frozen=True)
class _Comparison:
    """A measure with its values for the model's own embeddings, and the units of allowed differences."""

    name: str
    values: np.ndarray
    """(n,)"""
    units: np.ndarray
    """(n,) sizes of embeddings, in the unit of the measure."""

    def excess(self, scores: np.ndarray, bearable: float) -> np.ndarray:
        """Return (n,) absolute differences from the scores, divided by the allowed difference."""
        return np.abs(self.values - scores) / np.maximum(bearable * self.units, 1e-12)


Function = Callable[[np.ndarray, np.ndarray], _Comparison]


def warn_of_other_scores(
    documents: Sequence[Retrieved],
    compared: Sequence[int],
    candidates: Sequence[Embeddings],
    similarity: str = "cosine",
) -> None:
    """Warn once if a retriever's scores should be the model's own but differ from them by more than rounding.

    The score function of the retriever is unknown. The comparison uses the possible function that fits most scores. A
    warning therefore means that no function fits.

    Args:
        documents: documents of a ranking.
        compared: positions of n documents that have a ``measure`` and a ``score``.
        candidates: embeddings of the query and of these n documents that the retriever may have used.
        similarity: similarity of the ranking, ``"cosine"`` or ``"dot"``. The warning names it if no function fits.
    """
    own = [_cosine, _dot] if similarity == "cosine" else [_dot, _cosine]
    for measure in dict.fromkeys(documents[place].measure for place in compared):
        functions, bearable = _functions(measure, own)
        compressed = bearable == COMPRESSED_DIFFERENCE
        rows = [row for row, place in enumerate(compared) if documents[place].measure == measure]
        places = [compared[row] for row in rows]
        scores = np.array([documents[place].score for place in places])
        known = [(query, embeddings[rows]) for query, embeddings in candidates]
        best, excess = _nearest(scores, known, functions, bearable)
        if (excess > 1).any():
            _warn(documents, places, scores, best, excess, compressed)


def _functions(measure: str | None, own: Sequence[Function]) -> tuple[Sequence[Function], float]:
    """Returns the functions that a score of a measure may be of, and the allowed difference."""
    if measure == "similarity":
        return [*own, _euclidean, _manhattan], MAX_SCORE_GAP
    if measure == "index":
        return [*own, _squared, _squared_of_normalised, _city_block], COMPRESSED_DIFFERENCE
    assert measure is not None
    return [OF_MEASURE[measure]], COMPRESSED_DIFFERENCE


def _nearest(
    scores: np.ndarray,
    candidates: Sequence[Embeddings],
    functions: Sequence[Function],
    bearable: float,
) -> tuple[_Comparison, np.ndarray]:
    """Return the first comparison with the fewest excessive differences, and the differences."""
    found = []
    for query, embeddings in candidates:
        for function in functions:
            comparison = function(query, embeddings)
            excess = comparison.excess(scores, bearable)
            if bearable == COMPRESSED_DIFFERENCE:
                excess = _beyond_compression(excess)
            found.append((comparison, excess))
    return min(found, key=lambda each: int((each[1] > 1).sum()))


def _beyond_compression(excess: np.ndarray) -> np.ndarray:
    """Return differences divided by what compression explains, judged by the median of all hits.

    A compressed index changes all scores, and a few of them by much more than the others. If most scores are exact, the
    index is not compressed, and each of them counts.
    """
    if (excess > 1).mean() > FEW:
        return excess
    return excess / max(1.0, TIMES_MEDIAN * float(np.median(excess)))


def _warn(
    documents: Sequence[Retrieved],
    places: Sequence[int],
    scores: np.ndarray,
    best: _Comparison,
    excess: np.ndarray,
    compressed: bool,
) -> None:
    worst = int(excess.argmax())
    far = [places[at] for at in np.flatnonzero(excess > 1).tolist()]
    others = [_named(documents, at) for at in far if at != places[worst]]
    more = f" The others: {', '.join(others[:MOST_NAMED])}" if others else ""
    compression = ", or its index compresses embeddings very strongly" if compressed else ""
    more += ", …." if len(others) > MOST_NAMED else "." if others else ""
    warnings.warn(
        f"the retriever's score of {_named(documents, places[worst])} is {scores[worst]:.4f}, and the model's own "
        f"{best.name} of the query and this text {best.values[worst]:.4f}; they differ by more than rounding, for "
        f"{len(far)} of {len(places)} documents.{more} Either these are not the texts that were embedded, or another "
        f"model or prompt embedded them, or the retriever scores by another measure{compression}. Explained is the "
        "model's own score",
        stacklevel=caller_level(),
    )


def _named(documents: Sequence[Retrieved], at: int) -> str:
    return f"documents[{at}]" + ("" if documents[at].id is None else f" (id {documents[at].id!r})")


def _lengths(query: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    return np.linalg.norm(query) * np.linalg.norm(embeddings, axis=1)


def _dot(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
    return _Comparison("dot product", embeddings @ query, _lengths(query, embeddings))


def _cosine(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
    scale = np.maximum(_lengths(query, embeddings), 1e-12)
    return _Comparison("cosine", embeddings @ query / scale, np.ones(len(embeddings)))


def _euclidean(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
    lengths = np.linalg.norm(query) + np.linalg.norm(embeddings, axis=1)
    return _Comparison("negative Euclidean distance", -np.linalg.norm(embeddings - query, axis=1), lengths)


def _manhattan(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
    lengths = np.abs(query).sum() + np.abs(embeddings).sum(1)
    return _Comparison("negative Manhattan distance", -np.abs(embeddings - query).sum(1), lengths)


def _city_block(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
    negative = _manhattan(query, embeddings)
    return _Comparison("Manhattan distance", -negative.values, negative.units)


def _squared(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
    values = ((embeddings - query) ** 2).sum(1)
    return _Comparison("squared Euclidean distance", values, 2 * _lengths(query, embeddings))


def _squared_of_normalised(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
    cosine = _cosine(query, embeddings)
    name = "squared Euclidean distance of normalised embeddings"
    return _Comparison(name, 2 - 2 * cosine.values, 2 * cosine.units)


def _distance(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
    negative = _euclidean(query, embeddings)
    return _Comparison("Euclidean distance", -negative.values, negative.units)


def _negative(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
    dot = _dot(query, embeddings)
    return _Comparison("negative dot product", -dot.values, dot.units)


def _derived(name: str, of: Function, change: Callable[[np.ndarray], np.ndarray]) -> Function:
    """Returns a measure that is a monotonic function of another one. Allowed differences are carried over."""

    def comparison(query: np.ndarray, embeddings: np.ndarray) -> _Comparison:
        other = of(query, embeddings)
        values = change(other.values)
        # The larger of the changes by the allowed difference up and down, per unit of it.
        step = COMPRESSED_DIFFERENCE * other.units
        changes = [np.abs(change(other.values + sign * step) - values) for sign in (-1, 1)]
        return _Comparison(name, values, np.maximum(*changes) / COMPRESSED_DIFFERENCE)

    return comparison


def _inverse(name: str, of: Function) -> Function:
    return _derived(f"inverse {name}", of, lambda values: 1 / (1 + np.maximum(values, 0)))


OF_MEASURE: dict[str, Function] = {
    "cosine": _cosine,
    "dot product": _dot,
    "negative dot product": _negative,
    "cosine distance": _derived("cosine distance", _cosine, lambda cosine: 1 - cosine),
    "dot product distance": _derived("dot product distance", _dot, lambda dot: 1 - dot),
    "Euclidean distance": _distance,
    "squared Euclidean distance": _squared,
    "Manhattan distance": _city_block,
    "scaled cosine": _derived("scaled cosine", _cosine, lambda cosine: (1 + cosine) / 2),
    "scaled dot product": _derived("scaled dot product", _dot, lambda dot: (1 + dot) / 2),
    "positive dot product": _derived(
        "positive dot product", _dot, lambda dot: np.where(dot < 0, 1 / (1 + np.abs(dot)), 1 + dot)
    ),
    "inverse Euclidean distance": _inverse("Euclidean distance", _distance),
    "inverse squared Euclidean distance": _inverse("squared Euclidean distance", _squared),
    "inverse Manhattan distance": _inverse("Manhattan distance", _city_block),
    "inverse cosine distance": _derived("inverse cosine distance", _cosine, lambda cosine: 1 / (2 - cosine)),
    "inverse angle": _derived("inverse angle", _cosine, lambda cosine: 1 / (1 + np.arccos(np.clip(cosine, -1, 1)))),
}
"""The function of each measure that says what a score is."""
