"""Hits that name texts by their places: those of sentence-transformers and FAISS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..._utils.sequences import as_entries, by_position
from ..._utils.validation import is_integer
from .document import Retrieved, checked_document

__all__ = ["from_faiss", "from_semantic_search"]

MISSING = object()


def from_semantic_search(hits: Iterable[Mapping[str, Any]], corpus: Sequence[str]) -> list[Retrieved]:
    """Read the hits of one query from `sentence_transformers.util.semantic_search`.

    Args:
        hits: dictionaries with ``corpus_id`` and ``score``, one of the lists that it returns (one list per query).
        corpus: the embedded texts in their order: a list, or a column of pandas, numpy, Arrow, polars or datasets.
            ``corpus_id`` is a position in it; labels of a pandas index are ignored.

    Raises:
        TypeError: hits of several queries were given; ``corpus`` is a table, a dictionary, a set or a string; or a
            text of a hit is not a string.
        ValueError: a text of a hit is empty, or a score is infinite.
        IndexError: a hit is outside the corpus.
    """
    found = as_entries(hits, "hits", "hits")
    if found and not isinstance(found[0], Mapping):
        raise TypeError("hits must belong to one query: semantic_search returns one list per query")
    places, scores = [hit["corpus_id"] for hit in found], [hit["score"] for hit in found]
    return _of_corpus(places, scores, corpus, "corpus", "similarity")


def from_faiss(scores: Any, places: Any, texts: Sequence[str] | Mapping[int, str]) -> list[Retrieved]:
    """Read one row of the result of ``index.search(queries, k)`` of FAISS.

    Args:
        scores: (k,) similarities or distances of the index.
        places: (k,) positions or ids. −1, the mark of FAISS for fewer than k results, is skipped.
        texts: the texts in the order of the index: a list, or a column of pandas, numpy, Arrow, polars or datasets.
            Places are positions in it; labels of a pandas index are ignored. Or a dictionary from ids of the index to
            texts (``dict(series)`` uses the labels of a pandas index as ids).

    Raises:
        TypeError: ``texts`` is a table, a set or a string, or a text of a hit is not a string.
        ValueError: rows of several queries were given, scores and places differ in number, a text of a hit is empty,
            or a score is infinite.
        IndexError: a place has no text.
    """
    one, other = np.asarray(scores), np.asarray(places)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(
            f"scores and places must be one row each, of one query, got shapes {one.shape} and {other.shape}"
        )
    kept = other >= 0
    # Scores of a binary index are integers, the number of differing bits.
    measure = "index" if one.dtype.kind == "f" else None
    return _of_corpus(other[kept].tolist(), one[kept].tolist(), texts, "texts", measure)


def _of_corpus(places: list[Any], scores: list[Any], texts: Any, name: str, measure: str | None) -> list[Retrieved]:
    """Look up the texts of hits: by key in a dictionary, which only `from_faiss` accepts, otherwise by position."""
    strange = [(rank, place) for rank, place in enumerate(places) if not is_integer(place)]
    if strange:
        raise TypeError(f"hit {strange[0][0]} must name a text by an integer, got {strange[0][1]!r:.60}")
    if isinstance(texts, Mapping) and name == "texts":
        n_texts, chosen = len(texts), [texts.get(place, MISSING) for place in places]
    else:
        column = by_position(texts, name)
        n_texts, chosen = len(column), [column[at] if 0 <= at < len(column) else MISSING for at in places]
    found = []
    for rank, (place, text, score) in enumerate(zip(places, chosen, scores, strict=True)):
        if text is MISSING:
            raise IndexError(f"hit {rank} names the text {place}, and there are {n_texts} texts")
        if not isinstance(text, str):
            raise TypeError(f"{name}[{place}] must be a string, got {type(text).__name__}: {text!r:.60}")
        found.append(checked_document(text, str(place), score, rank, f"text, {name}[{place}],", measure))
    return found
