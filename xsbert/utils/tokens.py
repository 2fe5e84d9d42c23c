"""Names of version 0.1.0. They are now in `xsbert.text.units` and `xsbert.text.display`."""

from ..text.display import display_tokens
from ..text.units import (
    PROMPT,
    REST,
    SPECIAL,
    TEXT,
    check_ranges,
    range_groups,
    sentence_ranges,
    sum_groups,
    word_groups,
)

__all__ = [
    "PROMPT",
    "REST",
    "SPECIAL",
    "TEXT",
    "check_ranges",
    "display_tokens",
    "range_groups",
    "sentence_ranges",
    "sum_groups",
    "word_groups",
]
