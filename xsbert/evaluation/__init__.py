"""Evaluation of explanations: faithfulness, other methods, references, linguistic tables and control models."""

from .blindness import BlindSpots, assert_not_blind, blind_spots
from .faithfulness import Faithfulness, cost_of_faithfulness, faithfulness
from .reference_tables import ReferenceChoice, ReferenceChoiceRow, ShiftCost, ShiftCostRow
from .references import choose_reference, shift_cost

__all__ = [
    "BlindSpots",
    "Faithfulness",
    "ReferenceChoice",
    "ReferenceChoiceRow",
    "ShiftCost",
    "ShiftCostRow",
    "assert_not_blind",
    "blind_spots",
    "choose_reference",
    "cost_of_faithfulness",
    "faithfulness",
    "shift_cost",
]
