"""The integrated Jacobian of any function, in forward and in reverse mode.

With x the input, r its reference, both (S, H), and f: (S, H) → (E,), the integrated Jacobian is

    J[e, s, h] = ∫₀¹ ∂f_e/∂h_{s,h} (r + α(x − r)) dα            (Moeller et al., EMNLP 2023, eq. 5)

and the token factor is V[s] = Σ_h J[:, s, h] (x − r)[s, h]. The fundamental theorem of calculus gives
Σ_s V[s] = f(x) − f(r) for every differentiable f, so the quadrature error of a result is known.

Forward mode (`token_factors`) costs S + 1 evaluations of f per node, whatever E is. Reverse mode
(`integrated_jacobian`) costs E backward passes per node and keeps the features apart.

Nothing here knows about transformers; f is any function that `torch.func` can differentiate.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vmap

from .chunks import (
    EVALUATION,
    Function,
    Whose,
    _accumulate,
    _check,
    _check_alike,
    _Nodes,
    _Sums,
    _within_memory,
    default_chunk_size,
)
from .error_estimates import combinations_of
from .rules import Quadrature

__all__ = ["Measured", "combined_factors", "measured_factors", "token_factors", "token_factors_together"]


# A fork waits for the end of the chunk: its child would inherit a lock that nobody releases, and an open level.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=EVALUATION.acquire, after_in_parent=EVALUATION.release, after_in_child=EVALUATION.release
    )


class Measured(NamedTuple):
    """Factors of one text, and what tells their error."""

    factors: Tensor
    """(S, E), or (G, E), or (S, K)."""
    traces: Tensor
    """(C, 1 + M, E), or K for E: functionals of the sum over tokens, and of M combinations of tokens whose squares sum
    to the sum of the tokens' squares; exactly for few tokens, in the mean for many."""


