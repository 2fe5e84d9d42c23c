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

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from scipy.linalg import block_diag
from torch import Tensor
from torch.func import jvp, vjp, vmap
from torch.nn.utils.rnn import pad_sequence

from .memory import peak_bytes
from .plain import checked_integer
from .progress import Progress
from .quadrature import Quadrature, quadrature

__all__ = [
    "Measured",
    "bytes_per_pass",
    "check_chunk_size",
    "combinations_of",
    "combined_factors",
    "default_chunk_size",
    "derivatives_along_path",
    "derivatives_along_paths",
    "factors_from_jacobian",
    "feature_pairs",
    "integrated_jacobian",
    "measured_factors",
    "measured_pulled_back_together",
    "pulled_back_factors",
    "pulled_back_together",
    "token_factors",
    "token_factors_together",
    "values_along_paths",
    "values_and_derivatives_along_paths",
]

Function = Callable[[Tensor], Tensor]
Whose = slice | Tensor
"""Texts that nodes are of: one text, or (n,) that of each."""
Result = TypeVar("Result")

# Hidden-state numbers (passes × S × H) held at once by default. On two CPU cores, from 0.2 to 3.2 million, larger
# chunks than this fed the matrix products no better and only cost memory.
DEFAULT_CHUNK_NUMBERS = {"cpu": 1_600_000, "cuda": 32_000_000}
# torch numbers the levels of forward-mode differentiation per process: while one thread is within one, functions that
# look for a derivative would find that level in every thread. So one thread at a time evaluates f, a chunk at a time.
EVALUATION = threading.RLock()
# A fork waits for the end of the chunk: its child would inherit a lock that nobody releases, and an open level.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=EVALUATION.acquire, after_in_parent=EVALUATION.release, after_in_child=EVALUATION.release
    )
# Combinations of tokens with random signs, whose squares sum to that of all tokens in the mean.
N_SIGNS = 8


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


def derivatives_along_path(
    f: Function, x: Tensor, r: Tensor, nodes: np.ndarray, *, chunk_size: int | None = None
) -> Tensor:
    """d/dα f(r + α(x − r)) at nodes α, which is what the factors of all tokens integrate to, summed.

    Costs two evaluations of f per node, against S + 1 for the factors themselves.

    Args:
        f: maps (S, H) to (E,).
        x, r: (S, H).
        nodes: (N,) positions in [0, 1].
        chunk_size: how many nodes are looked at at once.

    Returns:
        (N, E), float64 (float32 on devices without it).

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(h).sum(0)
    >>> rule = quadrature("gauss-legendre", 8)

    >>> derivatives = derivatives_along_path(f, x, r, rule.nodes)
    >>> torch.allclose(torch.from_numpy(rule.weights) @ derivatives, (f(x) - f(r)).double())
    True
    """
    return derivatives_along_paths(f, [x], [r], [nodes], chunk_size=chunk_size)[0]


def derivatives_along_paths(
    f: Function,
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    nodes: Sequence[np.ndarray],
    *,
    chunk_size: int | None = None,
) -> list[Tensor]:
    """`derivatives_along_path` of n texts of one length, for all of which f is the same.

    Args:
        xs, rs: n inputs and n references, each (S, H).
        nodes: n arrays of positions, whose lengths may differ.
        chunk_size: how many nodes are looked at at once.

    Returns:
        n derivatives (N, E), float64 (float32 on devices without it).

    Raises:
        ValueError: an input and its reference differ in shape.
    """
    return _along_paths(lambda h, difference: _derivative(f, h, difference), xs, rs, nodes, chunk_size)


def values_and_derivatives_along_paths(
    f: Function,
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    nodes: Sequence[np.ndarray],
    *,
    chunk_size: int | None = None,
) -> list[Tensor]:
    """f and its derivative along the path, of which the latter costs both. As `derivatives_along_paths` otherwise.

    Returns:
        n tensors (N, 2, E), float64 (float32 on devices without it).
    """
    return _along_paths(lambda h, difference: torch.stack(jvp(f, (h,), (difference,))), xs, rs, nodes, chunk_size)


def values_along_paths(
    f: Function,
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    nodes: Sequence[np.ndarray],
    *,
    chunk_size: int | None = None,
) -> list[Tensor]:
    """f(r + α(x − r)) at nodes α of n texts of one length. Arguments and errors as for `derivatives_along_paths`.

    Returns:
        n values (N, E), float64 (float32 on devices without it).
    """
    return _along_paths(lambda h, _: f(h), xs, rs, nodes, chunk_size)


