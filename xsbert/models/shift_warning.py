"""A warning that an added shift changes the explained scores."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

import numpy as np

from .._utils.stacklevel import caller_level
from ..attribution.attribution import Attribution
from ..factors.text_factors import TextFactors
from ..ranking.ranking import Ranking

__all__ = ["ShiftWarning", "warn_of_shift", "warn_of_shifted_ranking", "warning_once"]

# Largest change of a score by an added shift that raises no warning.
MAX_SCORE_CHANGE = 0.05


class ShiftWarning(UserWarning):
    """The explained score is not the model's own, because an added shift changes it."""


def warn_of_shift(result: Attribution) -> None:
    """Warn if the score is far from that of the unshifted model."""
    if _is_far_from_unshifted(result):
        warnings.warn(_far_from_unshifted(result), ShiftWarning, stacklevel=caller_level())


def warn_of_shifted_ranking(ranking: Ranking) -> None:
    """Warn once if a score is far from that of the unshifted model, which may also rank in another order."""
    for hit in ranking:
        if not hit.explained or hit.score_unshifted is None:
            continue
        unit = 1.0
        if hit.similarity == "dot":
            lengths = [_unshifted_length(each.side) for each in hit.passages]
            unit = _unshifted_length(hit.asked.encoded) * max(lengths)
        if abs(hit.score - hit.score_unshifted) > MAX_SCORE_CHANGE * unit:
            warnings.warn(
                "the shift that was added to the model changes its scores, and may change the order: documents"
                f"[{hit.index}] has {hit.score:.4f} instead of {hit.score_unshifted:.4f}. Leave out shift=True to "
                "rank and explain with the model's own scores. Further hits are not warned of",
                ShiftWarning,
                stacklevel=caller_level(),
            )
            return


def _unshifted_length(text: TextFactors) -> float:
    if text.embedding_unshifted is None:
        raise ValueError(f"no shift was added to the model for {text.text!r:.60}, it has no other embedding")
    return float(np.linalg.norm(text.embedding_unshifted))


def _is_far_from_unshifted(result: Attribution) -> bool:
    """Return whether an added shift changes the score by more than `MAX_SCORE_CHANGE`.

    Changes of dot products are divided by the norms of the unshifted embeddings.
    """
    a, b = result.a.embedding_unshifted, result.b.embedding_unshifted
    if a is None or b is None or result.score_unshifted is None:
        return False
    unit = 1.0 if result.similarity == "cosine" else float(np.linalg.norm(a) * np.linalg.norm(b))
    return abs(result.score - result.score_unshifted) > MAX_SCORE_CHANGE * unit


def _far_from_unshifted(result: Attribution) -> str:
    return (
        f"the shift that was added to the model changes its score: {result.score:.4f}, which is what is explained, in "
        f"place of {result.score_unshifted:.4f} for {result.a.text!r:.60} and {result.b.text!r:.60}. Leave out "
        f"shift=True to explain the model's own score, or take another reference than {result.settings.reference} "
        "(xsbert.choose_reference compares them), or train the shifted model"
    )


def warning_once(results: Iterable[Attribution | None]) -> Iterator[Attribution | None]:
    """Yield the results, and warn at the first score that is far from that of the unshifted model."""
    warned = False
    for result in results:
        if result is not None and not warned and _is_far_from_unshifted(result):
            message = f"{_far_from_unshifted(result)}. Further pairs are not warned of"
            warnings.warn(message, ShiftWarning, stacklevel=caller_level())
            warned = True
        yield result
