"""Coefficients of correlation as plain numbers."""

from __future__ import annotations

from typing import Any, cast

from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["pearson", "spearman"]


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
