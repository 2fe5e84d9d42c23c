"""Attributions of a similarity score to pairs of tokens.

With c the product of both norms (cosine) or 1 (dot product), and ρ = e(r) the reference terms,

    score = Σ_st V_a[s]·V_b[t]/c + Σ_s V_a[s]·ρ_b/c + Σ_t ρ_a·V_b[t]/c + ρ_a·ρ_b/c
          = interactions + main effects of a + main effects of b + baseline

for every model, up to the integration error. A shifted model has ρ = 0, so its interactions sum to the score
(Moeller et al., EMNLP 2023, eq. 6). The interactions of other models are the approximate attributions of EACL 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from typing_extensions import Self, deprecated

from .._utils.cached_property import cached_property
from .._utils.checksummed_safetensors import reading
from ..factors.terms import Listing
from ..factors.text_factors import Settings, TextFactors, joined, settings_of
from .files import Stored, check_result, read_result, save_result, stored_result
from .matches import Match, matches_of
from .pair_result import PairResult, check_pair
from .terms import SharedTerm, shared_terms

__all__ = ["Attribution"]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(PairResult):
    """Explanation of one predicted similarity.

    S and T are the numbers of units of text a and text b.

    >>> out.similarity, round(out.score, 2), out.matrix.shape
    ('cosine', 0.79, (7, 9))
    """

    a: TextFactors
    b: TextFactors
    similarity: str
    """``"cosine"`` or ``"dot"``; ``"maxsim"`` or ``"meanmaxsim"`` of a late-interaction model."""
    settings: Settings
    compute_feature_pairs: Callable[[], np.ndarray] | None = None
    """Computes the (S, H, T, H) feature pairs on request. None if the units are not tokens."""

    @classmethod
    def of(cls, a: TextFactors, b: TextFactors, similarity: str, **fields: Any) -> Attribution:
        """Combine the factors of two texts.

        Args:
            a, b: Factors from the same model, layer and reference.
            similarity: ``"cosine"`` or ``"dot"``.

        Raises:
            ValueError: The factors cannot be combined, or the similarity is cosine and an embedding is zero.

        >>> a, b = model.text_factors(["A cold day.", "The weather is freezing."])
        >>> out = Attribution.of(a, b, "cosine")
        >>> bool(np.isclose(out.score, model.similarity(*model.encode([a.text, b.text])).item(), atol=1e-6))
        True
        """
        check_pair(a, b, similarity)
        a, b = joined(a, b)
        names = ("n_steps", "n_looks", "n_float64")
        counts = {name: max(getattr(a.settings, name), getattr(b.settings, name)) for name in names}
        # A text without a prompt has none to keep.
        prompt = max(settings_of(side).reference_prompt == "keep" for side in (a, b))
        settings = replace(settings_of(a), **counts, reference_prompt="keep" if prompt else "replace")
        return cls(a, b, similarity, settings, **fields)

    @property
    def pulled_back(self) -> str | None:
        """``"a"`` or ``"b"``: the text whose factors were computed only along those of the other; else None."""
        # Both texts of a corpus row have a known residual.
        sides = [name for name in "ab" if getattr(self, name).known_residual is not None]
        return sides[0] if len(sides) == 1 else None

    @cached_property
    def matrix(self) -> np.ndarray:
        """(S, T) attributions to pairs of units, V_a V_bᵀ / c."""
        return self.a.factors @ self.b.factors.T / self.scale

    @cached_property
    def main_effects_a(self) -> np.ndarray:
        """(S,) contributions of the units of a with the reference of b. Zero for a shifted model."""
        return self.a.factors @ self.b.reference_term / self.scale

    @cached_property
    def main_effects_b(self) -> np.ndarray:
        """(T,) contributions of the units of b with the reference of a. Zero for a shifted model."""
        return self.b.factors @ self.a.reference_term / self.scale

    @cached_property
    def baseline(self) -> float:
        """The similarity of the two references, ρ_a·ρ_b/c. Zero for a shifted model."""
        return float(self.a.reference_term @ self.b.reference_term / self.scale)

    @property
    def kind(self) -> str:
        """A sentence for readers that says what the pairs sum to."""
        approximate = "approximate attributions: pairs sum to the interactions alone"
        exact = self.settings.shift or not (self.a.reference_term.any() or self.b.reference_term.any())
        return "exact attributions" if exact else approximate

    def words(self) -> Attribution:
        """Sum tokens to words. The totals do not change, and special tokens stay separate.

        Raises:
            ValueError: The tokenizer has no word ids, or the units are words already.

        >>> out.words().tokens_a
        ['[CLS]', 'The', 'coffee', 'is', 'bad', '.', '[SEP]']
        """
        return replace(self, a=self.a.words(), b=self.b.words(), compute_feature_pairs=None)

    def over(
        self,
        a: str | Sequence[tuple[int, int]] | None = None,
        b: str | Sequence[tuple[int, int]] | None = None,
    ) -> Attribution:
        """Sum tokens over character ranges, such as phrases or sentences. The totals do not change.

        A token belongs to the range that holds at least half of its visible characters. Text outside the ranges is
        one unit, ``"(rest)"``. A prompt is one unit, and special tokens stay separate.

        Args:
            a: Character ranges [start, end) of the text that was passed to `explain`, without its
                prompt, in any order; or ``"sentences"``, split by `sentence_ranges`; or ``"words"``. None keeps the
                units.
            b: As ``a``, for text b.

        Raises:
            TypeError: A range is not a pair of integers.
            ValueError: Ranges overlap, exceed the text or hold no token, or the tokenizer has no offsets.

        >>> out.over(a=[(0, 10)], b="sentences").tokens_a
        ['[CLS]', 'The coffee', '(rest)', '[SEP]']
        """
        if a is None and b is None:
            return self
        return replace(
            self,
            a=self.a if a is None else self.a.over(a),
            b=self.b if b is None else self.b.over(b),
            compute_feature_pairs=None,
        )

    @deprecated("spans() is deprecated, its name is over()")
    def spans(
        self,
        a: str | Sequence[tuple[int, int]] | None = None,
        b: str | Sequence[tuple[int, int]] | None = None,
    ) -> Attribution:
        """Deprecated name of `over`, from version 0.1.0."""
        return self.over(a, b)

    def feature_pairs(self) -> np.ndarray:
        """Compute the (S, H, T, H) attributions to pairs of features by reverse mode.

        Their sum over both feature axes is `matrix`. The dtype is float64 for a float64 model and float32 otherwise.
        A float32 array for 20 × 25 tokens and H = 768 takes 1.2 GB.

        Raises:
            ValueError: The units are words, or the result was not computed in this process.
            RuntimeError: The model has changed since, so that the pairs no longer sum to `matrix`.

        >>> small = model.explain("Rain", "Wet", layer=6)
        >>> small.feature_pairs().shape
        (3, 384, 3, 384)
        """
        if self.compute_feature_pairs is None:
            raise ValueError("feature pairs need tokens and the model; call feature_pairs on the original result")
        pairs = self.compute_feature_pairs()
        pairs /= pairs.dtype.type(self.scale)
        gap = np.abs(pairs.sum((1, 3), dtype=np.float64) - self.matrix).max()
        if gap > 0.02 * np.abs(self.matrix).max() + 1e-6:
            raise RuntimeError(
                f"the feature pairs do not sum to the matrix (largest difference {gap:.1e}): "
                "the model's weights or settings have changed since this result was computed"
            )
        return pairs

    def terms(self) -> Listing[SharedTerm]:
        """Split the score of a sparse encoder by the terms that both texts activate, largest first.

        The score is Σ_v e_a[v]·e_b[v] / c over the terms v. Each entry splits e_a[v] over the units of text a and
        e_b[v] over those of text b.

        Raises:
            ValueError: The model is not a sparse encoder.

        >>> print(splade.explain("a new refrigerator", "the old fridge").words().terms()[0])
        refrigerator 6.17 = 2.60 × 2.37: refrigerator 2.47, others 0.14 | fridge 2.29, others 0.10
        """
        return shared_terms(self.a, self.b, self.scale)

    def matches(self) -> Listing[Match]:
        """Split the score of a late-interaction model by its matches, in the order of text a.

        Each entry has one vector of text a, the vector of text b that it matches, their cosine, and an account of its
        own. The scores of the matches sum to `score`, and their matrices to `matrix`.

        Raises:
            ValueError: The model is of another kind, or the factors are those of a ranking, for the sum alone.

        >>> late.explain("a cold day", "freezing", layer=-1).matches()[2].token_a
        'cold'
        """
        return matches_of(self.a, self.b)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the result to one safetensors file. The write is atomic and replaces an existing file.

        Raises:
            ValueError: The result holds numbers that are not finite.
            OSError: The file cannot be written.

        >>> path = folder / "result.safetensors"
        >>> out.save(path)
        >>> Attribution.load(path).score == out.score
        True
        """
        save_result(self.stored(), path)

    def stored(self) -> Stored:
        """Return what a file holds of the result.

        >>> sorted(out.stored().content)
        ['a', 'b', 'settings', 'similarity']
        """
        return stored_result(self)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a result that `save` wrote. It equals the saved one, except that `feature_pairs` is not available.

        Raises:
            OSError: The file does not exist or cannot be read.
            ValueError: The file is damaged, is not a saved result, or has a newer format.

        >>> out.save(folder / "another.safetensors")
        >>> bool((Attribution.load(folder / "another.safetensors").matrix == out.matrix).all())
        True
        """
        with reading(path, "saved result"):
            return cls.of_fields(read_result(path, cls.__name__))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return the result with the fields of a file.

        Raises:
            ValueError: Numbers that follow from the fields are not finite.

        >>> fields = {"a": out.a, "b": out.b, "similarity": out.similarity, "settings": out.settings}
        >>> Attribution.of_fields(fields).score == out.score
        True
        """
        result = cls(**fields)
        check_result(result)
        return result

    def __getstate__(self) -> dict[str, Any]:
        # compute_feature_pairs holds the model, which is not pickled.
        return {**vars(self), "compute_feature_pairs": None}
