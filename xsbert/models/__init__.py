"""Models that explain their similarities."""

from .architectures import XSBert, XSMPNet, XSRoberta
from .checkpoints import load_model
from .cost import CostEstimate, TimedText
from .late import XSMultiVectorEncoder
from .reference import ReferenceShift, ReferenceTransformer
from .shift_warning import ShiftWarning
from .sparse import XSSparseEncoder
from .transformer import XSTransformer
from .wrapping import wrap

__all__ = [
    "CostEstimate",
    "ReferenceShift",
    "ReferenceTransformer",
    "ShiftWarning",
    "TimedText",
    "XSBert",
    "XSMPNet",
    "XSMultiVectorEncoder",
    "XSRoberta",
    "XSSparseEncoder",
    "XSTransformer",
    "load_model",
    "wrap",
]
