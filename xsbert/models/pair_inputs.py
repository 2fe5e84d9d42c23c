"""Inputs of the two sides of a pair: texts, prompts and tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..attribution.attribution import Attribution
from ..attribution.scale import check_scalable
from ..engine import Explainer
from ..engine.failures import skip_or_raise
from ..engine.pairing import factors_for_pairs, usable_in_pairs
from ..engine.tokenization import Prompt
from ..factors.text_factors import TextFactors

__all__ = ["Sides", "both_sides", "combined", "sides_of"]

Sides = str | tuple[str | None, str | None] | None
"""One value for both texts, or a pair of values."""


def sides_of(explainer: Explainer, prompt: Sides, prompt_name: Sides, task: Sides) -> tuple[Prompt, Prompt]:
    """Return the prompts of the two sides."""
    given = zip(_pair(prompt, "prompt"), _pair(prompt_name, "prompt_name"), _pair(task, "task"), strict=True)
    a, b = (explainer.prompt(*side) for side in given)
    return a, b


def both_sides(
    explainer: Explainer,
    texts: tuple[Iterable[str], Iterable[str]],
    prompts: tuple[Prompt, Prompt],
    names: tuple[str, str],
    similarity: str,
    units: str,
    errors: str,
    pairs: Sequence[tuple[int, int]] | None = None,
) -> tuple[list[TextFactors | None], list[TextFactors | None]]:
    """Compute the factors of two lists of texts by `factors_for_pairs`, with None for skipped texts.

    ``pairs`` are positions in the concatenation of both lists. None combines each text of one with each of the other.
    """
    tokenized = [
        explainer.tokenized_all(side, prompt, name=name, errors=errors)
        for side, prompt, name in zip(texts, prompts, names, strict=True)
    ]
    split = len(tokenized[0])
    among = split if pairs is None else pairs
    found = factors_for_pairs(explainer, [*tokenized[0], *tokenized[1]], among, units=units, errors=errors)
    places = [name.format(place) for name, side in zip(names, tokenized, strict=True) for place in range(len(side))]
    for at, (each, name) in enumerate(zip(found, places, strict=True)):
        try:
            if each is not None:
                check_scalable(each, similarity)
        except ValueError as error:
            skip_or_raise(error, errors, name)
            found[at] = None
    return found[:split], found[split:]


def combined(a: TextFactors, b: TextFactors, similarity: str, units: str) -> Attribution:
    """Combine the factors of two texts, in ``"tokens"``, ``"words"`` or ``"sentences"``."""
    return Attribution.of(usable_in_pairs(a, units), usable_in_pairs(b, units), similarity)


def _pair(value: Any, name: str) -> tuple[str | None, str | None]:
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2 or any(not isinstance(item, (str, type(None))) for item in pair):
        raise TypeError(f"{name} must be a string, None, or a pair of these, got {value!r}")
    return pair
