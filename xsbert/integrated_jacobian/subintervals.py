"""Subintervals of the path, each with Gauss-Legendre nodes of its own, and the partition with fewest nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline, PchipInterpolator
from torch import Tensor

from .rules import Quadrature, gauss_legendre

__all__ = ["Panel", "composite"]

# Gauss-Legendre nodes on a panel, and intervals between known places that it may span, more for a few nodes in all.
ORDERS = range(1, 8)
LONGEST_SPAN = 40
# Dimensions in which the curve is looked at: random projections keep lengths well enough to choose by.
N_DIMENSIONS = 12


class Panel(NamedTuple):
    """An interval of the path with Gauss-Legendre nodes."""

    low: float
    high: float
    n_steps: int

    @property
    def rule(self) -> Quadrature:
        nodes, weights = gauss_legendre(self.n_steps)
        return Quadrature(self.low + (self.high - self.low) * nodes, (self.high - self.low) * weights)


def composite(panels: tuple[Panel, ...]) -> Quadrature:
    """The nodes of all panels, which follow one another, as one rule."""
    return Quadrature(*map(np.concatenate, zip(*(panel.rule for panel in panels), strict=True)))


@dataclass
class _Path:
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

    def surprises(self, places: np.ndarray, truth: _Path) -> np.ndarray:
        """(N,) how far the truth is from the curve at places."""
        gap = self.curve()[1](places) - _projected([truth.values[place] for place in places.tolist()])
        return np.sqrt(np.square(gap).sum(1))

    def partition(
        self,
        gaps: list[tuple[float, float]],
        budget: float,
        max_steps: int,
        pessimism: float,
        known: dict[Panel, float],
    ) -> list[Panel]:
        """The panels that cover gaps with fewest nodes for a sum of squared errors within the budget.

        Minimises nodes + λ · squared errors, for the smallest λ that serves.

        Args:
            gaps: intervals between known places.
            pessimism: factor on foretold errors.
            known: squared errors that were measured.
        """
        places, curve = self.curve()
        span = max(LONGEST_SPAN, 4 * len(places) // max_steps)
        tables = [
            _Table.of(places[(places >= low) & (places <= high)], curve, span, pessimism**2, known)
            for low, high in gaps
        ]

        def shortest(weight: float) -> tuple[list[Panel], float]:
            found = [table.shortest(weight) for table in tables]
            return [panel for panels, _ in found for panel in panels], sum(square for _, square in found)

        low, high = 1e-2 / budget, 1e8 / budget
        chosen, _ = shortest(0.0)
        for _ in range(16):
            middle = (low * high) ** 0.5
            panels, squares = shortest(middle)
            n_steps = sum(panel.n_steps for panel in panels)
            if n_steps > max_steps:
                high = middle
            elif squares > budget:
                low, chosen = middle, panels
            else:
                high, chosen = middle, panels
        return chosen


@dataclass(frozen=True)
class _Table:
    """Foretold errors of the panels between K places."""

    places: np.ndarray
    starts: np.ndarray
    """(M,)"""
    ends: np.ndarray
    """(M,)"""
    squares: np.ndarray
    """(orders, M), squared errors."""

    @classmethod
    def of(
        cls, places: np.ndarray, curve: CubicHermiteSpline, span: int, factor: float, known: dict[Panel, float]
    ) -> _Table:
        starts, ends = np.triu_indices(len(places), 1)
        near = ends - starts <= span
        starts, ends = starts[near], ends[near]
        low, width = places[starts], places[ends] - places[starts]
        values, speed = curve(places), curve.derivative()
        squares = np.empty((len(ORDERS), len(starts)))
        for row, order in enumerate(ORDERS):
            nodes, weights = gauss_legendre(order)
            at_nodes = speed(low[:, None] + width[:, None] * nodes)
            gap = (weights[:, None] * at_nodes).sum(1) * width[:, None] - (values[ends] - values[starts])
            squares[row] = factor * np.square(gap).sum(1)
        index = {pair: place for place, pair in enumerate(zip(low.tolist(), places[ends].tolist(), strict=True))}
        for panel, square in known.items():
            if panel[:2] in index:
                squares[panel.n_steps - ORDERS[0], index[panel[:2]]] = square
        return cls(places, starts, ends, squares)

    def shortest(self, weight: float) -> tuple[list[Panel], float]:
        """The panels from the first place to the last with least nodes + weight · squared errors, and the latter."""
        costs = np.array(ORDERS)[:, None] + weight * self.squares
        n_places = len(self.places)
        cost = np.full((n_places, n_places), np.inf)
        order = np.zeros((n_places, n_places), dtype=int)
        cost[self.starts, self.ends], order[self.starts, self.ends] = costs.min(0), costs.argmin(0)
        square = np.zeros((n_places, n_places))
        square[self.starts, self.ends] = np.take_along_axis(self.squares, costs.argmin(0)[None], 0)[0]
        least, before = np.zeros(n_places), np.zeros(n_places, dtype=int)
        for end in range(1, n_places):
            ways = least[:end] + cost[:end, end]
            before[end] = ways.argmin()
            least[end] = ways[before[end]]
        panels, squares, end = [], 0.0, n_places - 1
        while end:
            start = before[end]
            low, high = float(self.places[start]), float(self.places[end])
            panels.append(Panel(low, high, ORDERS[order[start, end]]))
            squares += float(square[start, end])
            end = start
        return panels[::-1], squares


def _projected(vectors: list[Tensor]) -> np.ndarray:
    """(N, E) vectors in a few random dimensions, always the same ones."""
    stacked = torch.stack(vectors)
    width = stacked.shape[1]
    if width <= N_DIMENSIONS:
        return stacked.numpy()
    directions = torch.randn(width, N_DIMENSIONS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (stacked @ directions / N_DIMENSIONS**0.5).numpy()
