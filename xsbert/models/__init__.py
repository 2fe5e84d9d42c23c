"""Sentence transformers that explain their similarities."""

from .architectures import XSBert, XSMPNet, XSRoberta
from .base import XSTransformer
from .reference import ReferenceShift, ReferenceTransformer

__all__ = ["ReferenceShift", "ReferenceTransformer", "XSBert", "XSMPNet", "XSRoberta", "XSTransformer"]
