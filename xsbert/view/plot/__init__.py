"""Plots of a result. Each function takes a result and returns (fig, ax), not shown yet.

Colours run from blue (less similar) over white to red (more similar). Main effects have a scale of their own, from
purple to orange. Colour-blind readers can distinguish both pairs of colours.

Matplotlib 3.11 and later shapes right-to-left and Indic scripts. Scripts that the default font lacks are drawn in an
installed font.
"""

from .bipartite import bipartite
from .convergence import convergence
from .difference import difference
from .heatmap import heatmap
from .highlight import highlight
from .layers import layers
from .waterfall import waterfall

__all__ = ["bipartite", "convergence", "difference", "heatmap", "highlight", "layers", "waterfall"]
