"""A mean with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from ..._utils.validation import finite_or_none

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A mean over pairs of texts with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    n: int
    """Number of pairs of texts for which it is defined."""

    @property
    def is_zero(self) -> bool:
        """Whether the interval contains zero or is undefined."""
        return not (self.low > 0 or self.high < 0)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def short(self) -> str:
        """Return the value and half of the interval's width, if it has one."""
        half = (self.high - self.low) / 2
        return f"{self.value:.3f}" + (f" ±{half:.2f}" if isfinite(half) else "")

    def as_list(self) -> list[float | None]:
        """Return value, lower and upper end, rounded, and the number of pairs, as JSON can hold them."""
        numbers = [finite_or_none(each) for each in (self.value, self.low, self.high)]
        return [None if each is None else round(each, 4) for each in numbers] + [self.n]
