"""What search libraries return, as documents that `XSTransformer.explain_ranking` takes.

xsbert never calls a store: it is given the query and the hits. Nothing here imports a search library; each is known by
the names of its fields, so that any version with these will do.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from .plain import half_surrogate
from .retrieval_llama import postprocessor

__all__ = [
    "Retrieved",
    "Sample",
    "from_faiss",
    "from_haystack",
    "from_lancedb",
    "from_langchain",
    "from_llama_index",
    "from_qdrant",
    "from_semantic_search",
    "llama_index_postprocessor",
    "retrieved",
    "sample",
]


@dataclass(frozen=True)
class Retrieved:
    """A document as a retriever returned it."""

    text: str
    id: str | None = None
    score: float | None = None
    """On the retriever's own scale, which may be a distance."""


def from_semantic_search(hits: Iterable[Mapping[str, Any]], corpus: Sequence[str]) -> list[Retrieved]:
    """Of one query's hits from `sentence_transformers.util.semantic_search`.

    Args:
        hits: with ``corpus_id`` and ``score``, as it returns for one query (take the first of its lists).
        corpus: the texts that were embedded.

    Raises:
        TypeError: the hits of several queries were given at once.
        IndexError: a hit is outside the corpus.
    """
    found = list(hits)
    if found and not isinstance(found[0], Mapping):
        raise TypeError("hits must be those of one query: semantic_search returns a list of them for each query")
    return _of_corpus([hit["corpus_id"] for hit in found], [hit["score"] for hit in found], corpus)


def from_faiss(scores: Any, places: Any, texts: Sequence[str] | Mapping[int, str]) -> list[Retrieved]:
    """Of one row of what ``index.search(queries, k)`` of FAISS returns.

    Args:
        scores: (k,) similarities or distances, as the index has them.
        places: (k,) places or ids; −1, by which FAISS says that it found fewer than k, is left out.
        texts: the texts in the order of the index, or those of its ids.

    Raises:
        ValueError: the rows of several queries were given at once, or scores and places differ in number.
        IndexError: a place has no text.
    """
    one, other = np.asarray(scores), np.asarray(places)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(
            f"scores and places must be one row each, of one query, got shapes {one.shape} and {other.shape}"
        )
    kept = other >= 0
    return _of_corpus(other[kept].tolist(), one[kept].tolist(), texts)


def from_lancedb(rows: Any, text: str = "text", id: str | None = None) -> list[Retrieved]:
    """Of ``table.search(vector).to_list()``, or of the same as a pandas, polars or Arrow table.

    Args:
        rows: with the column of texts, and ``_distance``, ``_score`` or ``_relevance_score``.
        text: the name of that column.
        id: the name of a column that tells documents apart; None for none.

    Raises:
        ValueError: a row has no text.
    """
    if hasattr(rows, "to_pylist"):
        rows = rows.to_pylist()
    elif hasattr(rows, "to_dicts"):
        rows = rows.to_dicts()
    elif hasattr(rows, "iloc"):
        rows = rows.to_dict("records")
    return [
        Retrieved(
            text=_checked(row.get(text), place, f"row {text!r}"),
            id=None if id is None else str(row[id]),
            score=_first(row, "_relevance_score", "_score", "_distance"),
        )
        for place, row in enumerate(rows)
    ]


def from_qdrant(points: Any, text: str = "text") -> list[Retrieved]:
    """Of ``client.query_points(…)``, or the list of its points.

    Args:
        points: each with ``id``, ``score`` and ``payload``.
        text: the key of the payload that holds the text.

    Raises:
        ValueError: a point has no text, such as when it was asked for without its payload.
    """
    points = getattr(points, "points", points)
    return [
        Retrieved(
            _checked((point.payload or {}).get(text), place, f"payload {text!r}"), str(point.id), float(point.score)
        )
        for place, point in enumerate(points)
    ]


def from_langchain(documents: Iterable[Any]) -> list[Retrieved]:
    """Of documents of LangChain, or pairs of document and score as ``similarity_search_with_score`` gives them."""
    found = []
    for place, item in enumerate(documents):
        document, score = item if isinstance(item, tuple) else (item, None)
        text = _checked(getattr(document, "page_content", None), place, "page_content")
        name = getattr(document, "id", None)
        found.append(Retrieved(text, None if name is None else str(name), None if score is None else float(score)))
    return found


def from_llama_index(nodes: Iterable[Any]) -> list[Retrieved]:
    """Of the nodes with scores that a retriever of LlamaIndex returns."""
    found = []
    for place, item in enumerate(nodes):
        node = getattr(item, "node", item)
        text = _checked(node.get_content() if hasattr(node, "get_content") else None, place, "content")
        score = getattr(item, "score", None)
        found.append(Retrieved(text, str(node.node_id), None if score is None else float(score)))
    return found


def from_haystack(documents: Iterable[Any]) -> list[Retrieved]:
    """Of documents of Haystack."""
    return [
        Retrieved(
            _checked(getattr(document, "content", None), place, "content"),
            None if document.id is None else str(document.id),
            None if document.score is None else float(document.score),
        )
        for place, document in enumerate(documents)
    ]


@dataclass(frozen=True)
class Sample:
    """A small collection to try things on, written for xsbert."""

    ids: tuple[str, ...]
    documents: tuple[str, ...]
    queries: tuple[str, ...]
    relevant: tuple[tuple[str, ...], ...]
    """For each query the ids of the documents that answer it."""


