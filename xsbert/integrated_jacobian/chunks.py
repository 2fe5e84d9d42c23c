"""Nodes in chunks: what is evaluated at once, summed up, and bounded in memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from scipy.linalg import block_diag
from torch import Tensor

from .._utils.progress import Progress
from .._utils.validation import checked_integer
from .rules import Quadrature

__all__ = ["check_chunk_size", "default_chunk_size"]

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
