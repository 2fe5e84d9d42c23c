"""The straight path from a reference to a text, with the rest of the model along it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["TextPath", "check_finite"]


@dataclass(frozen=True)
class TextPath:
    """A straight line from the reference to a text at some layer, and the rest of the model along it."""

    f: Callable[[Tensor], Tensor]
    x: Tensor
    """(S, H)"""
    r: Tensor
    """(S, H)"""
    f_x: Tensor
    """(E,)"""
    f_r: Tensor
    """(E,)"""
    in_float64: Callable[[], TextPath] | None = None
    """Makes the same path in float64; None where that would not be finer, or the device has no float64."""
    precise: Callable[[Tensor], Tensor] | None = None
    """f with derivatives in the model's own precision, where those of ``f`` have less: what nodes are placed by, lest
    rounding be taken for the path."""


def check_finite(values: Tensor, what: str) -> None:
    """Raise FloatingPointError unless all numbers are finite."""
    if not torch.isfinite(values).all():
        raise FloatingPointError(
            f"{what} holds numbers that are not finite; the model's weights or its dtype ({values.dtype}) may be "
            "the cause"
        )
