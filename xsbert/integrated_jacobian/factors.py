"""The core's functions for one input: token factors, projected factors, the Jacobian, and pairs of features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .functions import Function, PathFunction
from .integrator import PathIntegrator, group_members
from .rules import Quadrature

__all__ = ["factors_from_jacobian", "feature_pairs", "integrated_jacobian", "projected_factors", "token_factors"]


def token_factors(
    f: Function | PathFunction,
    x: Tensor,
    r: Tensor,
    rule: Quadrature,
    *,
    groups: Sequence[Sequence[int]] | None = None,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Tensor:
    """Token factors V by forward mode, at S + 1 evaluations of f per node.

    Args:
        f: maps (S, H) to (E,).
        x, r: (S, H), the input and its reference.
        rule: nodes and weights on [0, 1].
        groups: G disjoint lists of token positions, such as the words. Their factors are the sums of their tokens',
            at G + 1 evaluations per node. None takes every token for itself.
        chunk_size, show_progress_bar: as for `PathIntegrator`.

    Returns:
        (S, E), or (G, E), float64 (float32 on devices without it).

    >>> from xsbert.integrated_jacobian import quadrature
    >>> x, r, f = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4), lambda h: torch.tanh(h).sum(0)
    >>> factors = token_factors(f, x, r, quadrature("gauss-legendre", 8))
    >>> torch.allclose(factors.sum(0), (f(x) - f(r)).double())
    True
    """
    integrator = PathIntegrator(f, [x], [r], chunk_size=chunk_size, show_progress_bar=show_progress_bar)
    return integrator.token_factors([rule], members=group_members(groups, x))[0].factors


def projected_factors(
    f: Function | PathFunction,
    x: Tensor,
    r: Tensor,
    rule: Quadrature,
    directions: Tensor,
    *,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Tensor:
    """Token factors projected on K directions of the embedding, V[s]·u_k, by reverse mode.

    Costs K backward passes per node, whatever S is. For a long text against a short one, whose factors are the
    directions, these are far fewer passes than `token_factors` takes. Other arguments as there.

    Args:
        directions: (K, E), the u_k.

    Returns:
        (S, K), float64 (float32 on devices without it).

    >>> from xsbert.integrated_jacobian import quadrature
    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> projected_factors(lambda h: torch.tanh(h).sum(0), x, r, quadrature("gauss-legendre", 8), torch.eye(4)[:2]).shape
    torch.Size([3, 2])
    """
    integrator = PathIntegrator(f, [x], [r], chunk_size=chunk_size, show_progress_bar=show_progress_bar)
    return integrator.projected_factors([rule], [directions])[0].factors


def integrated_jacobian(
    f: Function | PathFunction,
    x: Tensor,
    r: Tensor,
    rule: Quadrature,
    *,
    chunk_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Tensor:
    """The integrated Jacobian J by reverse mode, at E backward passes per node. Arguments as for `token_factors`.

    Returns:
        (E, S, H), float64 (float32 on devices without it).

    >>> from xsbert.integrated_jacobian import quadrature
    >>> x, r = torch.linspace(0, 1, 12).reshape(3, 4), torch.zeros(3, 4)
    >>> integrated_jacobian(lambda h: torch.tanh(h).sum(0), x, r, quadrature("gauss-legendre", 8)).shape
    torch.Size([4, 3, 4])
    """
    integrator = PathIntegrator(f, [x], [r], chunk_size=chunk_size, show_progress_bar=show_progress_bar)
    return integrator.jacobians([rule])[0]


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
