"""Sums of tokens over words, and plots. Matplotlib is imported by the first plot."""

from ..text.display import display_tokens
from ..text.units import sum_groups, word_groups
from ..view.charts import convergence, save_figure
from ..view.pictures import bipartite, difference, heatmap, highlight, layers, panels, waterfall

__all__ = [
    "bipartite",
    "convergence",
    "difference",
    "display_tokens",
    "heatmap",
    "highlight",
    "layers",
    "panels",
    "save_figure",
    "sum_groups",
    "waterfall",
    "word_groups",
]
