"""Small numeric helpers: rank correlation and the largest entries of an array."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["largest_entries", "pearson", "spearman"]


def pearson(one: ArrayLike, other: ArrayLike) -> float:
    """Pearson's correlation of n numbers with n others, between −1 and 1.

    NaN where either are all alike, of which scipy warns.

    >>> round(pearson([1, 2, 3], [2, 4, 6]), 6)
    1.0
    """
    return float(cast(Any, stats.pearsonr(one, other)).statistic)


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's rank correlation of n numbers with n others, between −1 and 1.

    NaN where either are all alike, of which scipy warns.

    >>> round(spearman([1, 2, 3], [1, 10, 100]), 6)
    1.0
    """
    return float(cast(Any, stats.spearmanr(one, other)).statistic)


def largest_entries(matrix: np.ndarray, k: int) -> list[tuple[int, int]]:
    """The places of the k entries that are largest by absolute value, largest first; equal ones in order of place.

    It takes time in proportion to the size of the matrix, and sorts k entries alone.

    Args:
        matrix: (S, T) numbers.
        k: at least 0; of a smaller matrix all places come.

    Returns:
        min(k, S · T) pairs (row, column).

    >>> largest_entries(np.array([[0.1, -0.9], [0.5, 0.1]]), 2)
    [(0, 1), (1, 0)]
    """
    sizes = np.abs(np.asarray(matrix)).ravel()
    k = min(k, sizes.size)
    if k == 0:
        return []
    least = np.partition(sizes, sizes.size - k)[sizes.size - k]
    above = np.flatnonzero(sizes > least)
    # A partition leaves it open which of several equal ones it takes.
    chosen = np.concatenate([above, np.flatnonzero(sizes == least)[: k - len(above)]])
    chosen = chosen[np.lexsort((chosen, -sizes[chosen]))]
    rows, columns = np.unravel_index(chosen, np.shape(matrix))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
