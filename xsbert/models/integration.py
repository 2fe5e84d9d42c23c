"""From paths to factors: nodes placed, all of them computed in the precision that they need, and the error told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..accuracy import error_functionals, factor_error
from ..integrated_jacobian import Measured, measured_factors, measured_pulled_back
from ..placement import Placement
from ..quadrature import Quadrature
from .plan import Accuracy, Limits, TextPath

__all__ = ["Integrated", "integrated", "projected_by", "summed_over"]


@dataclass(frozen=True)
class Integrated:
    """The factors of one text, and how they came about."""

    factors: Tensor
    """(S, E), or (G, E), or (S, K)."""
    placement: Placement
    factor_error: float
    """See `xsbert.accuracy.factor_error`."""
    n_float64: int
    """Nodes that were computed in float64."""


Together = Callable[[Sequence[TextPath], Sequence[Placement], Sequence[np.ndarray]], list[Measured]]
"""Integrates along paths at placed nodes, with functionals (C, N) of each text."""


def integrated(
    paths: Sequence[TextPath],
    accuracy: Accuracy,
    limits: Limits,
    together: Together,
    to_outputs: Callable[[Tensor], Tensor],
) -> list[Integrated]:
    """Place nodes along the paths, integrate, and tell the error.

    Args:
        paths: n paths, of texts that are alike, with one f.
        together: `summed_over` or `projected_by`.
        to_outputs: (…, E) to the outputs of f that the factors speak of.

    Returns:
        the factors of n texts.

    Raises:
        FloatingPointError: f is not finite everywhere between reference and text.
        MemoryError: the budget is too small for a single product.
    """
    placements = accuracy.placements(paths, limits)
    functionals = [
        error_functionals(accuracy.rule_name, placement.rule.weights, placement.orders) for placement in placements
    ]
    found = together(paths, placements, [rows.reshape(-1, rows.shape[-1]) for rows in functionals])
    results = []
    for path, placement, rows, measured in zip(paths, placements, functionals, found, strict=True):
        traces = measured.traces.reshape(*rows.shape[:2], *measured.traces.shape[1:])
        changes = to_outputs(placement.changes.to(path.f_x.device))
        size = float(measured.factors.double().norm())
        results.append(
            Integrated(
                factors=measured.factors,
                placement=placement,
                factor_error=factor_error(traces, changes, size, torch.finfo(path.x.dtype).eps),
                n_float64=int(_fine(path, placement).sum()),
            )
        )
    return results


def summed_over(groups: Sequence[Sequence[Sequence[int]]] | None, limits: Limits) -> Together:
    """Forward mode, for the tokens of all texts together, or for groups of tokens of each text."""

    def together(
        paths: Sequence[TextPath], placements: Sequence[Placement], functionals: Sequence[np.ndarray]
    ) -> list[Measured]:
        f = paths[0].f
        xs, rs = [path.x for path in paths], [path.r for path in paths]
        kept = [
            _part(placement.rule, rows, ~_fine(path, placement))
            for path, placement, rows in _each(paths, placements, functionals)
        ]
        rules, rows = [rule for rule, _ in kept], [rows for _, rows in kept]
        if groups is None:
            found = measured_factors(f, xs, rs, rules, rows, **limits.options(paths[0], len(xs[0])))
        else:
            found = [
                measured_factors(f, [x], [r], [rule], [row], groups=group, **limits.options(path, len(group)))[0]
                for path, x, r, rule, row, group in zip(paths, xs, rs, rules, rows, groups, strict=True)
            ]
        for place, (path, placement, rows) in enumerate(_each(paths, placements, functionals)):
            fine = _fine(path, placement)
            if fine.any():
                own, (rule, row) = path.in_float64(), _part(placement.rule, rows, fine)
                group = None if groups is None else groups[place]
                options = limits.options(own, len(own.x) if group is None else len(group))
                (more,) = measured_factors(own.f, [own.x], [own.r], [rule], [row], groups=group, **options)
                found[place] = _sum(found[place], more)
        return found

    return together


def projected_by(directions: Tensor, limits: Limits) -> Together:
    """Reverse mode, projected on directions (K, E) of the embedding, text by text."""

    def together(
        paths: Sequence[TextPath], placements: Sequence[Placement], functionals: Sequence[np.ndarray]
    ) -> list[Measured]:
        found = []
        for path, placement, rows in _each(paths, placements, functionals):
            fine = _fine(path, placement)
            options = limits.options(path, len(directions), reverse=True)
            rule, row = _part(placement.rule, rows, ~fine)
            measured = measured_pulled_back(path.f, path.x, path.r, rule, directions, row, **options)
            if fine.any():
                own, (rule, row) = path.in_float64(), _part(placement.rule, rows, fine)
                options = limits.options(own, len(directions), reverse=True)
                more = measured_pulled_back(own.f, own.x, own.r, rule, directions, row, **options)
                measured = _sum(measured, more)
            found.append(measured)
        return found

    return together


def _each(
    paths: Sequence[TextPath], placements: Sequence[Placement], functionals: Sequence[np.ndarray]
) -> zip[tuple[TextPath, Placement, np.ndarray]]:
    return zip(paths, placements, functionals, strict=True)


def _fine(path: TextPath, placement: Placement) -> np.ndarray:
    """(N,) which nodes are computed in float64."""
    return placement.in_need_of_float64(path.x.dtype)


def _part(rule: Quadrature, functionals: np.ndarray, chosen: np.ndarray) -> tuple[Quadrature, np.ndarray]:
    """Some of the nodes."""
    return Quadrature(rule.nodes[chosen], rule.weights[chosen]), functionals[:, chosen]


def _sum(one: Measured, other: Measured) -> Measured:
    return Measured(one.factors + other.factors, one.traces + other.traces)
