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

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap
from tqdm import tqdm

from .quadrature import Quadrature

__all__ = [
    "check_chunk_size",
    "derivatives_along_path",
    "derivatives_along_paths",
    "factors_from_jacobian",
    "feature_pairs",
    "integrated_jacobian",
    "pulled_back_factors",
    "token_factors",
    "token_factors_together",
    "values_along_paths",
]

Function = Callable[[Tensor], Tensor]

# Hidden-state numbers (passes × S × H) held at once by default. On two CPU cores, from 0.2 to 3.2 million, larger
# chunks than this fed the matrix products no better and only cost memory.
DEFAULT_CHUNK_NUMBERS = {"cpu": 1_600_000, "cuda": 32_000_000}
# torch numbers the levels of forward-mode differentiation per process, so one thread at a time may be within one.
FORWARD_MODE = threading.RLock()
PROGRESS_DELAY = 2.0  # seconds of silence before an automatic progress bar appears


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
    """
    _check(x, r, chunk_size)
    groups = [[position] for position in range(len(x))] if groups is None else groups
    members = x.new_zeros(len(groups), len(x))
    for row, positions in zip(members, groups, strict=True):
        row[list(positions)] = 1
    return _factors(f, [x], [r], [rule], members, chunk_size, show_progress_bar)[0]


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
        n factors (S, E), as there.

    Raises:
        ValueError: inputs and references differ in shape, or the texts in length.
    """
    for x, r in zip(xs, rs, strict=True):
        _check(x, r, chunk_size)
        if x.shape != xs[0].shape:
            raise ValueError(f"xs must have one shape, got {tuple(xs[0].shape)} and {tuple(x.shape)}")
    members = torch.eye(len(xs[0]), dtype=xs[0].dtype, device=xs[0].device)
    return list(_factors(f, xs, rs, rules, members, chunk_size, show_progress_bar))


