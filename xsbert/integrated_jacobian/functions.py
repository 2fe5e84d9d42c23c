"""The function whose derivatives are integrated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Function", "PathFunction", "as_path_function"]

Function = Callable[[Tensor], Tensor]
"""Maps (S, H) to (E,). Any function that `torch.func` can differentiate."""


@runtime_checkable
class PathFunction(Protocol):
    """A function (S, H) → (E,) that can also be differentiated by scales of its tokens' vectors."""

    def __call__(self, h: Tensor) -> Tensor: ...

    def along_token_scales(self, h: Tensor, vectors: Tensor, scales: Tensor) -> Tensor:
        """f(h + scales ∘ vectors), to be differentiated by the scales at zero.

        A function that brings its own can save products, since the vectors are the same for several directions.

        Args:
            h, vectors: (S, H).
            scales: (S,), zeros.
        """
        ...


class _Plain:
    """Adapter for a function without a method of its own."""

    def __init__(self, f: Function) -> None:
        self._f = f

    def __call__(self, h: Tensor) -> Tensor:
        return self._f(h)

    def along_token_scales(self, h: Tensor, vectors: Tensor, scales: Tensor) -> Tensor:
        return self._f(h + scales[:, None] * vectors)


def as_path_function(f: Function | PathFunction) -> PathFunction:
    """The function itself where it is a `PathFunction`, otherwise wrapped as one."""
    return f if isinstance(f, PathFunction) else _Plain(f)
