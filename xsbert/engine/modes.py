"""Forward and reverse mode: how the factors of texts that are alike are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ..integrated_jacobian.adaptive import Placement
from ..integrated_jacobian.error_estimates import (
    combinations_of,
    signs_worth_their_cost,
)
from ..integrated_jacobian.path_values import derivatives_along_paths
from ..integrated_jacobian.reverse_mode import measured_pulled_back_together
from ..integrated_jacobian.rules import Quadrature
from ..integrated_jacobian.token_factors import Measured, combined_factors, measured_factors
from .batching import chunk_for
from .options import Options
from .text_path import TextPath

__all__ = ["ProjectedBy", "SummedOver", "Way", "limits"]


class Way(Protocol):
    """Forward or reverse mode, along paths of texts that are alike."""

    def together(
        self, paths: Sequence[TextPath], rules: Sequence[Quadrature], functionals: Sequence[np.ndarray]
    ) -> list[Measured]:
        """All texts, with functionals (C, N) of each."""
        ...

    def alone(self, place: int, path: TextPath, rule: Quadrature, functionals: np.ndarray) -> Measured:
        """The text of that place, on another path."""
        ...

    def slopes(self, paths: Sequence[TextPath], placed: Sequence[Placement]) -> Sequence[Tensor | None]:
        """(N, E) of each text, derivatives of f along the path at the nodes; None where the traces tell them."""
        ...

    def signs(self, place: int, path: TextPath) -> Tensor | None:
        """(1 + M, R) combinations of the rows of factors that tell their error; None where they cost too much."""
        ...

    def combined(self, place: int, path: TextPath, rule: Quadrature, signs: Tensor) -> tuple[Tensor, Tensor]:
        """The first combination (E,) by another rule, in all dimensions; and the others, (M, E) or (M, K)."""
        ...


@dataclass(frozen=True)
class _Alone:
    """One of the texts of a way."""

    place: int
    way: Way

    def together(
        self, paths: Sequence[TextPath], rules: Sequence[Quadrature], functionals: Sequence[np.ndarray]
    ) -> list[Measured]:
        (path,), (rule,), (rows,) = paths, rules, functionals
        return [self.way.alone(self.place, path, rule, rows)]

    def alone(self, place: int, path: TextPath, rule: Quadrature, functionals: np.ndarray) -> Measured:
        return self.way.alone(self.place, path, rule, functionals)

    def slopes(self, paths: Sequence[TextPath], placed: Sequence[Placement]) -> Sequence[Tensor | None]:
        return self.way.slopes(paths, placed)

    def signs(self, place: int, path: TextPath) -> Tensor | None:
        return self.way.signs(self.place, path)

    def combined(self, place: int, path: TextPath, rule: Quadrature, signs: Tensor) -> tuple[Tensor, Tensor]:
        return self.way.combined(self.place, path, rule, signs)


@dataclass(frozen=True)
class SummedOver:
    """Forward mode, for the tokens of all texts together, or for groups of tokens of each text."""

    groups: Sequence[Sequence[Sequence[int]]] | None
    options: Options

    def together(
        self, paths: Sequence[TextPath], rules: Sequence[Quadrature], functionals: Sequence[np.ndarray]
    ) -> list[Measured]:
        if self.groups is not None:
            each = zip(paths, rules, functionals, strict=True)
            return [self.alone(place, *one) for place, one in enumerate(each)]
        xs, rs = [path.x for path in paths], [path.r for path in paths]
        bounds = limits(paths[0], len(xs[0]), self.options)
        return measured_factors(paths[0].f, xs, rs, rules, functionals, **bounds)

    def alone(self, place: int, path: TextPath, rule: Quadrature, functionals: np.ndarray) -> Measured:
        group = None if self.groups is None else self.groups[place]
        bounds = limits(path, len(path.x) if group is None else len(group), self.options)
        return measured_factors(path.f, [path.x], [path.r], [rule], [functionals], groups=group, **bounds)[0]

    def slopes(self, paths: Sequence[TextPath], placed: Sequence[Placement]) -> Sequence[Tensor | None]:
        return [None] * len(paths)

    def signs(self, place: int, path: TextPath) -> Tensor | None:
        n_rows = len(path.x) if self.groups is None else len(self.groups[place])
        return _signs(n_rows, n_rows, path)

    def combined(self, place: int, path: TextPath, rule: Quadrature, signs: Tensor) -> tuple[Tensor, Tensor]:
        groups = None if self.groups is None else self.groups[place]
        found = _combined(path, rule, signs, self.options, groups)
        return found[0], found[1:]


@dataclass(frozen=True)
class ProjectedBy:
    """Reverse mode, for each text projected on directions (K, E) of its own."""

    directions: Sequence[Tensor]
    options: Options

    def together(
        self, paths: Sequence[TextPath], rules: Sequence[Quadrature], functionals: Sequence[np.ndarray]
    ) -> list[Measured]:
        xs, rs = [path.x for path in paths], [path.r for path in paths]
        most = max(len(each) for each in self.directions)
        bounds = limits(paths[0], most, self.options, reverse=True)
        return measured_pulled_back_together(paths[0].f, xs, rs, rules, self.directions, functionals, **bounds)

    def alone(self, place: int, path: TextPath, rule: Quadrature, functionals: np.ndarray) -> Measured:
        directions = self.directions[place]
        bounds = limits(path, len(directions), self.options, reverse=True)
        ends = [path.x], [path.r]
        return measured_pulled_back_together(path.f, *ends, [rule], [directions], [functionals], **bounds)[0]

    def slopes(self, paths: Sequence[TextPath], placed: Sequence[Placement]) -> Sequence[Tensor | None]:
        known = [placement.slopes for placement in placed]
        # What placing looked at is of precise derivatives, which these factors may not be of.
        if paths[0].precise is None and all(slopes is not None for slopes in known):
            return known
        chunk_size = chunk_for(paths[0], 1, self.options)
        ends = [path.x for path in paths], [path.r for path in paths]
        nodes = [placement.rule.nodes for placement in placed]
        found = derivatives_along_paths(paths[0].f, *ends, nodes, chunk_size=chunk_size)
        return [slopes.cpu().double() for slopes in found]

    def signs(self, place: int, path: TextPath) -> Tensor | None:
        return _signs(len(path.x), len(self.directions[place]), path)

    def combined(self, place: int, path: TextPath, rule: Quadrature, signs: Tensor) -> tuple[Tensor, Tensor]:
        found = _combined(path, rule, signs, self.options)
        return found[0], found[1:] @ self.directions[place].double().cpu().T


def _signs(n_rows: int, n_products: int, path: TextPath) -> Tensor | None:
    """Combinations of rows for so many products a node, as the model's dtype rounds them."""
    n_signs = signs_worth_their_cost(n_products)
    return combinations_of(n_rows, n_signs).to(path.x.dtype).double() if n_signs else None


def _combined(
    path: TextPath,
    rule: Quadrature,
    combinations: Tensor,
    options: Options,
    groups: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """(C, E) combinations of the factors of tokens, or of groups of them, float64 on the CPU."""
    f, bounds = path.precise or path.f, limits(path, len(combinations), options)
    return combined_factors(f, path.x, path.r, rule, combinations, groups=groups, **bounds).double().cpu()


def limits(path: TextPath, n_groups: int, options: Options, *, reverse: bool = False) -> dict[str, Any]:
    """Keywords of the functions that integrate along paths of this length, for a number of groups of tokens."""
    chunk_size = chunk_for(path, n_groups, options, reverse=reverse)
    return {"chunk_size": chunk_size, "show_progress_bar": options.show_progress_bar}
