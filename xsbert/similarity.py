"""The similarities that decompose into pairs of features: those that are bilinear up to a factor."""

from __future__ import annotations

from typing import Any

__all__ = ["SIMILARITIES", "check_similarity", "similarity_hint"]

SIMILARITIES = ("cosine", "dot")
# What others call these similarities.
OTHER_NAMES = {
    "cosine": ("cos", "cosine", "cos_sim", "cossim", "cosine_sim", "cosine_similarity", "pairwise_cos_sim"),
    "dot": ("dot", "dot_product", "dotproduct", "dot_score", "dot_similarity", "ip", "inner", "inner_product"),
}


def check_similarity(similarity: str) -> None:
    """Raise ValueError unless a similarity is ``"cosine"`` or ``"dot"``.

    >>> check_similarity("cos_sim")
    Traceback (most recent call last):
    ValueError: similarity must be 'cosine' or 'dot', got 'cos_sim'; did you mean 'cosine'?
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity must be 'cosine' or 'dot', got {similarity!r}{similarity_hint(similarity)}")


def similarity_hint(given: Any) -> str:
    """What to say after a similarity that is not known by this name, or nothing."""
    normalised = str(given).strip().lower().replace("-", "_").replace(" ", "_")
    meant = [name for name, others in OTHER_NAMES.items() if normalised in others]
    return f"; did you mean {meant[0]!r}?" if meant else ""
