"""Attributions by linguistic labels, and probes of negation and antonyms."""

from .labels import LabelledSpan, spacy_labeller, unit_labels
from .probes import probe_negation, probe_opposites

__all__ = ["LabelledSpan", "probe_negation", "probe_opposites", "spacy_labeller", "unit_labels"]
