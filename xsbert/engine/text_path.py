"""The straight path from a reference to a text, with the rest of the model along it, and how much fits in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..integrated_jacobian.chunks import default_chunk_size
from ..integrated_jacobian.functions import Function, PathFunction
from ..integrated_jacobian.integrator import PathIntegrator, bytes_per_pass
from .options import Options

__all__ = ["BUDGET_OF_DERIVATIVES", "TextPath", "WorkLimits", "check_finite", "integrator_of"]

# The rest of a memory budget is for what texts keep meanwhile, and for what an allocator adds.
BUDGET_OF_DERIVATIVES = 0.75
# Rows that are counted at once: more of them take no more each.
COUNTED = 8


class WorkLimits:
    """How many products fit in memory at once, along paths of one length. Each kind of product is counted once.

    Args:
        f: maps (S, H) to (E,).
        x, r: (S, H), a text and its reference.
        n_outputs: E.
        options: with a chunk size, a memory budget, or neither.
    """

    def __init__(self, f: Function | PathFunction, x: Tensor, r: Tensor, n_outputs: int, options: Options) -> None:
        self._f, self._x, self._r, self._n_outputs, self.options = f, x, r, n_outputs, options
        self._bytes: dict[tuple[int, bool], int] = {}

    def chunk_size(self, n_rows: int = 1, *, reverse: bool = False) -> int:
        """Products at once, for ``n_rows`` tokens, groups or directions; one row is for evaluations along the path.

        Raises:
            MemoryError: the budget is too small for a single product.
        """
        budget = self.options.memory_budget
        if budget is None:
            return self.options.chunk_size or default_chunk_size(self._x, self._n_outputs)
        available = BUDGET_OF_DERIVATIVES * budget
        each = self._bytes_per_pass(1, reverse)
        if each > available:
            raise MemoryError(
                f"memory_budget={budget:g} is too small: one product of {len(self._x)} tokens takes "
                f"{each:,} bytes, and a quarter of the budget is kept for other data"
            )
        # Counting several at once is closer, and takes as much as eight of the first.
        if n_rows > 1 and COUNTED * each <= available:
            each = self._bytes_per_pass(min(COUNTED, n_rows), reverse)
        return math.floor(available / each)

    def predicted_bytes(self, n_rows: int) -> int:
        """Bytes that so many rows take at once in forward mode, beside the model."""
        chunk_size = self.options.chunk_size or default_chunk_size(self._x, self._n_outputs)
        return chunk_size * self._bytes_per_pass(min(COUNTED, n_rows), reverse=False)

    def _bytes_per_pass(self, n_rows: int, reverse: bool) -> int:
        if (n_rows, reverse) not in self._bytes:
            self._bytes[n_rows, reverse] = bytes_per_pass(self._f, self._x, self._r, n_rows, reverse=reverse)
        return self._bytes[n_rows, reverse]


@dataclass(frozen=True)
class TextPath:
    """A straight line from the reference to a text at some layer, and the rest of the model along it."""

    f: PathFunction
    x: Tensor
    """(S, H)"""
    r: Tensor
    """(S, H)"""
    f_x: Tensor
    """(E,)"""
    f_r: Tensor
    """(E,)"""
    limits: WorkLimits
    """Of all paths of this length and dtype."""
    in_float64: Callable[[], TextPath] | None = None
    """Makes the same path in float64; None where that would not be finer, or the device has no float64."""
    precise: PathFunction | None = None
    """f with derivatives in the model's own precision, where those of ``f`` have less. Nodes are placed by it, so that
    rounding is not taken for the path."""


def integrator_of(
    paths: Sequence[TextPath], n_rows: int = 1, *, reverse: bool = False, precise: bool = False
) -> PathIntegrator:
    """Integrates along paths of texts that are alike, within their limits.

    Args:
        paths: of one length, with one f.
        n_rows: tokens or groups in forward mode, directions in reverse mode.
        reverse: which of both.
        precise: take derivatives in the model's own precision.

    Raises:
        MemoryError: the budget is too small for a single product.
    """
    first = paths[0]
    return PathIntegrator(
        (first.precise or first.f) if precise else first.f,
        [path.x for path in paths],
        [path.r for path in paths],
        chunk_size=first.limits.chunk_size(n_rows, reverse=reverse),
        show_progress_bar=first.limits.options.show_progress_bar,
    )


def check_finite(values: Tensor, what: str) -> None:
    """Raise FloatingPointError unless all numbers are finite."""
    if not torch.isfinite(values).all():
        raise FloatingPointError(
            f"{what} holds numbers that are not finite; the model's weights or its dtype ({values.dtype}) may be the "
            "cause"
        )
