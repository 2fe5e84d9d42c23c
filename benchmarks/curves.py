"""The path of one text as a function of the position, computed once and evaluated by every rule."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre

from xsbert.engine.text_path import TextPath
from xsbert.integrated_jacobian import PathIntegrator
from xsbert.integrated_jacobian.adaptive import place_nodes
from xsbert.integrated_jacobian.rules import Quadrature, gauss_legendre

__all__ = ["Curve", "Piecewise", "Positions", "curve_of", "fine_rules", "plain", "subinterval_edges"]

# Fine nodes of a smooth path, and of each half of a subinterval, with the residual for which subintervals are chosen.
FINE, FINE_ON_SUBINTERVALS, FINE_RESIDUAL = 256, 8, 1e-3

Positions = Callable[[np.ndarray], np.ndarray]

plain = functools.cache(gauss_legendre)


class Piecewise:
    """A function on [0, 1] with values (K,): a polynomial on each subinterval.

    Args:
        edges: (P + 1,) ends of the subintervals, from 0 to 1.
        coefficients: of each subinterval (N, K), of Legendre polynomials.
    """

    def __init__(self, edges: np.ndarray, coefficients: list[np.ndarray]) -> None:
        self.edges, self.coefficients = edges, coefficients

    @classmethod
    def through(cls, edges: np.ndarray, samples: list[np.ndarray]) -> Piecewise:
        """Through samples (N, K) at the Gauss-Legendre nodes of each subinterval."""

        def fitted(values: np.ndarray) -> np.ndarray:
            nodes, weights = legendre.leggauss(len(values))
            basis = legendre.legvander(nodes, len(values) - 1) * (np.arange(len(values)) + 0.5)
            return basis.T @ (weights[:, None] * values)

        return cls(edges, [fitted(values) for values in samples])

    def integral(self, starts: np.ndarray) -> Piecewise:
        """What it is the derivative of, given that at the subintervals' starts (P, K)."""
        halves = np.diff(self.edges) / 2
        found = [half * legendre.legint(each, lbnd=-1) for half, each in zip(halves, self.coefficients, strict=True)]
        for start, each in zip(starts, found, strict=True):
            each[0] += start
        return Piecewise(self.edges, found)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """(M,) to (M, K)."""
        places = np.clip(np.searchsorted(self.edges, positions, side="right") - 1, 0, len(self.coefficients) - 1)
        found = np.empty((len(positions), self.coefficients[0].shape[1]))
        for place in np.unique(places):
            inside, (low, high) = places == place, self.edges[place : place + 2]
            local = 2 * (positions[inside] - low) / (high - low) - 1
            coefficients = self.coefficients[place]
            found[inside] = legendre.legvander(local, len(coefficients) - 1) @ coefficients
        return found


class Curve(NamedTuple):
    """The path of one text."""

    at: Positions
    """Positions (N,) to derivatives (N, E)."""
    values: Positions
    """Positions (N,) to values (N, E)."""
    change: np.ndarray
    """(E,), what the derivative integrates to."""

    def residual(self, rule: Quadrature) -> float:
        gap = rule.weights @ self.at(rule.nodes) - self.change
        return float(np.linalg.norm(gap) / np.linalg.norm(self.change))

    def speed(self, positions: np.ndarray) -> np.ndarray:
        return np.linalg.norm(self.at(positions), axis=1)


def subinterval_edges(path: TextPath) -> np.ndarray:
    """Ends of subintervals on each of which the path is smooth."""
    placed = place_nodes(PathIntegrator(path.f, [path.x], [path.r]), [path.f_x - path.f_r], FINE_RESIDUAL, 4096)[0]
    if len(placed.orders) == 1:
        return np.array([0.0, 1.0])
    edges = np.concatenate([[0.0], np.cumsum(placed.widths)])
    edges[-1] = 1.0
    return np.sort(np.concatenate([edges, (edges[:-1] + edges[1:]) / 2]))


def fine_rules(edges: np.ndarray, n_steps: int | None = None) -> list[Quadrature]:
    """Gauss-Legendre nodes on each subinterval, so many or enough."""
    nodes, weights = plain(n_steps or (FINE if len(edges) == 2 else FINE_ON_SUBINTERVALS))
    return [Quadrature(low + (high - low) * nodes, (high - low) * weights) for low, high in itertools.pairwise(edges)]


def curve_of(path: TextPath, edges: np.ndarray) -> Curve:
    """The path through fine nodes, interpolated."""
    fine = fine_rules(edges)
    integrator = PathIntegrator(path.f, [path.x], [path.r])
    nodes = np.concatenate([rule.nodes for rule in fine])
    ends = [len(rule.nodes) for rule in fine]
    samples = integrator.derivatives([nodes])[0].split(ends)
    derivative = Piecewise.through(edges, [part.double().cpu().numpy() for part in samples])
    (starts,) = integrator.values([edges[:-1]])
    values = derivative.integral(starts.double().cpu().numpy())
    return Curve(derivative, values, (path.f_x - path.f_r).double().cpu().numpy())
