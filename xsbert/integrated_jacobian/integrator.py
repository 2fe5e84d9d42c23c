"""The integrated Jacobian of any function along straight paths, in forward and in reverse mode.

With x the input, r its reference, both (S, H), and f: (S, H) → (E,), the integrated Jacobian is

    J[e, s, h] = ∫₀¹ ∂f_e/∂h_{s,h} (r + α(x − r)) dα            (Moeller et al., EMNLP 2023, eq. 5)

and the token factor is V[s] = Σ_h J[:, s, h] (x − r)[s, h]. The fundamental theorem of calculus gives
Σ_s V[s] = f(x) − f(r) for every differentiable f, so the quadrature error of the sum is known.

Forward mode (`PathIntegrator.token_factors`) costs S + 1 evaluations of f per node, whatever E is. Reverse mode costs
one backward pass per node and direction of the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import block_diag
from torch import Tensor
from torch.func import jvp, vjp, vmap
from torch.nn.utils.rnn import pad_sequence

from .._utils.memory import peak_bytes
from .._utils.progress import Progress
from .chunks import EVALUATION, PathNodes, TextIndex, check_chunk_size, default_chunk_size, parts, within_memory
from .error_estimates import sign_combinations
from .functions import Function, PathFunction, as_path_function
from .rules import Quadrature, quadrature

__all__ = ["Measured", "PathIntegrator", "bytes_per_pass", "group_members"]


class Measured(NamedTuple):
    """Factors of one text, and functionals of the integrand from which their error is estimated."""

    factors: Tensor
    """(S, E), or (G, E), or (S, K)."""
    traces: Tensor
    """(C, 1 + M, E), or K for E: C functionals of the sum over tokens, and of M combinations of tokens whose squares
    sum to the sum of the tokens' squares; exactly for few tokens, in the mean for many."""


