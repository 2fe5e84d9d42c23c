"""From paths to factors: nodes placed, all of them computed in the precision that they need, and the error told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..integrated_jacobian.adaptive import Placement, place_nodes, place_nodes_together
from ..integrated_jacobian.error_estimates import (
    checked_error,
    error_functionals,
    factor_error,
)
from ..integrated_jacobian.rules import Quadrature, quadrature
from ..integrated_jacobian.token_factors import Measured
from .batching import chunk_for
from .modes import Way, _Alone
from .options import Options
from .text_path import TextPath

__all__ = ["Integrated", "integrated", "placements"]

# How often nodes are placed anew for the error of the factors, and how far below what seems to be needed.
MOST_REFINEMENTS, BELOW = 6, 0.9


@dataclass(frozen=True)
class Integrated:
    """The factors of one text, and how they came about."""

    factors: Tensor
    """(S, E), or (G, E), or (S, K)."""
    placement: Placement
    factor_error: float
    """See `xsbert.integrated_jacobian.error_estimates.factor_error`."""
    n_float64: int
    """Nodes that were computed in float64."""
    slopes: Tensor | None
    """(N, E), derivatives of f along the path at the nodes, float64 on the CPU, where the factors are projected."""


def integrated(paths: Sequence[TextPath], options: Options, way: Way, n_first: int = 0) -> list[Integrated]:
    """Place nodes along the paths, integrate, and tell the error.

    Args:
        paths: n paths, of texts that are alike, with one f.
        options: how accurately, and within which memory.
        way: `SummedOver` or `ProjectedBy`.
        n_first: nodes that are tried before the paths are looked at; 0 for none.

    Returns:
        the factors of n texts.

    Raises:
        FloatingPointError: f is not finite everywhere between reference and text.
        MemoryError: the budget is too small for a single product.
    """
    found = _computed(paths, placements(paths, options, n_first), options, way)
    if options.factor_tolerance is None:
        return found
    return [
        _refined(place, path, each, options, way) for place, (path, each) in enumerate(zip(paths, found, strict=True))
    ]


def _refined(place: int, path: TextPath, found: Integrated, options: Options, way: Way) -> Integrated:
    """Nodes for smaller and smaller residuals, until the error of the factors is within its own tolerance."""
    wanted, target = options.factor_tolerance, options.target
    assert wanted is not None
    assert target is not None
    alone = _Alone(place, way)
    for _ in range(MOST_REFINEMENTS):
        if found.factor_error <= wanted or len(found.placement.rule.nodes) >= options.max_steps:
            return found
        reached = min(target, found.placement.residual or target)
        target = BELOW * reached * wanted / found.factor_error
        (placed,) = placements([path], replace(options, tolerance=target))
        if len(placed.rule.nodes) <= len(found.placement.rule.nodes):
            # What the tokens miss may cancel in their sum, by which nodes are placed.
            placed = replace(found.placement.with_more_nodes(), n_passes=placed.n_passes)
            if len(placed.rule.nodes) > options.max_steps:
                return found
        placed = replace(placed, n_passes=found.placement.n_passes + placed.n_passes)
        (again,) = _computed([path], [placed], options, alone)
        if again.factor_error >= found.factor_error:
            return replace(found, placement=replace(found.placement, n_passes=placed.n_passes))
        found = again
    return found


def _computed(paths: Sequence[TextPath], placed: Sequence[Placement], options: Options, way: Way) -> list[Integrated]:
    functionals = [
        error_functionals(options.rule_name, placement.rule.weights, placement.orders) for placement in placed
    ]
    found = _measured(paths, placed, [rows.reshape(-1, rows.shape[-1]) for rows in functionals], way)
    results = []
    every = zip(paths, placed, functionals, found, way.slopes(paths, placed), strict=True)
    for place, (path, placement, rows, measured, slopes) in enumerate(every):
        traces = measured.traces.reshape(*rows.shape[:2], *measured.traces.shape[1:])
        # What one direction shows of the sum may vanish by chance, what all of them show does not.
        sums = traces[:, :, 0] if slopes is None else torch.from_numpy(rows) @ slopes
        assert placement.changes is not None
        size, n_nodes = float(measured.factors.double().norm()), len(placement.rule.nodes)
        rounding = torch.finfo(path.x.dtype).eps
        signs = way.signs(place, path)
        if signs is None or not size:
            error = factor_error(sums, traces[:, :, 1:], placement.changes, size, n_nodes, rounding)
        else:
            finer = placement.with_more_nodes().rule
            # In float64 where some of its own nodes are.
            fine = path.in_float64() if path.in_float64 and _fine(path, placement).any() else path
            total, combined = way.combined(place, fine, finer, signs)
            gaps = signs[1:] @ measured.factors.double().cpu() - combined
            error = checked_error(gaps, total - placement.changes.sum(0), size, rounding)
            n_passes = placement.n_passes + (len(signs) + 1) * len(finer.nodes)
            placement = replace(placement, n_passes=n_passes)
        results.append(
            Integrated(
                factors=measured.factors,
                placement=placement,
                factor_error=error,
                n_float64=int(_fine(path, placement).sum()),
                slopes=slopes,
            )
        )
    return results


def _measured(
    paths: Sequence[TextPath], placed: Sequence[Placement], functionals: Sequence[np.ndarray], way: Way
) -> list[Measured]:
    """All texts together, and what needs float64 text by text."""
    fine = [_fine(path, placement) for path, placement in zip(paths, placed, strict=True)]
    kept = [
        _part(placement.rule, rows, ~chosen) for placement, rows, chosen in zip(placed, functionals, fine, strict=True)
    ]
    found = way.together(paths, [rule for rule, _ in kept], [rows for _, rows in kept])
    for place, (path, placement, rows, chosen) in enumerate(zip(paths, placed, functionals, fine, strict=True)):
        if chosen.any() and path.in_float64 is not None:
            more = way.alone(place, path.in_float64(), *_part(placement.rule, rows, chosen))
            found[place] = _sum(found[place], more)
    return found


def placements(paths: Sequence[TextPath], options: Options, n_first: int = 0) -> list[Placement]:
    """Nodes placed for the tolerance; or the rule that was asked for, whose residual is not known yet.

    Where a path jumps within what float32 resolves, its nodes are placed in float64. ``n_first`` as for
    `place_nodes_together`.
    """
    rule, tolerance = options.steps, options.target
    if rule is not None or tolerance is None:
        assert rule is not None
        n_steps = len(rule.nodes)
        return [
            Placement(
                rule,
                lambda more: quadrature("gauss-legendre", n_steps + more),
                orders=(n_steps,),
                changes=(path.f_x - path.f_r).cpu().double()[None],
                widths=(1.0,),
            )
            for path in paths
        ]
    xs, rs, changes = zip(*((path.x, path.r, path.f_x - path.f_r) for path in paths), strict=True)
    bounds: dict[str, Any] = {"tolerance": tolerance, "max_steps": options.max_steps}
    finer = all(path.in_float64 is not None for path in paths)
    chunk_size = chunk_for(paths[0], 1, options)
    f = paths[0].precise or paths[0].f
    found = place_nodes_together(f, xs, rs, changes, **bounds, finer=finer, n_first=n_first, chunk_size=chunk_size)
    for place, path in enumerate(paths):
        if found[place].unresolved and path.in_float64 is not None:
            fine = path.in_float64()
            chunk_size = chunk_for(fine, 1, options)
            again = place_nodes(fine.f, fine.x, fine.r, fine.f_x - fine.f_r, **bounds, chunk_size=chunk_size)
            n_passes = found[place].n_passes + again.n_passes
            found[place] = replace(again, n_passes=n_passes, in_float64=True)
    return found


def _fine(path: TextPath, placement: Placement) -> np.ndarray:
    """(N,) which nodes are computed in float64."""
    return placement.in_need_of_float64(path.x.dtype)


def _part(rule: Quadrature, functionals: np.ndarray, chosen: np.ndarray) -> tuple[Quadrature, np.ndarray]:
    """Some of the nodes."""
    return Quadrature(rule.nodes[chosen], rule.weights[chosen]), functionals[:, chosen]


def _sum(one: Measured, other: Measured) -> Measured:
    return Measured(one.factors + other.factors, one.traces + other.traces)
