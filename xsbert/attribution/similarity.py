"""Similarities that decompose into pairs of features: they are bilinear up to a factor."""

from __future__ import annotations

from typing import Any

__all__ = ["LATE_SIMILARITIES", "SIMILARITIES", "check_similarity", "resolved_similarity", "similarity_hint"]

SIMILARITIES = ("cosine", "dot")
LATE_SIMILARITIES = ("maxsim", "meanmaxsim")
"""Of late interaction. They belong to the model, whose results have no other."""
# Names of these similarities in other libraries.
OTHER_NAMES = {
    "cosine": ("cos", "cosine", "cos_sim", "cossim", "cosine_sim", "cosine_similarity", "pairwise_cos_sim"),
    "dot": ("dot", "dot_product", "dotproduct", "dot_score", "dot_similarity", "ip", "inner", "inner_product"),
}


def check_similarity(similarity: str) -> None:
    """Raise ValueError unless a similarity is ``"cosine"`` or ``"dot"``, or one of late interaction.

    >>> check_similarity("cos_sim")
    Traceback (most recent call last):
    ValueError: similarity must be 'cosine' or 'dot', got 'cos_sim'; did you mean 'cosine'?
    """
    if similarity not in (*SIMILARITIES, *LATE_SIMILARITIES):
        raise ValueError(f"similarity must be 'cosine' or 'dot', got {similarity!r}{similarity_hint(similarity)}")


def resolved_similarity(similarity: str | None, own: str) -> str:
    """Return the requested similarity, or the model's own if None.

    Raises:
        ValueError: It does not decompose into pairs of features, or is unknown.

    >>> resolved_similarity(None, "dot")
    'dot'
    """
    name = own if similarity is None else similarity
    if own in LATE_SIMILARITIES:
        if name != own:
            raise ValueError(
                f"similarity must be None or {own!r}, the model's own, got {name!r}: a late-interaction model compares "
                "the vectors of two texts, and sets its `similarity_fn_name` to one of "
                f"{' and '.join(map(repr, LATE_SIMILARITIES))}"
            )
        return name
    if name in ("euclidean", "manhattan"):
        raise ValueError(
            f"similarity={name!r} cannot be explained: only bilinear similarities, 'cosine' and 'dot', "
            "decompose into pairs of features"
        )
    if name not in SIMILARITIES:
        raise ValueError(f"similarity must be None, 'cosine' or 'dot', got {name!r}{similarity_hint(name)}")
    return name


def similarity_hint(given: Any) -> str:
    """Return a suggestion for an unknown similarity name, or an empty string."""
    normalised = str(given).strip().lower().replace("-", "_").replace(" ", "_")
    meant = [name for name, others in OTHER_NAMES.items() if normalised in others]
    return f"; did you mean {meant[0]!r}?" if meant else ""
