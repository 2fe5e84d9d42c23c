"""Sums of tokens over words, and plots. Matplotlib is imported on first access to a plot."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..text.display import display_tokens
from ..text.units import sum_groups, word_groups

if TYPE_CHECKING:
    from ..view.plot import bipartite, convergence, difference, heatmap, highlight, layers, waterfall

__all__ = [
    "bipartite",
    "convergence",
    "difference",
    "display_tokens",
    "heatmap",
    "highlight",
    "layers",
    "sum_groups",
    "waterfall",
    "word_groups",
]


def __getattr__(name: str) -> Any:
    # Only plots reach this function: other names are attributes already.
    if name in __all__:
        return getattr(import_module("..view.plot", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
