"""The terms that a sparse encoder activates, each split over the units of a text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from .outputs import Terms

__all__ = ["Listing", "TextTerm", "terms_of"]

Entry = TypeVar("Entry")
# Parts below this fraction of a term are not printed one by one.
PRINTED = 0.05


class Listing(tuple[Entry, ...]):
    """A tuple that prints one entry a line."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


@dataclass(frozen=True, eq=False)
class TextTerm:
    """One term of a text: how strongly it is activated, and which units activate it."""

    term: str
    id: int
    """Its position in the model's embedding."""
    value: float
    """Its entry of the embedding, e[v]."""
    units: tuple[str, ...] = field(repr=False)
    """(S,) labels of the text's units."""
    contributions: np.ndarray = field(repr=False)
    """(S,) V[s, v]. With `baseline`, they sum to the value up to the integration error."""
    baseline: float
    """Its entry for the reference."""

    @property
    def strongest(self) -> list[tuple[str, float]]:
        """The units and their contributions, largest absolute values first."""
        order = np.argsort(-np.abs(self.contributions), kind="stable")
        return [(self.units[at], float(self.contributions[at])) for at in order]

    def __str__(self) -> str:
        return f"{self.term} {self.value:.2f}: {self.split}"

    @property
    def split(self) -> str:
        """The value as the sum of its largest parts, such as ``"fridge 1.80, invented 0.15, others 0.05"``."""
        least = max(PRINTED * abs(self.value), 0.005)
        parts = [(unit, value) for unit, value in self.strongest if abs(value) >= least]
        others = float(self.contributions.sum()) - sum(value for _, value in parts)
        parts += [
            (name, value) for name, value in (("others", others), ("reference", self.baseline)) if abs(value) >= 0.005
        ]
        return ", ".join(f"{unit} {value:.2f}" for unit, value in parts if abs(value) >= 0.005) or "no unit"


def terms_of(
    outputs: object, units: tuple[str, ...], factors: np.ndarray, embedding: np.ndarray, reference_term: np.ndarray
) -> Listing[TextTerm]:
    """Split each term that a text activates over its units, strongest terms first.

    Args:
        outputs: what the E numbers stand for.
        units: S labels.
        factors, embedding, reference_term: (S, E), (E,) and (E,).

    Raises:
        ValueError: the numbers are not terms.
    """
    if not isinstance(outputs, Terms):
        raise ValueError(
            "the embedding of this model has no terms: they are the vocabulary of a sparse encoder, such as SPLADE "
            "(xsbert.XSSparseEncoder)"
        )
    order = [at for at in np.argsort(-embedding, kind="stable") if embedding[at]]
    return Listing(
        TextTerm(
            term=outputs.labels[at],
            id=int(outputs.ids[at]),
            value=float(embedding[at]),
            units=units,
            contributions=factors[:, at],
            baseline=float(reference_term[at]),
        )
        for at in order
    )
