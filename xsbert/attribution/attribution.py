"""The result: which pairs of tokens made the score, and what the pairs leave out.

With c the product of both norms (cosine) or one (dot product), and ρ = e(r) the reference terms,

    score = Σ_st V_a[s]·V_b[t]/c + Σ_s V_a[s]·ρ_b/c + Σ_t ρ_a·V_b[t]/c + ρ_a·ρ_b/c
          = interactions + main effects of a + main effects of b + baseline

for every model, up to the integration error. A shifted model has ρ = 0: its interactions are the score
(Moeller et al., EMNLP 2023, eq. 6); those of other models are the approximate attributions of EACL 2024.
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
from ..factors.text_factors import ProjectedFactors, Settings, TextFactors, check_combinable, settings_of
from ..view.effects import WordEffect, top_pairs, word_effects
from ..view.mixins import PageMixin, PlotMixin
from ..view.records import to_dict
from ..view.summary import account, spell
from .alignment import Alignments, ContrastView, alignments, contrast_view
from .files import check_result, read_result, save_result, to_dataframe
from .scale import ZERO_EMBEDDING, length_of
from .similarity import check_similarity, similarity_hint

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Attribution", "ProjectedFactors", "Settings", "TextFactors", "check_combinable", "similarity_hint"]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(PageMixin, PlotMixin):
    """Explanation of one predicted similarity. S and T count the units of text a and text b.

    The numbers come first, other units of the same result next, then the ways to read, keep and show it.

    >>> out.similarity, round(out.score, 2), out.matrix.shape
    ('cosine', 0.79, (7, 9))
    """

    a: TextFactors
    b: TextFactors
    similarity: str
    """``"cosine"`` or ``"dot"``."""
    settings: Settings
    given_arrays: ClassVar[Mapping[str, int]] = {}
    """Arrays that a subclass keeps beside the factors, with their numbers of axes."""
    given_entries: ClassVar[Mapping[str, Any]] = {}
    """Other fields that a subclass keeps, with their types."""
    compute_feature_pairs: Callable[[], np.ndarray] | None = None
    """Computes (S, H, T, H) on request; None where the units are not tokens."""

    @classmethod
    def of(cls, a: TextFactors, b: TextFactors, similarity: str, **fields: Any) -> Attribution:
        """Combine the factors of two texts.

        Args:
            a, b: from the same model, layer and reference.
            similarity: ``"cosine"`` or ``"dot"``.

        Raises:
            ValueError: the factors do not belong together, or a cosine is asked for of a zero embedding.

        >>> a, b = model.text_factors(["A cold day.", "The weather is freezing."])
        >>> out = Attribution.of(a, b, "cosine")
        >>> bool(np.isclose(out.score, model.similarity(*model.encode([a.text, b.text])).item(), atol=1e-6))
        True
        """
        check_similarity(similarity)
        check_combinable(a, b)
        names = ("n_steps", "n_looks", "n_float64")
        counts = {name: max(getattr(a.settings, name), getattr(b.settings, name)) for name in names}
        result = cls(a, b, similarity, replace(settings_of(a), **counts), **fields)
        if not result.scale > 0:
            raise ValueError(ZERO_EMBEDDING)
        return result

    @property
    def pulled_back(self) -> str | None:
        """Which text's factors were computed along those of the other alone, by reverse mode: ``"a"``, ``"b"``, or None
        where both were computed for themselves."""
        # Rows of a corpus have the residuals of both.
        sides = [name for name in "ab" if getattr(self, name).known_residual is not None]
        return sides[0] if len(sides) == 1 else None

    @property
    def tokens_a(self) -> list[str]:
        """(S,) the units of text a."""
        return list(self.a.tokens)

    @property
    def tokens_b(self) -> list[str]:
        """(T,) the units of text b."""
        return list(self.b.tokens)

    @cached_property
    def scale(self) -> float:
        """c: what the inner products are divided by."""
        return length_of(self.a, self.similarity) * length_of(self.b, self.similarity)

    @cached_property
    def score(self) -> float:
        """The model's similarity of the two texts; see `score_unshifted` for a model that a shift was added to."""
        return float(self.a.embedding @ self.b.embedding / self.scale)

    @cached_property
    def score_unshifted(self) -> float | None:
        """The model's own similarity, where a shift was added to it and `score` is that of the shifted model.

        None where `score` is the model's own: it is not shifted, or was trained or saved with the shift.
        """
        a, b = self.a.embedding_unshifted, self.b.embedding_unshifted
        if a is None or b is None:
            return None
        scale = np.linalg.norm(a) * np.linalg.norm(b) if self.similarity == "cosine" else 1.0
        return float(a @ b / scale)

    @cached_property
    def matrix(self) -> np.ndarray:
        """(S, T) attributions to pairs of units: V_a V_bᵀ / c."""
        return self.a.factors @ self.b.factors.T / self.scale

    @cached_property
    def main_effects_a(self) -> np.ndarray:
        """(S,) what the units of a add against the reference of b; zero for a shifted model."""
        return self.a.factors @ self.b.reference_term / self.scale

    @cached_property
    def main_effects_b(self) -> np.ndarray:
        """(T,) what the units of b add against the reference of a; zero for a shifted model."""
        return self.b.factors @ self.a.reference_term / self.scale

    @cached_property
    def baseline(self) -> float:
        """What the two references share, ρ_a·ρ_b/c; zero for a shifted model."""
        return float(self.a.reference_term @ self.b.reference_term / self.scale)

    @property
    def parts(self) -> dict[str, float]:
        """The four parts, whose sum is the score up to `error`.

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
        """What the pairs sum to, for readers."""
        approximate = "approximate attributions: pairs sum to the interactions alone"
        return "exact attributions" if self.settings.shift else approximate

    @property
    def error(self) -> float:
        """The distance between the score and the sum of the four parts."""
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
        """Upper estimate of the relative error of the factors of text a; its residual is that of their sum."""
        return self.a.factor_error

    @property
    def factor_error_b(self) -> float | None:
        """The same of text b."""
        return self.b.factor_error

    def words(self) -> Attribution:
        """The same result with words for units. Every sum is kept; special tokens stay apart.

        Raises:
            ValueError: the tokenizer has no word ids, or the units are words already.

        >>> out.words().tokens_a
        ['[CLS]', 'The', 'coffee', 'is', 'bad', '.', '[SEP]']
        """
        return replace(self, a=self.a.words(), b=self.b.words(), compute_feature_pairs=None)

    def over(
        self,
        a: str | Sequence[tuple[int, int]] | None = None,
        b: str | Sequence[tuple[int, int]] | None = None,
    ) -> Attribution:
        """The same result with stretches of text for units: phrases, sentences. Every sum is kept.

        A token belongs to the range that holds at least half of its visible characters. What no range holds is one
        unit, ``"(rest)"``, a prompt is one, and special tokens stay apart.

        Args:
            a: character ranges [start, end) into the text that was passed to `attribute_prediction`, its prompt
                not counted, in any order; or ``"sentences"``, split as `sentence_ranges` does; or ``"words"``;
                None leaves the units as they are.
            b: the same for text b.

        Raises:
            TypeError: a range is not a pair of integers.
            ValueError: ranges overlap, leave the text or hold no token; or the tokenizer has no offsets.

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
        """`over`, up to version 0.1.0."""
        return self.over(a, b)

    def feature_pairs(self) -> np.ndarray:
        """Attributions to pairs of features, (S, H, T, H), computed anew by reverse mode.

        Summed over both feature axes they are `matrix`. They are float64 for a float64
        model and float32 for others; for 20 × 25 tokens and H = 768 the array then takes 1.2 GB.

        Raises:
            ValueError: the units are words, or the result was not computed in this process.
            RuntimeError: the model has changed since, so that the pairs no longer sum to `matrix`.

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
        """The k pairs of largest absolute attribution, the largest first.

        Args:
            k: at least 1.
            names: give the units by their names, spelled for readers, and not by their positions.
            special: let pairs with special tokens or prompts be among them.

        Returns:
            (position in a, position in b, value), or (name in a, name in b, value).

        Raises:
            TypeError: ``k`` is not an integer.
            ValueError: ``k`` is below 1.

        >>> [(out.tokens_a[s], out.tokens_b[t]) for s, t, value in out.top_pairs(1)]
        [('coffee', 'coffee')]
        """
        return spell(self, k, special) if names else top_pairs(self, k, special)

    def word_effects(self) -> tuple[list[WordEffect], list[WordEffect]]:
        """What each word adds to the score: its interactions with the whole other text, and its main effect.

        By these numbers words are ranked and shaded in all views. For a word of text a it is V_a·f(b)/c up to the
        integration error; the effects of a sum to interactions and main effects of a. Each interaction is counted in
        either text, so the effects of both texts do not sum to the score.

        Returns:
            the words of a, and those of b, in the order of the texts: each with ``word``, ``value``, ``role`` and
            ``span``. Tokens, where the tokenizer has no word ids.

        >>> of_a, of_b = out.word_effects()
        >>> max(of_a, key=lambda effect: effect.value)[0]
        'coffee'
        """
        return word_effects(self)

    def to_dict(self) -> dict[str, Any]:
        """All numbers of the result, in full, as strings, numbers, lists and dictionaries that JSON can hold.

        Returns:
            texts, ``score``, ``parts``, errors, of either text ``tokens_a``, ``roles_a``, ``spans_a``,
            ``main_effects_a`` and ``effects_a`` (the rows of `matrix`, summed, plus main effects), ``matrix`` as S
            lists of T numbers, and ``settings``.

        >>> import json
        >>> round(json.loads(json.dumps(out.to_dict()))["score"], 2)
        0.79
        """
        return to_dict(self)

    def alignments(self, method: str = "mutual", *, threshold: float = 0.0, contrast: bool = False) -> Alignments:
        """Choose which units go together; see `xsbert.attribution.alignment.alignments`. Choices are no attributions.

        >>> bool(out.words().alignments().links[0].value == out.words().matrix.max())
        True
        """
        return alignments(self, method, threshold=threshold, contrast=contrast)

    def contrast_view(self) -> ContrastView:
        """What stands out beyond the general level of its row and column, for reading; see
        `xsbert.attribution.alignment`.

        >>> out.words().contrast_view().tokens_a
        ('The', 'coffee', 'is', 'bad', '.')
        """
        return contrast_view(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the result to one file (safetensors), all of it or nothing; an existing file is replaced.

        Raises:
            ValueError: the result holds numbers that are not finite.
            OSError: the file cannot be written.

        >>> path = folder / "result.safetensors"
        >>> out.save(path)
        >>> Attribution.load(path).score == out.score
        True
        """
        save_result(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a result that `save` wrote. It equals the saved one, but `feature_pairs` need the model.

        Raises:
            OSError: there is no such file, or it cannot be read.
            ValueError: the file is damaged, is no saved result, or was written in a newer format.

        >>> out.save(folder / "another.safetensors")
        >>> bool((Attribution.load(folder / "another.safetensors").matrix == out.matrix).all())
        True
        """
        with reading(path, "saved result"):
            result = cls(**read_result(path, cls.__name__, cls.given_arrays, cls.given_entries))
            check_result(result)
        return result

    def to_dataframe(self) -> pd.DataFrame:
        """A table with one row for each of the S · T pairs of units.

        Returns:
            ``position_a``, ``token_a``, ``word_a``, ``role_a``, the same of b, and ``value``. A word is None where
            the tokenizer has no words, or the units are no tokens any more.

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
        # What computes feature pairs holds the model, which stays in this process.
        return {**vars(self), "compute_feature_pairs": None}

    def __str__(self) -> str:
        return account(self)
