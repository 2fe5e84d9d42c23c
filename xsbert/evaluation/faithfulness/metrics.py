"""Agreement of numbers for words and pairs of words with the effects of deletion on the similarity."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..._utils.arrays import pearson, spearman
from ...attribution.pair_result import PairResult
from ...text.units import TEXT
from ..methods.occlusion import single_edits
from ..perturbation import EditedText, Perturber

__all__ = ["Effects", "correlation", "curve_edits", "curves_of", "deletion_effects", "found_strongest", "word_numbers"]


@dataclass(frozen=True)
class Effects:
    """Effects of one operator on one pair of texts with N and M units."""

    pairs: np.ndarray
    """(N, M) c(a,b) − c(a∖s,b) − c(a,b∖t) + c(a∖s,b∖t)."""
    words_a: np.ndarray
    """(N,) c(a,b) − c(a∖s,b)."""
    words_b: np.ndarray
    """(M,) c(a,b) − c(a,b∖t)."""


def deletion_effects(perturber: Perturber, text_a: str, text_b: str, operator: str) -> Effects:
    """Returns the effects of an operator on one pair. Embeddings have norm one for the cosine."""
    sides = []
    for text in (text_a, text_b):
        whole, *without = perturber.embeddings(single_edits(perturber, text, operator))
        sides.append((whole, whole - np.stack(without)))
    (whole_a, lost_a), (whole_b, lost_b) = sides
    return Effects(lost_a @ lost_b.T, lost_a @ whole_b, lost_b @ whole_a)


def word_numbers(result: PairResult, main_effects: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N,) and (M,) numbers of single units: sums of rows and columns, with or without main effects."""
    found = []
    for axis, side, effects in ((1, result.a, result.main_effects_a), (0, result.b, result.main_effects_b)):
        numbers = result.matrix.sum(axis) + (effects if main_effects else 0)
        found.append(numbers[[role == TEXT for role in side.roles]])
    return found[0], found[1]


def correlation(numbers: np.ndarray, effects: np.ndarray, ranks: bool = False) -> float:
    """Returns the Pearson or, with ranks, the Spearman correlation.

    It is zero if all numbers are equal, and NaN if all effects are equal.
    """
    numbers, effects = np.ravel(numbers), np.ravel(effects)
    if len(effects) < 2 or np.ptp(effects) <= 1e-12 * max(np.abs(effects).max(), 1e-12):
        return float("nan")
    if np.ptp(numbers) <= 1e-12 * max(np.abs(numbers).max(), 1e-300):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return (spearman if ranks else pearson)(numbers, effects)


def found_strongest(cells: np.ndarray, effects: np.ndarray) -> float:
    """Returns 1 if the largest cell has the largest effect, up to rounding, and 0 otherwise.

    If several cells are largest, returns the fraction that has the largest effect. NaN if all effects are equal.
    """
    spread = 1e-4 * np.abs(effects).max()
    if np.ptp(effects) <= spread:
        return float("nan")
    return float((effects[cells == cells.max()] >= effects.max() - spread).mean())


def curve_edits(perturber: Perturber, text: str, numbers: np.ndarray) -> list[EditedText]:
    """Returns the text without its 1, 2, … N − 1 units of largest numbers. Ties are broken at random, by the text."""
    content = perturber.units_of(text).content
    drawn = np.random.default_rng(zlib.crc32(text.encode("utf-8", "surrogatepass"))).permutation(len(numbers))
    order = [content[place] for place in np.lexsort((drawn, -numbers))]
    return [EditedText(text, frozenset(order[:n])) for n in range(1, len(order))]


def curves_of(
    perturber: Perturber, pairs: Sequence[tuple[str, str]], numbers: Sequence[Sequence[np.ndarray]]
) -> np.ndarray:
    """Returns (n,) mean similarities while units are removed from one text, over both texts of each pair.

    NaN if both texts have one unit. A lower mean shows that important units were removed first.
    """
    edits = [
        [curve_edits(perturber, text, ranked) for text, ranked in zip(pair, sides, strict=True)]
        for pair, sides in zip(pairs, numbers, strict=True)
    ]
    perturber.embeddings([edit for sides in edits for side in sides for edit in side], "curves")
    found = []
    for pair, sides in zip(pairs, edits, strict=True):
        whole = perturber.embeddings([EditedText(text, frozenset()) for text in pair])
        means = [(perturber.embeddings(side) @ whole[1 - at]).mean() for at, side in enumerate(sides) if side]
        found.append(np.mean(means) if means else np.nan)
    return np.array(found)
