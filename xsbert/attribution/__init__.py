"""Explanations of text pairs: the four parts of a score, contrasts, alignments, and files."""

from .attribution import Attribution
from .contrasts import Contrast, EditStep, ModelContrast, contrast, contrast_models

__all__ = ["Attribution", "Contrast", "EditStep", "ModelContrast", "contrast", "contrast_models"]
