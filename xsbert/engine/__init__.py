"""Texts in, factors out."""

from .explainer import Explainer
from .options import OptionKeywords, Options
from .skipping import SkippedWarning

__all__ = ["Explainer", "OptionKeywords", "Options", "SkippedWarning"]
