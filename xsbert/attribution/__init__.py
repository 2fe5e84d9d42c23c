"""Explanations of text pairs and of texts along directions: the parts of a score, contrasts, alignments, and files."""

from .attribution import Attribution
from .contrasts import Contrast, EditStep, ModelContrast, contrast, contrast_models
from .direction import DirectionAttribution

__all__ = [
    "Attribution",
    "Contrast",
    "DirectionAttribution",
    "EditStep",
    "ModelContrast",
    "contrast",
    "contrast_models",
]
