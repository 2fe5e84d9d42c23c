"""Computes the factors of texts."""

from .explainer import Explainer
from .failures import SkippedWarning
from .options import OptionKeywords, Options

__all__ = ["Explainer", "OptionKeywords", "Options", "SkippedWarning"]
