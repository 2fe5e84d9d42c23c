"""Drawing of the pictures of `xsbert.view.pictures`. Importing this package imports matplotlib."""

from .bipartite import draw_bipartite
from .convergence import draw_convergence
from .estimates import draw_estimates
from .export import save
from .highlight import draw_highlight, draw_texts
from .results import check_comparable, check_one_pair, draw_contrast, draw_difference, draw_heatmap, draw_results
from .waterfall import draw_waterfall

__all__ = [
    "check_comparable",
    "check_one_pair",
    "draw_bipartite",
    "draw_contrast",
    "draw_convergence",
    "draw_difference",
    "draw_estimates",
    "draw_heatmap",
    "draw_highlight",
    "draw_results",
    "draw_texts",
    "draw_waterfall",
    "save",
]
