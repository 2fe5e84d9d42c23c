"""Embeddings of queries and documents by the model's own methods, and their scores, for each kind of model."""

from __future__ import annotations

from typing import Any

from sentence_transformers import util
from torch import Tensor

from ..attribution.similarity import LATE_SIMILARITIES

__all__ = ["encoded_documents", "encoded_query", "is_late", "scores_of"]


def is_late(similarity: str) -> bool:
    """Return whether a similarity is one of late interaction, of one embedding (P, D) for each text."""
    return similarity in LATE_SIMILARITIES


def encoded_query(model: Any, query: str, prompt: str, similarity: str) -> Tensor:
    """Return the embedding of a query: (E,), or (P, D) in late interaction."""
    how: dict[str, Any] = {} if is_late(similarity) else {"convert_to_tensor": True}
    return model.encode_query(query, prompt=prompt, show_progress_bar=False, **how)


def encoded_documents(model: Any, texts: list[str], prompt: str, similarity: str, show: bool) -> Any:
    """Return the embeddings of n documents: (n, E), or a list of (P, D) in late interaction."""
    how: dict[str, Any] = {} if is_late(similarity) else {"convert_to_tensor": True}
    return model.encode_document(texts, prompt=prompt, show_progress_bar=show, **how)


def scores_of(query: Tensor, embeddings: Any, similarity: str) -> Tensor:
    """Return (n,) scores of documents for a query, whose embeddings are those of the functions above."""
    if is_late(similarity):
        return util.maxsim([query], list(embeddings), length_normalize=similarity == "meanmaxsim")[0]
    compare = util.cos_sim if similarity == "cosine" else util.dot_score
    return compare(query[None], embeddings)[0]