def sample() -> Sample:
    """Sixteen short texts on everyday science, and ten questions with their answers.

    >>> len(sample().documents), sample().queries[7], sample().relevant[7]
    (16, 'pull of the moon on the ocean', ('tides',))
    """
    content = json.loads(files("xsbert").joinpath("data").joinpath("sample.json").read_text(encoding="utf-8"))
    return Sample(
        ids=tuple(each["id"] for each in content["documents"]),
        documents=tuple(each["text"] for each in content["documents"]),
        queries=tuple(each["text"] for each in content["queries"]),
        relevant=tuple(tuple(each["relevant"]) for each in content["queries"]),
    )


def retrieved(documents: Any) -> list[Retrieved]:
    """Any of these as documents: strings, `Retrieved`, what Qdrant, LangChain, LlamaIndex and Haystack return, and data
    frames, tables and dictionaries that have their texts under ``"text"``.

    Raises:
        TypeError: they are one string, or of no known kind; of tables and dictionaries, without ``"text"``.
        ValueError: there are none, or one of them has no text, or no Unicode text; named by its place.
    """
    if isinstance(documents, (str, Mapping)):
        raise TypeError(f"documents must hold texts, got {type(documents).__name__}: {documents!r:.60}")
    # Tables, which would give the names of their columns, or the columns.
    columns = getattr(documents, "column_names", getattr(documents, "columns", None))
    if columns is not None and not callable(columns):
        names = [str(name) for name in columns]
        if "text" not in names:
            raise TypeError(_without_text(type(documents).__name__, names))
        items = from_lancedb(documents)
    else:
        items = list(getattr(documents, "points", documents))
    if not items:
        raise ValueError("documents must hold at least one text, got none")
    return [_retrieved(item, place) for place, item in enumerate(items)]


def llama_index_postprocessor(model: Any, **options: Any) -> Any:
    """A node postprocessor of LlamaIndex that ranks by the model and writes the explanation beside each node.

    Nodes come back in the model's order and with its scores. The metadata of each get ``xsbert_highlights``, a list of
    start, end and weight, best first, and ``xsbert_reason`` where a node could not be explained; both are kept from the
    texts that language models and embeddings see.

    Args:
        model: an `XSTransformer`.
        **options: of `XSTransformer.explain_ranking`.

    Raises:
        ImportError: llama-index-core is not installed.
    """
    return postprocessor(model, options)


def _retrieved(item: Any, place: int) -> Retrieved:
    if isinstance(item, Retrieved):
        return Retrieved(_checked(item.text, place, "text"), item.id, item.score)
    if isinstance(item, str):
        return Retrieved(_checked(item, place, "text"))
    reader = _reader(item)
    if reader is None and isinstance(item, Mapping):
        raise TypeError(f"documents[{place}]: {_without_text(type(item).__name__, [*map(str, item)])}")
    if reader is None:
        readers = ", ".join(name for name in __all__ if name.startswith("from_"))
        raise TypeError(
            f"documents[{place}] must be a string or what a known retriever returns, got {type(item).__name__}; "
            f"xsbert.retrieval has {readers}"
        )
    try:
        (found,) = reader([item])
    except ValueError as error:
        raise ValueError(str(error).replace("documents[0]", f"documents[{place}]")) from None
    return found


def _reader(item: Any) -> Any:
    """What reads a document, by the names of its fields."""
    if isinstance(item, Mapping):
        return from_lancedb if "text" in item else None
    if isinstance(item, tuple) and len(item) == 2 and hasattr(item[0], "page_content"):
        return from_langchain
    for field, reader in (
        ("page_content", from_langchain),
        ("payload", from_qdrant),
        ("node", from_llama_index),
        ("get_content", from_llama_index),
        ("content", from_haystack),
    ):
        if hasattr(item, field):
            return reader
    return None


def _without_text(kind: str, names: Sequence[str]) -> str:
    """What to do with rows whose texts are under another name, or elsewhere."""
    if "corpus_id" in names:
        return f"{kind} holds places of texts: give xsbert.retrieval.from_semantic_search(hits, corpus)"
    return (
        f"{kind} has nothing under 'text', it has {', '.join(names)}: give a list of strings, or "
        "xsbert.retrieval.from_lancedb(documents, text=…) with the name of the texts, which reads any rows"
    )


def _of_corpus(
    places: Sequence[Any], scores: Sequence[Any], texts: Sequence[str] | Mapping[int, str]
) -> list[Retrieved]:
    found = []
    for rank, (place, score) in enumerate(zip(places, scores, strict=True)):
        at = operator.index(place)
        known = at in texts if isinstance(texts, Mapping) else 0 <= at < len(texts)
        if not known:
            raise IndexError(f"hit {rank} names the text {at}, and there are {len(texts)} texts")
        found.append(Retrieved(_checked(texts[at], rank, "text"), str(at), float(score)))
    return found


def _checked(text: Any, place: int, where: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"documents[{place}] must hold some text, and its {where} is {text!r:.60}")
    broken = half_surrogate(text)
    if broken is not None:
        # No model embeds it, so that it has no score by which it could be ranked.
        raise ValueError(
            f"documents[{place}] must be Unicode text, and its {where} has half of a surrogate pair at character "
            f"{broken}: {text!r:.60}"
        )
    return text


def _first(row: Mapping[str, Any], *names: str) -> float | None:
    return next((float(row[name]) for name in names if row.get(name) is not None), None)
