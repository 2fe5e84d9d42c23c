"""Memory that a pass takes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .._utils.memory import peak_bytes
from .chunks import EVALUATION, Function, _check
from .reverse_mode import measured_pulled_back_together
from .rules import quadrature
from .token_factors import _factors

__all__ = ["bytes_per_pass"]


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
