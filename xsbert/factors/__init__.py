"""Factors of a text, contributions of its units to a score, and files of factors."""

from .contributions import Contributions
from .files import load_factors, save_factors
from .text_factors import ProjectedFactors, Settings, TextFactors

__all__ = ["Contributions", "ProjectedFactors", "Settings", "TextFactors", "load_factors", "save_factors"]
