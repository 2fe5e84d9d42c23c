"""Subintervals of the path, each with a few Gauss-Legendre nodes, and the partition with fewest nodes in all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline, PchipInterpolator
from torch import Tensor

from .rules import Quadrature, gauss_legendre
from .settings import SEARCH

__all__ = ["KnownPath", "Subinterval", "composite"]


class Subinterval(NamedTuple):
    """A part of the path with Gauss-Legendre nodes."""

    low: float
    high: float
    n_steps: int

    @property
    def rule(self) -> Quadrature:
        nodes, weights = gauss_legendre(self.n_steps)
        return Quadrature(self.low + (self.high - self.low) * nodes, (self.high - self.low) * weights)


def composite(subintervals: tuple[Subinterval, ...]) -> Quadrature:
    """The nodes of all subintervals, which follow one another, as one rule."""
    return Quadrature(*map(np.concatenate, zip(*(each.rule for each in subintervals), strict=True)))


@dataclass
class KnownPath:
    """What is known of the embedding's path α ↦ f: values, and derivatives at some of their places."""

    values: dict[float, Tensor]
    derivatives: dict[float, Tensor] = field(default_factory=dict)

    def add(self, places: np.ndarray, values: Tensor, derivatives: Tensor | None = None) -> None:
        self.values.update(zip(places.tolist(), values, strict=True))
        if derivatives is not None:
            self.derivatives.update(zip(places.tolist(), derivatives, strict=True))

    def curve(self) -> tuple[np.ndarray, CubicHermiteSpline]:
        """The known places (K,), and a curve through them in a few random dimensions that does not overshoot."""
        places = np.array(sorted(self.values))
        values = _projected([self.values[place] for place in places])
        slopes = PchipInterpolator(places, values).derivative()(places)
        if self.derivatives:
            known = np.isin(places, list(self.derivatives))
            slopes[known] = _projected([self.derivatives[place] for place in places[known]])
        return places, CubicHermiteSpline(places, values, slopes)

    def errors_at(self, places: np.ndarray, truth: KnownPath) -> np.ndarray:
        """(N,) distance of the curve from the truth at places."""
        gap = self.curve()[1](places) - _projected([truth.values[place] for place in places.tolist()])
        return np.sqrt(np.square(gap).sum(1))

    def partition(
        self,
        gaps: list[tuple[float, float]],
        budget: float,
        max_steps: int,
        pessimism: float,
        known: dict[Subinterval, float],
    ) -> list[Subinterval]:
        """The subintervals that cover gaps with fewest nodes for a sum of squared errors within the budget.

        Minimises nodes + λ · squared errors, for the smallest λ that serves.

        Args:
            gaps: intervals between known places.
            pessimism: factor on predicted errors.
            known: squared errors that were measured.
        """
        places, curve = self.curve()
        span = max(SEARCH.longest_span, 4 * len(places) // max_steps)
        tables = [
            _PartitionTable.of(places[(places >= low) & (places <= high)], curve, span, pessimism**2, known)
            for low, high in gaps
        ]

        def shortest(weight: float) -> tuple[list[Subinterval], float]:
            found = [table.shortest(weight) for table in tables]
            return [each for chosen, _ in found for each in chosen], sum(square for _, square in found)

        low, high = 1e-2 / budget, 1e8 / budget
        chosen, _ = shortest(0.0)
        for _ in range(16):
            middle = (low * high) ** 0.5
            found, squares = shortest(middle)
            n_steps = sum(each.n_steps for each in found)
            if n_steps > max_steps:
                high = middle
            elif squares > budget:
                low, chosen = middle, found
            else:
                high, chosen = middle, found
        return chosen


@dataclass(frozen=True)
class _PartitionTable:
    """Predicted errors of the subintervals between K places."""

    places: np.ndarray
    starts: np.ndarray
    """(M,)"""
    ends: np.ndarray
    """(M,)"""
    squares: np.ndarray
    """(orders, M), squared errors."""

    @classmethod
    def of(
        cls, places: np.ndarray, curve: CubicHermiteSpline, span: int, factor: float, known: dict[Subinterval, float]
    ) -> _PartitionTable:
        starts, ends = np.triu_indices(len(places), 1)
        near = ends - starts <= span
        starts, ends = starts[near], ends[near]
        low, width = places[starts], places[ends] - places[starts]
        values, speed = curve(places), curve.derivative()
        squares = np.empty((len(SEARCH.orders), len(starts)))
        for row, order in enumerate(SEARCH.orders):
            nodes, weights = gauss_legendre(order)
            at_nodes = speed(low[:, None] + width[:, None] * nodes)
            gap = (weights[:, None] * at_nodes).sum(1) * width[:, None] - (values[ends] - values[starts])
            squares[row] = factor * np.square(gap).sum(1)
        index = {pair: place for place, pair in enumerate(zip(low.tolist(), places[ends].tolist(), strict=True))}
        for each, square in known.items():
            if each[:2] in index:
                squares[each.n_steps - SEARCH.orders[0], index[each[:2]]] = square
        return cls(places, starts, ends, squares)

    def shortest(self, weight: float) -> tuple[list[Subinterval], float]:
        """The subintervals from the first place to the last with least nodes + weight · squared errors, and these."""
        costs = np.array(SEARCH.orders)[:, None] + weight * self.squares
        n_places = len(self.places)
        cost = np.full((n_places, n_places), np.inf)
        order = np.zeros((n_places, n_places), dtype=int)
        cost[self.starts, self.ends], order[self.starts, self.ends] = costs.min(0), costs.argmin(0)
        square = np.zeros((n_places, n_places))
        square[self.starts, self.ends] = np.take_along_axis(self.squares, costs.argmin(0)[None], 0)[0]
        least, before = np.zeros(n_places), np.zeros(n_places, dtype=int)
        for end in range(1, n_places):
            sums = least[:end] + cost[:end, end]
            before[end] = sums.argmin()
            least[end] = sums[before[end]]
        chosen, squares, end = [], 0.0, n_places - 1
        while end:
            start = before[end]
            low, high = float(self.places[start]), float(self.places[end])
            chosen.append(Subinterval(low, high, SEARCH.orders[order[start, end]]))
            squares += float(square[start, end])
            end = start
        return chosen[::-1], squares


def _projected(vectors: list[Tensor]) -> np.ndarray:
    """(N, E) vectors in a few random dimensions, always the same ones."""
    stacked = torch.stack(vectors)
    width, n_dimensions = stacked.shape[1], SEARCH.n_dimensions
    if width <= n_dimensions:
        return stacked.numpy()
    directions = torch.randn(width, n_dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (stacked @ directions / n_dimensions**0.5).numpy()
