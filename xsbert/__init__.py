"""Explain why an embedding model finds two texts similar."""

from .attribution import Attribution
from .evaluation import ReferenceChoice, ShiftCost, choose_reference, shift_cost
from .factor_files import load_factors, save_factors
from .models import XSBert, XSMPNet, XSRoberta, XSTransformer
from .version import __version__

__all__ = [
    "Attribution",
    "ReferenceChoice",
    "ShiftCost",
    "XSBert",
    "XSMPNet",
    "XSRoberta",
    "XSTransformer",
    "__version__",
    "choose_reference",
    "load_factors",
    "save_factors",
    "shift_cost",
]
