"""The divisor of inner products of embeddings."""

from __future__ import annotations

import numpy as np

from ..factors.text_factors import TextFactors

__all__ = ["ZERO_EMBEDDING", "check_scalable", "length_of"]

ZERO_EMBEDDING = (
    "the cosine of a zero embedding is not defined: a text without words of its own equals its reference, and a "
    "shifted model embeds it to zero"
)


def check_scalable(text: TextFactors, similarity: str) -> None:
    """Raise ValueError if the similarity is undefined: the cosine of a zero embedding."""
    if not length_of(text, similarity) > 0:
        raise ValueError(ZERO_EMBEDDING)


def length_of(text: TextFactors, similarity: str) -> float:
    """Return the divisor of inner products with an embedding."""
    length = float(np.linalg.norm(text.embedding)) if similarity == "cosine" else text.normalisation
    # The similarity to a text without any term is zero, as sentence-transformers has it.
    return length or float(text.outputs is not None)
