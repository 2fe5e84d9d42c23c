"""Explain why an embedding model finds two texts similar."""

from .attribution import Attribution
from .evaluation import ReferenceChoice, ShiftCost, choose_reference, shift_cost
from .factor_files import load_factors, save_factors
from .faithfulness import Faithfulness, cost_of_faithfulness, faithfulness
from .method_attribution import MethodAttribution
from .models import XSBert, XSMPNet, XSRoberta, XSTransformer

__all__ = [
    "Attribution",
    "Faithfulness",
    "MethodAttribution",
    "ReferenceChoice",
    "ShiftCost",
    "XSBert",
    "XSMPNet",
    "XSRoberta",
    "XSTransformer",
    "choose_reference",
    "cost_of_faithfulness",
    "faithfulness",
    "load_factors",
    "save_factors",
    "shift_cost",
]
__version__ = "0.1.0"
