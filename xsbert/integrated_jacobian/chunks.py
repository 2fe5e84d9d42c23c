"""Work in chunks: nodes evaluated a few at a time, sums over them, and the memory that this takes."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from .._utils.validation import checked_integer

__all__ = ["EVALUATION", "PathNodes", "TextIndex", "check_chunk_size", "default_chunk_size", "parts", "within_memory"]

TextIndex = slice | Tensor
"""Which texts nodes belong to: a slice of one text, or (n,) the text of each node."""
Result = TypeVar("Result")

# Hidden-state numbers (passes × S × H) held at once by default. On two CPU cores, from 0.2 to 3.2 million, larger
# chunks than this fed the matrix products no better and only cost memory.
DEFAULT_CHUNK_NUMBERS = {"cpu": 1_600_000, "cuda": 32_000_000}
# torch numbers the levels of forward-mode differentiation per process. While one thread is within a level, functions
# that look for a derivative would find that level in every thread. So one thread at a time evaluates f, chunk by chunk.
EVALUATION = threading.RLock()
# A fork waits for the end of the chunk: its child would inherit a lock that nobody releases, and an open level.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=EVALUATION.acquire, after_in_parent=EVALUATION.release, after_in_child=EVALUATION.release
    )


class PathNodes:
    """The nodes of T straight paths, path by path. All index tensors are on the device beforehand.

    Args:
        xs, rs: T inputs and T references, each (S, H).
        nodes: T arrays of positions in [0, 1]; their lengths, which sum to N, may differ.
    """

    def __init__(self, xs: Sequence[Tensor], rs: Sequence[Tensor], nodes: Sequence[np.ndarray]) -> None:
        self._r = torch.stack(list(rs))
        self.differences = torch.stack(list(xs)) - self._r
        """(T, S, H) x − r."""
        self._owners = np.repeat(np.arange(len(nodes)), [len(positions) for positions in nodes])
        device = self._r.device
        self._alphas = torch.as_tensor(np.concatenate(nodes), dtype=self._r.dtype, device=device)
        self._owner = torch.as_tensor(self._owners, device=device)
        self.accumulator = torch.float32 if device.type == "mps" else torch.float64
        """The dtype in which sums are taken."""

    def __len__(self) -> int:
        return len(self._owners)

    def weights(self, rows: np.ndarray) -> Tensor:
        """Weights of the nodes, as a tensor in the dtype of sums."""
        return torch.as_tensor(rows, dtype=self.accumulator, device=self._r.device)

    def chunks(self, size: int) -> Iterator[tuple[slice, Tensor, TextIndex]]:
        """Up to ``size`` nodes at a time.

        Yields:
            which nodes; the interpolated inputs (n, S, H); and the texts that they belong to.
        """
        for part in parts(len(self), size):
            first, last = self._owners[part][[0, -1]]
            index = slice(first, first + 1) if first == last else self._owner[part]
            yield part, self._r[index] + self._alphas[part, None, None] * self.differences[index], index


def parts(n_items: int, chunk: int) -> Iterator[slice]:
    """Slices of nearly equal length, with at most ``chunk`` items and at least one."""
    size = math.ceil(n_items / math.ceil(n_items / max(1, chunk)))
    return (slice(start, start + size) for start in range(0, n_items, size))


def within_memory(run: Callable[[int], Result], passes: int) -> Result:
    """Run with a number of passes at once, which is halved each time the device runs out of memory."""
    while True:
        try:
            return run(passes)
        except torch.OutOfMemoryError:
            if passes == 1:
                raise
        # Outside the handler, so that the failed run's tensors are free by now.
        passes //= 2


def default_chunk_size(x: Tensor, n_outputs: int = 0) -> int:
    """How many passes are computed at once by default.

    Args:
        x: (S, H), hidden states.
        n_outputs: width E of the output, which counts where it is larger than H, as with a vocabulary.
    """
    numbers = DEFAULT_CHUNK_NUMBERS.get(x.device.type, DEFAULT_CHUNK_NUMBERS["cpu"])
    n_tokens, width = x.shape
    # A layer holds about 4 H numbers a token, and its attention heads × S numbers, which is more in long texts.
    return max(1, numbers // (n_tokens * max(width, 3 * n_tokens, n_outputs)))


def check_chunk_size(chunk_size: int | None) -> None:
    """Raise ValueError unless ``chunk_size`` is None or an integer of at least 1."""
    checked_integer(chunk_size, "chunk_size", least=1, optional=True, wrong_type=ValueError)
