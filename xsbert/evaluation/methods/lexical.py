"""Methods that do not use the model: equal words, and random numbers."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from ...models.comparing import ComparingModel
from ...text.units import TEXT
from .common import MethodOptions, Pairs, of_values, sides

__all__ = ["lexical", "random"]


def lexical(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list:
    """One for units that are equal strings up to case, zero otherwise."""

    def values(a: list[str], b: list[str], _seed: int) -> np.ndarray:
        return np.array([[float(one.casefold() == other.casefold()) for other in b] for one in a])

    return _of_labels(model, pairs, options, "lexical", values, "all but the identity of words; it asks no model")


def random(model: ComparingModel, pairs: Pairs, options: MethodOptions) -> list:
    """Normal random numbers, determined by the seed and the texts."""

    def values(a: list[str], b: list[str], seed: int) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal((len(a), len(b)))

    return _of_labels(model, pairs, options, "random", values, "everything; a control")


def _of_labels(
    model: ComparingModel,
    pairs: Pairs,
    options: MethodOptions,
    name: str,
    values: Callable[[list[str], list[str], int], np.ndarray],
    left_out: str,
) -> list:
    layouts = options.layouts(model, sides(pairs))
    results = []
    for text_a, text_b in pairs:
        a, b = layouts[text_a], layouts[text_b]
        if options.units != "tokens":
            a, b = a.over(options.units), b.over(options.units)
        rows, columns = (np.array([role == TEXT for role in side.roles]) for side in (a, b))
        seed = zlib.crc32(f"{options.seed}\0{text_a}\0{text_b}".encode())
        found = values(list(a.tokens), list(b.tokens), seed)
        results.append(of_values(a, b, options, name, np.where(np.outer(rows, columns), found, 0), left_out))
    return results
