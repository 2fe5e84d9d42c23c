"""The result of a rival method: an `Attribution` whose numbers are given, not computed from factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..._utils.cached_property import cached_property
from ...attribution.attribution import Attribution
from ...factors.text_factors import TextFactors

__all__ = ["MethodAttribution"]


@dataclass(frozen=True, eq=False, repr=False)
class MethodAttribution(Attribution):
    """What a method other than integrated Jacobians says of one predicted similarity.

    It has the units, words, pictures, pages, files and tables of every `Attribution`. Score and embeddings are the
    model's. The numbers are the method's: where they do not sum to the score, `error` is what they leave out, and
    `left_out` says in words what that is. The factors of its texts are zero, and its residuals too, since nothing was
    integrated.

    >>> from xsbert.evaluation.methods import explain_with
    >>> (match,) = explain_with("lexical", model, [("A cold day.", "Cold days")])
    >>> match.method, match.left_out
    ('lexical', ...)
    """

    method: str = ""
    """The name in `xsbert.evaluation.methods.METHODS`."""
    left_out: str = ""
    """What the numbers leave out of the score; empty for a complete method."""
    values: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    """(S, T) the method's numbers for pairs of units."""
    effects_a: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(S,) what the method says of single units of a, beside the pairs."""
    effects_b: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(T,) the same of b."""
    offset: float = 0.0
    """What the method gives to no unit."""

    given_arrays = {"values": 2, "effects_a": 1, "effects_b": 1}  # noqa: RUF012
    given_entries = {"method": str, "left_out": str, "offset": (int, float)}  # noqa: RUF012

    def __post_init__(self) -> None:
        shape = len(self.a.tokens), len(self.b.tokens)
        if self.values.shape != shape or self.effects_a.shape != shape[:1] or self.effects_b.shape != shape[1:]:
            raise ValueError(
                f"values must be of shape {shape}, effects of its sides, got {self.values.shape}, "
                f"{self.effects_a.shape} and {self.effects_b.shape}"
            )
        if not (np.isfinite(self.values).all() and np.isfinite(self.offset)):
            raise ValueError(f"the values of {self.method!r} hold numbers that are not finite")
        object.__setattr__(self, "offset", float(self.offset))

    @cached_property
    def matrix(self) -> np.ndarray:
        """(S, T) the method's numbers for pairs of units."""
        return self.values

    @cached_property
    def main_effects_a(self) -> np.ndarray:
        """(S,) the method's numbers for single units of a."""
        return self.effects_a

    @cached_property
    def main_effects_b(self) -> np.ndarray:
        """(T,) the same of b."""
        return self.effects_b

    @cached_property
    def baseline(self) -> float:
        """What the method gives to no unit."""
        return self.offset

    @property
    def kind(self) -> str:
        """The method, and whether its numbers sum to the score."""
        return f"method {self.method}: {self.left_out or 'the parts sum to the score'}"

    def words(self) -> MethodAttribution:
        """The same result with words for units; every sum is kept.

        Raises:
            ValueError: the tokenizer has no word ids, or the units are words already.

        >>> from xsbert.evaluation.methods import explain_with
        >>> (match,) = explain_with("lexical", model, [("We unpacked.", "Unpacked")], units="tokens")
        >>> match.matrix.shape, match.words().matrix.shape, bool(match.matrix.sum() == match.words().matrix.sum())
        ((7, 5), (5, 3), True)
        """
        return self._in_units("words", "words")

    def over(
        self,
        a: str | Sequence[tuple[int, int]] | None = None,
        b: str | Sequence[tuple[int, int]] | None = None,
    ) -> MethodAttribution:
        """The same result with stretches of text for units, as `Attribution.over`; every sum is kept.

        >>> from xsbert.evaluation.methods import explain_with
        >>> (match,) = explain_with("lexical", model, [("It rains. We stay in!", "Rain")], units="tokens")
        >>> match.over(a="sentences").a.tokens
        ('[CLS]', 'It rains.', 'We stay in!', '[SEP]')
        """
        return self if a is None and b is None else self._in_units(a, b)

    def _in_units(
        self, a: str | Sequence[tuple[int, int]] | None, b: str | Sequence[tuple[int, int]] | None
    ) -> MethodAttribution:
        side_a, sums_a = _summed(self.a, a)
        side_b, sums_b = _summed(self.b, b)
        return replace(
            self,
            a=side_a,
            b=side_b,
            values=sums_a @ self.values @ sums_b.T,
            effects_a=sums_a @ self.effects_a,
            effects_b=sums_b @ self.effects_b,
            compute_feature_pairs=None,
        )


def _summed(side: TextFactors, ranges: str | Sequence[tuple[int, int]] | None) -> tuple[TextFactors, np.ndarray]:
    """The text with coarser units, and (G, S) zeros and ones that sum the old units into them."""
    if ranges is None:
        return side, np.eye(len(side.tokens))
    return side.over(ranges), replace(side, factors=np.eye(len(side.tokens))).over(ranges).factors
