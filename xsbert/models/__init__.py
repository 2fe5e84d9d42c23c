"""Sentence transformers that explain their similarities."""

from .architectures import XSBert, XSMPNet, XSRoberta
from .base import ShiftWarning, XSTransformer
from .checkpoints import load_model
from .reference import ReferenceShift, ReferenceTransformer

__all__ = [
    "ReferenceShift",
    "ReferenceTransformer",
    "ShiftWarning",
    "XSBert",
    "XSMPNet",
    "XSRoberta",
    "XSTransformer",
    "load_model",
]
