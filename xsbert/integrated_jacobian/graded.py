"""Nodes for a path with near-jumps: subintervals graded towards them, with a few Gauss-Legendre nodes on each.

Models with massive activations switch some of them on the way from the reference to the text. The embedding then moves
by a tenth of its whole way within a millionth of the path, and by about as much again at every scale around it. No
polynomial follows that. But the error of one subinterval [a, b] is known exactly, Σ w g − (f(b) − f(a)), from values at
its ends.

1. Values of f halve every interval whose midpoint the curve missed, down to the width of the jump: one pass each.
2. A piecewise cubic through them predicts the error of any subinterval with any number of nodes. A shortest path over
   all partitions finds the one with fewest nodes for a given sum of squared errors.
3. Derivatives at its nodes, two passes each, give the true errors and refine the curve. Good subintervals stay, the
   others are chosen anew, until the sum is within the goal. A subinterval that still misses more than the goal hides a
   jump that no midpoint has met, and is halved like the intervals before.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .functions import Request, ask
from .settings import SEARCH
from .subintervals import KnownPath, Subinterval, composite

__all__ = ["Graded", "fewest_on_subintervals", "graded"]


@dataclass(frozen=True)
class Graded:
    """Subintervals that cover [0, 1], in order, and their known errors."""

    subintervals: tuple[Subinterval, ...]
    changes: Tensor
    """(P, E), f(high) − f(low) of each subinterval."""
    residual: float
    """The larger of ‖Σ errors‖ and (Σ ‖error‖²)^½, so that no chance cancellation counts; absolute."""
    resolved: bool
    """False where the path still jumps within the narrowest interval allowed."""
    slopes: Tensor | None = None
    """(N, E), derivatives of f along the path at the nodes; None where they were not asked for."""

    @property
    def n_steps(self) -> int:
        """Number of nodes N."""
        return sum(each.n_steps for each in self.subintervals)


def graded(
    values: dict[float, Tensor], goal: float, max_steps: int, resolution: float, finer: bool = False
) -> Generator[Request, Tensor, Graded]:
    """Find few nodes, on subintervals, for a path with near-jumps.

    Args:
        values: what is known of f, (E,) float64 by place; both ends and some places between.
        goal: absolute error to reach.
        max_steps: most nodes.
        resolution: narrowest interval that is halved.
        finer: whether to give up where that does not resolve the path, since a finer dtype will search again.

    Yields:
        requests, to be answered by (N, E), or (N, 2, E) for ``"both"``, float64 on the CPU.

    Returns:
        subintervals within the goal, or the best that were found.

    Raises:
        FloatingPointError: f is not finite everywhere on the path.
    """
    path = KnownPath(dict(values))
    threshold = SEARCH.midpoint_error * goal
    resolved = yield from _halve(path, _expected(path), threshold, resolution)
    errors: dict[Subinterval, Tensor] = {}
    kept: list[Subinterval] = []
    best = Graded((Subinterval(0.0, 1.0, 1),), (path.values[1.0] - path.values[0.0])[None], math.inf, resolved)
    if finer and not resolved:
        return best
    coherence = 1.0
    for turn in range(SEARCH.rounds):
        first = turn == 0
        aim = SEARCH.first_aim * goal * SEARCH.lower**turn / coherence
        left = aim**2 - sum(float(errors[each].square().sum()) for each in kept)
        budget = max(left, (0.3 * aim) ** 2)
        room = max(1, max_steps - sum(each.n_steps for each in kept))
        known = {each: float(error.square().sum()) for each, error in errors.items()}
        chosen = path.partition(_gaps(kept), budget, room, 1.0 if first else SEARCH.pessimism, known)
        every = tuple(sorted([*kept, *chosen]))
        new = [each for each in chosen if each not in errors]
        yield from _measure(path, new, errors)
        missed = torch.stack([errors[each] for each in every])
        squares = missed.square().sum(1)
        residual = max(float(missed.sum(0).norm()), float(squares.sum().sqrt()))
        changes = torch.stack([path.values[each.high] - path.values[each.low] for each in every])
        slopes = torch.stack([path.derivatives[node] for node in composite(every).nodes.tolist()])
        found = Graded(every, changes, residual, resolved, slopes)
        if found.n_steps <= max_steps and residual < best.residual:
            best = found
        if residual <= goal:
            return found
        if not new or (turn >= SEARCH.late and float(squares.sum()) <= goal**2):
            # The squares are small enough, but errors of one direction add up: only smaller ones help.
            coherence = max(coherence, float(missed.sum(0).norm() / squares.sum().sqrt()))
        if turn >= SEARCH.settled:
            hidden = [each for each, square in zip(every, squares.tolist(), strict=True) if square > goal**2]
            resolved &= yield from _halve(path, _within(path, hidden), threshold, resolution)
        # The second choice is free again, now that the curve is known better.
        order = squares.argsort()
        good = squares[order].cumsum(0) <= SEARCH.kept_share * aim**2
        kept = [] if first else [every[place] for place in order[good].tolist()]
    # The best choice may be older than what is known of the path by now.
    return replace(best, resolved=resolved)


def fewest_on_subintervals(places: np.ndarray, values: Tensor, derivatives: Tensor, goal: float, max_steps: int) -> int:
    """How many nodes `graded` is likely to take for a path that is known.

    Args:
        places: (K,) from 0 to 1.
        values, derivatives: (K, E).
        goal, max_steps: as for `graded`.
    """
    path = KnownPath({})
    path.add(places, values, derivatives)
    chosen = path.partition([(0.0, 1.0)], (SEARCH.first_aim * goal) ** 2, max_steps, 1.0, {})
    return sum(each.n_steps for each in chosen)


def _gaps(kept: list[Subinterval]) -> list[tuple[float, float]]:
    """The parts of [0, 1] that subintervals leave uncovered."""
    ends = [0.0, *(end for each in sorted(kept) for end in each[:2]), 1.0]
    return [(low, high) for low, high in zip(ends[::2], ends[1::2], strict=True) if low < high]


def _expected(path: KnownPath) -> dict[tuple[float, float], float]:
    """The midpoint error to expect of each interval between known places."""
    places = np.array(sorted(path.values))
    # Every other place, predicted from its neighbours, shows what to expect of both intervals beside it.
    seen = KnownPath({place: path.values[place] for place in places[::2]})
    gaps = np.repeat(seen.errors_at(places[1::2], path), 2)
    return dict(zip(pairwise(places.tolist()), gaps.tolist(), strict=True))


def _within(path: KnownPath, subintervals: list[Subinterval]) -> dict[tuple[float, float], float]:
    """The intervals between known places within subintervals that hide a jump: each is to be halved."""
    places = np.array(sorted(path.values))
    inside = [places[(places >= low) & (places <= high)].tolist() for low, high, _ in subintervals]
    return {interval: math.inf for each in inside for interval in pairwise(each)}


def _halve(
    path: KnownPath, expected: dict[tuple[float, float], float], threshold: float, resolution: float
) -> Generator[Request, Tensor, bool]:
    """Ask for values until every half has an expected midpoint error below the threshold; whether that was possible."""
    while True:
        wanted = [interval for interval, gap in expected.items() if gap / 4 > threshold]
        halved = [(low, high) for low, high in wanted if high - low > resolution]
        if not halved or len(path.values) + len(halved) > SEARCH.max_values:
            return len(halved) == len(wanted)
        middles = np.array([(low + high) / 2 for low, high in halved])
        before = KnownPath(dict(path.values), dict(path.derivatives))
        path.add(middles, (yield from ask("values", middles)))
        for (low, high), middle, gap in zip(halved, middles.tolist(), before.errors_at(middles, path), strict=True):
            del expected[low, high]
            expected[low, middle] = expected[middle, high] = float(gap)


def _measure(
    path: KnownPath, subintervals: list[Subinterval], errors: dict[Subinterval, Tensor]
) -> Generator[Request, Tensor, None]:
    """Ask for derivatives at the nodes of subintervals, which gives their true errors and refines the path."""
    if not subintervals:
        return
    rule = composite(tuple(subintervals))
    answer = yield from ask("both", rule.nodes)
    for each, both in zip(subintervals, answer.split([each.n_steps for each in subintervals]), strict=True):
        nodes, weights = each.rule
        integral = torch.from_numpy(weights) @ both[:, 1]
        errors[each] = integral - (path.values[each.high] - path.values[each.low])
        path.add(nodes, both[:, 0], both[:, 1])
