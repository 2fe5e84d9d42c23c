"""Checks of the arguments of plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ...text.units import SPECIAL
from ..protocols import TextView

__all__ = ["axes_of", "check_result", "check_same_pair", "check_similarity"]


def check_result(result: Any, name: str = "result") -> Any:
    wanted = ("a", "b", "matrix", "main_effects_a", "main_effects_b", "score", "error", "parts")
    if not all(hasattr(result, attribute) for attribute in wanted):
        raise TypeError(f"{name} must be an Attribution, as attribute_prediction returns it, got {result!r:.80}")
    shape = (len(result.a.tokens), len(result.b.tokens))
    if np.shape(result.matrix) != shape or 0 in shape:
        raise ValueError(f"{name}.matrix must be of shape (S, T) = {shape}, got {np.shape(result.matrix)}")
    for attribute in ("matrix", "main_effects_a", "main_effects_b", "score"):
        if not np.isfinite(getattr(result, attribute)).all():
            raise ValueError(f"{name}.{attribute} must hold finite numbers, got {getattr(result, attribute)!r:.200}")
    return result


def check_similarity(results: Mapping[str, Any]) -> None:
    (first_name, first), *others = results.items()
    for name, other in others:
        if other.similarity != first.similarity:
            raise ValueError(
                f"{first_name} is of {first.similarity} and {name} of {other.similarity} similarity: "
                "their attributions are not on one scale"
            )


def check_same_pair(results: Mapping[str, Any]) -> None:
    check_similarity(results)
    (first_name, first), *others = results.items()
    for name, other in others:
        for side in ("a", "b"):
            _check_same_units(getattr(first, side), getattr(other, side), side, first_name, name)


def _check_same_units(first: TextView, other: TextView, side: str, first_name: str, name: str) -> None:
    where = f"{first_name} and {name} differ in text {side}"
    advice = "the same pair is needed, in the same units; words() gives texts of different tokenizers the same units"
    if len(first.tokens) != len(other.tokens):
        raise ValueError(f"{where}: {len(first.tokens)} units against {len(other.tokens)}; {advice}")
    units = zip(first.tokens, first.roles, other.tokens, other.roles, strict=True)
    for position, (token, role, other_token, other_role) in enumerate(units):
        if role != other_role or (token != other_token and role != SPECIAL):
            raise ValueError(f"{where}: unit {position} is {token!r} against {other_token!r}; {advice}")


def axes_of(ax: Any) -> Axes:
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes or None, got {type(ax).__name__}")
    return ax
