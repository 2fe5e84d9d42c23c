"""The function whose derivatives are integrated, and what a search asks of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

__all__ = ["Function", "PathFunction", "Request", "as_path_function", "ask"]

Function = Callable[[Tensor], Tensor]
"""Maps (S, H) to (E,). Any function that `torch.func` can differentiate."""
Request = tuple[str, np.ndarray]
"""``"values"``, ``"derivatives"`` or ``"both"``, and the nodes (N,) at which they are wanted."""


@runtime_checkable
class PathFunction(Protocol):
    """A function (S, H) → (E,) that can also be differentiated by scales of its tokens' vectors."""

    def __call__(self, h: Tensor) -> Tensor: ...

    def along_token_scales(self, h: Tensor, vectors: Tensor, scales: Tensor) -> Tensor:
        """f(h + scales ∘ vectors), to be differentiated by scales (S,) of zero; h and vectors are (S, H).

        A function that brings its own can save products, since the vectors are the same for several directions.
        """
        ...


@dataclass(frozen=True)
class _Adapter:
    """A plain function as a `PathFunction`."""

    f: Function

    def __call__(self, h: Tensor) -> Tensor:
        return self.f(h)

    def along_token_scales(self, h: Tensor, vectors: Tensor, scales: Tensor) -> Tensor:
        return self.f(h + scales[:, None] * vectors)


def as_path_function(f: Function | PathFunction) -> PathFunction:
    """The function itself where it is a `PathFunction`, otherwise wrapped as one."""
    return f if isinstance(f, PathFunction) else _Adapter(f)


def ask(kind: str, nodes: np.ndarray) -> Generator[Request, Tensor, Tensor]:
    """Request values or derivatives.

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
