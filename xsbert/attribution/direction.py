"""Attributions of the component of an embedding along a direction.

With u the direction, ρ = e(r) the reference term, and c the divisor of the inner product,

    score = Σ_s V[s]·u/c + ρ·u/c + b = contributions + baseline + bias

for every model, up to the integration error. If the direction comes from texts, it has itself a part u_ρ that is there
without their words. The score then has the same four parts as that of a pair:

    Σ_s V[s]·(u − u_ρ)/c + Σ_s V[s]·u_ρ/c + ρ·(u − u_ρ)/c + ρ·u_ρ/c
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from .._utils.atomic_files import write_text
from .._utils.cached_property import cached_property
from .._utils.validation import checked_integer
from ..factors.contributions import Contributions, contributions_of
from ..factors.text_factors import Settings, TextFactors, settings_of
from ..text.units import TEXT
from ..view.direction import fragment, page, plot_direction, summarize_direction
from ..view.picture_options import Frame
from .scale import ZERO_EMBEDDING, length_of
from .similarity import check_similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DirectionAttribution", "checked_direction"]


@dataclass(frozen=True, eq=False, repr=False)
class DirectionAttribution:
    """Explanation of one text's score along a direction of the embedding.

    >>> query = model.encode("weather")
    >>> along = model.explain_direction("A cold day.", query, name="weather")
    >>> round(along.score, 2) == round(float(model.similarity(query, model.encode("A cold day."))), 2)
    True
    """

    side: TextFactors = field(repr=False)
    """The factors of the text along the direction, in U units."""
    direction: np.ndarray = field(repr=False)
    """(E,) u."""
    similarity: str
    """``"cosine"`` or ``"dot"``."""
    name: str = "direction"
    """Display name of the direction."""
    bias: float = 0.0
    """b, added to the inner product, such as the intercept of a classifier."""
    direction_reference: np.ndarray | None = field(default=None, repr=False)
    """(E,) u_ρ. None if unknown, as for a stored vector."""

    def __post_init__(self) -> None:
        check_similarity(self.similarity)
        if not self.scale > 0:
            raise ValueError(ZERO_EMBEDDING)

    @property
    def settings(self) -> Settings:
        """How the factors were computed."""
        return settings_of(self.side)

    @cached_property
    def scale(self) -> float:
        """The divisor c: for the cosine ‖e‖‖u‖; for the dot product the divisor of the embedding."""
        length = length_of(self.side, self.similarity)
        return length * float(np.linalg.norm(self.direction)) if self.similarity == "cosine" else length

    @cached_property
    def score(self) -> float:
        """e·u/c + b."""
        return float(self.side.embedding @ self.direction) / self.scale + self.bias

    @cached_property
    def contributions(self) -> Contributions:
        """(U,) contributions V[s]·u/c of the units, with the baseline."""
        return contributions_of(self.side, self.direction, self.scale)

    @property
    def values(self) -> np.ndarray:
        """(U,) the values of `contributions`."""
        return self.contributions.values

    @property
    def baseline(self) -> float:
        """ρ·u/c, the contribution of the text's reference."""
        return self.contributions.baseline

    @property
    def parts(self) -> dict[str, float]:
        """The parts of the score, which sum to it up to `error`.

        Contributions and baseline, or the four parts of a pair where ``direction_reference`` is known, and the bias
        unless it is zero.

        >>> along = model.explain_direction("A cold day.", model.encode("weather"))
        >>> list(along.parts), abs(sum(along.parts.values()) - along.score) == along.error
        (['contributions', 'baseline'], True)
        """
        bias = {"bias": self.bias} if self.bias else {}
        if self.direction_reference is None:
            return {"contributions": float(self.values.sum()), "baseline": self.baseline, **bias}
        constant = contributions_of(self.side, self.direction_reference, self.scale)
        main = float(constant.values.sum())
        return {
            "interactions": float(self.values.sum()) - main,
            "main effects of the text": main,
            "main effects of the direction": self.baseline - constant.baseline,
            "baseline": constant.baseline,
            **bias,
        }

    @property
    def error(self) -> float:
        """The absolute difference between the score and the sum of its parts."""
        return abs(self.score - sum(self.parts.values()))

    @property
    def residual(self) -> float:
        """Relative completeness residual of the text."""
        return self.side.residual

    def words(self) -> DirectionAttribution:
        """Sum tokens to words."""
        return replace(self, side=self.side.words())

    def over(self, ranges: str | Sequence[tuple[int, int]]) -> DirectionAttribution:
        """Sum tokens over character ranges, ``"words"`` or ``"sentences"``; see `Attribution.over`."""
        return replace(self, side=self.side.over(ranges))

    def top(self, k: int = 10, *, special: bool = False) -> list[tuple[str, float]]:
        """Return the k units with the largest absolute contributions, largest first.

        Args:
            k: The number of units, at least 1.
            special: Include special tokens and prompts.

        >>> model.explain_direction("A cold day.", model.encode("weather")).top(1)[0][0]
        'cold'
        """
        k = checked_integer(k, "k", least=1)
        shown = [
            (unit, float(value))
            for unit, value, role in zip(self.side.tokens, self.values, self.side.roles, strict=True)
            if special or role == TEXT
        ]
        return sorted(shown, key=lambda pair: -abs(pair[1]))[:k]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers in full precision, as a dictionary that JSON can hold, without the direction itself."""
        return {
            "name": self.name,
            "similarity": self.similarity,
            "score": self.score,
            "parts": self.parts,
            "error": self.error,
            "residual": self.residual,
            "factor_error": self.side.factor_error,
            "prompt": self.side.prompt,
            **self.contributions.to_dict(),
            "settings": vars(self.settings).copy(),
        }

    def plot(
        self,
        *,
        special_tokens: bool = True,
        title: bool | str = True,
        colorbar: bool = True,
        figsize: float | tuple[float, float] | None = None,
        fontsize: float | None = None,
        ax: Axes | None = None,
    ) -> tuple[Figure, Axes]:
        """Draw the text with its words shaded by their contributions.

        Args:
            special_tokens, title, colorbar, figsize, fontsize, ax: As for `xsbert.utils.highlight`.

        >>> fig, ax = model.explain_direction("A cold day.", model.encode("weather")).plot()
        """
        return plot_direction(self, special_tokens, Frame(title, colorbar, figsize, fontsize, ax))

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """Return an HTML page with the shaded text, the parts of the score, and a table of the contributions.

        Args:
            path: Also write the page to this file, atomically and in UTF-8.

        Raises:
            ValueError: A number is not finite.

        >>> model.explain_direction("A cold day.", model.encode("weather")).to_html().startswith("<!doctype html>")
        True
        """
        text = page(self)
        if path is not None:
            write_text(path, text)
        return text

    def _repr_html_(self) -> str:
        return fragment(self)

    def __repr__(self) -> str:
        score = f"{self.similarity} {self.score:.4f} along {self.name!r}"
        return f"<{type(self).__name__}: {score}, {len(self.values)} units, error {self.error:.1e}>"

    def __str__(self) -> str:
        return summarize_direction(self)


def checked_direction(direction: Any, name: str = "direction", n_dimensions: int | None = None) -> np.ndarray:
    """Return a direction as a float64 array.

    Args:
        direction: (E,) numbers: an array, a tensor or a list.
        name: Name of the argument, for messages.
        n_dimensions: E; None does not check it.

    Raises:
        TypeError: It does not hold numbers.
        ValueError: It is not a vector, has another width, is zero, or holds numbers that are not finite.
    """
    if hasattr(direction, "detach"):
        direction = direction.detach().cpu().double()
    try:
        found = np.asarray(direction, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a vector of numbers, got {direction!r:.80}") from error
    if found.ndim != 1:
        raise ValueError(f"{name} must be a vector of the shape (E,), got the shape {found.shape}")
    if n_dimensions is not None and len(found) != n_dimensions:
        raise ValueError(f"{name} must have the embedding's {n_dimensions} dimensions, got {len(found)}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must hold finite numbers, got {int((~np.isfinite(found)).sum())} that are not")
    if not found.any():
        raise ValueError(f"{name} must not be zero: no embedding has a component along it")
    return found
