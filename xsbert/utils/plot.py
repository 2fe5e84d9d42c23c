"""Former module of the plots. They are now in `xsbert.view.plot`."""

from ..view.plot import bipartite, convergence, difference, heatmap, highlight, layers, waterfall

__all__ = ["bipartite", "convergence", "difference", "heatmap", "highlight", "layers", "waterfall"]
