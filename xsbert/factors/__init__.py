"""What one text leaves behind: its factors, the contributions of its units, and their files."""

from .contributions import Shares
from .files import load_factors, save_factors
from .text_factors import ProjectedFactors, Settings, TextFactors

__all__ = ["ProjectedFactors", "Settings", "Shares", "TextFactors", "load_factors", "save_factors"]
