"""A polynomial through values of f at Chebyshev points, for smooth paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from .functions import Request, ask
from .rules import Quadrature, equidistributed
from .settings import SEARCH

__all__ = ["EmbeddingCurve", "chebyshev_points", "fitted_curve"]


class EmbeddingCurve:
    """The path of the embedding: a polynomial in α through values of f.

    Args:
        coefficients: (K, E), of Chebyshev polynomials, float64.
    """

    def __init__(self, coefficients: Tensor) -> None:
        # Norms are all that is asked for, so K dimensions tell as much as E.
        coefficients = torch.linalg.qr(coefficients.T, mode="r").R.T
        self._coefficients = coefficients
        self._derivative = torch.from_numpy(2 * chebyshev.chebder(coefficients.numpy(), axis=0))
        self._change = torch.diff(self.values(np.array([0.0, 1.0])), dim=0)[0]
        self.size = float(self._change.norm())
        speed = self.derivatives(np.linspace(0, 1, SEARCH.n_positions)).norm(dim=1)
        mean = speed.mean() if speed.any() else 1.0
        self._rules = [equidistributed((speed + added * mean).numpy()) for added in SEARCH.added_speeds]

    def values(self, nodes: np.ndarray) -> Tensor:
        """(N, K) values at the nodes."""
        return _polynomials(nodes, len(self._coefficients)) @ self._coefficients

    def derivatives(self, nodes: np.ndarray) -> Tensor:
        """(N, K) derivatives at the nodes."""
        return _polynomials(nodes, len(self._derivative)) @ self._derivative

    def residual(self, rule: Quadrature) -> float:
        """The relative residual that the rule would leave, were this the path."""
        gap = float((torch.from_numpy(rule.weights) @ self.derivatives(rule.nodes) - self._change).norm())
        return gap / self.size if self.size else math.inf

    def fewest(self, goal: float, max_steps: int) -> tuple[Callable[[int], Quadrature], int]:
        """The rules, and the fewest nodes in small steps, for a predicted residual within the goal.

        Where noise in the values hides that, the number of the polynomial's coefficients.
        """
        n_steps, n_coefficients = 1, len(self._derivative) + 1
        while n_steps < min(max_steps, 2 * n_coefficients):
            for rule in self._rules:
                if self.residual(rule(n_steps)) <= (goal if n_steps > 1 else SEARCH.linear * goal):
                    return rule, n_steps
            n_steps += max(1, n_steps // 20)
        return self._rules[0], min(max_steps, n_coefficients)


def fitted_curve(
    tolerance: float, known: dict[float, Tensor], resolution: float
) -> Generator[Request, Tensor, EmbeddingCurve | None]:
    """Evaluate f at as many points as it takes to know a smooth path to an absolute tolerance.

    Args:
        known: takes up the values by their place.
        resolution: length of the path within which rounding hides what f does.

    Returns:
        the curve, or None where the path is not smooth.
    """
    values: dict[int, Tensor] = {}  # by their place among the most points
    points = chebyshev_points(SEARCH.n_values[-1])
    coefficients, sizes, n_values = torch.zeros(0), np.zeros(0), 0
    for n_values in SEARCH.n_values:
        places = range(0, len(points), (len(points) - 1) // (n_values - 1))
        new = [place for place in places if place not in values]
        answer = yield from ask("values", points[new])
        values.update(zip(new, answer, strict=True))
        known.update(zip(points[new].tolist(), answer, strict=True))
        seen = torch.stack([values[place] for place in places])
        coefficients = torch.linalg.solve(_polynomials(chebyshev_points(n_values), n_values), seen)
        sizes = coefficients.norm(dim=1).numpy()
        if resolution <= SEARCH.coarsest and n_values >= SEARCH.fall_from and _falls_slowly(sizes, tolerance):
            return None
        if sizes[-2:].max() <= SEARCH.resolved * tolerance:
            break
    else:
        # What does not fall any more is rounding, which a derivative would magnify.
        tolerance = max(tolerance, SEARCH.above_noise / SEARCH.kept * float(np.median(sizes[-n_values // 4 :])))
    kept = np.flatnonzero(sizes > SEARCH.kept * tolerance)
    return EmbeddingCurve(coefficients[: max(2, kept[-1] + 1 if len(kept) else 0)])


def chebyshev_points(n_points: int) -> np.ndarray:
    """(N,) Chebyshev points from 0 to 1."""
    return (1 - np.cos(np.pi * np.arange(n_points) / (n_points - 1))) / 2


def _falls_slowly(sizes: np.ndarray, tolerance: float) -> bool:
    """Whether Chebyshev coefficients fall too slowly from the middle to the end for those of a smooth path."""
    middle, end = len(sizes) // 2 + 1, sizes[-4:].max()
    noise = max(SEARCH.too_small * tolerance, SEARCH.rounding * sizes.max())
    return end > noise and end > SEARCH.slow_fall * sizes[middle - 4 : middle].max()


def _polynomials(nodes: np.ndarray, n_polynomials: int) -> Tensor:
    """(N, K) Chebyshev polynomials of degree 0 … K − 1 on [0, 1]."""
    return torch.from_numpy(chebyshev.chebvander(2 * nodes - 1, n_polynomials - 1))
