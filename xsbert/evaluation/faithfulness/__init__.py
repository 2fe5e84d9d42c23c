"""Faithfulness of methods, layers and references to a model. See `faithfulness`."""

from .measure import cost_of_faithfulness, faithfulness
from .rows import FaithfulnessRow
from .table import METRICS, Estimate, Faithfulness

__all__ = ["METRICS", "Estimate", "Faithfulness", "FaithfulnessRow", "cost_of_faithfulness", "faithfulness"]
