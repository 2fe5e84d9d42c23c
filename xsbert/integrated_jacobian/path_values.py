"""Values and derivatives of f along the straight path from reference to input."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vmap

from .chunks import EVALUATION, Function, _check, _Nodes, _within_memory, default_chunk_size
from .rules import Quadrature

__all__ = [
    "Request",
    "ask",
    "derivatives_along_path",
    "derivatives_along_paths",
    "values_along_paths",
    "values_and_derivatives_along_paths",
]


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


Request = tuple[str, np.ndarray]
"""``"values"``, ``"derivatives"`` or ``"both"``, and the nodes (N,) at which they are wanted."""


def ask(kind: str, nodes: np.ndarray) -> Generator[Request, Tensor, Tensor]:
    """Request values or derivatives, and refuse what is not finite.

    Raises:
        FloatingPointError: f is not finite everywhere on the path.
    """
    answer = yield kind, nodes
    if not answer.isfinite().all():
        what = "values" if kind == "both" else kind
        raise FloatingPointError(
            f"{what} of the model between reference and text are not finite; its weights or its dtype may be the cause"
        )
    return answer
