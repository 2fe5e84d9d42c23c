"""Attributions by linguistic labels, and probes of negation and antonyms."""

from .labels import LabelledSpan, spacy_labeller, unit_labels
from .probes import probe_negation, probe_opposites
from .tables import Table, contributions, cumulative_share, kept_by_label, kept_correlation, lexical_bias

__all__ = [
    "LabelledSpan",
    "Table",
    "contributions",
    "cumulative_share",
    "kept_by_label",
    "kept_correlation",
    "lexical_bias",
    "probe_negation",
    "probe_opposites",
    "spacy_labeller",
    "unit_labels",
]
