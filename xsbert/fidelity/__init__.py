"""Should I believe this picture? Which layer, reference and method for my model? See `faithfulness`."""

from .measure import cost_of_faithfulness, faithfulness
from .table import METRICS, Estimate, Faithfulness, FaithfulnessRow

__all__ = ["METRICS", "Estimate", "Faithfulness", "FaithfulnessRow", "cost_of_faithfulness", "faithfulness"]
