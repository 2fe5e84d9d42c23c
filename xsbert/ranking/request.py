"""The options of a ranking, and the choice of the best documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers import util
from torch import Tensor

from .._utils.sequences import as_entries
from .._utils.validation import check_one_of, checked_integer, is_integer, plain_number
from ..text.units import UNITS
from .own_scores import is_late, scores_of

__all__ = ["DETAILS", "Request", "Scored", "best_documents", "checked_embeddings"]

DETAILS = ("highlights", "pairs")
POOLINGS = ("max", "mean")


@dataclass(frozen=True)
class Request:
    """Options of a ranking, checked on creation."""

    top_k: int | None = None
    detail: str = "highlights"
    units: str = "words"
    passages: int | None = None
    overlap: int = 32
    pooling: str = "max"
    relative: bool = False

    def __post_init__(self) -> None:
        for name in ("top_k", "passages"):
            value = checked_integer(getattr(self, name), name, least=1, optional=True, wrong_type=ValueError)
            object.__setattr__(self, name, value)
        for name, allowed in (("detail", DETAILS), ("units", UNITS), ("pooling", POOLINGS)):
            check_one_of(getattr(self, name), name, allowed)
        if not isinstance(self.relative, bool):
            raise TypeError(f"relative must be True or False, got {self.relative!r:.60}")
        fits = is_integer(self.overlap) and self.overlap >= 0
        if not fits or (self.passages is not None and self.overlap >= self.passages):
            raise ValueError(
                f"overlap must be an integer from 0 to below passages={self.passages}, got {self.overlap!r}"
            )
        object.__setattr__(self, "overlap", plain_number(self.overlap))


@dataclass(frozen=True)
class Scored:
    """A document with its score, and the passages (start, end, weight) that determine it."""

    index: int
    score: float
    passages: tuple[tuple[int, int, float], ...]
    n_passages: int


def checked_embeddings(embeddings: Any, n_documents: int, model: Any) -> Tensor:
    """Return (n, E) embeddings of documents on the model's device.

    Raises:
        ValueError: they do not fit the number of documents or the model's width, or are not finite.
    """
    found = embeddings if isinstance(embeddings, Tensor) else torch.as_tensor(_array_of(embeddings))
    if found.is_sparse_csr:
        found = found.to_sparse_coo()
    width = model.get_embedding_dimension()
    if found.ndim != 2 or len(found) != n_documents:
        raise ValueError(
            f"document_embeddings must hold one row for each of the {n_documents} documents, got {tuple(found.shape)}"
        )
    if width is not None and found.shape[1] != width:
        raise ValueError(
            f"document_embeddings must be as wide as the model's, {width}, got {found.shape[1]}: are they of another "
            "model?"
        )
    finite = _finite_rows(found)
    if not finite.all():
        place = int((~finite).nonzero()[0, 0])
        raise ValueError(f"document_embeddings[{place}] holds numbers that are not finite")
    return found.to(device=model.device, dtype=torch.float32 if found.dtype != torch.float64 else found.dtype)


def _finite_rows(embeddings: Tensor) -> Tensor:
    """Return (n,) whether all numbers of an embedding are finite."""
    if not embeddings.is_sparse:
        return torch.isfinite(embeddings).all(1)
    found = embeddings.coalesce()
    finite = torch.ones(len(embeddings), dtype=torch.bool, device=embeddings.device)
    finite[found.indices()[0, ~torch.isfinite(found.values())]] = False
    return finite


def _array_of(embeddings: Any) -> np.ndarray:
    """Return an (n, E) array, from an array or from a column of arrays or lists."""
    array = np.asarray(embeddings)
    if array.dtype == object:
        rows = as_entries(embeddings, "document_embeddings", "arrays")
        try:
            array = np.array([np.asarray(row, dtype=np.float64) for row in rows])
        except (TypeError, ValueError) as error:
            raise ValueError(f"document_embeddings must hold one row of numbers for each document: {error}") from None
    # torch warns about arrays that are not writeable.
    return array if array.flags.writeable else array.copy()


def best_documents(
    query: Tensor, embeddings: Tensor, texts: Sequence[str], similarity: str, request: Request
) -> list[Scored]:
    """Rank documents as `sentence_transformers.util.semantic_search` does, best first.

    Documents with embeddings that are not finite have no score. They come last, with NaN.

    Args:
        query: (E,)
        embeddings: (n, E); sparse, as is the query, if a sparse encoder made them. In late interaction n arrays
            (P, D), as is the query.
        texts: n documents.
        similarity: ``"cosine"`` or ``"dot"``, or one of late interaction.
        request: gives the number of documents, ``top_k``.
    """
    compare = util.cos_sim if similarity == "cosine" else util.dot_score
    top_k = len(embeddings) if request.top_k is None else min(request.top_k, len(embeddings))
    if is_late(similarity):
        scores = scores_of(query, embeddings, similarity).tolist()
        order = sorted(range(len(scores)), key=lambda at: math.inf if math.isnan(scores[at]) else -scores[at])
        return [Scored(at, scores[at], ((0, len(texts[at]), 1.0),), 1) for at in order[:top_k]]
    query = query.to(embeddings.dtype)
    scored = _finite_rows(embeddings)
    known = scored.nonzero()[:, 0].tolist()
    hits = []
    if known:
        among = embeddings if len(known) == len(embeddings) else embeddings.index_select(0, scored.nonzero()[:, 0])
        (hits,) = util.semantic_search(query[None], among, top_k=min(top_k, len(known)), score_function=compare)
    places = [(known[int(hit["corpus_id"])], float(hit["score"])) for hit in hits]
    places += [(place, math.nan) for place in (~scored).nonzero()[:, 0].tolist()][: top_k - len(places)]
    return [Scored(index, score, ((0, len(texts[index]), 1.0),), 1) for index, score in places]
