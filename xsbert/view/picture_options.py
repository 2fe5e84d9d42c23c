"""Options that several pictures share. Plots receive them as two objects, checked once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._utils.validation import is_real

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BOTTOM", "RIGHT", "Cells", "Frame", "check_flag", "check_title"]

RIGHT, BOTTOM = "right", "bottom"
SMALLEST_FONT, LARGEST_FONT = 4.0, 40.0


def check_flag(value: Any, name: str) -> None:
    # numpy's bool is no bool.
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def check_title(title: Any, name: str = "title") -> None:
    if not isinstance(title, str):
        check_flag(title, name)


@dataclass(frozen=True)
class Cells:
    """What a matrix shows."""

    special_tokens: bool = True
    main_effects: bool = True
    values: bool | None = None
    limit: float | None = None

    def __post_init__(self) -> None:
        check_flag(self.special_tokens, "special_tokens")
        check_flag(self.main_effects, "main_effects")
        if self.values is not None:
            check_flag(self.values, "values")
        if self.limit is not None and (not is_real(self.limit) or not 0 < self.limit < math.inf):
            raise ValueError(f"limit must be None or a finite number above 0, got {self.limit!r}")


@dataclass(frozen=True)
class Frame:
    """What surrounds a drawing, and its size."""

    title: bool | str = True
    colorbar: bool | str = True
    figsize: float | tuple[float, float] | None = None
    fontsize: float | None = None
    ax: Axes | Sequence[Axes] | None = None

    def __post_init__(self) -> None:
        check_title(self.title)
        if isinstance(self.colorbar, str):
            if self.colorbar not in (RIGHT, BOTTOM):
                raise ValueError(f"colorbar must be True, False, 'right' or 'bottom', got {self.colorbar!r}")
        else:
            check_flag(self.colorbar, "colorbar")
        pair = isinstance(self.figsize, (tuple, list))
        sizes: Any = self.figsize if pair else () if self.figsize is None else (self.figsize,)
        if (pair and len(sizes) != 2) or not all(is_real(size) and 0 < size < math.inf for size in sizes):
            raise ValueError(
                f"figsize must be None, a width in inches, or (width, height) in inches, above 0, got {self.figsize!r}"
            )
        if self.fontsize is not None and not (
            is_real(self.fontsize) and SMALLEST_FONT <= self.fontsize <= LARGEST_FONT
        ):
            raise ValueError(
                f"fontsize must be None or points from {SMALLEST_FONT:g} to {LARGEST_FONT:g}, got {self.fontsize!r}"
            )
        if self.figsize is not None and self.ax is not None:
            raise ValueError("figsize is the size of a new figure and cannot be given with ax, which has a figure")

    @property
    def width(self) -> float | None:
        """The requested width in inches."""
        return self.figsize[0] if isinstance(self.figsize, (tuple, list)) else self.figsize

    @property
    def height(self) -> float | None:
        """The requested height in inches; None if it follows from the content."""
        return self.figsize[1] if isinstance(self.figsize, (tuple, list)) else None
