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
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import Self, deprecated

from .._utils.cached_property import cached_property
from .._utils.checksummed_safetensors import reading
from ..factors.text_factors import Settings, TextFactors, check_combinable, settings_of
from ..view.effects import WordEffect, top_pairs, word_effects
from ..view.mixins import PageMixin, PlotMixin
from ..view.records import to_dict
from ..view.summary import labelled_pairs, summarize
from .alignment import Alignments, ContrastView, alignments, contrast_view
from .files import check_result, read_result, save_result, to_dataframe
from .scale import ZERO_EMBEDDING, length_of
from .similarity import check_similarity

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Attribution"]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(PageMixin, PlotMixin):
    """Explanation of one predicted similarity.

    S and T are the numbers of units of text a and text b.

    >>> out.similarity, round(out.score, 2), out.matrix.shape
    ('cosine', 0.79, (7, 9))
    """

    a: TextFactors
    b: TextFactors
    similarity: str
    """``"cosine"`` or ``"dot"``."""
    settings: Settings
    given_arrays: ClassVar[Mapping[str, int]] = {}
    """Additional arrays of a subclass, with their numbers of axes."""
    given_entries: ClassVar[Mapping[str, Any]] = {}
    """Other additional fields of a subclass, with their types."""
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
        check_similarity(similarity)
        check_combinable(a, b)
        names = ("n_steps", "n_looks", "n_float64")
        counts = {name: max(getattr(a.settings, name), getattr(b.settings, name)) for name in names}
        prompt = min(settings_of(side).reference_prompt for side in (a, b))
        result = cls(a, b, similarity, replace(settings_of(a), **counts, reference_prompt=prompt), **fields)
        if not result.scale > 0:
            raise ValueError(ZERO_EMBEDDING)
        return result

    @property
    def pulled_back(self) -> str | None:
        """The text with factors computed only along those of the other text, by reverse mode: ``"a"`` or ``"b"``.
        None if both texts have full factors."""
        # Both texts of a corpus row have a known residual.
        sides = [name for name in "ab" if getattr(self, name).known_residual is not None]
        return sides[0] if len(sides) == 1 else None

    @property
    def tokens_a(self) -> list[str]:
        """(S,) units of text a."""
        return list(self.a.tokens)

    @property
    def tokens_b(self) -> list[str]:
        """(T,) units of text b."""
        return list(self.b.tokens)

    @cached_property
    def scale(self) -> float:
        """The divisor c of the inner products."""
        return length_of(self.a, self.similarity) * length_of(self.b, self.similarity)

    @cached_property
    def score(self) -> float:
        """The model's similarity of the two texts. If a shift was added to the model, see also `score_unshifted`."""
        return float(self.a.embedding @ self.b.embedding / self.scale)

    @cached_property
    def score_unshifted(self) -> float | None:
        """The similarity without the shift, for a model that a shift was added to.

        None if `score` is the model's own: the model is not shifted, or was trained or saved with the shift.
        """
        a, b = self.a.embedding_unshifted, self.b.embedding_unshifted
        if a is None or b is None:
            return None
        scale = np.linalg.norm(a) * np.linalg.norm(b) if self.similarity == "cosine" else 1.0
        return float(a @ b / scale)

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
    def parts(self) -> dict[str, float]:
        """The four parts of the score. They sum to it up to `error`.

        >>> list(out.parts)
        ['interactions', 'main effects a', 'main effects b', 'baseline']
        >>> abs(sum(out.parts.values()) - out.score) == out.error
        True
        """
        return {
            "interactions": float(self.matrix.sum()),
            "main effects a": float(self.main_effects_a.sum()),
            "main effects b": float(self.main_effects_b.sum()),
            "baseline": self.baseline,
        }

    @property
    def kind(self) -> str:
        """A sentence for readers that says what the pairs sum to."""
        exact = self.settings.shift or not (self.a.reference_term.any() or self.b.reference_term.any())
        return "exact attributions" if exact else "approximate attributions: pairs sum to the interactions alone"

    @property
    def error(self) -> float:
        """The absolute difference between the score and the sum of the four parts."""
        return abs(self.score - sum(self.parts.values()))

    @property
    def residual_a(self) -> float:
        """Relative completeness residual of text a."""
        return self.a.residual

    @property
    def residual_b(self) -> float:
        """Relative completeness residual of text b."""
        return self.b.residual

    @property
    def factor_error_a(self) -> float | None:
        """Upper estimate of the relative error of the factors of text a. `residual_a` is the error of their sum."""
        return self.a.factor_error

    @property
    def factor_error_b(self) -> float | None:
        """Upper estimate of the relative error of the factors of text b."""
        return self.b.factor_error

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
            a: Character ranges [start, end) of the text that was passed to `attribute_prediction`, without its
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

        >>> small = model.attribute_prediction("Rain", "Wet", layer=6)
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
                f"the feature pairs no longer sum to the matrix (largest difference {gap:.1e}): "
                "the model's weights or settings have changed since this result was computed"
            )
        return pairs

    def top_pairs(
        self, k: int = 10, *, names: bool = False, special: bool = True
    ) -> list[tuple[int, int, float]] | list[tuple[str, str, float]]:
        """Return the k pairs with the largest absolute attributions, largest first.

        Args:
            k: The number of pairs, at least 1.
            names: Return the units' display names instead of their positions.
            special: Include pairs with special tokens or prompts.

        Returns:
            Tuples (position in a, position in b, value), or (name in a, name in b, value).

        Raises:
            TypeError: ``k`` is not an integer.
            ValueError: ``k`` is below 1.

        >>> [(out.tokens_a[s], out.tokens_b[t]) for s, t, value in out.top_pairs(1)]
        [('coffee', 'coffee')]
        """
        return labelled_pairs(self, k, special) if names else top_pairs(self, k, special)

    def word_effects(self) -> tuple[list[WordEffect], list[WordEffect]]:
        """Return what each word adds to the score: its interactions with the whole other text plus its main effect.

        All views rank and shade words by these values. The value of a word of text a is V_a·f(b)/c up to the
        integration error. The effects of text a sum to the interactions and the main effects of a. Each interaction
        counts in both texts, so the effects of both texts do not sum to the score.

        Returns:
            The words of a and the words of b, in text order, each with ``word``, ``value``, ``role`` and ``span``.
            Tokens if the tokenizer has no word ids.

        >>> of_a, of_b = out.word_effects()
        >>> max(of_a, key=lambda effect: effect.value)[0]
        'coffee'
        """
        return word_effects(self)

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers of the result in full precision, as a dictionary that JSON can hold.

        Returns:
            The texts, ``score``, ``parts``, errors, ``matrix`` as S lists of T numbers, and ``settings``. For each
            text also ``tokens_a``, ``roles_a``, ``spans_a``, ``main_effects_a`` and ``effects_a`` (the row sums of
            `matrix` plus main effects).

        >>> import json
        >>> round(json.loads(json.dumps(out.to_dict()))["score"], 2)
        0.79
        """
        return to_dict(self)

    def alignments(self, method: str = "mutual", *, threshold: float = 0.0, contrast: bool = False) -> Alignments:
        """Align the units of both texts; see `xsbert.attribution.alignment.alignments`. Links are no attributions.

        >>> bool(out.words().alignments().links[0].value == out.words().matrix.max())
        True
        """
        return alignments(self, method, threshold=threshold, contrast=contrast)

    def contrast_view(self) -> ContrastView:
        """Return the double-centred matrix, for reading; see `xsbert.attribution.alignment`.

        >>> out.words().contrast_view().tokens_a
        ('The', 'coffee', 'is', 'bad', '.')
        """
        return contrast_view(self)

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
        save_result(self, path)

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
            result = cls(**read_result(path, cls.__name__, cls.given_arrays, cls.given_entries))
            check_result(result)
        return result

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table with one row for each of the S · T pairs of units.

        Returns:
            Columns ``position_a``, ``token_a``, ``word_a``, ``role_a``, the same for b, and ``value``. A word is None
            if the tokenizer has no words or the units are not tokens.

        Raises:
            ImportError: pandas is not installed.

        >>> table = out.words().to_dataframe()
        >>> len(table), sorted(table.columns)[-1]
        (63, 'word_b')
        """
        return to_dataframe(self)

    def __repr__(self) -> str:
        size = "{} × {} units".format(*self.matrix.shape)
        unshifted = "" if self.score_unshifted is None else f" ({self.score_unshifted:.4f} unshifted)"
        score = f"{self.similarity} similarity {self.score:.4f}{unshifted}"
        return f"<{type(self).__name__}: {score}, {size}, error {self.error:.1e}>"

    def __getstate__(self) -> dict[str, Any]:
        # compute_feature_pairs holds the model, which is not pickled.
        return {**vars(self), "compute_feature_pairs": None}

    def __str__(self) -> str:
        return summarize(self)