def _along_paths(
    look: Callable[[Tensor, Tensor], Tensor],
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    nodes: Sequence[np.ndarray],
    chunk_size: int | None,
) -> list[Tensor]:
    """What a function of hidden states and difference finds at each node."""
    for x, r in zip(xs, rs, strict=True):
        _check(x, r, chunk_size)
    points = _Nodes(xs, rs, [Quadrature(places, np.ones_like(places)) for places in nodes])
    looks = vmap(look)

    def run(passes: int) -> Tensor:
        parts = []
        with torch.no_grad():
            for h, whose, shares in points.chunks(passes):
                with EVALUATION:
                    parts.append(looks(h, points.differences[whose].expand_as(h)).to(shares.dtype))
        return torch.cat(parts)

    found = _within_memory(run, chunk_size or default_chunk_size(xs[0]))
    return list(found.split([len(places) for places in nodes]))


def _derivative(f: Function, h: Tensor, tangent: Tensor) -> Tensor:
    """The derivative of f at h along a tangent (S, H)."""
    return jvp(f, (h,), (tangent,))[1]


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


def integrated_jacobian(
    f: Function,
    x: Tensor,
    r: Tensor,
    rule: Quadrature,
    *,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Tensor:
    """The integrated Jacobian J by reverse mode. Arguments as for `token_factors`.

    ``chunk_size`` counts vector-Jacobian products here.

    Returns:
        (E, S, H), float64 (float32 on devices without it).

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(h).sum(0)
    >>> rule = quadrature("gauss-legendre", 8)

    >>> jacobian = integrated_jacobian(f, x, r, rule)
    >>> tuple(jacobian.shape)
    (4, 3, 4)
    >>> torch.allclose(factors_from_jacobian(jacobian, x - r), token_factors(f, x, r, rule), atol=1e-6)
    True
    """
    _check(x, r, chunk_size)
    with torch.no_grad(), EVALUATION:
        embedding = f(r)
    n_outputs = embedding.shape[0]
    identity = torch.eye(n_outputs, dtype=embedding.dtype, device=embedding.device)

    def pull_back(h: Tensor, cotangents: Tensor) -> Tensor:
        pull = vjp(f, h)[1]
        return vmap(lambda cotangent: pull(cotangent)[0])(cotangents)

    batched = vmap(pull_back, in_dims=(0, None))
    nodes = _Nodes([x], [r], [rule])

    def run(passes: int) -> Tensor:
        sums = _Sums(nodes, n_outputs)
        _accumulate(nodes, lambda h, _, part: batched(h, identity[part]), sums, passes, "Jacobian", show_progress_bar)
        return sums.total[0]

    return _within_memory(run, chunk_size or default_chunk_size(x))


def pulled_back_factors(
    f: Function,
    x: Tensor,
    r: Tensor,
    rule: Quadrature,
    directions: Tensor,
    *,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Tensor:
    """Token factors projected on K directions of the embedding, V[s]·u_k, by reverse mode.

    Costs K backward passes per node, whatever S is: for a long text against a short one, whose factors are the
    directions, far fewer than `token_factors`. Other arguments as for `token_factors`, except that ``chunk_size``
    counts vector-Jacobian products.

    Args:
        directions: (K, E), the u_k.

    Returns:
        (S, K), float64 (float32 on devices without it).

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(h).sum(0)
    >>> rule = quadrature("gauss-legendre", 8)

    >>> directions = torch.eye(4)[:2]
    >>> projected = pulled_back_factors(f, x, r, rule, directions)
    >>> torch.allclose(projected, token_factors(f, x, r, rule)[:, :2], atol=1e-6)
    True
    """
    options = {"chunk_size": chunk_size, "show_progress_bar": show_progress_bar}
    return pulled_back_together(f, [x], [r], [rule], [directions], **options)[0]


def pulled_back_together(
    f: Function,
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    rules: Sequence[Quadrature],
    directions: Sequence[Tensor],
    *,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> list[Tensor]:
    """`pulled_back_factors` of n texts of one length, for all of which f is the same, each on directions of its own.

    Every text costs as many backward passes per node as the text with most directions has.

    Args:
        xs, rs: n inputs and n references, each (S, H).
        rules: n rules, whose numbers of nodes may differ.
        directions: n times (K, E), whose K may differ.

    Returns:
        n projected factors (S, K), float64 (float32 on devices without it).

    Raises:
        ValueError: inputs and references differ in shape, or the texts in length.

    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> f = lambda h: torch.tanh(h).sum(0)
    >>> rule = quadrature("gauss-legendre", 8)

    >>> directions = [torch.ones(1, 4), torch.eye(4)[:2]]
    >>> [tuple(each.shape) for each in pulled_back_together(f, [x, 2 * x], [r, r], [rule, rule], directions)]
    [(3, 1), (3, 2)]
    """
    functionals = [np.zeros((0, len(rule.nodes))) for rule in rules]
    options = {"chunk_size": chunk_size, "show_progress_bar": show_progress_bar}
    found = measured_pulled_back_together(f, xs, rs, rules, directions, functionals, **options)
    return [each.factors for each in found]


def measured_pulled_back_together(
    f: Function,
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    rules: Sequence[Quadrature],
    directions: Sequence[Tensor],
    functionals: Sequence[np.ndarray],
    *,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> list[Measured]:
    """`pulled_back_together`, with the traces that tell the errors. ``functionals`` as for `measured_factors`."""
    _check_alike(xs, rs, chunk_size)
    counts = [len(each) for each in directions]
    # Fewer directions than others have are filled up with zeros.
    cotangents = pad_sequence([each.to(xs[0].dtype) for each in directions], batch_first=True)

    def pull_back(h: Tensor, difference: Tensor, cotangents: Tensor) -> Tensor:
        if len(cotangents) == 1:
            return (vjp(f, h)[1](cotangents[0])[0] * difference).sum(-1, keepdim=True).T
        by_shares, zeros = _by_shares(f, h, difference)
        pull = vjp(by_shares, zeros)[1]
        return vmap(lambda cotangent: pull(cotangent)[0])(cotangents)

    # Where all nodes are of one text, they share its directions.
    one_text, several_texts = vmap(pull_back, in_dims=(0, None, None)), vmap(pull_back)
    nodes = _Nodes(xs, rs, rules, functionals)
    combinations = combinations_of(len(xs[0])).to(nodes.shares)

    def look(h: Tensor, whose: Whose, part: slice) -> Tensor:
        differences, own = nodes.differences[whose], cotangents[whose][:, part]
        return one_text(h, differences[0], own[0]) if len(differences) == 1 else several_texts(h, differences, own)

    def trace(projected: Tensor, part: slice) -> tuple[slice, Tensor]:
        return part, torch.einsum("ms,nks->nkm", combinations, projected)

    def run(passes: int) -> list[Measured]:
        sums = _Sums(nodes, cotangents.shape[1], cotangents.shape[1], trace)
        _accumulate(nodes, look, sums, passes, "pulled back", show_progress_bar)
        return [
            Measured(total[:count].T.contiguous(), traces[:, :count].transpose(1, 2))
            for total, traces, count in zip(sums.total, sums.traces, counts, strict=True)
        ]

    return _within_memory(run, chunk_size or default_chunk_size(xs[0]))


def factors_from_jacobian(jacobian: Tensor, difference: Tensor) -> Tensor:
    """V[s] = Σ_h J[:, s, h] (x − r)[s, h].

    Args:
        jacobian: (E, S, H).
        difference: (S, H), x − r.

    Returns:
        (S, E), in the Jacobian's dtype.

    >>> factors_from_jacobian(torch.ones(1, 2, 3), torch.tensor([[1.0, 2, 3], [4, 5, 6]]))
    tensor([[ 6.],
            [15.]])
    """
    return torch.einsum("esh,sh->se", jacobian, difference.to(jacobian.dtype))


def feature_pairs(jacobian_a: Tensor, difference_a: Tensor, jacobian_b: Tensor, difference_b: Tensor) -> Tensor:
    """Attributions to pairs of features (Moeller et al., EMNLP 2023, eq. 6), before the division by c.

    A[s, h, t, k] = (x−r)_a[s, h] · Σ_e J_a[e, s, h] J_b[e, t, k] · (x−r)_b[t, k]

    Args:
        jacobian_a, jacobian_b: (E, S, H) and (E, T, K).
        difference_a, difference_b: (S, H) and (T, K).

    Returns:
        (S, H, T, K), in the Jacobians' dtype: S·H·T·K numbers, 1.2 GB in float32 for 20 × 25 tokens and H = 768.

    >>> pairs = feature_pairs(torch.ones(1, 2, 3), torch.ones(2, 3), torch.ones(1, 4, 3), torch.ones(4, 3))
    >>> tuple(pairs.shape)
    (2, 3, 4, 3)
    """
    left = (jacobian_a * difference_a.to(jacobian_a.dtype)).flatten(1)
    right = (jacobian_b * difference_b.to(jacobian_b.dtype)).flatten(1)
    return (left.T @ right).reshape(*difference_a.shape, *difference_b.shape)


def bytes_per_pass(f: Function, x: Tensor, r: Tensor, n_groups: int, *, reverse: bool = False) -> int:
    """Bytes that `token_factors` takes for each Jacobian-vector product that it computes at once.

    Counted at two nodes and up to eight groups, where what does not grow with their number weighs at least as much as
    in larger chunks. With one group also an upper bound for a look along the path.

    Args:
        f: maps (S, H) to (E,).
        x, r: (S, H).
        n_groups: number of groups of tokens, at least 1; of directions in reverse mode.
        reverse: for the vector-Jacobian products of `pulled_back_factors` instead.
    """
    _check(x, r, None)
    # Two nodes, one after the other, so that what was summed up at the first is there at the second.
    rule = quadrature("midpoint", 2)
    functionals = np.ones((3, 2))
    n_passes = min(8, n_groups)

    def forward() -> None:
        members = x.new_ones(n_passes, len(x))
        _factors(f, [x], [r], [rule], [functionals], members, n_passes, False)

    def backward() -> None:
        with torch.no_grad(), EVALUATION:
            directions = f(r).expand(n_passes, -1)
        options = {"chunk_size": n_passes, "show_progress_bar": False}
        measured_pulled_back_together(f, [x], [r], [rule], [directions], [functionals], **options)

    return math.ceil(peak_bytes(backward if reverse else forward) / n_passes)


def combinations_of(n_tokens: int, n_signs: int = N_SIGNS) -> Tensor:
    """(1 + M, S): all tokens, and M combinations whose squares sum to the sum of the tokens' squares in the mean.

    They have random signs, always the same ones; where M would be S or more, they are the tokens.

    >>> combinations_of(100, 4).shape, combinations_of(3, 4).shape
    (torch.Size([5, 100]), torch.Size([4, 3]))
    """
    if n_tokens <= n_signs:
        each = torch.eye(n_tokens, dtype=torch.float64)
    else:
        coins = torch.randint(2, (n_signs, n_tokens), generator=torch.Generator().manual_seed(0))
        each = (2.0 * coins - 1).double() / n_signs**0.5
    return torch.cat([torch.ones(1, n_tokens, dtype=torch.float64), each])


class _Nodes:
    """The nodes of all texts, text by text. All that a device needs to know is there beforehand."""

    def __init__(
        self,
        xs: Sequence[Tensor],
        rs: Sequence[Tensor],
        rules: Sequence[Quadrature],
        functionals: Sequence[np.ndarray] | None = None,
    ) -> None:
        self._r = torch.stack(list(rs))
        self.differences = torch.stack(list(xs)) - self._r
        """(T, S, H) x − r of each text."""
        self.n_texts = len(rules)
        self.sizes = [0] * len(rules) if functionals is None else [len(rows) for rows in functionals]
        """Functionals of each text."""
        self._owners = np.repeat(np.arange(len(rules)), [len(rule.nodes) for rule in rules])
        weights = np.asarray(block_diag(*(rule.weights for rule in rules)))
        if functionals is not None:
            weights = np.concatenate([weights, np.asarray(block_diag(*functionals))])
        device = self._r.device
        alphas = np.concatenate([rule.nodes for rule in rules])
        self._alphas = torch.as_tensor(alphas, dtype=self._r.dtype, device=device)
        accumulator = torch.float32 if device.type == "mps" else torch.float64
        self.shares = torch.as_tensor(weights, dtype=accumulator, device=device)
        """(T + ΣC, N) the share of each node in the integral of each text, and in its functionals."""
        self._owner = torch.as_tensor(self._owners, device=device)

    def __len__(self) -> int:
        return len(self._owners)

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Whose, Tensor]]:
        """Up to ``size`` nodes at a time.

        Yields:
            interpolated inputs (n, S, H); which texts they are of, one text or that of each node; and their shares.
        """
        for part in _parts(len(self), size):
            first, last = self._owners[part][[0, -1]]
            whose = slice(first, first + 1) if first == last else self._owner[part]
            yield (
                self._r[whose] + self._alphas[part, None, None] * self.differences[whose],
                whose,
                self.shares[:, part],
            )


class _Sums:
    """Integrals of rows (T, R, …), and functionals of what a trace makes of them.

    Args:
        n_rows: R.
        n_traced: rows of the traces.
        trace: of values (n, R, …) at nodes, for some of the rows: which rows of the traces, and what is added to them.
    """

    def __init__(
        self,
        nodes: _Nodes,
        n_rows: int,
        n_traced: int = 0,
        trace: Callable[[Tensor, slice], tuple[slice, Tensor]] | None = None,
    ) -> None:
        self._nodes, self.n_rows, self._n_traced, self._trace = nodes, n_rows, n_traced, trace
        self._total: Tensor | None = None
        self._traces: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """(T, R, …)"""
        assert self._total is not None
        return self._total

    @property
    def traces(self) -> tuple[Tensor, ...]:
        """T times (C, R', …)"""
        assert self._traces is not None
        return self._traces.split(self._nodes.sizes)

    def add(self, values: Tensor, shares: Tensor, part: slice) -> None:
        """Add values (n, R, …) of some of the rows at n nodes."""
        n_texts = self._nodes.n_texts
        if self._total is None:
            self._total = values.new_zeros(n_texts, self.n_rows, *values.shape[2:])
        self._total[:, part] += torch.einsum("tn,nr...->tr...", shares[:n_texts], values)
        if self._trace is None:
            return
        if len(shares) == n_texts:
            self._traces = values.new_zeros(0, self._n_traced, 1)
            return
        where, traced = self._trace(values, part)
        if self._traces is None:
            self._traces = values.new_zeros(len(shares) - n_texts, self._n_traced, *traced.shape[2:])
        self._traces[:, where] += torch.einsum("cn,nr...->cr...", shares[n_texts:], traced)


def _accumulate(
    nodes: _Nodes,
    look: Callable[[Tensor, Whose, slice], Tensor],
    sums: _Sums,
    passes: int,
    description: str,
    show_progress_bar: bool | None,
) -> None:
    """Evaluate all rows at all nodes, at most ``passes`` at a time, and sum up the values."""
    n_rows = sums.n_rows
    total = len(nodes) * n_rows
    with torch.no_grad(), Progress(total, description, show=show_progress_bar, unit="pass") as progress:
        for h, whose, shares in nodes.chunks(passes // n_rows):
            for part in _parts(n_rows, passes):
                with EVALUATION:
                    values = look(h, whose, part)
                n_passes = values.shape[0] * values.shape[1]
                values = values.to(shares.dtype)
                sums.add(values, shares, part)
                del values  # not to be held beside the next ones
                progress.update(n_passes)


def _parts(n_items: int, chunk: int) -> Iterator[slice]:
    """Slices of nearly equal length, with at most ``chunk`` items and at least one."""
    size = math.ceil(n_items / math.ceil(n_items / max(1, chunk)))
    return (slice(start, start + size) for start in range(0, n_items, size))


def _within_memory(run: Callable[[int], Result], passes: int) -> Result:
    """Run with a number of passes at once, which is halved each time the device runs out of memory."""
    while True:
        try:
            return run(passes)
        except torch.OutOfMemoryError:
            if passes == 1:
                raise
        # Outside the handler, so that the failed run's tensors are free by now.
        passes //= 2


def default_chunk_size(x: Tensor) -> int:
    """How many passes over hidden states (S, H) are computed at once where nothing else is asked for."""
    numbers = DEFAULT_CHUNK_NUMBERS.get(x.device.type, DEFAULT_CHUNK_NUMBERS["cpu"])
    n_tokens, width = x.shape
    # A layer holds about 4 H numbers a token, and its attention heads × S numbers, which is more in long texts.
    return max(1, numbers // (n_tokens * max(width, 3 * n_tokens)))


def check_chunk_size(chunk_size: int | None) -> None:
    """Raise ValueError unless ``chunk_size`` is None or an integer of at least 1."""
    checked_integer(chunk_size, "chunk_size", least=1, optional=True, wrong_type=ValueError)


def _check(x: Tensor, r: Tensor, chunk_size: int | None) -> None:
    if x.ndim != 2 or x.shape != r.shape:
        raise ValueError(f"x and r must both have the shape (S, H), got {tuple(x.shape)} and {tuple(r.shape)}")
    check_chunk_size(chunk_size)


def _check_alike(xs: Sequence[Tensor], rs: Sequence[Tensor], chunk_size: int | None) -> None:
    for x, r in zip(xs, rs, strict=True):
        _check(x, r, chunk_size)
        if x.shape != xs[0].shape:
            raise ValueError(f"xs must have one shape, got {tuple(xs[0].shape)} and {tuple(x.shape)}")
