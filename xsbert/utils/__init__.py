"""Reductions of tokens to words, and plots. Only the plots import matplotlib, when they are asked for."""

from typing import Any

from .tokens import sum_groups, word_groups

__all__ = ["heatmap", "sum_groups", "word_groups"]


def __getattr__(name: str) -> Any:
    if name == "heatmap":
        from .plot import heatmap

        return heatmap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
