"""Nodes for a path with near-jumps: panels graded towards them, with a few Gauss-Legendre nodes on each.

Models with massive activations switch some of them on the way from the reference to the text: the embedding then moves
by a tenth of its whole way within a millionth of the path, and by about as much again at every scale around it. No
polynomial sees that. But what one panel [a, b] misses is known exactly, f(b) − f(a) − Σ w g, from values at its ends.

1. Values of f halve every interval whose middle was a surprise, down to the width of the jump: one pass each.
2. A piecewise cubic through them tells the error of any panel with any number of nodes, so that a shortest path over
   all partitions finds the one with fewest nodes for a given sum of squared errors.
3. Derivatives at its nodes, two passes each, tell the true errors, and refine the curve. Panels that are good stay, the
   others are chosen anew, until the sum is within the goal. A panel that still misses more than the goal hides a jump
   that no middle has met, and is halved like the intervals before.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .path_values import Request, ask
from .subintervals import Panel, _Path, composite

__all__ = ["Graded", "fewest_on_panels", "graded"]

# An interval is halved while a quarter of its parent's surprise, which is what is to be expected of a half, exceeds
# this share of the goal.
SURPRISE = 0.45
MOST_VALUES = 512
# How far below the goal the first choice aims, how much lower each later one, and how much worse than foretold panels
# are taken to be from then on: what is chosen among many for its small error has a larger one.
FIRST_AIM, LOWER, PESSIMISM = 0.9, 0.94, 2.0**0.5
ROUNDS = 10
# The turn from which the curve is known so well that a panel which misses more than the goal must hide a jump.
SETTLED = 2
# The turn from which errors that add up are taken to go on doing so. Earlier, the next choice mostly ends it, for fewer
# nodes.
LATE = 4
# Share of the squared aim that panels may use up and stay, when others are chosen anew.
KEPT_SHARE = 0.7


@dataclass(frozen=True)
class Graded:
    """Panels that cover [0, 1], in order, and what they are known to miss."""

    panels: tuple[Panel, ...]
    changes: Tensor
    """(P, E), f(high) − f(low) of each panel."""
    residual: float
    """The larger of ‖Σ errors‖ and (Σ ‖error‖²)^½, so that no chance cancellation counts; absolute."""
    resolved: bool
    """False where the path still jumps within the narrowest interval allowed."""
    slopes: Tensor | None = None
    """(N, E), derivatives of f along the path at the nodes; None where they were not asked for."""

    @property
    def n_steps(self) -> int:
        """Number of nodes N."""
        return sum(panel.n_steps for panel in self.panels)


def graded(
    values: dict[float, Tensor], goal: float, max_steps: int, resolution: float, finer: bool = False
) -> Generator[Request, Tensor, Graded]:
    """Find few nodes, on panels, for a path with near-jumps.

    Args:
        values: what is known of f, (E,) float64 by place; both ends and some places between.
        goal: absolute error to reach.
        max_steps: most nodes.
        resolution: narrowest interval that is halved.
        finer: whether to give up where that does not resolve the path, since a finer dtype will look again.

    Yields:
        requests, to be answered by (N, E), or (N, 2, E) for ``"both"``, float64 on the CPU.

    Returns:
        panels within the goal, or the best that were found.

    Raises:
        FloatingPointError: f is not finite everywhere on the path.
    """
    path = _Path(dict(values))
    resolved = yield from _halve(path, _expected(path), SURPRISE * goal, resolution)
    errors: dict[Panel, Tensor] = {}
    kept: list[Panel] = []
    best = Graded((Panel(0.0, 1.0, 1),), (path.values[1.0] - path.values[0.0])[None], math.inf, resolved)
    if finer and not resolved:
        return best
    coherence = 1.0
    for turn in range(ROUNDS):
        first = turn == 0
        aim = FIRST_AIM * goal * LOWER**turn / coherence
        left = aim**2 - sum(float(errors[panel].square().sum()) for panel in kept)
        budget = max(left, (0.3 * aim) ** 2)
        room = max(1, max_steps - sum(panel.n_steps for panel in kept))
        known = {panel: float(error.square().sum()) for panel, error in errors.items()}
        chosen = path.partition(_gaps(kept), budget, room, 1.0 if first else PESSIMISM, known)
        panels = tuple(sorted([*kept, *chosen]))
        new = [panel for panel in chosen if panel not in errors]
        yield from _measure(path, new, errors)
        missed = torch.stack([errors[panel] for panel in panels])
        squares = missed.square().sum(1)
        residual = max(float(missed.sum(0).norm()), float(squares.sum().sqrt()))
        changes = torch.stack([path.values[panel.high] - path.values[panel.low] for panel in panels])
        slopes = torch.stack([path.derivatives[node] for node in composite(panels).nodes.tolist()])
        found = Graded(panels, changes, residual, resolved, slopes)
        if found.n_steps <= max_steps and residual < best.residual:
            best = found
        if residual <= goal:
            return found
        if not new or (turn >= LATE and float(squares.sum()) <= goal**2):
            # The squares are small enough, but errors of one direction add up: only smaller ones help.
            coherence = max(coherence, float(missed.sum(0).norm() / squares.sum().sqrt()))
        if turn >= SETTLED:
            hidden = [panel for panel, square in zip(panels, squares.tolist(), strict=True) if square > goal**2]
            resolved &= yield from _halve(path, _within(path, hidden), SURPRISE * goal, resolution)
        # The second choice is free again, now that the curve is known better.
        order = squares.argsort()
        good = squares[order].cumsum(0) <= KEPT_SHARE * aim**2
        kept = [] if first else [panels[place] for place in order[good].tolist()]
    # The best choice may be older than what is known of the path by now.
    return replace(best, resolved=resolved)


def fewest_on_panels(places: np.ndarray, values: Tensor, derivatives: Tensor, goal: float, max_steps: int) -> int:
    """How many nodes `graded` is likely to take for a path that is known.

    Args:
        places: (K,) from 0 to 1.
        values, derivatives: (K, E).
        goal, max_steps: as for `graded`.
    """
    path = _Path({})
    path.add(places, values, derivatives)
    chosen = path.partition([(0.0, 1.0)], (FIRST_AIM * goal) ** 2, max_steps, 1.0, {})
    return sum(panel.n_steps for panel in chosen)


def _gaps(kept: list[Panel]) -> list[tuple[float, float]]:
    """What panels leave of [0, 1]."""
    ends = [0.0, *(end for panel in sorted(kept) for end in panel[:2]), 1.0]
    return [(low, high) for low, high in zip(ends[::2], ends[1::2], strict=True) if low < high]


def _expected(path: _Path) -> dict[tuple[float, float], float]:
    """How surprising the middle of each interval between known places is likely to be."""
    places = np.array(sorted(path.values))
    # Every other place, foretold from its neighbours, tells what to expect of both intervals beside it.
    seen = _Path({place: path.values[place] for place in places[::2]})
    gaps = np.repeat(seen.surprises(places[1::2], path), 2)
    return dict(zip(pairwise(places.tolist()), gaps.tolist(), strict=True))


def _within(path: _Path, panels: list[Panel]) -> dict[tuple[float, float], float]:
    """The intervals between known places within panels that hide a jump, which no middle has met: look at any."""
    places = np.array(sorted(path.values))
    inside = [places[(places >= low) & (places <= high)].tolist() for low, high, _ in panels]
    return {interval: math.inf for each in inside for interval in pairwise(each)}


def _halve(
    path: _Path, expected: dict[tuple[float, float], float], surprise: float, resolution: float
) -> Generator[Request, Tensor, bool]:
    """Ask for values until no half of an interval is expected to surprise; whether that was possible."""
    while True:
        wanted = [interval for interval, gap in expected.items() if gap / 4 > surprise]
        halved = [(low, high) for low, high in wanted if high - low > resolution]
        if not halved or len(path.values) + len(halved) > MOST_VALUES:
            return len(halved) == len(wanted)
        middles = np.array([(low + high) / 2 for low, high in halved])
        before = _Path(dict(path.values), dict(path.derivatives))
        path.add(middles, (yield from ask("values", middles)))
        for (low, high), middle, gap in zip(halved, middles.tolist(), before.surprises(middles, path), strict=True):
            del expected[low, high]
            expected[low, middle] = expected[middle, high] = float(gap)


def _measure(path: _Path, panels: list[Panel], errors: dict[Panel, Tensor]) -> Generator[Request, Tensor, None]:
    """Ask for derivatives at the nodes of panels, which gives their true errors and refines the path."""
    if not panels:
        return
    rule = composite(tuple(panels))
    answer = yield from ask("both", rule.nodes)
    sizes = [panel.n_steps for panel in panels]
    for panel, both in zip(panels, answer.split(sizes), strict=True):
        nodes, weights = panel.rule
        integral = torch.from_numpy(weights) @ both[:, 1]
        errors[panel] = integral - (path.values[panel.high] - path.values[panel.low])
        path.add(nodes, both[:, 0], both[:, 1])
