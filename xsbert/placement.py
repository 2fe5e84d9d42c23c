"""Choose the nodes for a tolerance.

The factors of all tokens sum to the integral of g(α) = d/dα f(r + α(x − r)), and that integral is known:
f(x) − f(r). So the residual that any set of nodes will leave can be measured by g alone, at two evaluations of f per
node instead of S + 1, before the full work is begun.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .integrated_jacobian import derivatives_along_path
from .quadrature import Quadrature, concentrated, quadrature

__all__ = ["Placement", "check_tolerance", "place_nodes"]

N_PROBES = 8
FIRST_STEPS = (3, 5)
# Rounding separates the residual measured along the path from that of the factors.
MARGIN = 0.95
# A residual that falls by less than this factor, so many times in a row, has met the rounding of the model.
STAGNATION, PATIENCE = 0.8, 3
# A width so large that the nodes stay where the plain rule has them.
STRAIGHT = 1e4


@dataclass(frozen=True)
class Placement:
    """Nodes, and the relative residual that they leave."""

    rule: Quadrature
    residual: float
    reached: bool
    """Whether the residual is within the tolerance."""


def place_nodes(
    f: Callable[[Tensor], Tensor], x: Tensor, r: Tensor, change: Tensor, tolerance: float, max_steps: int
) -> Placement:
    """The fewest nodes found whose relative residual is within a tolerance.

    The nodes are Gauss-Legendre nodes drawn towards the part of the path where f changes fastest (see
    `concentrated`); their number is extrapolated from the residuals measured so far.

    Args:
        f: maps (S, H) to (E,).
        x, r: (S, H).
        change: (E,), f(x) − f(r).
        tolerance: relative residual to reach, above 0.
        max_steps: most nodes to try.

    Returns:
        a placement within the tolerance; or, where none is within ``max_steps`` or the residual stops falling, the
        smallest whose residual is near the best.
    """
    expected = change.double().cpu().numpy()
    size = float(np.linalg.norm(expected))
    if size == 0 or x.equal(r):
        return Placement(quadrature("midpoint", 1), 0.0, True)
    probes = quadrature("gauss-legendre", N_PROBES).nodes
    centre, width = _bend(probes, np.linalg.norm(_numpy(derivatives_along_path(f, x, r, probes)), axis=1))
    tried: dict[int, Placement] = {}

    def attempt(n_steps: int) -> Placement:
        if n_steps not in tried:
            rule = concentrated(n_steps, centre, width)
            total = rule.weights @ _numpy(derivatives_along_path(f, x, r, rule.nodes))
            residual = float(np.linalg.norm(total - expected)) / size
            tried[n_steps] = Placement(rule, residual, residual <= MARGIN * tolerance)
        return tried[n_steps]

    previous, current = (attempt(min(n, max_steps)) for n in FIRST_STEPS)
    if previous.reached:
        return previous
    stagnant = 0
    while not current.reached:
        n_before, n_now = len(previous.rule.nodes), len(current.rule.nodes)
        stagnant = stagnant + 1 if current.residual > STAGNATION * previous.residual else 0
        if n_now >= max_steps or stagnant >= PATIENCE:
            best = min(placement.residual for placement in tried.values())
            return next(tried[n] for n in sorted(tried) if tried[n].residual <= 1.25 * best)
        rate = max(math.log(previous.residual / current.residual), 0) / max(n_now - n_before, 1)
        wanted = math.log(current.residual / (MARGIN * tolerance)) / rate if rate > 0 else math.inf
        previous, current = current, attempt(min(max_steps, 2 * n_now, n_now + max(1, math.ceil(min(wanted, n_now)))))
    # The extrapolation may have overshot; a measurement halfway costs less than the nodes it can save.
    n_short, n_enough = len(previous.rule.nodes), len(current.rule.nodes)
    while n_enough - n_short > 2:
        halfway = attempt((n_short + n_enough) // 2)
        if halfway.reached:
            n_enough = len(halfway.rule.nodes)
        else:
            n_short = len(halfway.rule.nodes)
    return tried[n_enough]


def check_tolerance(tolerance: float, max_steps: int) -> None:
    """Raise unless the tolerance is a number above 0 and ``max_steps`` an integer of at least 1."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)):
        raise TypeError(f"tolerance must be a number, got {tolerance!r}")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance must be above 0, got {tolerance}")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"max_steps must be an integer of at least 1, got {max_steps!r}")


def _bend(nodes: np.ndarray, speed: np.ndarray) -> tuple[float, float]:
    """Where along the path f changes fastest, and half the width of that stretch."""
    fine = np.linspace(0, 1, 201)
    curve = np.interp(fine, nodes, speed)
    centre = float(fine[curve.argmax()])
    fast = fine[curve > curve.max() / 2]
    if fast.min() == 0 and fast.max() == 1:
        return 0.5, STRAIGHT
    return centre, max(float(fast.max() - fast.min()) / 2, 0.02)


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().double().numpy()
