"""Explain why an embedding model finds two texts similar."""

from .attribution import Attribution
from .models import XSBert, XSMPNet, XSRoberta, XSTransformer

__all__ = ["Attribution", "XSBert", "XSMPNet", "XSRoberta", "XSTransformer"]
__version__ = "0.1.0"
