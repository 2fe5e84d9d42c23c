"""A score of late interaction split by its matches: each vector of text a with the vector of text b that it matches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..factors.terms import Listing
from ..factors.text_factors import TextFactors
from ..factors.vectors import Matched

__all__ = ["Match", "matches_of"]

# Pairs below this fraction of a match are not printed one by one.
PRINTED, MOST_PRINTED = 0.1, 4


@dataclass(frozen=True, eq=False)
class Match:
    """One vector of text a, the vector of text b that it matches, and the account of their product.

    The account says why the two vectors agree. It does not say why they were matched and not others.
    """

    token_a: str
    """The token of text a whose vector it is."""
    token_b: str
    """The token of text b whose vector it matches."""
    position_a: int
    position_b: int
    """Positions of both among the tokens of their texts."""
    cosine: float
    """Their cosine; of a model that does not normalise its vectors, their product."""
    score: float
    """What the match adds to the score: the cosine, or that divided by the number of matches in a mean."""
    matrix: np.ndarray = field(repr=False)
    """(S, T) attributions to pairs of units. Those of all matches sum to `Attribution.matrix`."""
    main_effects_a: np.ndarray = field(repr=False)
    """(S,) contributions of the units of a with the reference of b."""
    main_effects_b: np.ndarray = field(repr=False)
    """(T,) contributions of the units of b with the reference of a."""
    baseline: float
    """The product of the two references."""
    units_a: tuple[str, ...] = field(repr=False)
    """(S,) labels."""
    units_b: tuple[str, ...] = field(repr=False)
    """(T,) labels."""

    @property
    def parts(self) -> dict[str, float]:
        """The four parts of `score`, named as those of `Attribution.parts`."""
        return {
            "interactions": float(self.matrix.sum()),
            "main effects a": float(self.main_effects_a.sum()),
            "main effects b": float(self.main_effects_b.sum()),
            "baseline": self.baseline,
        }

    @property
    def strongest(self) -> list[tuple[str, str, float]]:
        """The pairs of units and their attributions, largest absolute values first."""
        order = np.argsort(-np.abs(self.matrix), axis=None, kind="stable")
        places = zip(*np.unravel_index(order, self.matrix.shape), strict=True)
        return [(self.units_a[s], self.units_b[t], float(self.matrix[s, t])) for s, t in places]

    def __str__(self) -> str:
        size = float(np.abs(self.matrix).max(initial=0.0))
        pairs = [each for each in self.strongest[:MOST_PRINTED] if abs(each[2]) >= max(PRINTED * size, 0.005)]
        listed = [(f"{a} × {b}", value) for a, b, value in pairs]
        listed.append(("other pairs", float(self.matrix.sum()) - sum(value for _, value in listed)))
        listed.append(("main effects", float(self.main_effects_a.sum() + self.main_effects_b.sum())))
        listed.append(("references", self.baseline))
        split = ", ".join(f"{name} {value:.2f}" for name, value in listed if abs(value) >= 0.005)
        return f"{self.token_a} → {self.token_b} {self.score:.2f}: {split or 'nothing'}"


def matches_of(a: TextFactors, b: TextFactors) -> Listing[Match]:
    """Split the score of two texts by their matches, in the order of text a.

    Raises:
        ValueError: the factors are not those of a matched pair, or are valid for sums over matches only.
    """
    found = a.outputs
    if not isinstance(found, Matched):
        raise ValueError(
            "the embeddings of this model are compared as a whole and have no matches: these are of a "
            "late-interaction model (xsbert.XSMultiVectorEncoder)"
        )
    if a.known_residual is not None or b.known_residual is not None:
        raise ValueError(
            "the factors of this document were computed for the sum over all matches, so that single matches have no "
            "account: explain the pair of texts"
        )
    n_matches = len(found.positions[0])
    of_a, of_b = (_by_match(side.factors, n_matches) for side in (a, b))
    ends_a, ends_b = (_by_match(side.embedding, n_matches) for side in (a, b))
    references_a, references_b = (_by_match(side.reference_term, n_matches) for side in (a, b))
    listed = []
    for place in range(n_matches):
        score = float(ends_a[place] @ ends_b[place])
        listed.append(
            Match(
                token_a=found.labels[0][place],
                token_b=found.labels[1][place],
                position_a=int(found.positions[0][place]),
                position_b=int(found.positions[1][place]),
                cosine=score * n_matches if found.mean else score,
                score=score,
                matrix=of_a[:, place] @ of_b[:, place].T,
                main_effects_a=of_a[:, place] @ references_b[place],
                main_effects_b=of_b[:, place] @ references_a[place],
                baseline=float(references_a[place] @ references_b[place]),
                units_a=a.tokens,
                units_b=b.tokens,
            )
        )
    return Listing(listed)


def _by_match(values: np.ndarray, n_matches: int) -> np.ndarray:
    return values.reshape(*values.shape[:-1], n_matches, -1)
