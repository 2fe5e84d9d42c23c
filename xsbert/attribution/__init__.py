"""Explanations of text pairs: the four parts of a score, contrasts, alignments, and files."""

from .attribution import Attribution
from .contrasts import Contrast, ModelContrast, Moved, contrast, contrast_models

__all__ = ["Attribution", "Contrast", "ModelContrast", "Moved", "contrast", "contrast_models"]
