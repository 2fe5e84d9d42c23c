"""Faithfulness of methods, layers and references to a model. See `faithfulness`."""

from .cost import FaithfulnessCost, cost_of_faithfulness
from .measure import faithfulness
from .rows import FaithfulnessRow
from .table import METRICS, Estimate, Faithfulness

__all__ = [
    "METRICS",
    "Estimate",
    "Faithfulness",
    "FaithfulnessCost",
    "FaithfulnessRow",
    "cost_of_faithfulness",
    "faithfulness",
]
