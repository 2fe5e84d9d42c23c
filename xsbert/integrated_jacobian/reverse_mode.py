"""Reverse mode: the integrated Jacobian, and factors projected on directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.nn.utils.rnn import pad_sequence

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
from .token_factors import Measured, _by_shares

__all__ = [
    "factors_from_jacobian",
    "feature_pairs",
    "integrated_jacobian",
    "measured_pulled_back_together",
    "pulled_back_factors",
    "pulled_back_together",
]


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
