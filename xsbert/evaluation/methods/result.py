"""The result of another method: an `Attribution` with given numbers, not computed from factors."""

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
    """Explanation of one predicted similarity by a method other than integrated Jacobians.

    It supports the units, words, plots, pages, files and tables of every `Attribution`. The score and the embeddings
    are the model's; the numbers are the method's. If the numbers do not sum to the score, `error` is the difference
    and `left_out` describes it. The factors and the residuals of its texts are zero, since nothing is integrated.

    >>> from xsbert.evaluation.methods import explain_with
    >>> (match,) = explain_with("lexical", model, [("A cold day.", "Cold days")])
    >>> match.method, match.left_out
    ('lexical', ...)
    """

    method: str = ""
    """The name in `xsbert.evaluation.methods.METHODS`."""
    left_out: str = ""
    """Description of the part of the score that the numbers omit; empty for a complete method."""
    values: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    """(S, T) numbers for pairs of units."""
    effects_a: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(S,) numbers for single units of a."""
    effects_b: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(T,) numbers for single units of b."""
    offset: float = 0.0
    """The part of the score that the method assigns to no unit."""

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
        """(S, T) numbers of the method for pairs of units."""
        return self.values

    @cached_property
    def main_effects_a(self) -> np.ndarray:
        """(S,) numbers of the method for single units of a."""
        return self.effects_a

    @cached_property
    def main_effects_b(self) -> np.ndarray:
        """(T,) numbers of the method for single units of b."""
        return self.effects_b

    @cached_property
    def baseline(self) -> float:
        """The part of the score that the method assigns to no unit."""
        return self.offset

    @property
    def kind(self) -> str:
        """The method, and whether its numbers sum to the score."""
        return f"method {self.method}: {self.left_out or 'the parts sum to the score'}"

    def words(self) -> MethodAttribution:
        """Returns the same result with words as units; every sum is kept.

        Raises:
            ValueError: the tokenizer has no word ids, or the units are already words.

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
        """Returns the same result with spans of text as units, as `Attribution.over`; every sum is kept.

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
    """Returns the text with coarser units, and the (G, S) zero-one matrix that sums the old units."""
    if ranges is None:
        return side, np.eye(len(side.tokens))
    return side.over(ranges), replace(side, factors=np.eye(len(side.tokens))).over(ranges).factors
