"""From paths to factors: nodes are placed, factors computed in the precision that they need, and errors estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..integrated_jacobian.adaptive import Placement, place_nodes
from ..integrated_jacobian.error_estimates import checked_error, error_functionals, factor_error
from ..integrated_jacobian.integrator import Measured
from ..integrated_jacobian.rules import Quadrature, quadrature
from .modes import Mode, ReverseMode, combined_factors, factors_together, sign_rows
from .options import Options
from .text_path import TextPath, integrator_of

__all__ = ["Integrated", "averaged", "integrated", "placements", "way_of_mean"]

# How often nodes are placed anew for the error of the factors, and how far below what seems to be needed.
MOST_REFINEMENTS, BELOW = 6, 0.9


@dataclass(frozen=True)
class Integrated:
    """The factors of one text, with the nodes they come from and their error."""

    factors: Tensor
    """(S, E), or (G, E), or (S, K)."""
    placement: Placement
    factor_error: float
    """See `xsbert.integrated_jacobian.error_estimates.factor_error`."""
    n_float64: int
    """Nodes that were computed in float64."""
    slopes: Tensor | None
    """(N, E), derivatives of f along the path at the nodes, float64 on the CPU, where the factors are projected."""
    n_nodes: int
    n_passes: int
    """Evaluations of f that placed the nodes and checked the error."""


def integrated(
    paths: Sequence[TextPath], options: Options, modes: Sequence[Mode], n_first: int = 0, n_references: int = 1
) -> list[Integrated]:
    """Place nodes along the paths, integrate, and estimate the error.

    Args:
        paths: n paths, of texts that are alike, with one f.
        options: accuracy and memory.
        modes: of each text, all forward or all reverse.
        n_first: nodes that are tried before the paths are evaluated; 0 for none.
        n_references: number of consecutive paths that are of one text, of which the mean is wanted.

    Returns:
        the factors along n paths.

    Raises:
        FloatingPointError: f is not finite everywhere between reference and text.
        MemoryError: the budget is too small for a single product.
    """
    placed = placements(paths, options, n_first)
    if n_references > 1 and options.target is not None:
        placed = _for_means(paths, placed, options, n_references)
    found = _computed(paths, placed, options, modes)
    wanted = options.factor_tolerance
    if wanted is None:
        return found
    refined = []
    for place, (path, each, mode) in enumerate(zip(paths, found, modes, strict=True)):
        start = place - place % n_references
        own = replace(options, factor_tolerance=wanted * _size_of_mean(found[start : start + n_references]))
        refined.append(_refined(path, each, own, mode))
    return refined


def averaged(found: Sequence[Integrated]) -> Integrated:
    """The mean of the factors of one text along the paths from several references.

    The counts of nodes are sums. The error is at most the mean of the errors, relative to the mean of the factors.
    """
    if len(found) == 1:
        return found[0]
    factors = torch.stack([each.factors for each in found])
    errors = [each.factor_error for each in found]
    size = float(factors.mean(0).double().norm())
    sizes = factors.double().flatten(1).norm(dim=1).tolist()
    missed = sum(error * each for error, each in zip(errors, sizes, strict=True)) / len(found)
    return Integrated(
        factors=factors.mean(0),
        placement=found[0].placement,
        factor_error=missed / size if size else 0.0,
        n_float64=sum(each.n_float64 for each in found),
        slopes=None,
        n_nodes=sum(each.n_nodes for each in found),
        n_passes=sum(each.n_passes for each in found),
    )


def way_of_mean(paths: Sequence[TextPath]) -> float:
    """The length of the mean change of f along paths, relative to the mean of the lengths, at most 1."""
    changes = torch.stack([path.f_x - path.f_r for path in paths]).double()
    lengths = float(changes.norm(dim=1).mean())
    return float(changes.mean(0).norm()) / lengths if lengths and len(paths) > 1 else 1.0


def _for_means(
    paths: Sequence[TextPath], placed: Sequence[Placement], options: Options, n_references: int
) -> list[Placement]:
    """Place nodes anew where the mean over the references of a text would not be within the tolerance.

    What the paths miss partly cancels in the mean, but the tolerance is relative to the mean of their changes, which
    may be shorter than these.
    """
    found = [*placed]
    assert options.target is not None
    for start in range(0, len(paths), n_references):
        own = slice(start, start + n_references)
        changes = torch.stack([(path.f_x - path.f_r).double().cpu() for path in paths[own]])
        # Without slopes, f does not change along the path.
        sums = [
            change if each.slopes is None else torch.from_numpy(each.rule.weights) @ each.slopes
            for each, change in zip(found[own], changes, strict=True)
        ]
        missed = float((torch.stack(sums) - changes).mean(0).norm())
        if missed > options.target * float(changes.mean(0).norm()):
            stricter = replace(options, tolerance=options.target * way_of_mean(paths[own]))
            again = placements(paths[own], stricter)
            found[own] = [
                replace(new, n_passes=old.n_passes + new.n_passes) for old, new in zip(found[own], again, strict=True)
            ]
    return found


def _size_of_mean(found: Sequence[Integrated]) -> float:
    """The norm of the mean of factors, relative to the mean of their norms."""
    factors = torch.stack([each.factors for each in found]).double()
    sizes = factors.flatten(1).norm(dim=1).mean()
    return float(factors.mean(0).norm() / sizes) if len(found) > 1 and sizes else 1.0


def _refined(path: TextPath, found: Integrated, options: Options, mode: Mode) -> Integrated:
    """Nodes for smaller and smaller residuals, until the error of the factors is within its own tolerance."""
    wanted, target = options.factor_tolerance, options.target
    assert wanted is not None
    assert target is not None
    for _ in range(MOST_REFINEMENTS):
        if found.factor_error <= wanted or len(found.placement.rule.nodes) >= options.max_steps:
            return found
        reached = min(target, found.placement.residual or target)
        target = BELOW * reached * wanted / found.factor_error
        (placed,) = placements([path], replace(options, tolerance=target))
        if len(placed.rule.nodes) <= len(found.placement.rule.nodes):
            # What the tokens miss may cancel in their sum, which is what nodes are placed by.
            placed = replace(found.placement.with_more_nodes(), n_passes=placed.n_passes)
            if len(placed.rule.nodes) > options.max_steps:
                return found
        placed = replace(placed, n_passes=found.placement.n_passes + placed.n_passes)
        (again,) = _computed([path], [placed], options, [mode])
        if again.factor_error >= found.factor_error:
            known = replace(found.placement, n_passes=placed.n_passes)
            return replace(found, placement=known, n_passes=placed.n_passes)
        found = again
    return found


def _computed(
    paths: Sequence[TextPath], placed: Sequence[Placement], options: Options, modes: Sequence[Mode]
) -> list[Integrated]:
    functionals = [
        error_functionals(options.rule_name, placement.rule.weights, placement.orders) for placement in placed
    ]
    found = _measured(paths, placed, [rows.reshape(-1, rows.shape[-1]) for rows in functionals], modes)
    results = []
    every = zip(modes, paths, placed, functionals, found, _slopes(modes, paths, placed), strict=True)
    for mode, path, placement, rows, measured, slopes in every:
        error, n_passes = _error(mode, path, placement, rows, measured, slopes)
        results.append(
            Integrated(
                factors=measured.factors,
                placement=replace(placement, n_passes=placement.n_passes + n_passes),
                factor_error=error,
                n_float64=int(_fine(path, placement).sum()),
                slopes=slopes,
                n_nodes=len(placement.rule.nodes),
                n_passes=placement.n_passes + n_passes,
            )
        )
    return results


def _error(
    mode: Mode, path: TextPath, placement: Placement, rows: np.ndarray, measured: Measured, slopes: Tensor | None
) -> tuple[float, int]:
    """The estimated error of the factors, and how many passes its check took."""
    assert placement.changes is not None
    size, rounding = float(measured.factors.double().norm()), torch.finfo(path.x.dtype).eps
    signs = sign_rows(mode, path)
    if signs is None or not size:
        traces = measured.traces.reshape(*rows.shape[:2], *measured.traces.shape[1:])
        # What one direction shows of the sum may vanish by chance, what all of them show does not.
        sums = traces[:, :, 0] if slopes is None else torch.from_numpy(rows) @ slopes
        n_nodes = len(placement.rule.nodes)
        return factor_error(sums, traces[:, :, 1:], placement.changes, size, n_nodes, rounding), 0
    finer = placement.with_more_nodes().rule
    # In float64 where some of its own nodes are.
    fine = path.in_float64() if path.in_float64 and _fine(path, placement).any() else path
    total, combined = combined_factors(mode, fine, finer, signs)
    gaps = signs[1:] @ measured.factors.double().cpu() - combined
    error = checked_error(gaps, total - placement.changes.sum(0), size, rounding)
    return error, (len(signs) + 1) * len(finer.nodes)


def _measured(
    paths: Sequence[TextPath], placed: Sequence[Placement], functionals: Sequence[np.ndarray], modes: Sequence[Mode]
) -> list[Measured]:
    """All texts together, and the nodes that need float64 text by text."""
    fine = [_fine(path, placement) for path, placement in zip(paths, placed, strict=True)]
    kept = [
        _part(placement.rule, rows, ~chosen) for placement, rows, chosen in zip(placed, functionals, fine, strict=True)
    ]
    found = factors_together(modes, paths, [rule for rule, _ in kept], [rows for _, rows in kept])
    every = zip(modes, paths, placed, functionals, fine, strict=True)
    for place, (mode, path, placement, rows, chosen) in enumerate(every):
        if chosen.any() and path.in_float64 is not None:
            rule, chosen_rows = _part(placement.rule, rows, chosen)
            (more,) = factors_together([mode], [path.in_float64()], [rule], [chosen_rows])
            found[place] = Measured(found[place].factors + more.factors, found[place].traces + more.traces)
    return found


def _slopes(modes: Sequence[Mode], paths: Sequence[TextPath], placed: Sequence[Placement]) -> Sequence[Tensor | None]:
    """(N, E) of each text in reverse mode: derivatives of f along the path at the nodes. In forward mode None."""
    if not isinstance(modes[0], ReverseMode):
        return [None] * len(paths)
    known = [placement.slopes for placement in placed]
    # Nodes are placed by precise derivatives, which these factors may not be of.
    if paths[0].precise is None and all(slopes is not None for slopes in known):
        return known
    found = integrator_of(paths).derivatives([placement.rule.nodes for placement in placed])
    return [slopes.cpu().double() for slopes in found]


def placements(paths: Sequence[TextPath], options: Options, n_first: int = 0) -> list[Placement]:
    """Nodes placed for the tolerance; or the rule that was asked for, with a residual that is not known yet.

    Where a path jumps within what float32 resolves, its nodes are placed in float64. ``n_first`` as for `place_nodes`.
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
    changes = [path.f_x - path.f_r for path in paths]
    finer = all(path.in_float64 is not None for path in paths)
    integrator = integrator_of(paths, precise=True)
    found = place_nodes(integrator, changes, tolerance, options.max_steps, finer=finer, n_first=n_first)
    for place, path in enumerate(paths):
        if found[place].unresolved and path.in_float64 is not None:
            fine = path.in_float64()
            (again,) = place_nodes(integrator_of([fine]), [fine.f_x - fine.f_r], tolerance, options.max_steps)
            found[place] = replace(again, n_passes=found[place].n_passes + again.n_passes, in_float64=True)
    return found


def _fine(path: TextPath, placement: Placement) -> np.ndarray:
    """(N,) which nodes are computed in float64."""
    return placement.in_need_of_float64(path.x.dtype)


def _part(rule: Quadrature, functionals: np.ndarray, chosen: np.ndarray) -> tuple[Quadrature, np.ndarray]:
    """Some of the nodes."""
    return Quadrature(rule.nodes[chosen], rule.weights[chosen]), functionals[:, chosen]
