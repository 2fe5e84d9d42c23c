"""What a search asks of f: values or derivatives at places along the path."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from torch import Tensor

__all__ = ["Request", "ask"]

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
