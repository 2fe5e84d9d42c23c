"""Texts in, factors out."""

from .explainer import Explainer
from .options import OptionKeywords, Options

__all__ = ["Explainer", "OptionKeywords", "Options"]
