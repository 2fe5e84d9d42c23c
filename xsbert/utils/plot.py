"""Former module of the plots. They are now in `xsbert.view.pictures`."""

from ..view.charts import convergence
from ..view.pictures import bipartite, difference, heatmap, highlight, layers, waterfall

__all__ = ["bipartite", "convergence", "difference", "heatmap", "highlight", "layers", "waterfall"]
