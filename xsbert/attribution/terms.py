"""A score of a sparse encoder split by the terms that both texts activate."""

from __future__ import annotations

from dataclasses import dataclass

from ..factors.terms import Listing, TextTerm
from ..factors.text_factors import TextFactors

__all__ = ["SharedTerm", "shared_terms"]


@dataclass(frozen=True, eq=False)
class SharedTerm:
    """A term that both texts activate, and what it adds to the score: e_a[v]·e_b[v] / c."""

    term: str
    score: float
    a: TextTerm
    """Its value in text a, split over the units of a."""
    b: TextTerm
    """Its value in text b, split over the units of b."""
    scale: float
    """The divisor c: 1 for the dot product, the product of both norms for the cosine."""

    def __str__(self) -> str:
        divisor = "" if self.scale == 1 else f" / {self.scale:.2f}"
        values = f"{self.a.value:.2f} × {self.b.value:.2f}{divisor}"
        return f"{self.term} {self.score:.2f} = {values}: {self.a.split} | {self.b.split}"


def shared_terms(a: TextFactors, b: TextFactors, scale: float) -> Listing[SharedTerm]:
    """Split the score of two texts by their common terms, largest scores first. They sum to the score.

    Args:
        a, b: factors in the same numbers.
        scale: the divisor c.

    Raises:
        ValueError: the numbers are not terms.
    """
    of_b = {each.id: each for each in b.terms()}
    found = [
        SharedTerm(each.term, each.value * of_b[each.id].value / scale, each, of_b[each.id], scale)
        for each in a.terms()
        if each.id in of_b
    ]
    return Listing(sorted(found, key=lambda each: -each.score))
