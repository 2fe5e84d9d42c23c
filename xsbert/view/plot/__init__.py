"""Pictures of a result. Each is a function of it, returns (fig, ax), and leaves showing to the caller.

Colours run from blue (less similar) over white to red (more similar); main effects, which are on a scale of their own,
from purple to orange. Both pairs of colours can be told apart by colour-blind readers.

Right-to-left and Indic scripts are shaped by matplotlib 3.11 and later. A script that the default font lacks is drawn
in an installed font that has it.
"""

from .bipartite import bipartite
from .convergence import convergence
from .difference import difference
from .heatmap import heatmap
from .highlight import highlight
from .layers import layers
from .waterfall import waterfall

__all__ = ["bipartite", "convergence", "difference", "heatmap", "highlight", "layers", "waterfall"]
