"""What the results of all methods for one pair of texts have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Self

from .._utils.cached_property import cached_property
from .._utils.deprecation import renamed_keywords
from ..factors.text_factors import Settings, TextFactors, check_combinable
from ..factors.vectors import Matched, Vectors
from ..view.effects import WordEffect, top_pairs, word_effects
from ..view.mixins import PageMixin, PlotMixin
from ..view.records import to_dict
from ..view.summary import labelled_pairs, summarize
from .alignment import Alignments, ContrastView, alignments, contrast_view
from .files import to_dataframe
from .scale import ZERO_EMBEDDING, length_of
from .similarity import LATE_SIMILARITIES, check_similarity

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PairResult", "check_pair"]


class PairResult(PageMixin, PlotMixin, ABC):
    """Explanation of one predicted similarity by any method: numbers for pairs of units and for single units.

    `Attribution` is that of integrated Jacobians, `xsbert.MethodAttribution` that of other methods. S and T are the
    numbers of units of text a and text b.
    """

    a: TextFactors
    b: TextFactors
    similarity: str
    settings: Settings
    if TYPE_CHECKING:
        matrix: Any
        main_effects_a: Any
        main_effects_b: Any
        baseline: Any

    @property
    @abstractmethod
    def kind(self) -> str:
        """A sentence for readers that says what the pairs sum to."""

    @property
    @abstractmethod
    def pulled_back(self) -> str | None:
        """The text with factors that are valid for this pair only, ``"a"`` or ``"b"``, or None."""

    @abstractmethod
    def words(self) -> Self:
        """Sum tokens to words."""

    @abstractmethod
    def over(
        self, a: str | Sequence[tuple[int, int]] | None = None, b: str | Sequence[tuple[int, int]] | None = None
    ) -> Self:
        """Sum tokens over character ranges."""

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

    @renamed_keywords(k="top_k", special="special_tokens")
    def top_pairs(
        self, top_k: int = 10, *, names: bool = False, special_tokens: bool = True
    ) -> list[tuple[int, int, float]] | list[tuple[str, str, float]]:
        """Return the pairs with the largest absolute attributions, largest first.

        Args:
            top_k: The number of pairs, at least 1.
            names: Return the units' display names instead of their positions.
            special_tokens: Include pairs with special tokens or prompts.

        Returns:
            Tuples (position in a, position in b, value), or (name in a, name in b, value).

        Raises:
            TypeError, ValueError: ``top_k`` is not an integer of at least 1.

        >>> [(out.tokens_a[s], out.tokens_b[t]) for s, t, value in out.top_pairs(1)]
        [('coffee', 'coffee')]
        """
        return (labelled_pairs if names else top_pairs)(self, top_k, special_tokens)

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

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table with one row for each of the S · T pairs of units.

        Returns:
            Columns ``position_a``, ``token_a``, ``word_a``, ``role_a``, the same for b, and ``value``. A word is None
            if the tokenizer has no words, and for a unit of several words.

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

    def __str__(self) -> str:
        return summarize(self)


def check_pair(a: TextFactors, b: TextFactors, similarity: str) -> None:
    """Check that two texts have a similarity and come from the same model.

    Raises:
        ValueError: The similarity is unknown, the texts do not go together, or an embedding is zero and the similarity
            is cosine.
    """
    check_similarity(similarity)
    check_combinable(a, b)
    for side in (a, b):
        _check_kind(side, similarity)
    if not length_of(a, similarity) * length_of(b, similarity) > 0:
        raise ValueError(ZERO_EMBEDDING)


def _check_kind(text: TextFactors, similarity: str) -> None:
    """Raise ValueError unless the similarity is one of the kind of model."""
    outputs = text.outputs
    if isinstance(outputs, (Vectors, Matched)):
        own = "meanmaxsim" if outputs.mean else "maxsim"
        if similarity != own:
            raise ValueError(f"similarity must be {own!r}, that of the model, got {similarity!r}")
    elif similarity in LATE_SIMILARITIES and text.known_residual is None:
        # Rows of a corpus hold the products of the vectors of a pair.
        raise ValueError(f"similarity={similarity!r} is one of late-interaction models, which these factors are not of")
