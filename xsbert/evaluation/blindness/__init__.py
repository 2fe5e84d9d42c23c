"""Changes of meaning that a model's scores do not show. See `blind_spots`."""

from .comparison import BlindSpotsComparison, ComparedKind
from .edits import CHANGING, KEEPING, Edit, edits_of
from .measure import assert_not_blind, blind_spots
from .results import Cell, EditedCells, EditEffect, Rate
from .table import BlindSpots

__all__ = [
    "CHANGING",
    "KEEPING",
    "BlindSpots",
    "BlindSpotsComparison",
    "Cell",
    "ComparedKind",
    "Edit",
    "EditEffect",
    "EditedCells",
    "Rate",
    "assert_not_blind",
    "blind_spots",
    "edits_of",
]
