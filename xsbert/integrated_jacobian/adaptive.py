"""Choose the nodes for a tolerance.

The factors of all tokens sum to the integral of g(α) = d/dα f(r + α(x − r)), and that integral is known: f(x) − f(r).
So the residual of any set of nodes can be measured by g alone, at two evaluations of f per node instead of S + 1,
before the full work begins. The path itself says which set to measure: values of f at Chebyshev points, one evaluation
each, give a polynomial, and its derivative predicts the residual of any nodes.

Of the ways compared in docs/background/placement.md, nodes spread evenly over the length of the embedding's path took
fewest where the path is smooth. Where it nearly jumps, the nodes lie on subintervals that are graded towards the jumps
(`graded`).
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
from .chebyshev import EmbeddingCurve, chebyshev_points, fitted_curve
from .functions import Request, ask
from .graded import Graded, fewest_on_subintervals, graded
from .integrator import PathIntegrator
from .rules import Quadrature, quadrature, sinh_gauss_legendre
from .settings import SEARCH
from .subintervals import composite

__all__ = ["Placement", "check_tolerance", "place_nodes", "search"]

# Evaluations of f that each kind of request costs at one place.
PASSES = {"values": 1, "derivatives": 2, "both": 2}


@dataclass(frozen=True)
class Placement:
    """Nodes, and the relative residual that they leave, None where it was not measured."""

    rule: Quadrature
    finer: Callable[[int], Quadrature]
    """Makes a rule with so many more nodes on each subinterval: of the same kind where nodes were placed, and
    Gauss-Legendre where a rule was asked for."""
    residual: float | None = None
    reached: bool = False
    """Whether the residual is within the tolerance."""
    orders: tuple[int, ...] = ()
    """Gauss-Legendre nodes of each subinterval; they sum to N. A rule on the whole path has one."""
    changes: Tensor | None = None
    """(P, E), change of f along each subinterval, float64 on the CPU; None where it was not evaluated."""
    widths: tuple[float, ...] = ()
    """Of the subintervals."""
    slopes: Tensor | None = None
    """(N, E), derivatives of f along the path at the nodes, float64 on the CPU; None where they were not evaluated."""
    unresolved: bool = False
    """Whether the path jumps within what the dtype resolves, so that a finer dtype would see more."""
    in_float64: bool = False
    """Whether it was placed in float64, which the narrowest subintervals then need for their nodes as well."""
    n_passes: int = 0
    """Evaluations of f spent on finding the nodes, and on checking the error of the tokens."""

    @property
    def measured(self) -> float:
        """The residual of a placement that was measured."""
        assert self.residual is not None
        return self.residual

    def with_more_nodes(self) -> Placement:
        """The same with a few more nodes on each subinterval, with a residual that is not measured."""
        finer, added = self.finer, max(SEARCH.more_nodes, math.ceil(SEARCH.more_of_many * max(self.orders)))
        orders = tuple(order + added for order in self.orders)
        known = {"rule": finer(added), "finer": lambda more: finer(added + more), "orders": orders}
        return replace(self, **known, residual=None, slopes=None)

    def in_need_of_float64(self, dtype: torch.dtype) -> np.ndarray:
        """(N,) whether a node has to be computed in float64, in a model of some dtype."""
        if not self.in_float64:
            return np.zeros(len(self.rule.nodes), dtype=bool)
        return np.repeat(np.array(self.widths) < SEARCH.narrow * torch.finfo(dtype).eps, self.orders)


def place_nodes(
    integrator: PathIntegrator,
    changes: Sequence[Tensor],
    tolerance: float,
    max_steps: int,
    *,
    finer: bool = False,
    n_first: int = 0,
) -> list[Placement]:
    """The fewest nodes found for a relative residual within a tolerance, for each path of an integrator.

    One node in the middle is enough where f is linear, as behind the last layer. Otherwise the nodes are spread evenly
    over the length of the embedding's path (see `equidistributed`), as few as its polynomial predicts, and then
    measured; where it was wrong, more are tried. A path with near-jumps, which no polynomial follows, gets subintervals
    (`graded`). The paths are searched side by side, so that short texts fill a chunk together.

    Args:
        integrator: of T paths.
        changes: for each path (E,), f(x) − f(r).
        tolerance: relative residual to reach, above 0.
        max_steps: most nodes to try.
        finer: whether a path that jumps within what the dtype resolves will be searched again in a finer one. It then
            gets a placement without nodes to speak of.
        n_first: nodes of `sinh_gauss_legendre` that are tried before the path is evaluated; 0 for none. Where a node
            costs no more than a few evaluations, one node too many is cheaper than they are.

    Returns:
        placements within the tolerance; or, where none is within ``max_steps`` or the residual stops falling, the
        smallest with a residual near the best.

    Raises:
        FloatingPointError: f is not finite everywhere between reference and input.

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(3 * h).sum(0)
    >>> placed, = place_nodes(PathIntegrator(f, [x], [r]), [f(x) - f(r)], tolerance=1e-3, max_steps=64)
    >>> placed.reached, placed.residual < 1e-3
    (True, True)
    """
    evaluate = {
        "values": integrator.values,
        "derivatives": integrator.derivatives,
        "both": integrator.values_and_derivatives,
    }
    xs, rs = integrator.xs, integrator.rs
    resolution = SEARCH.roundings * torch.finfo(xs[0].dtype).eps
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
        for kind, passes in PASSES.items():
            asked = {place: nodes for place, (wanted, nodes) in requests.items() if wanted == kind}
            if not asked:
                continue
            found = evaluate[kind]([asked.get(place, np.zeros(0)) for place in range(len(searches))])
            for place, nodes in asked.items():
                n_passes[place] += passes * len(nodes)
                del requests[place]
                resume(place, _on_cpu(found[place]))
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
        finer, n_first: as for `place_nodes`.

    Yields:
        requests, to be answered by (N, E), or (N, 2, E) for ``"both"``, float64 on the CPU.

    Returns, raises:
        as `place_nodes`, for one path.
    """
    size = float(change.norm())
    if size == 0:
        return _smooth(partial(quadrature, "midpoint"), 1, 0.0, True, change)
    goal, coarse = SEARCH.margin * tolerance, resolution > SEARCH.coarsest
    if 0 < n_first <= max_steps:
        tried = yield from _tried(sinh_gauss_legendre, n_first, change, goal)
        if tried.reached:
            return tried
    values: dict[float, Tensor] = {}
    curve = yield from fitted_curve(tolerance * size, values, resolution)
    found: list[Placement] = []
    if curve is not None and (coarse or not _subintervals_are_fewer(curve, goal, max_steps)):
        found = [(yield from _spread(curve, change, goal, max_steps, coarse))]
        misjudged = not found[0].reached and len(found[0].rule.nodes) < max_steps
        if not misjudged or goal < SEARCH.roundings * resolution or coarse:
            return found[0]
    on_subintervals = yield from graded(values, goal * size, max_steps, resolution, finer)
    found.append(_on_subintervals(on_subintervals, size, goal, resolution))
    return min(found, key=lambda placement: placement.measured)


