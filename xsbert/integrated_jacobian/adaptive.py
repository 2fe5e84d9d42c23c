"""Choose the nodes for a tolerance.

The factors of all tokens sum to the integral of g(α) = d/dα f(r + α(x − r)), and that integral is known:
f(x) − f(r). So the residual that any set of nodes will leave can be measured by g alone, at two evaluations of f per
node instead of S + 1, before the full work is begun. Which set to measure is read off the path itself: the values of f
at Chebyshev points, one evaluation each, give a polynomial whose derivative foretells the residual of any nodes.

Of the ways compared in docs/background/placement.md, nodes spread evenly over the length of the embedding's path took
fewest where the path is smooth. Where it nearly jumps, the nodes lie on panels that are graded towards the jumps
(`xsbert.integrated_jacobian.graded`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .._utils.validation import checked_integer, is_real
from .chebyshev import COARSEST, LINEAR, N_VALUES, ROUNDINGS, _chebyshev_points, _Curve, _look
from .graded import Graded, fewest_on_panels, graded
from .path_values import Request, ask, derivatives_along_paths, values_along_paths, values_and_derivatives_along_paths
from .rules import Quadrature, drawn_to_middle, quadrature
from .subintervals import composite

__all__ = ["Placement", "Request", "check_tolerance", "place_nodes", "place_nodes_together", "search"]

# Rounding separates the residual measured along the path from that of the factors.
MARGIN = 0.95
# A residual that falls by less than STAGNATION, PATIENCE times in a row, has met the rounding of the model.
STAGNATION, PATIENCE = 0.8, 3
# Where the curve foretold too few nodes by this factor, it has not seen all of the path. A factor of 3 took up
# to twice the nodes at layers 10 and 9 of MPNet, and the same for MiniLM (docs/background/placement.md).
MISJUDGED = 1.5
# Several sharp bends take fewer nodes on panels. The curve is asked where it predicts this number of nodes; it
# must promise more than what is likely to be lost between a choice and its measurement.
WORTH_PANELS, PANELS_OPTIMISM = 9, 1.3
# Panels narrower than this many roundings are computed in float64 where the nodes were placed so.
NARROW = 80
# What a look at one place costs, in evaluations of f.
PASSES = {"values": 1, "derivatives": 2, "both": 2}
# By how many nodes a rule that checks another one has more, on each panel: with one more it errs too much itself.
MORE_NODES = 2


@dataclass(frozen=True)
class Placement:
    """Nodes, and the relative residual that they leave, None where it was not measured."""

    rule: Quadrature
    finer: Callable[[int], Quadrature]
    """Makes a rule with so many more nodes on each panel: of the same kind where nodes were placed, and Gauss-Legendre
    where a rule was asked for."""
    residual: float | None = None
    reached: bool = False
    """Whether the residual is within the tolerance."""
    orders: tuple[int, ...] = ()
    """Gauss-Legendre nodes of each panel, whose sum is N. One panel, also of a rule in another variable, has all."""
    changes: Tensor | None = None
    """(P, E), by how much f changes along each panel, float64 on the CPU; None where that was not looked at."""
    widths: tuple[float, ...] = ()
    """Of the panels."""
    slopes: Tensor | None = None
    """(N, E), derivatives of f along the path at the nodes, float64 on the CPU; None where they were not looked at."""
    unresolved: bool = False
    """Whether the path jumps within what the dtype resolves, so that another dtype would see more."""
    in_float64: bool = False
    """Whether it was placed in float64, which the narrowest panels then need for their nodes as well."""
    n_passes: int = 0
    """Evaluations of f that were spent on finding the nodes, and on checking what they leave of the tokens."""

    @property
    def measured(self) -> float:
        """The residual of a placement that was measured."""
        assert self.residual is not None
        return self.residual

    def with_more_nodes(self) -> Placement:
        """The same with a few more nodes on each panel, what they leave unmeasured."""
        finer, orders = self.finer, tuple(order + MORE_NODES for order in self.orders)
        known = {"rule": finer(MORE_NODES), "finer": lambda more: finer(MORE_NODES + more), "orders": orders}
        return replace(self, **known, residual=None, slopes=None)

    def in_need_of_float64(self, dtype: torch.dtype) -> np.ndarray:
        """(N,) whether a node has to be computed in float64, in a model of some dtype."""
        if not self.in_float64:
            return np.zeros(len(self.rule.nodes), dtype=bool)
        return np.repeat(np.array(self.widths) < NARROW * torch.finfo(dtype).eps, self.orders)


def place_nodes(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    r: Tensor,
    change: Tensor,
    tolerance: float,
    max_steps: int,
    *,
    chunk_size: int | None = None,
) -> Placement:
    """The fewest nodes found whose relative residual is within a tolerance.

    One node in the middle is enough where f is linear, as behind the last layer. Otherwise the nodes are spread evenly
    over the length of the embedding's path (see `equidistributed`), as few as its polynomial says, and then measured;
    where it was wrong, more are tried. A path with near-jumps, which no polynomial follows, gets panels (`graded`).

    Args:
        f: maps (S, H) to (E,).
        x, r: (S, H).
        change: (E,), f(x) − f(r).
        tolerance: relative residual to reach, above 0.
        max_steps: most nodes to try.
        chunk_size: how many places along the path are looked at at once.

    Returns:
        a placement within the tolerance; or, where none is within ``max_steps`` or the residual stops falling, the
        smallest whose residual is near the best.

    Raises:
        FloatingPointError: f is not finite everywhere between reference and input.

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(3 * h).sum(0)
    >>> placed = place_nodes(f, x, r, f(x) - f(r), tolerance=1e-3, max_steps=64)
    >>> placed.reached, placed.residual < 1e-3
    (True, True)
    """
    return place_nodes_together(f, [x], [r], [change], tolerance, max_steps, chunk_size=chunk_size)[0]


def place_nodes_together(
    f: Callable[[Tensor], Tensor],
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    changes: Sequence[Tensor],
    tolerance: float,
    max_steps: int,
    *,
    finer: bool = False,
    n_first: int = 0,
    chunk_size: int | None = None,
) -> list[Placement]:
    """`place_nodes` of n texts of one length, for all of which f is the same: their derivatives are taken together.

    ``finer`` says that a path which jumps within what the dtype resolves will be looked at again in a finer one, so
    that it is left as it is, without nodes to speak of. ``n_first`` nodes of `drawn_to_middle` are tried before the
    path is looked at, none where it is 0: where a node costs no more than a few looks, one too many is cheaper than
    they.
    """
    looks = {
        "values": values_along_paths,
        "derivatives": derivatives_along_paths,
        "both": values_and_derivatives_along_paths,
    }
    resolution = ROUNDINGS * torch.finfo(xs[0].dtype).eps
    searches = [
        search(torch.zeros_like(change) if x.equal(r) else change, tolerance, max_steps, resolution, finer, n_first)
        for x, r, change in zip(xs, rs, map(_on_cpu, changes), strict=True)
    ]
    placements: dict[int, Placement] = {}
    requests: dict[int, Request] = {}
    n_passes = [0] * len(searches)

    def resume(place: int, answer: Tensor | None) -> None:
        try:
            requests[place] = next(searches[place]) if answer is None else searches[place].send(answer)
        except StopIteration as end:
            placements[place] = replace(end.value, n_passes=n_passes[place])

    for place in range(len(searches)):
        resume(place, None)
    while requests:
        for kind, look in looks.items():
            asked = {place: nodes for place, (wanted, nodes) in requests.items() if wanted == kind}
            if not asked:
                continue
            for place, nodes in asked.items():
                n_passes[place] += PASSES[kind] * len(nodes)
            asked_xs, asked_rs = [xs[place] for place in asked], [rs[place] for place in asked]
            found = look(f, asked_xs, asked_rs, list(asked.values()), chunk_size=chunk_size)
            for place, answer in zip(asked, found, strict=True):
                del requests[place]
                resume(place, _on_cpu(answer))
    return [placements[place] for place in range(len(searches))]


def search(
    change: Tensor,
    tolerance: float,
    max_steps: int,
    resolution: float = 0.0,
    finer: bool = False,
    n_first: int = 0,
) -> Generator[Request, Tensor, Placement]:
    """The search behind `place_nodes`, which requests values of f and derivatives along the path.

    Its small products are torch's: the threads of numpy's would go on spinning, and slow the model's down.

    Args:
        change: (E,), f(x) − f(r), float64 on the CPU; zero where x is r.
        resolution: length of the path within which rounding hides what f does; 0 for none.
        finer, n_first: as for `place_nodes_together`.

    Yields:
        requests, to be answered by (N, E), or (N, 2, E) for ``"both"``, float64 on the CPU.

    Returns, raises:
        as `place_nodes`.
    """
    size = float(change.norm())
    if size == 0:
        return _smooth(partial(quadrature, "midpoint"), 1, 0.0, True, change)
    goal = MARGIN * tolerance
    if 0 < n_first <= max_steps:
        tried = yield from _tried(drawn_to_middle, n_first, change, goal)
        if tried.reached:
            return tried
    values: dict[float, Tensor] = {}
    curve = yield from _look(tolerance * size, values, resolution)
    found: list[Placement] = []
    if curve is not None and (resolution > COARSEST or not _panels_are_fewer(curve, goal, max_steps)):
        found = [(yield from _spread(curve, change, goal, max_steps, resolution))]
        misjudged = not found[0].reached and len(found[0].rule.nodes) < max_steps
        if not misjudged or goal < ROUNDINGS * resolution or resolution > COARSEST:
            return found[0]
    on_panels = yield from graded(values, goal * size, max_steps, resolution, finer)
    found.append(_on_panels(on_panels, size, goal, resolution))
    return min(found, key=lambda placement: placement.measured)


def _panels_are_fewer(curve: _Curve, goal: float, max_steps: int) -> bool:
    """Whether the curve, had it several sharp bends, would take fewer nodes on panels; not asked for a few nodes."""
    n_steps = curve.fewest(goal, max_steps)[1]
    if n_steps < WORTH_PANELS:
        return False
    places = _chebyshev_points(N_VALUES[1])
    values, derivatives = curve.values(places), curve.derivatives(places)
    return PANELS_OPTIMISM * fewest_on_panels(places, values, derivatives, goal * curve.size, max_steps) < n_steps


def _tried(
    rule_of: Callable[[int], Quadrature], n_steps: int, change: Tensor, goal: float
) -> Generator[Request, Tensor, Placement]:
    """What a rule on the whole path leaves, relative to the change."""
    rule = rule_of(n_steps)
    slopes = yield from ask("derivatives", rule.nodes)
    residual = float((torch.from_numpy(rule.weights) @ slopes - change).norm() / change.norm())
    return _smooth(rule_of, n_steps, residual, residual <= goal, change, slopes)


def _spread(
    curve: _Curve, change: Tensor, goal: float, max_steps: int, resolution: float
) -> Generator[Request, Tensor, Placement]:
    """Nodes spread over the length of a smooth path, more of them until the relative residual is within the goal."""
    tried: list[Placement] = []
    rule_of, n_steps = curve.fewest(goal, max_steps)
    most = max_steps if resolution > COARSEST else min(max_steps, max(n_steps + 4, int(MISJUDGED * n_steps)))
    stagnant = 0
    while True:
        tried.append((yield from _tried(rule_of, n_steps, change, goal if n_steps > 1 else LINEAR * goal)))
        if tried[-1].reached:
            return tried[-1]
        if len(tried) > 1:
            stagnant = stagnant + 1 if tried[-1].measured > STAGNATION * tried[-2].measured else 0
        if n_steps >= most or stagnant >= PATIENCE:
            best = min(placement.measured for placement in tried)
            found = next(placement for placement in tried if placement.measured <= 1.25 * best)
            return replace(found, reached=found.measured <= goal)
        wanted = _crossing(tried[-2], tried[-1], goal) if len(tried) > 1 else 1.2 * n_steps
        n_steps = int(min(most, 2 * n_steps, max(n_steps + 1, wanted)))


def _smooth(
    rule_of: Callable[[int], Quadrature],
    n_steps: int,
    residual: float,
    reached: bool,
    change: Tensor,
    slopes: Tensor | None = None,
) -> Placement:
    """A placement on one panel, the whole path."""
    rule, known = rule_of(n_steps), {"changes": change[None], "widths": (1.0,), "slopes": slopes}
    return Placement(rule, lambda more: rule_of(n_steps + more), residual, reached, (n_steps,), **known)


def _on_panels(found: Graded, size: float, goal: float, resolution: float) -> Placement:
    residual = found.residual / size
    widths = tuple(panel.high - panel.low for panel in found.panels)
    # Where rounding moves a narrow jump, more nodes do not help.
    blurred = not found.resolved or min(widths) < NARROW / ROUNDINGS * resolution
    return Placement(
        rule=composite(found.panels),
        finer=lambda more: composite(tuple(panel._replace(n_steps=panel.n_steps + more) for panel in found.panels)),
        residual=residual,
        reached=residual <= goal,
        orders=tuple(panel.n_steps for panel in found.panels),
        changes=found.changes,
        widths=widths,
        slopes=found.slopes,
        unresolved=blurred and residual > goal,
    )


def _crossing(fewer: Placement, more: Placement, residual: float) -> float:
    """The number of nodes that a residual takes, if it falls geometrically from one placement to the other."""
    if not 0 < more.measured < fewer.measured:
        return len(more.rule.nodes) if more.measured == 0 else math.inf
    n_fewer, n_more = len(fewer.rule.nodes), len(more.rule.nodes)
    share = math.log(fewer.measured / residual) / math.log(fewer.measured / more.measured)
    return math.ceil(n_fewer + share * (n_more - n_fewer))


def check_tolerance(tolerance: float, max_steps: int, name: str = "tolerance") -> None:
    """Raise unless the tolerance is a number above 0 and ``max_steps`` an integer of at least 1."""
    if not is_real(tolerance):
        raise TypeError(f"{name} must be a number, got {tolerance!r}")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"{name} must be above 0, got {tolerance}")
    checked_integer(max_steps, "max_steps", least=1, wrong_type=ValueError)


def _on_cpu(values: Tensor) -> Tensor:
    return values.cpu().double()
