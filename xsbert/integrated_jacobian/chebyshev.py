"""A polynomial through values of f along a smooth path."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from .path_values import Request, ask
from .rules import Quadrature, equidistributed

__all__ = ["Request"]

# Values of f that are looked at: each set of Chebyshev points lies within the next.
N_VALUES = (17, 33, 65, 129)
# The path is known when its last Chebyshev coefficients are below this share of the tolerance. At layer 0 of MiniLM a
# share of 1 took two fifths more nodes, one of 0.3 a seventh more; one of 0.03 took fewer, at as many passes in all.
RESOLVED = 0.1
# Coefficients that are kept, and how far above the noise, where noise ends their fall.
KEPT, ABOVE_NOISE = 0.02, 3.0
# What is added to the speed along the path, in shares of its mean; the choice that takes fewest nodes is used. Little
# serves loose tolerances and one sharp bend best, much serves tight tolerances and several gentle ones.
ADDED_SPEEDS = (0.1, 0.3, 1.0)
N_POSITIONS = 1001
# How far within the tolerance one node must be: the sum over tokens may meet it by chance where the tokens do not.
LINEAR = 0.1
# Chebyshev coefficients of a smooth path fall geometrically: to a tenth at most from the half to the end of the first
# 33, for all layers of MiniLM. Behind a near-jump they fall like its inverse order, to a fifth at least.
# What is far below the tolerance, or as small as rounding, tells nothing.
SLOW_FALL, FALL_FROM, TOO_SMALL, ROUNDING = 0.2, 33, 0.01, 1e-6
# Intervals narrower than this many roundings are not halved; and a dtype too coarse for any near-jump is not asked.
ROUNDINGS, COARSEST = 8, 1e-3


class _Curve:
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
        speed = self.derivatives(np.linspace(0, 1, N_POSITIONS)).norm(dim=1)
        mean = speed.mean() if speed.any() else 1.0
        self._rules = [equidistributed((speed + added * mean).numpy()) for added in ADDED_SPEEDS]

    def values(self, nodes: np.ndarray) -> Tensor:
        """(N, K)"""
        return _chebyshev(nodes, len(self._coefficients)) @ self._coefficients

    def derivatives(self, nodes: np.ndarray) -> Tensor:
        return _chebyshev(nodes, len(self._derivative)) @ self._derivative

    def residual(self, rule: Quadrature) -> float:
        """The relative residual that the rule would leave, were this the path."""
        gap = float((torch.from_numpy(rule.weights) @ self.derivatives(rule.nodes) - self._change).norm())
        return gap / self.size if self.size else math.inf

    def fewest(self, goal: float, max_steps: int) -> tuple[Callable[[int], Quadrature], int]:
        """The rules, and the fewest nodes in small steps, whose residual would be within the goal.

        Where noise in the values hides that, the number of the polynomial's coefficients.
        """
        n_steps, n_coefficients = 1, len(self._derivative) + 1
        while n_steps < min(max_steps, 2 * n_coefficients):
            for rule in self._rules:
                if self.residual(rule(n_steps)) <= (goal if n_steps > 1 else LINEAR * goal):
                    return rule, n_steps
            n_steps += max(1, n_steps // 20)
        return self._rules[0], min(max_steps, n_coefficients)


def _look(tolerance: float, known: dict[float, Tensor], resolution: float) -> Generator[Request, Tensor, _Curve | None]:
    """Look at as many values as it takes to know a smooth path to an absolute tolerance.

    Args:
        known: takes up the values by their place.

    Returns:
        the curve, or None where the path is not smooth.
    """
    values: dict[int, Tensor] = {}  # by their place among the most points
    points = _chebyshev_points(N_VALUES[-1])
    coefficients, sizes, n_values = torch.zeros(0), np.zeros(0), 0
    for n_values in N_VALUES:
        places = range(0, N_VALUES[-1], (N_VALUES[-1] - 1) // (n_values - 1))
        new = [place for place in places if place not in values]
        answer = yield from ask("values", points[new])
        values.update(zip(new, answer, strict=True))
        known.update(zip(points[new].tolist(), answer, strict=True))
        seen = torch.stack([values[place] for place in places])
        coefficients = torch.linalg.solve(_chebyshev(_chebyshev_points(n_values), n_values), seen)
        sizes = coefficients.norm(dim=1).numpy()
        if resolution <= COARSEST and n_values >= FALL_FROM and _falls_slowly(sizes, tolerance):
            return None
        if sizes[-2:].max() <= RESOLVED * tolerance:
            break
    else:
        # What does not fall any more is rounding, which a derivative would magnify.
        tolerance = max(tolerance, ABOVE_NOISE / KEPT * float(np.median(sizes[-n_values // 4 :])))
    kept = np.flatnonzero(sizes > KEPT * tolerance)
    return _Curve(coefficients[: max(2, kept[-1] + 1 if len(kept) else 0)])


def _falls_slowly(sizes: np.ndarray, tolerance: float) -> bool:
    """Whether Chebyshev coefficients fall too slowly from the middle to the end for those of a smooth path."""
    middle, end = len(sizes) // 2 + 1, sizes[-4:].max()
    noise = max(TOO_SMALL * tolerance, ROUNDING * sizes.max())
    return end > noise and end > SLOW_FALL * sizes[middle - 4 : middle].max()


def _chebyshev_points(n_points: int) -> np.ndarray:
    return (1 - np.cos(np.pi * np.arange(n_points) / (n_points - 1))) / 2


def _chebyshev(nodes: np.ndarray, n_polynomials: int) -> Tensor:
    """(N, K) Chebyshev polynomials of degree 0 … K − 1 on [0, 1]."""
    return torch.from_numpy(chebyshev.chebvander(2 * nodes - 1, n_polynomials - 1))
