"""Evaluation of explanations: faithfulness, other methods, references, linguistic tables and control models."""

from .faithfulness import Faithfulness, cost_of_faithfulness, faithfulness
from .reference_tables import ReferenceChoice, ReferenceChoiceRow, ShiftCost, ShiftCostRow
from .references import choose_reference, shift_cost

__all__ = [
    "Faithfulness",
    "ReferenceChoice",
    "ReferenceChoiceRow",
    "ShiftCost",
    "ShiftCostRow",
    "choose_reference",
    "cost_of_faithfulness",
    "faithfulness",
    "shift_cost",
]
