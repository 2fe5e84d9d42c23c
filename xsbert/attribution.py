"""The result: which pairs of tokens made the score, and what the pairs leave out.

With c the product of both norms (cosine) or one (dot product), and ρ = e(r) the reference terms,

    score = Σ_st V_a[s]·V_b[t]/c + Σ_s V_a[s]·ρ_b/c + Σ_t ρ_a·V_b[t]/c + ρ_a·ρ_b/c
          = interactions + main effects of a + main effects of b + baseline

for every model, up to the integration error. A shifted model has ρ = 0: its interactions are the score
(Moeller et al., EMNLP 2023, eq. 6); those of other models are the approximate attributions of EACL 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .alignment import Alignments, ContrastView, alignments, contrast_view
from .factors import ProjectedFactors, Settings, TextFactors, check_combinable
from .utils.terminal import columns
from .utils.tokens import TEXT

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Attribution", "ProjectedFactors", "Settings", "TextFactors", "check_combinable", "similarity_hint"]

# What others call these similarities.
OTHER_NAMES = {
    "cosine": ("cos", "cosine", "cos_sim", "cossim", "cosine_sim", "cosine_similarity", "pairwise_cos_sim"),
    "dot": ("dot", "dot_product", "dotproduct", "dot_score", "dot_similarity", "ip", "inner", "inner_product"),
}


def similarity_hint(given: Any) -> str:
    """What to say after a similarity that is not known by this name, or nothing."""
    normalised = str(given).strip().lower().replace("-", "_").replace(" ", "_")
    meant = [name for name, others in OTHER_NAMES.items() if normalised in others]
    return f"; did you mean {meant[0]!r}?" if meant else ""


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """Explanation of one predicted similarity. S and T count the units of text a and text b."""

    a: TextFactors
    b: TextFactors
    similarity: str
    """``"cosine"`` or ``"dot"``."""
    settings: Settings
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
        """
        if similarity not in ("cosine", "dot"):
            raise ValueError(f"similarity must be 'cosine' or 'dot', got {similarity!r}{similarity_hint(similarity)}")
        check_combinable(a, b)
        counts = {
            name: max(getattr(a.settings, name), getattr(b.settings, name))
            for name in ("n_steps", "n_looks", "n_float64")
        }
        result = cls(a, b, similarity, replace(a.settings, **counts), **fields)
        if not result.scale > 0:
            raise ValueError(
                "the cosine of a zero embedding is not defined: a text without words of its own equals its "
                "reference, and a shifted model embeds it to zero"
            )
        return result

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
        if self.similarity == "cosine":
            return float(np.linalg.norm(self.a.embedding) * np.linalg.norm(self.b.embedding))
        return self.a.normalisation * self.b.normalisation

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
        """The four parts, whose sum is the score up to `error`."""
        return {
            "interactions": float(self.matrix.sum()),
            "main effects a": float(self.main_effects_a.sum()),
            "main effects b": float(self.main_effects_b.sum()),
            "baseline": self.baseline,
        }

    @property
    def kind(self) -> str:
        """What the pairs sum to, for readers."""
        return (
            "exact attributions"
            if self.settings.shift
            else "approximate attributions: pairs sum to the interactions alone"
        )

    @property
    def error(self) -> float:
        """|score − sum of the four parts|."""
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
        """
        return replace(self, a=self.a.words(), b=self.b.words(), compute_feature_pairs=None)

    def spans(
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
        """
        if a is None and b is None:
            return self
        return replace(
            self,
            a=self.a if a is None else self.a.over(a),
            b=self.b if b is None else self.b.over(b),
            compute_feature_pairs=None,
        )

    def feature_pairs(self) -> np.ndarray:
        """Attributions to pairs of features, (S, H, T, H), computed anew by reverse mode.

        Summed over both feature axes they are `matrix`. They are float64 for a float64
        model and float32 for others; for 20 × 25 tokens and H = 768 the array then takes 1.2 GB.

        Raises:
            ValueError: the units are words, or the result was not computed in this process.
            RuntimeError: the model has changed since, so that the pairs no longer sum to `matrix`.
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

    def top_pairs(self, k: int = 10) -> list[tuple[int, int, float]]:
        """The k pairs of largest absolute attribution, as (position in a, position in b, value).

        Raises:
            ValueError: ``k`` is below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        order = np.argsort(-np.abs(self.matrix), axis=None, kind="stable")[:k]
        rows, columns = np.unravel_index(order, self.matrix.shape)
        return [(int(s), int(t), float(self.matrix[s, t])) for s, t in zip(rows, columns, strict=True)]

    def alignments(self, method: str = "mutual", *, threshold: float = 0.0, contrast: bool = False) -> Alignments:
        """Choose which units go together; see `xsbert.alignment.alignments`. Choices are no attributions."""
        return alignments(self, method, threshold=threshold, contrast=contrast)

    def contrast_view(self) -> ContrastView:
        """What stands out beyond the general level of its row and column, for reading; see `xsbert.alignment`."""
        return contrast_view(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the result to one file (safetensors), all of it or nothing; an existing file is replaced.

        Raises:
            ValueError: the result holds numbers that are not finite.
            OSError: the file cannot be written.
        """
        from .results import save_result

        save_result(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Attribution:
        """Read a result that `save` wrote. It equals the saved one, but `feature_pairs` need the model.

        Raises:
            OSError: there is no such file, or it cannot be read.
            ValueError: the file is damaged, is no saved result, or was written in a newer format.
        """
        from .results import load_result

        return load_result(path)

    def to_dataframe(self) -> pd.DataFrame:
        """A table with one row for each of the S · T pairs of units.

        Returns:
            ``position_a``, ``token_a``, ``word_a``, ``role_a``, the same of b, and ``value``. A word is None where
            the tokenizer has no words, or the units are no tokens any more.

        Raises:
            ImportError: pandas is not installed.
        """
        from .results import to_dataframe

        return to_dataframe(self)

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """An interactive page: both texts, whose words show their partners, and the matrix.

        One self-contained page that needs no network. Matrices are embedded as float32; score and
        parts are shown to four decimals, error and residuals to two digits.

        Args:
            path: also write the page to this file, in UTF-8.

        Returns:
            the page.

        Raises:
            ValueError: the matrix holds numbers that are not finite.
        """
        from .utils.html import page

        text = page(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def _repr_html_(self) -> str:
        from .utils.html import fragment

        return fragment(self)

    def __repr__(self) -> str:
        size = "{} × {} units".format(*self.matrix.shape)
        unshifted = "" if self.score_unshifted is None else f" ({self.score_unshifted:.4f} unshifted)"
        score = f"{self.similarity} similarity {self.score:.4f}{unshifted}"
        return f"<{type(self).__name__}: {score}, {size}, error {self.error:.1e}>"

    def __getstate__(self) -> dict[str, Any]:
        # What computes feature pairs holds the model, which stays in this process.
        return {**vars(self), "compute_feature_pairs": None}

    def __str__(self) -> str:
        how = self.settings
        lines = [
            f"{self.similarity} similarity {self.score:.4f}",
            *self._unshifted_lines(),
            f"  a  {_shorten(self.a.text)}{_cut(self.a)}",
            f"  b  {_shorten(self.b.text)}{_cut(self.b)}",
            f"  {how.model}, layer {how.layer} of {how.n_layers}, {how.described_nodes}"
            f"{f' ({how.n_float64} in float64)' if how.n_float64 else ''}"
            f"{'' if how.tolerance is None else f' for a tolerance of {how.tolerance:g}'}, "
            f"reference {how.described_reference}{', shifted' if how.shift else ''}, {how.precision}",
            "",
            f"  parts of the score ({self.kind})",
            *(f"    {name:<16}{value:>10.4f}" for name, value in self.parts.items()),
            f"    {'sum':<16}{sum(self.parts.values()):>10.4f}",
            f"    {'error':<16}{self.error:>10.1e}",
            f"    residuals: a {self.residual_a:.1e}, b {self.residual_b:.1e}",
            *self._factor_error_lines(),
            "",
            "  strongest pairs",
            *self._strongest_lines(),
        ]
        return "\n".join(lines)

    def _factor_error_lines(self) -> list[str]:
        if self.factor_error_a is None or self.factor_error_b is None:
            return []
        return [f"    factors' errors up to: a {self.factor_error_a:.1e}, b {self.factor_error_b:.1e}"]

    def _unshifted_lines(self) -> list[str]:
        if self.score_unshifted is None:
            return []
        return [f"  is that of the shifted model; the model's own, without the shift, is {self.score_unshifted:.4f}"]

    def _strongest_lines(self, k: int = 6) -> Sequence[str]:
        pairs = [
            (f"{self.a.tokens[s]} · {self.b.tokens[t]}", value)
            for s, t, value in self.top_pairs(self.matrix.size)
            if self.a.roles[s] == self.b.roles[t] == TEXT
        ][:k]
        width = max((columns(label) for label, _ in pairs), default=0)
        lines = [f"    {label}{' ' * (width - columns(label))}{value:>+10.4f}" for label, value in pairs]
        return lines or ["    none between words"]


def _shorten(text: str, width: int = 90) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _cut(text: TextFactors) -> str:
    return f"  [{text.n_cut} tokens cut off by the model's limit]" if text.n_cut else ""
