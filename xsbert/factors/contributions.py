"""Contributions of the units of one text to a score, with a baseline that completes the sum.

For a query q and a document d, with c as in `Attribution`, the score is linear in the factors of either text:

    score = Σ_t V_d[t]·e_q/c + ρ_d·e_q/c = Σ_s V_q[s]·e_d/c + ρ_q·e_d/c

up to the integration error of the factors used. The contributions of a document therefore need its factors only along
one direction, the query's embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._utils.optional_imports import pandas
from .._utils.printed_tables import TableMixin
from ..text.units import REST, TEXT, sentence_ranges
from .text_factors import ProjectedFactors, TextFactors

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Contributions",
    "by_sentence",
    "contributions_of",
    "relative_direction",
    "summed_contributions",
    "unit_vector",
]


@dataclass(frozen=True, eq=False)
class Contributions(TableMixin):
    """Contributions of the units of one text to a score."""

    text: str
    """The text that ``spans`` refer to."""
    units: tuple[str, ...]
    """(U,) labels."""
    roles: tuple[str, ...]
    """(U,) ``"text"``, ``"special"``, ``"prompt"`` or ``"rest"``."""
    spans: tuple[tuple[int, int], ...] | None
    """(U,) characters [start, end) of ``text``, empty for special tokens and prompts. None if the tokenizer has no
    offsets."""
    values: np.ndarray = field(repr=False)
    """(U,) contributions, float64."""
    baseline: float
    """The contribution of the text's reference."""

    @property
    def total(self) -> float:
        """The sum of values and baseline: the score, up to the integration error."""
        return float(self.values.sum()) + self.baseline

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as a dictionary that JSON can hold."""
        return {
            "text": self.text,
            "units": list(self.units),
            "roles": list(self.roles),
            "spans": None if self.spans is None else [list(span) for span in self.spans],
            "values": self.values.tolist(),
            "baseline": self.baseline,
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each unit: ``unit``, ``role``, ``start``, ``end`` and ``contribution``.

        The start and the end of a unit are None if the tokenizer has no offsets.

        Raises:
            ImportError: pandas is not installed.
        """
        spans = self.spans or [(None, None)] * len(self.units)
        rows = zip(self.units, self.roles, spans, self.values.tolist(), strict=True)
        columns = ["unit", "role", "start", "end", "contribution"]
        return pandas().DataFrame([(unit, role, *span, value) for unit, role, span, value in rows], columns=columns)


Shares = Contributions  # its name in version 0.1


def contributions_of(
    side: TextFactors, direction: np.ndarray, scale: float, *, text: str | None = None, start: int = 0
) -> Contributions:
    """Compute the contributions of the units of one text to its score with another.

    Args:
        side: Factors of U units. For `ProjectedFactors`, ``direction`` must be in the span of their directions.
        direction: (E,) embedding of the other text, before a trailing normalisation.
        scale: The divisor c.
        text: The text that the spans refer to. None takes the text of ``side`` without its prompt.
        start: Position in ``text`` where the text of ``side`` begins.

    Raises:
        ValueError: The direction is outside the span of the projected factors.
    """
    values = _along(side, direction) / scale
    own = side.text[len(side.prompt) :]
    spans = None
    if side.spans is not None:
        moved = start - len(side.prompt)
        spans = tuple(
            (max(begin + moved, start), max(end + moved, start)) if role in (TEXT, REST) else (start, start)
            for (begin, end), role in zip(side.spans, side.roles, strict=True)
        )
    baseline = float(side.reference_term @ direction) / scale
    return Contributions(own if text is None else text, side.tokens, side.roles, spans, values, baseline)


def summed_contributions(parts: Sequence[Contributions], weights: Sequence[float]) -> Contributions:
    """Return the weighted sum over overlapping parts of one text. Units with the same span and role are merged.

    Args:
        parts: Contributions with spans in the same text.
        weights: One weight for each part.
    """
    if len(parts) == 1 and weights[0] == 1:
        return parts[0]
    rows: dict[tuple, list] = {}
    for number, (part, weight) in enumerate(zip(parts, weights, strict=True)):
        for place, (unit, role, value) in enumerate(zip(part.units, part.roles, part.values, strict=True)):
            span = None if part.spans is None else part.spans[place]
            # Units without characters are not merged across parts.
            key = (number, place) if span is None or span[0] == span[1] else (span, role)
            row = rows.setdefault(key, [span, unit, role, 0.0])
            row[3] += weight * value
    ordered = list(rows.values())
    if all(row[0] is not None for row in ordered):
        ordered.sort(key=lambda row: row[0][0])
    return Contributions(
        text=parts[0].text,
        units=tuple(row[1] for row in ordered),
        roles=tuple(row[2] for row in ordered),
        spans=None if any(row[0] is None for row in ordered) else tuple(row[0] for row in ordered),
        values=np.array([row[3] for row in ordered]),
        baseline=float(sum(weight * part.baseline for part, weight in zip(parts, weights, strict=True))),
    )


def by_sentence(shares: Contributions) -> Contributions:
    """Sum the units that begin in each sentence. Units of other roles than ``"text"`` do not change.

    Raises:
        ValueError: The tokenizer has no character offsets.
    """
    if shares.spans is None:
        raise ValueError("sentences need the tokenizer's offsets, which only fast tokenizers have")
    ranges = sentence_ranges(shares.text)
    starts = [start for start, _ in ranges]
    groups: dict[tuple[str, int], list[int]] = {}
    for at, ((start, _), role) in enumerate(zip(shares.spans, shares.roles, strict=True)):
        sentence = max(0, int(np.searchsorted(starts, start, side="right")) - 1)
        groups.setdefault((role, sentence if role == TEXT else at), []).append(at)
    spans = [(shares.spans[group[0]][0], shares.spans[group[-1]][1]) for group in groups.values()]
    return Contributions(
        text=shares.text,
        units=tuple(
            shares.text[start:end] if role == TEXT else shares.units[group[0]]
            for (start, end), ((role, _), group) in zip(spans, groups.items(), strict=True)
        ),
        roles=tuple(role for role, _ in groups),
        spans=tuple(spans),
        values=np.array([shares.values[group].sum() for group in groups.values()]),
        baseline=shares.baseline,
    )


def relative_direction(other: np.ndarray, embedding: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the direction and the scale of contributions that take the norm of a text's embedding into account.

    To first order, removing a unit with the factor V from the text lowers its cosine s with the other text by
    V·(ê_other − s·ê)/‖e‖.

    Args:
        other: (E,) embedding of the other text, with norm one.
        embedding: (E,) embedding of the text itself.
    """
    own = unit_vector(embedding)
    return other - float(other @ own) * own, float(np.linalg.norm(embedding))


def unit_vector(vector: np.ndarray) -> np.ndarray:
    """Return a vector (E,) divided by its norm."""
    return vector / np.linalg.norm(vector)


def _along(side: TextFactors, direction: np.ndarray) -> np.ndarray:
    """Compute the (U,) products V[s]·u."""
    if not isinstance(side, ProjectedFactors):
        return side.factors @ direction
    coefficients, *_ = np.linalg.lstsq(side.directions.T, direction, rcond=None)
    missed = np.linalg.norm(side.directions.T @ coefficients - direction)
    # A direction may be the difference of nearly equal ones.
    if missed > 1e-6 * max(np.linalg.norm(direction), np.linalg.norm(coefficients)):
        raise ValueError(
            "these factors were computed only for another query, so they have no contributions along this direction"
        )
    return side.factors @ coefficients
