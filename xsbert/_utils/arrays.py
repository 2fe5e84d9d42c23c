"""Small numeric helpers: rank correlation and the largest entries of an array."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["largest_entries", "pearson", "spearman"]


def pearson(one: ArrayLike, other: ArrayLike) -> float:
    """Returns Pearson's correlation of n numbers with n others, between −1 and 1.

    It is NaN if either are all equal; scipy warns of this.

    >>> round(pearson([1, 2, 3], [2, 4, 6]), 6)
    1.0
    """
    return float(cast(Any, stats.pearsonr(one, other)).statistic)


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Returns Spearman's rank correlation of n numbers with n others, between −1 and 1.

    It is NaN if either are all equal; scipy warns of this.

    >>> round(spearman([1, 2, 3], [1, 10, 100]), 6)
    1.0
    """
    return float(cast(Any, stats.spearmanr(one, other)).statistic)


def largest_entries(matrix: np.ndarray, k: int) -> list[tuple[int, int]]:
    """Returns the indices of the k entries of largest absolute value, in descending order. Ties keep matrix order.

    The time is linear in the size of the matrix; only k entries are sorted.

    Args:
        matrix: (S, T) numbers.
        k: at least 0; for a smaller matrix all indices are returned.

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
    # A partition selects arbitrarily among equal entries.
    chosen = np.concatenate([above, np.flatnonzero(sizes == least)[: k - len(above)]])
    chosen = chosen[np.lexsort((chosen, -sizes[chosen]))]
    rows, columns = np.unravel_index(chosen, np.shape(matrix))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
