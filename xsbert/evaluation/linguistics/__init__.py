"""Attributions by linguistic labels, and probes of negation and antonyms."""

from .labels import LabelledSpan, Labeller, spacy_labeller, unit_labels
from .probes import ANTONYMS, NEGATIONS, SYNONYMS, probe_negation, probe_opposites
from .tables import (
    CONTENT,
    Table,
    contributions,
    cumulative_share,
    kept_by_label,
    kept_correlation,
    lexical_bias,
    strongest_pairs,
)

__all__ = [
    "ANTONYMS",
    "CONTENT",
    "NEGATIONS",
    "SYNONYMS",
    "LabelledSpan",
    "Labeller",
    "Table",
    "contributions",
    "cumulative_share",
    "kept_by_label",
    "kept_correlation",
    "lexical_bias",
    "probe_negation",
    "probe_opposites",
    "spacy_labeller",
    "strongest_pairs",
    "unit_labels",
]