def _subintervals_are_fewer(curve: EmbeddingCurve, goal: float, max_steps: int) -> bool:
    """Whether a curve with several sharp bends would take fewer nodes on subintervals; False for a few nodes."""
    n_steps = curve.fewest(goal, max_steps)[1]
    if n_steps < SEARCH.worth_subintervals:
        return False
    places = chebyshev_points(SEARCH.n_values[1])
    values, derivatives = curve.values(places), curve.derivatives(places)
    predicted = fewest_on_subintervals(places, values, derivatives, goal * curve.size, max_steps)
    return SEARCH.optimism * predicted < n_steps


def _tried(
    rule_of: Callable[[int], Quadrature], n_steps: int, change: Tensor, goal: float
) -> Generator[Request, Tensor, Placement]:
    """A rule on the whole path, with its residual relative to the change."""
    rule = rule_of(n_steps)
    slopes = yield from ask("derivatives", rule.nodes)
    residual = float((torch.from_numpy(rule.weights) @ slopes - change).norm() / change.norm())
    return _smooth(rule_of, n_steps, residual, residual <= goal, change, slopes)


def _spread(
    curve: EmbeddingCurve, change: Tensor, goal: float, max_steps: int, coarse: bool
) -> Generator[Request, Tensor, Placement]:
    """Nodes spread over the length of a smooth path, more of them until the relative residual is within the goal."""
    tried: list[Placement] = []
    rule_of, n_steps = curve.fewest(goal, max_steps)
    most = max_steps if coarse else min(max_steps, max(n_steps + 4, int(SEARCH.misjudged * n_steps)))
    stagnant = 0
    while True:
        tried.append((yield from _tried(rule_of, n_steps, change, goal if n_steps > 1 else SEARCH.linear * goal)))
        if tried[-1].reached:
            return tried[-1]
        if len(tried) > 1:
            stagnant = stagnant + 1 if tried[-1].measured > SEARCH.stagnation * tried[-2].measured else 0
        if n_steps >= most or stagnant >= SEARCH.patience:
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
    """A placement on the whole path."""
    rule, known = rule_of(n_steps), {"changes": change[None], "widths": (1.0,), "slopes": slopes}
    return Placement(rule, lambda more: rule_of(n_steps + more), residual, reached, (n_steps,), **known)


def _on_subintervals(found: Graded, size: float, goal: float, resolution: float) -> Placement:
    residual = found.residual / size
    widths = tuple(each.high - each.low for each in found.subintervals)
    # Where rounding moves a narrow jump, more nodes do not help.
    blurred = not found.resolved or min(widths) < SEARCH.narrow / SEARCH.roundings * resolution
    return Placement(
        rule=composite(found.subintervals),
        finer=lambda more: composite(tuple(each._replace(n_steps=each.n_steps + more) for each in found.subintervals)),
        residual=residual,
        reached=residual <= goal,
        orders=tuple(each.n_steps for each in found.subintervals),
        changes=found.changes,
        widths=widths,
        slopes=found.slopes,
        unresolved=blurred and residual > goal,
    )


def _crossing(fewer: Placement, more: Placement, residual: float) -> float:
    """The number of nodes for a residual, if it falls geometrically from one placement to the other."""
    if not 0 < more.measured < fewer.measured:
        return len(more.rule.nodes) if more.measured == 0 else math.inf
    n_fewer, n_more = len(fewer.rule.nodes), len(more.rule.nodes)
    steps = math.log(fewer.measured / residual) / math.log(fewer.measured / more.measured)
    return math.ceil(n_fewer + steps * (n_more - n_fewer))


def check_tolerance(tolerance: float, max_steps: int, name: str = "tolerance") -> None:
    """Raise unless the tolerance is a number above 0 and ``max_steps`` an integer of at least 1."""
    if not is_real(tolerance):
        raise TypeError(f"{name} must be a number, got {tolerance!r}")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"{name} must be above 0, got {tolerance}")
    checked_integer(max_steps, "max_steps", least=1, wrong_type=ValueError)


def _on_cpu(values: Tensor) -> Tensor:
    return values.cpu().double()