class PathIntegrator:
    """Derivatives of f along the straight paths from T references to T inputs of one shape, and their integrals.

    All results are float64 (float32 on devices without it), and do not depend on ``chunk_size``.

    Args:
        f: maps (S, H) to (E,); a `PathFunction`, or any function that `torch.func` can differentiate.
        xs, rs: T inputs and T references, each (S, H).
        chunk_size: how many products are computed at once, at least 1. Bounds the memory. None chooses by S and H.
            Where a device runs out of memory all the same, the chunk is halved and the work begun again.
        show_progress_bar: True or False; None shows a bar only when the work takes longer than two seconds.

    Raises:
        ValueError: inputs and references differ in shape, or ``chunk_size`` is below 1.

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(h).sum(0)
    >>> integrator, rule = PathIntegrator(f, [x], [r]), quadrature("gauss-legendre", 8)
    >>> (factors, _), = integrator.token_factors([rule])
    >>> torch.allclose(factors.sum(0), (f(x) - f(r)).double())
    True
    """

    def __init__(
        self,
        f: Function | PathFunction,
        xs: Sequence[Tensor],
        rs: Sequence[Tensor],
        *,
        chunk_size: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> None:
        for x, r in zip(xs, rs, strict=True):
            if x.ndim != 2 or x.shape != r.shape:
                raise ValueError(f"x and r must both have the shape (S, H), got {tuple(x.shape)} and {tuple(r.shape)}")
            if x.shape != xs[0].shape:
                raise ValueError(f"xs must have one shape, got {tuple(xs[0].shape)} and {tuple(x.shape)}")
        check_chunk_size(chunk_size)
        self.f, self.xs, self.rs = as_path_function(f), xs, rs
        self._passes = chunk_size or default_chunk_size(xs[0])
        self._show = show_progress_bar

    def values(self, nodes: Sequence[np.ndarray]) -> list[Tensor]:
        """f(r + α(x − r)), one evaluation per node.

        Args:
            nodes: for each path (N,) positions α in [0, 1]; N may differ, and be 0.

        Returns:
            for each path (N, E).
        """
        return self._at(nodes, lambda h, _: self.f(h))

    def derivatives(self, nodes: Sequence[np.ndarray]) -> list[Tensor]:
        """d/dα f(r + α(x − r)), two evaluations per node: the integrand of the factors' sum.

        Args, returns:
            as `values`.
        """
        return self._at(nodes, lambda h, difference: jvp(self.f, (h,), (difference,))[1])

    def values_and_derivatives(self, nodes: Sequence[np.ndarray]) -> list[Tensor]:
        """Both, at the cost of the latter: for each path (N, 2, E)."""
        return self._at(nodes, lambda h, difference: torch.stack(jvp(self.f, (h,), (difference,))))

    def token_factors(
        self,
        rules: Sequence[Quadrature],
        *,
        members: Tensor | None = None,
        functionals: Sequence[np.ndarray] | None = None,
        description: str = "token factors",
    ) -> list[Measured]:
        """Token factors by forward mode, at G + 1 evaluations of f per node.

        Args:
            rules: for each path nodes and weights, whose number may differ.
            members: (G, S), the combinations of tokens that are wanted, such as groups (see `group_members`); None
                takes every token for itself.
            functionals: for each path (C, N), coefficients on the integrand at its nodes, for the traces.
            description: of the progress bar.

        Returns:
            for each path (G, E) factors, and the traces.
        """
        rows = group_members(None, self.xs[0]) if members is None else members.to(self.xs[0])

        def directional(h: Tensor, difference: Tensor, member: Tensor) -> Tensor:
            along, zeros = self._along_token_scales(h, difference)
            return jvp(along, (zeros,), (member,))[1]

        per_group = vmap(directional, in_dims=(None, None, 0))
        # Where all nodes are of one text, its first tangents are the same at all of them, and computed once.
        one_text, several_texts = vmap(per_group, in_dims=(0, None, None)), vmap(per_group, in_dims=(0, 0, None))

        def evaluate(h: Tensor, differences: Tensor, _: TextIndex, part: slice) -> Tensor:
            if len(differences) == 1:
                return one_text(h, differences[0], rows[part])
            return several_texts(h, differences, rows[part])

        def trace(derivatives: Tensor, combinations: Tensor, part: slice) -> tuple[slice, Tensor]:
            return slice(None), torch.einsum("mg,nge->nme", combinations[:, part], derivatives)

        combinations = sign_combinations(len(rows))
        n_traced = len(combinations)
        return self._integrals(rules, functionals, evaluate, len(rows), description, trace, combinations, n_traced)

    def projected_factors(
        self,
        rules: Sequence[Quadrature],
        directions: Sequence[Tensor],
        functionals: Sequence[np.ndarray] | None = None,
        *,
        every_token: bool = False,
    ) -> list[Measured]:
        """Token factors along directions of the output, V[s]·u_k, by reverse mode.

        Costs as many backward passes per node as the path with most directions has, whatever S is.

        Args:
            rules, functionals: as for `token_factors`.
            directions: for each path (K, E), the u_k; K may differ.
            every_token: whether the traces are of every token, in place of a few combinations of them: M is S.

        Returns:
            for each path (S, K) factors, and the traces.
        """
        # Fewer directions than others have are filled up with zeros.
        cotangents = pad_sequence([each.to(self.xs[0].dtype) for each in directions], batch_first=True)

        def pull_back(h: Tensor, difference: Tensor, cotangents: Tensor) -> Tensor:
            if len(cotangents) == 1:
                return (vjp(self.f, h)[1](cotangents[0])[0] * difference).sum(-1, keepdim=True).T
            along, zeros = self._along_token_scales(h, difference)
            pull = vjp(along, zeros)[1]
            return vmap(lambda cotangent: pull(cotangent)[0])(cotangents)

        # Where all nodes are of one text, they share its directions.
        one_text, several_texts = vmap(pull_back, in_dims=(0, None, None)), vmap(pull_back)

        def evaluate(h: Tensor, differences: Tensor, index: TextIndex, part: slice) -> Tensor:
            own = cotangents[index][:, part]
            return one_text(h, differences[0], own[0]) if len(differences) == 1 else several_texts(h, differences, own)

        def trace(projected: Tensor, combinations: Tensor, part: slice) -> tuple[slice, Tensor]:
            return part, torch.einsum("ms,nks->nkm", combinations, projected)

        n_rows = cotangents.shape[1]
        n_tokens = len(self.xs[0])
        name = "projected factors"
        combinations = sign_combinations(n_tokens, n_tokens) if every_token else sign_combinations(n_tokens)
        found = self._integrals(rules, functionals, evaluate, n_rows, name, trace, combinations, n_rows)
        return [
            Measured(factors[: len(own)].T.contiguous(), traces[:, : len(own)].transpose(1, 2))
            for (factors, traces), own in zip(found, directions, strict=True)
        ]

    def jacobians(self, rules: Sequence[Quadrature]) -> list[Tensor]:
        """For each path (E, S, H), the integrated Jacobian J, by E backward passes per node."""
        with torch.no_grad(), EVALUATION:
            embedding = self.f(self.rs[0])
        identity = torch.eye(len(embedding), dtype=embedding.dtype, device=embedding.device)

        def pull_back(h: Tensor, cotangents: Tensor) -> Tensor:
            pull = vjp(self.f, h)[1]
            return vmap(lambda cotangent: pull(cotangent)[0])(cotangents)

        batched = vmap(pull_back, in_dims=(0, None))

        def evaluate(h: Tensor, _differences: Tensor, _index: TextIndex, part: slice) -> Tensor:
            return batched(h, identity[part])

        return [found.factors for found in self._integrals(rules, None, evaluate, len(identity), "Jacobian")]

    def _along_token_scales(self, h: Tensor, vectors: Tensor) -> tuple[Function, Tensor]:
        """Return f as a function of scales (S,) of the tokens' vectors, and the scales to differentiate at."""
        # Not made of other scales, which may be of many directions: f(h) would be computed for each.
        return lambda scales: self.f.along_token_scales(h, vectors, scales), vectors.new_zeros(len(vectors))

    def _at(self, nodes: Sequence[np.ndarray], evaluate: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        """What a function of hidden states and difference gives at each node."""
        points, batched = PathNodes(self.xs, self.rs, nodes), vmap(evaluate)

        def run(passes: int) -> Tensor:
            found = []
            with torch.no_grad():
                for _, h, index in points.chunks(passes):
                    with EVALUATION:
                        found.append(batched(h, points.differences[index].expand_as(h)).to(points.accumulator))
            return torch.cat(found)

        return list(within_memory(run, self._passes).split([len(positions) for positions in nodes]))

    def _integrals(
        self,
        rules: Sequence[Quadrature],
        functionals: Sequence[np.ndarray] | None,
        evaluate: Callable[[Tensor, Tensor, TextIndex, slice], Tensor],
        n_rows: int,
        description: str,
        trace: Callable[[Tensor, Tensor, slice], tuple[slice, Tensor]] | None = None,
        combinations: Tensor | None = None,
        n_traced: int = 0,
    ) -> list[Measured]:
        """Weighted sums over the nodes of R rows that are evaluated a few at a time.

        Args:
            evaluate: of h (n, S, H), differences, the texts and some of the rows, to values (n, rows, …).
            trace: of values, combinations (1 + M, rows) and rows: which of the ``n_traced`` rows of the traces, and
                what is added to them. None for no traces.
        """
        points = PathNodes(self.xs, self.rs, [rule.nodes for rule in rules])
        weights = points.weights(np.asarray(block_diag(*(rule.weights for rule in rules))))
        if functionals is None or trace is None:
            functionals = [np.zeros((0, len(rule.nodes))) for rule in rules]
            trace = None
        traced = points.weights(np.asarray(block_diag(*functionals)))
        # On the device before the loop, which is not to wait for a copy.
        signs = weights if combinations is None else combinations.to(weights)

        def run(passes: int) -> tuple[Tensor, Tensor]:
            total: Tensor | None = None
            traces: Tensor | None = None
            progress = Progress(len(points) * n_rows, description, show=self._show, unit="pass")
            with torch.no_grad(), progress:
                for nodes, h, index in points.chunks(passes // n_rows):
                    differences = points.differences[index]
                    for part in parts(n_rows, passes):
                        with EVALUATION:
                            values = evaluate(h, differences, index, part)
                        n_passes = values.shape[0] * values.shape[1]
                        values = values.to(weights.dtype)
                        if total is None:
                            total = values.new_zeros(len(rules), n_rows, *values.shape[2:])
                        total[:, part] += torch.einsum("tn,nr...->tr...", weights[:, nodes], values)
                        if trace is not None and len(traced):
                            where, rows = trace(values, signs, part)
                            if traces is None:
                                traces = values.new_zeros(len(traced), n_traced, *rows.shape[2:])
                            traces[:, where] += torch.einsum("cn,nr...->cr...", traced[:, nodes], rows)
                            del rows
                        del values  # neither is to be held beside the next ones
                        progress.update(n_passes)
            assert total is not None
            return total, total.new_zeros(len(traced), n_rows, 1) if traces is None else traces

        total, traces = within_memory(run, self._passes)
        split = traces.split([len(rows) for rows in functionals])
        return [Measured(*each) for each in zip(total, split, strict=True)]


def group_members(groups: Sequence[Sequence[int]] | None, x: Tensor) -> Tensor:
    """(G, S) one where a token of x (S, H) belongs to a group; every token for itself where groups are None."""
    if groups is None:
        return torch.eye(len(x), dtype=x.dtype, device=x.device)
    members = x.new_zeros(len(groups), len(x))
    for row, positions in zip(members, groups, strict=True):
        row[list(positions)] = 1
    return members


def bytes_per_pass(f: Function | PathFunction, x: Tensor, r: Tensor, n_rows: int, *, reverse: bool = False) -> int:
    """Bytes that `PathIntegrator` takes for each product that it computes at once.

    Counted at two nodes and up to eight rows, where what does not grow with their number weighs at least as much as
    in larger chunks. With one row also an upper bound for an evaluation along the path.

    Args:
        f: maps (S, H) to (E,).
        x, r: (S, H).
        n_rows: tokens or groups in forward mode, directions in reverse mode, at least 1.
        reverse: which of both.
    """
    # Two nodes, one after the other, so that what was summed up at the first is there at the second.
    rules, functionals = [quadrature("midpoint", 2)], [np.ones((3, 2))]
    n_passes = min(8, n_rows)
    integrator = PathIntegrator(f, [x], [r], chunk_size=n_passes, show_progress_bar=False)

    def forward() -> None:
        integrator.token_factors(rules, members=x.new_ones(n_passes, len(x)), functionals=functionals)

    def backward() -> None:
        with torch.no_grad(), EVALUATION:
            directions = integrator.f(r).expand(n_passes, -1)
        integrator.projected_factors(rules, [directions], functionals)

    return math.ceil(peak_bytes(backward if reverse else forward) / n_passes)
