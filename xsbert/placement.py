"""Choose the nodes for a tolerance.

The factors of all tokens sum to the integral of g(α) = d/dα f(r + α(x − r)), and that integral is known:
f(x) − f(r). So the residual that any set of nodes will leave can be measured by g alone, at two evaluations of f per
node instead of S + 1, before the full work is begun.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .integrated_jacobian import derivatives_along_paths
from .quadrature import Quadrature, concentrated, quadrature

__all__ = ["Placement", "check_tolerance", "place_nodes", "place_nodes_together"]

# Odd, so that one of them is in the middle.
N_PROBES = 5
# How far within the tolerance one node must be: the sum over tokens may meet it by chance where the tokens do not.
LINEAR = 0.1
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

    One node in the middle is enough where f is linear, as behind the last layer. Otherwise the nodes are
    Gauss-Legendre nodes drawn towards the part of the path where f changes fastest (see `concentrated`), which is
    known the better the more nodes have been tried; their number is extrapolated from the residuals so far.

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
    return place_nodes_together(f, [x], [r], [change], tolerance, max_steps)[0]


def place_nodes_together(
    f: Callable[[Tensor], Tensor],
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    changes: Sequence[Tensor],
    tolerance: float,
    max_steps: int,
) -> list[Placement]:
    """`place_nodes` of n texts of one length, for all of which f is the same: their derivatives are taken together."""
    searches = [
        _search(np.zeros_like(change) if x.equal(r) else change, tolerance, max_steps)
        for x, r, change in zip(xs, rs, (_numpy(change) for change in changes), strict=True)
    ]
    placements: dict[int, Placement] = {}
    asked: dict[int, np.ndarray] = {}

    def resume(place: int, values: np.ndarray | None) -> None:
        try:
            asked[place] = searches[place].send(values)
        except StopIteration as end:
            placements[place] = end.value

    for place in range(len(searches)):
        resume(place, None)
    while asked:
        places = list(asked)
        nodes = [asked.pop(place) for place in places]
        found = derivatives_along_paths(f, [xs[place] for place in places], [rs[place] for place in places], nodes)
        for place, values in zip(places, found, strict=True):
            resume(place, _numpy(values))
    return [placements[place] for place in range(len(searches))]


def _search(expected: np.ndarray, tolerance: float, max_steps: int) -> Generator[np.ndarray, np.ndarray, Placement]:
    """Asks for derivatives at nodes, and returns the placement."""
    size = float(np.linalg.norm(expected))
    if size == 0:
        return Placement(quadrature("midpoint", 1), 0.0, True)
    seen: list[tuple[float, float]] = []
    tried: dict[int, Placement] = {}

    def derivatives(nodes: np.ndarray) -> Generator[np.ndarray, np.ndarray, np.ndarray]:
        values = yield nodes
        seen.extend(zip(nodes, np.linalg.norm(values, axis=1), strict=True))
        return values

    def judge(rule: Quadrature, values: np.ndarray) -> Placement:
        residual = float(np.linalg.norm(rule.weights @ values - expected)) / size
        n_steps = len(rule.nodes)
        tried[n_steps] = Placement(rule, residual, residual <= MARGIN * tolerance)
        return tried[n_steps]

    def attempt(rule: Quadrature) -> Generator[np.ndarray, np.ndarray, Placement]:
        values = yield from derivatives(rule.nodes)
        return judge(rule, values)

    plain = quadrature("gauss-legendre", N_PROBES)
    values = yield from derivatives(plain.nodes)
    one = judge(quadrature("midpoint", 1), values[N_PROBES // 2 :][:1])
    if one.residual <= LINEAR * tolerance:
        return one
    bend = _bend(seen)
    previous, current = one, judge(plain, values) if max_steps >= N_PROBES else one
    if not current.reached:
        current = yield from attempt(concentrated(min(N_PROBES, max_steps), *bend))
    stagnant = 0
    while not current.reached:
        n_now = len(current.rule.nodes)
        stagnant = stagnant + 1 if current.residual > STAGNATION * previous.residual else 0
        if n_now >= max_steps or stagnant >= PATIENCE:
            best = min(placement.residual for placement in tried.values())
            return next(tried[n] for n in sorted(tried) if tried[n].residual <= 1.25 * best)
        wanted = _crossing(previous, current, MARGIN * tolerance)
        n_next = min(max_steps, 2 * n_now, max(n_now + 1, wanted))
        bend = _bend(seen)
        previous, current = current, (yield from attempt(concentrated(int(n_next), *bend)))
    # The extrapolation may have overshot; a measurement between costs less than the nodes it can save.
    while True:
        between = max(len(previous.rule.nodes) + 1, _crossing(previous, current, MARGIN * tolerance))
        if between >= len(current.rule.nodes):
            return current
        found = yield from attempt(concentrated(int(between), *bend))
        previous, current = (previous, found) if found.reached else (found, current)


def _crossing(fewer: Placement, more: Placement, residual: float) -> float:
    """The number of nodes that a residual takes, if it falls geometrically from one placement to the other."""
    if not 0 < more.residual < fewer.residual:
        return len(more.rule.nodes) if more.residual == 0 else math.inf
    n_fewer, n_more = len(fewer.rule.nodes), len(more.rule.nodes)
    share = math.log(fewer.residual / residual) / math.log(fewer.residual / more.residual)
    return math.ceil(n_fewer + share * (n_more - n_fewer))


def check_tolerance(tolerance: float, max_steps: int) -> None:
    """Raise unless the tolerance is a number above 0 and ``max_steps`` an integer of at least 1."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)):
        raise TypeError(f"tolerance must be a number, got {tolerance!r}")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance must be above 0, got {tolerance}")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"max_steps must be an integer of at least 1, got {max_steps!r}")


def _bend(seen: list[tuple[float, float]]) -> tuple[float, float]:
    """Where along the path f changes fastest, and half the width of that stretch, from nodes and speeds there."""
    nodes, speed = np.array(sorted(seen)).T
    fine = np.linspace(0, 1, 201)
    curve = np.interp(fine, nodes, speed)
    centre = float(fine[curve.argmax()])
    fast = fine[curve > curve.max() / 2]
    if fast.min() == 0 and fast.max() == 1:
        return 0.5, STRAIGHT
    return centre, max(float(fast.max() - fast.min()) / 2, 0.02)


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().double().numpy()