def _factors(
    f: Function,
    xs: Sequence[Tensor],
    rs: Sequence[Tensor],
    rules: Sequence[Quadrature],
    members: Tensor,
    chunk_size: int | None,
    show_progress_bar: bool | None,
) -> Tensor:
    """(n, G, E), the factors of G groups of tokens; ``members`` (G, S) is one where a token belongs to a group."""
    n_groups = len(members)

    def directional(h: Tensor, difference: Tensor, member: Tensor) -> Tensor:
        return jvp(f, (h,), (member[:, None] * difference,))[1]

    per_group = vmap(directional, in_dims=(None, None, 0))
    # Where all nodes are of one text, its first tangents are the same at all of them, and computed once.
    one_text, several_texts = vmap(per_group, in_dims=(0, None, None)), vmap(per_group, in_dims=(0, 0, None))
    n_passes = sum(len(rule.nodes) for rule in rules) * n_groups

    def run(passes: int) -> Tensor:
        node_chunk, group_chunk = max(1, passes // n_groups), min(passes, n_groups)
        total: Tensor | None = None
        with torch.no_grad(), _progress(n_passes, "token factors", show_progress_bar) as bar:
            for h, differences, weights, owners in _points(xs, rs, rules, node_chunk):
                alone = bool(owners[0] == owners[-1])
                for start in range(0, n_groups, group_chunk):
                    chunk = members[start : start + group_chunk]
                    with FORWARD_MODE:
                        derivatives = (
                            one_text(h, differences[0], chunk) if alone else several_texts(h, differences, chunk)
                        )
                    weighted = weights[:, None, None] * derivatives.to(weights.dtype)
                    if total is None:
                        total = weighted.new_zeros(len(rules), n_groups, weighted.shape[-1])
                    total[:, start : start + len(chunk)].index_add_(0, owners.to(total.device), weighted)
                    bar.update(len(h) * len(chunk))
        return total

    return _within_memory(run, chunk_size or _default_chunk(xs[0]))


def derivatives_along_path(f: Function, x: Tensor, r: Tensor, nodes: np.ndarray) -> Tensor:
    """d/dα f(r + α(x − r)) at nodes α, which is what the factors of all tokens integrate to, summed.

    Costs two evaluations of f per node, against S + 1 for the factors themselves.

    Args:
        f: maps (S, H) to (E,).
        x, r: (S, H).
        nodes: (N,) positions in [0, 1].

    Returns:
        (N, E), float64 (float32 on devices without it).
    """
    return derivatives_along_paths(f, [x], [r], [nodes])[0]


def derivatives_along_paths(
    f: Function, xs: Sequence[Tensor], rs: Sequence[Tensor], nodes: Sequence[np.ndarray]
) -> list[Tensor]:
    """`derivatives_along_path` of n texts of one length, for all of which f is the same.

    Args:
        xs, rs: n inputs and n references, each (S, H).
        nodes: n arrays of positions, whose lengths may differ.

    Returns:
        n derivatives (N, E), as there.

    Raises:
        ValueError: an input and its reference differ in shape.
    """

    def derivative(h: Tensor, difference: Tensor) -> Tensor:
        return jvp(f, (h,), (difference,))[1]

    return _along_paths(derivative, xs, rs, nodes)


def values_along_paths(
    f: Function, xs: Sequence[Tensor], rs: Sequence[Tensor], nodes: Sequence[np.ndarray]
) -> list[Tensor]:
    """f(r + α(x − r)) at nodes α of n texts of one length. Arguments and errors as for `derivatives_along_paths`.

    Returns:
        n values (N, E), float64 (float32 on devices without it).
    """
    return _along_paths(lambda h, _: f(h), xs, rs, nodes)


def _along_paths(
    look: Callable[[Tensor, Tensor], Tensor], xs: Sequence[Tensor], rs: Sequence[Tensor], nodes: Sequence[np.ndarray]
) -> list[Tensor]:
    """What a function of hidden states and difference finds at each node."""
    for x, r in zip(xs, rs, strict=True):
        _check(x, r, None)
    units = [Quadrature(places, np.ones_like(places)) for places in nodes]
    looks = vmap(look)

    def run(passes: int) -> Tensor:
        parts = []
        with torch.no_grad():
            for h, differences, weights, _ in _points(xs, rs, units, passes):
                with FORWARD_MODE:
                    parts.append(looks(h, differences).to(weights.dtype))
        return torch.cat(parts)

    return list(_within_memory(run, _default_chunk(xs[0])).split([len(places) for places in nodes]))


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
    """
    _check(x, r, chunk_size)
    with torch.no_grad():
        embedding = f(r)
    n_outputs = embedding.shape[0]
    identity = torch.eye(n_outputs, dtype=embedding.dtype, device=embedding.device)

    def pull_back(h: Tensor, cotangents: Tensor) -> Tensor:
        pull = vjp(f, h)[1]
        return vmap(lambda cotangent: pull(cotangent)[0])(cotangents)

    batched = vmap(pull_back, in_dims=(0, None))

    def run(passes: int) -> Tensor:
        node_chunk, output_chunk = max(1, passes // n_outputs), min(passes, n_outputs)
        total: Tensor | None = None
        with torch.no_grad(), _progress(len(rule.nodes) * n_outputs, "Jacobian", show_progress_bar) as bar:
            for h, _, weights, _ in _points([x], [r], [rule], node_chunk):
                if total is None:
                    total = torch.zeros(n_outputs, *x.shape, dtype=weights.dtype, device=x.device)
                for start in range(0, n_outputs, output_chunk):
                    cotangents = identity[start : start + output_chunk]
                    step = batched(h, cotangents).to(weights.dtype)
                    total[start : start + output_chunk] += torch.einsum("n,nesh->esh", weights, step)
                    bar.update(len(h) * len(cotangents))
        return total

    return _within_memory(run, chunk_size or _default_chunk(x))


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
    directions, far fewer than `token_factors`. Other arguments as there; ``chunk_size`` counts vector-Jacobian
    products here.

    Args:
        directions: (K, E), the u_k.

    Returns:
        (S, K), float64 (float32 on devices without it).
    """
    _check(x, r, chunk_size)
    directions = directions.to(x.dtype)
    n_directions = len(directions)
    difference = x - r

    def pull_back(h: Tensor, cotangents: Tensor) -> Tensor:
        pull = vjp(f, h)[1]
        return vmap(lambda cotangent: (pull(cotangent)[0] * difference).sum(-1))(cotangents)

    batched = vmap(pull_back, in_dims=(0, None))

    def run(passes: int) -> Tensor:
        node_chunk, direction_chunk = max(1, passes // n_directions), min(passes, n_directions)
        total: Tensor | None = None
        with torch.no_grad(), _progress(len(rule.nodes) * n_directions, "pulled back", show_progress_bar) as bar:
            for h, _, weights, _ in _points([x], [r], [rule], node_chunk):
                if total is None:
                    total = torch.zeros(len(x), n_directions, dtype=weights.dtype, device=x.device)
                for start in range(0, n_directions, direction_chunk):
                    cotangents = directions[start : start + direction_chunk]
                    step = batched(h, cotangents).to(weights.dtype)
                    total[:, start : start + direction_chunk] += torch.einsum("n,nks->sk", weights, step)
                    bar.update(len(h) * len(cotangents))
        return total

    return _within_memory(run, chunk_size or _default_chunk(x))


def factors_from_jacobian(jacobian: Tensor, difference: Tensor) -> Tensor:
    """V[s] = Σ_h J[:, s, h] (x − r)[s, h].

    Args:
        jacobian: (E, S, H).
        difference: (S, H), x − r.

    Returns:
        (S, E), in the Jacobian's dtype.
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
    """
    left = (jacobian_a * difference_a.to(jacobian_a.dtype)).flatten(1)
    right = (jacobian_b * difference_b.to(jacobian_b.dtype)).flatten(1)
    return (left.T @ right).reshape(*difference_a.shape, *difference_b.shape)


def _points(
    xs: Sequence[Tensor], rs: Sequence[Tensor], rules: Sequence[Quadrature], chunk: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The nodes of all texts, text by text, so many at a time.

    Yields:
        interpolated inputs (n, S, H) and differences x − r (n, S, H) in the model's dtype, weights (n,) in the
        accumulator's, and owners (n,), the numbers of their texts, on the CPU.
    """
    r, difference = torch.stack(list(rs)), torch.stack(list(xs)) - torch.stack(list(rs))
    accumulator = torch.float32 if r.device.type == "mps" else torch.float64
    alphas = torch.as_tensor(np.concatenate([rule.nodes for rule in rules]), dtype=r.dtype, device=r.device)
    weights = torch.as_tensor(np.concatenate([rule.weights for rule in rules]), dtype=accumulator, device=r.device)
    owners = torch.repeat_interleave(torch.tensor([len(rule.nodes) for rule in rules]))
    for start in range(0, len(owners), chunk):
        part = slice(start, start + chunk)
        owner = owners[part]
        start_points, directions = r[owner], difference[owner]
        yield start_points + alphas[part, None, None] * directions, directions, weights[part], owner


def _within_memory(run: Callable[[int], Tensor], passes: int) -> Tensor:
    """Run with so many passes at once, or with half as many as often as the device runs out of memory."""
    while True:
        try:
            return run(passes)
        except torch.OutOfMemoryError:
            if passes == 1:
                raise
        # Outside the handler, so that the failed run's tensors are free by now.
        passes //= 2


def _default_chunk(x: Tensor) -> int:
    numbers = DEFAULT_CHUNK_NUMBERS.get(x.device.type, DEFAULT_CHUNK_NUMBERS["cpu"])
    n_tokens, width = x.shape
    # A layer holds about 4 H numbers a token, and its attention as many as heads × S: more, in long texts.
    return max(1, numbers // (n_tokens * max(width, 3 * n_tokens)))


def _progress(total: int, description: str, show: bool | None) -> tqdm:
    return tqdm(
        total=total,
        desc=description,
        unit="pass",
        leave=False,
        disable=show is False,
        delay=0 if show else PROGRESS_DELAY,
    )


def check_chunk_size(chunk_size: int | None) -> None:
    """Raise ValueError unless ``chunk_size`` is None or an integer of at least 1."""
    if chunk_size is not None and (isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1):
        raise ValueError(f"chunk_size must be None or an integer of at least 1, got {chunk_size!r}")


def _check(x: Tensor, r: Tensor, chunk_size: int | None) -> None:
    if x.ndim != 2 or x.shape != r.shape:
        raise ValueError(f"x and r must both have the shape (S, H), got {tuple(x.shape)} and {tuple(r.shape)}")
    check_chunk_size(chunk_size)