def token_factors(
    f: Function,
    x: Tensor,
    r: Tensor,
    rule: Quadrature,
    *,
    groups: Sequence[Sequence[int]] | None = None,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Tensor:
    """Token factors V by forward mode.

    Args:
        f: maps (S, H) to (E,).
        x: (S, H), the input.
        r: (S, H), the reference.
        rule: nodes and weights on [0, 1].
        groups: G disjoint lists of token positions, such as the words. Their factors are the sums of their tokens',
            at G + 1 evaluations per node instead of S + 1. None takes every token for itself.
        chunk_size: how many Jacobian-vector products are computed at once, at least 1. Bounds the memory
            and does not change the result. None chooses by S and H. Where a device runs out of memory all the
            same, the chunk is halved and the work begun again.
        show_progress_bar: True or False; None shows a bar only when the work takes longer than two seconds.

    Returns:
        (S, E), or (G, E), float64 (float32 on devices without it).

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(h).sum(0)
    >>> rule = quadrature("gauss-legendre", 8)

    >>> factors = token_factors(f, x, r, rule)
    >>> torch.allclose(factors.sum(0), (f(x) - f(r)).double())
    True
    """
    _check(x, r, chunk_size)
    return _factors(f, [x], [r], [rule], None, _members(x, groups), chunk_size, show_progress_bar)[0].factors


def token_factors_together(
    f: Function,
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    rules: Sequence[Quadrature],
    *,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> list[Tensor]:
    """`token_factors` of n texts of one length, for all of which f is the same: short ones fill a chunk together.

    Args:
        xs, rs: n inputs and n references, each (S, H).
        rules: n rules, whose numbers of nodes may differ.

    Returns:
        n factors (S, E), float64 (float32 on devices without it).

    Raises:
        ValueError: inputs and references differ in shape, or the texts in length.

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(h).sum(0)
    >>> rule = quadrature("gauss-legendre", 8)

    >>> found = token_factors_together(f, [x, 2 * x], [r, r], [rule, rule])
    >>> [tuple(factors.shape) for factors in found]
    [(3, 4), (3, 4)]
    """
    _check_alike(xs, rs, chunk_size)
    members = _members(xs[0], None)
    return [found.factors for found in _factors(f, xs, rs, rules, None, members, chunk_size, show_progress_bar)]


def measured_factors(
    f: Function,
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    rules: Sequence[Quadrature],
    functionals: Sequence[np.ndarray],
    *,
    groups: Sequence[Sequence[int]] | None = None,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> list[Measured]:
    """`token_factors_together`, with the traces that tell the errors.

    Args:
        functionals: for each text (C, N), coefficients on the derivatives at its nodes.
        groups: as for `token_factors`, for all texts alike.
    """
    return _factors(f, xs, rs, rules, functionals, _members(xs[0], groups), chunk_size, show_progress_bar)


def combined_factors(
    f: Function,
    x: Tensor,
    r: Tensor,
    rule: Quadrature,
    combinations: Tensor,
    *,
    groups: Sequence[Sequence[int]] | None = None,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Tensor:
    """Linear combinations of `token_factors`, at C + 1 evaluations of f per node. Other arguments as for these.

    Args:
        combinations: (C, S), or (C, G) of groups.

    Returns:
        (C, E), float64 (float32 on devices without it).

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(h).sum(0)
    >>> rule = quadrature("gauss-legendre", 8)

    >>> combined = combined_factors(f, x, r, rule, torch.tensor([[1.0, -1.0, 1.0]]))
    >>> factors = token_factors(f, x, r, rule)
    >>> torch.allclose(combined[0], factors[0] - factors[1] + factors[2], atol=1e-6)
    True
    """
    _check(x, r, chunk_size)
    how = {"chunk_size": chunk_size, "show_progress_bar": show_progress_bar, "description": "check of the factors"}
    members = combinations.to(x) @ _members(x, groups)
    return _factors(f, [x], [r], [rule], None, members, **how)[0].factors


def _members(x: Tensor, groups: Sequence[Sequence[int]] | None) -> Tensor:
    """(G, S) one where a token belongs to a group; every token for itself where there are none."""
    if groups is None:
        return torch.eye(len(x), dtype=x.dtype, device=x.device)
    members = x.new_zeros(len(groups), len(x))
    for row, positions in zip(members, groups, strict=True):
        row[list(positions)] = 1
    return members


def _factors(
    f: Function,
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    rules: Sequence[Quadrature],
    functionals: Sequence[np.ndarray] | None,
    members: Tensor,
    chunk_size: int | None,
    show_progress_bar: bool | None,
    description: str = "token factors",
) -> list[Measured]:
    """The factors of G combinations of tokens; ``members`` (G, S) is one where a token belongs to a group."""

    def directional(h: Tensor, difference: Tensor, member: Tensor) -> Tensor:
        by_shares, zeros = _by_shares(f, h, difference)
        return jvp(by_shares, (zeros,), (member,))[1]

    per_group = vmap(directional, in_dims=(None, None, 0))
    # Where all nodes are of one text, its first tangents are the same at all of them, and computed once.
    one_text, several_texts = vmap(per_group, in_dims=(0, None, None)), vmap(per_group, in_dims=(0, 0, None))
    nodes = _Nodes(xs, rs, rules, functionals)
    combinations = combinations_of(len(members)).to(nodes.shares)

    def look(h: Tensor, whose: Whose, part: slice) -> Tensor:
        differences = nodes.differences[whose]
        if len(differences) == 1:
            return one_text(h, differences[0], members[part])
        return several_texts(h, differences, members[part])

    def trace(derivatives: Tensor, part: slice) -> tuple[slice, Tensor]:
        return slice(None), torch.einsum("mg,nge->nme", combinations[:, part], derivatives)

    def run(passes: int) -> list[Measured]:
        sums = _Sums(nodes, len(members), len(combinations), trace)
        _accumulate(nodes, look, sums, passes, description, show_progress_bar)
        return [Measured(*each) for each in zip(sums.total, sums.traces, strict=True)]

    return _within_memory(run, chunk_size or default_chunk_size(xs[0]))


def _by_shares(f: Function, h: Tensor, vectors: Tensor) -> tuple[Function, Tensor]:
    """Shares (S,) to f(h + shares ∘ vectors) with vectors (S, H), and the shares at which it is to be differentiated.

    A function may bring this along as a method ``moved(h, vectors, shares)``, since it can save products where the
    vectors are the same for several directions.
    """
    own = getattr(f, "moved", None)
    # Not made of other shares, which may be of many directions: f(h) would be computed for each.
    zeros = vectors.new_zeros(len(vectors))
    if own is not None:
        return partial(own, h, vectors), zeros
    return lambda shares: f(h + shares[:, None] * vectors), zeros
