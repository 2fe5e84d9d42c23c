"""The pictures under their earlier name; they live in `xsbert.view.plot`."""

from ..view.plot import bipartite, convergence, difference, heatmap, highlight, layers, waterfall

__all__ = ["bipartite", "convergence", "difference", "heatmap", "highlight", "layers", "waterfall"]
