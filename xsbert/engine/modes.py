"""Forward and reverse mode for one text, and factors of a batch of texts in one mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..integrated_jacobian.error_estimates import sign_combinations, signs_worth_their_cost
from ..integrated_jacobian.integrator import Measured, group_members
from ..integrated_jacobian.rules import Quadrature
from .text_path import TextPath, integrator_of

__all__ = ["ForwardMode", "Mode", "ReverseMode", "combined_factors", "factors_together", "sign_rows"]


@dataclass(frozen=True)
class ForwardMode:
    """One pass per token and node, or per group of tokens. Factors are (S, E), or (G, E)."""

    groups: Sequence[Sequence[int]] | None = None
    """Token positions of each group; None takes every token for itself."""

    def n_products(self, path: TextPath) -> int:
        """Products per node, besides the one for f itself."""
        return len(path.x) if self.groups is None else len(self.groups)

    def members(self, path: TextPath) -> Tensor:
        """(rows of the factors, S) weights of the tokens in each row."""
        return group_members(self.groups, path.x)

    def project(self, combined: Tensor) -> Tensor:
        """Combinations (M, E) of factors in all dimensions, as these factors have them."""
        return combined


@dataclass(frozen=True)
class ReverseMode:
    """One backward pass per direction and node. Factors are (S, K)."""

    directions: Tensor
    """(K, E)"""

    def n_products(self, path: TextPath) -> int:
        return len(self.directions)

    def members(self, path: TextPath) -> Tensor:
        return group_members(None, path.x)

    def project(self, combined: Tensor) -> Tensor:
        return combined @ self.directions.double().cpu().T


Mode = ForwardMode | ReverseMode


def factors_together(
    modes: Sequence[Mode], paths: Sequence[TextPath], rules: Sequence[Quadrature], functionals: Sequence[np.ndarray]
) -> list[Measured]:
    """The factors of texts that are alike, all in forward mode or all in reverse mode.

    Args:
        modes, paths, rules: of each text.
        functionals: (C, N) of each text, for the traces.
    """
    directions = [mode.directions for mode in modes if isinstance(mode, ReverseMode)]
    if directions:
        n_rows = max(len(each) for each in directions)
        return integrator_of(paths, n_rows, reverse=True).projected_factors(rules, directions, functionals)
    if len(paths) > 1 and any(isinstance(mode, ForwardMode) and mode.groups is not None for mode in modes):
        each = zip(modes, paths, rules, functionals, strict=True)
        return [factors_together([mode], [path], [rule], [rows])[0] for mode, path, rule, rows in each]
    integrator = integrator_of(paths, modes[0].n_products(paths[0]))
    return integrator.token_factors(rules, members=modes[0].members(paths[0]), functionals=functionals)


def sign_rows(mode: Mode, path: TextPath) -> Tensor | None:
    """(1 + M, rows) combinations of factors with random signs, which tell their error; None where they cost too much.

    They are rounded as the model's dtype rounds them.
    """
    n_signs = signs_worth_their_cost(mode.n_products(path))
    if not n_signs:
        return None
    return sign_combinations(len(mode.members(path)), n_signs).to(path.x.dtype).double()


def combined_factors(mode: Mode, path: TextPath, rule: Quadrature, signs: Tensor) -> tuple[Tensor, Tensor]:
    """The first combination of factors (E,), in all dimensions, and the others, (M, E) or (M, K); on the CPU."""
    integrator = integrator_of([path], len(signs), precise=True)
    members = signs.to(path.x) @ mode.members(path)
    (found,) = integrator.token_factors([rule], members=members, description="check of the factors")
    combined = found.factors.double().cpu()
    return combined[0], mode.project(combined[1:])
