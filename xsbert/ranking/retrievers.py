"""Readers that convert the results of search libraries for `XSTransformer.explain_ranking`.

xsbert never calls a store: the user passes the query and the hits. Nothing here imports a search library. Results are
recognised by the names of their fields, so any version with these fields works.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from .._utils.sequences import as_entries, by_position, column_names
from .._utils.tables import as_table, plain_rows
from .._utils.unicode import half_surrogate
from .._utils.validation import is_integer, passed_id, passed_score
from .llama_index import llama_index_postprocessor

__all__ = [
    "MEASURES",
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

# Score columns of LanceDB, the one computed last first.
SCORES = ("_relevance_score", "_score", "_distance")
MISSING = object()
MEASURES = {
    "similarity": "a similarity function of sentence-transformers, of the model's own embeddings",
    "index": "a similarity or distance of an index of the model's own embeddings, which may be compressed",
}
"""Kinds of retriever scores that `XSTransformer.explain_ranking` compares with the model's own."""


@dataclass(frozen=True)
class Retrieved:
    """A document returned by a retriever. `XSTransformer.explain_ranking` checks it."""

    text: str
    id: str | int | float | None = None
    """A string or a number. Dates and UUIDs become their usual text; NaN and NaT become None."""
    score: float | None = None
    """Score on the retriever's own scale, which may be a distance. NaN becomes None; an infinite score is an error."""
    measure: str | None = field(default=None, compare=False)
    """A key of `MEASURES` if the score must equal one of the model's own scores. None for any other score, such as
    that of a hybrid search."""


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


def from_lancedb(rows: Any, text: str = "text", id: str | None = None) -> list[Retrieved]:
    """Read the rows of ``table.search(vector).to_list()``, or a table of pandas, polars, Arrow or datasets.

    Args:
        rows: rows with a column of texts, and ``_distance``, ``_score`` or ``_relevance_score``.
        text: name of the column of texts.
        id: name of the column of ids. None uses the column ``id``, in any case, if there is one. Numbers stay numbers.

    Raises:
        TypeError: rows are not dictionaries or a table, or the type of an id or a score has no JSON equivalent.
        ValueError: a row lacks a text or the column ``id``, two columns have the same name, or a score is infinite.
    """
    found = []
    for place, row in enumerate(_rows(rows, text, id)):
        if not isinstance(row, Mapping):
            raise TypeError(f"rows[{place}] must be a dictionary, got {type(row).__name__}: {row!r:.60}")
        scores = (passed_score(row.get(name), f"documents[{place}].{name}") for name in SCORES)
        score = next((each for each in scores if each is not None), None)
        found.append(_document(row.get(text), _id_of(row, id, place), score, place, f"row {text!r}"))
    return found


def from_qdrant(points: Any, text: str = "text") -> list[Retrieved]:
    """Read the result of ``client.query_points(…)`` of Qdrant, or the list of its points.

    Args:
        points: each with ``id``, ``score`` and ``payload``.
        text: key of the text in the payload.

    Raises:
        ValueError: a point has no text, for example because it was requested without its payload.
    """
    points = getattr(points, "points", points)
    return [
        _document((point.payload or {}).get(text), str(point.id), point.score, place, f"payload {text!r}")
        for place, point in enumerate(points)
    ]


def from_langchain(documents: Iterable[Any]) -> list[Retrieved]:
    """Read documents of LangChain, or the (document, score) pairs of ``similarity_search_with_score``."""
    found = []
    for place, item in enumerate(documents):
        document, score = item if isinstance(item, tuple) else (item, None)
        text = getattr(document, "page_content", None)
        found.append(_document(text, getattr(document, "id", None), score, place, "page_content"))
    return found


def from_llama_index(nodes: Iterable[Any]) -> list[Retrieved]:
    """Read the nodes with scores that a retriever of LlamaIndex returns."""
    found = []
    for place, item in enumerate(nodes):
        node = getattr(item, "node", item)
        text = node.get_content() if hasattr(node, "get_content") else None
        found.append(_document(text, str(node.node_id), getattr(item, "score", None), place, "content"))
    return found


def from_haystack(documents: Iterable[Any]) -> list[Retrieved]:
    """Read documents of Haystack."""
    return [
        _document(getattr(document, "content", None), document.id, document.score, place, "content")
        for place, document in enumerate(documents)
    ]


@dataclass(frozen=True)
class Sample:
    """A small example collection, written for xsbert."""

    ids: tuple[str, ...]
    documents: tuple[str, ...]
    queries: tuple[str, ...]
    relevant: tuple[tuple[str, ...], ...]
    """For each query, the ids of the documents that answer it."""


def sample() -> Sample:
    """Return sixteen short texts on everyday science, and ten queries with their answers.

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
    """Read documents of any supported kind.

    These are strings, also as a column of pandas, numpy, Arrow, polars or datasets; `Retrieved`; results of Qdrant,
    LangChain, LlamaIndex and Haystack; and rows and tables with their texts under ``"text"``. The column ``id`` of rows
    and tables, in any case, is read too. Ids and scores are converted to JSON types.

    Raises:
        TypeError: documents are one string, one dictionary or a set, or of an unknown kind; rows or tables have no
            ``"text"``; or the type of an id or a score has no JSON equivalent.
        ValueError: there are no documents, or one has no text, invalid Unicode or an infinite score; the message gives
            its position.
    """
    if isinstance(documents, str):
        raise TypeError(f"documents must hold texts, got {type(documents).__name__}: {documents!r:.60}")
    # Iterating over a table would yield its columns or their names.
    names = column_names(documents)
    if names is not None:
        if "text" not in names:
            raise TypeError(_without_text(type(documents).__name__, names))
        items: list[Any] = [*from_lancedb(documents)]
    else:
        # A Series exposes its labels as attributes; one may be "points".
        points = None if hasattr(type(documents), "iloc") else getattr(documents, "points", None)
        items = as_entries(documents if points is None else points, "documents", "texts")
    if not items:
        raise ValueError("documents must hold at least one text, got none")
    return [_retrieved(item, place) for place, item in enumerate(items)]


def _retrieved(item: Any, place: int) -> Retrieved:
    if isinstance(item, Retrieved):
        return _document(item.text, item.id, item.score, place, "text", item.measure)
    if isinstance(item, str):
        return _document(item, None, None, place, "text")
    reader = _reader(item)
    if reader is None and isinstance(item, Mapping):
        raise TypeError(f"documents[{place}]: {_without_text(type(item).__name__, [*map(str, item)])}")
    if reader is None:
        readers = ", ".join(name for name in __all__ if name.startswith("from_"))
        raise TypeError(
            f"documents[{place}] must be a string or what a known retriever returns, got {type(item).__name__}; "
            f"xsbert.ranking.retrievers has {readers}"
        )
    try:
        (found,) = reader([item])
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(str(error).replace("documents[0]", f"documents[{place}]")) from None
    return found


def _reader(item: Any) -> Any:
    """Return the reader of a document, by the names of its fields."""
    if isinstance(item, Mapping):
        return from_lancedb if "text" in item else None
    if isinstance(item, tuple) and len(item) == 2 and hasattr(item[0], "page_content"):
        return from_langchain
    for attribute, reader in (
        ("page_content", from_langchain),
        ("payload", from_qdrant),
        ("node", from_llama_index),
        ("get_content", from_llama_index),
        ("content", from_haystack),
    ):
        if hasattr(item, attribute):
            return reader
    return None


def _without_text(kind: str, names: Sequence[str]) -> str:
    """Return advice for rows that have no column ``"text"``."""
    if "corpus_id" in names:
        return f"{kind} holds places of texts: give xsbert.ranking.retrievers.from_semantic_search(hits, corpus)"
    return (
        f"{kind} has nothing under 'text', it has {', '.join(names)}: give a list of strings, or "
        "xsbert.ranking.retrievers.from_lancedb(documents, text=…) with the name of the texts, which reads any rows"
    )


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
        found.append(_document(text, str(place), score, rank, f"text, {name}[{place}],", measure))
    return found


def _rows(rows: Any, text: str, id: str | None) -> Iterable[Any]:
    """Return the rows of a table as dictionaries of the required columns, and a list of rows unchanged."""
    table = as_table(rows)
    if table is None:
        # A streamed data set yields its rows.
        return as_entries(plain_rows(rows), "rows", "rows")
    wanted = {text, *SCORES} | {name for name in table.names if _is_id(name)} if id is None else {text, id, *SCORES}
    required = [text] if id is None else [text, id]
    names = [*dict.fromkeys([*required, *(name for name in table.names if name in wanted)])]
    return [dict(zip(names, values, strict=True)) for values in zip(*table.columns(names), strict=True)]


def _is_id(name: Any) -> bool:
    return isinstance(name, str) and name.lower() == "id"


def _id_of(row: Mapping[str, Any], name: str | None, place: int) -> Any:
    if name is not None:
        if name not in row:
            raise ValueError(f"documents[{place}] has no column {name!r}, it has {', '.join(map(str, row))}")
        return row[name]
    named = [key for key in row if _is_id(key)]
    if len(named) > 1 and "id" not in named:
        raise ValueError(
            f"documents[{place}] has several ids, {', '.join(map(repr, named))}: name one by "
            "xsbert.ranking.retrievers.from_lancedb(documents, id=…), which reads any rows"
        )
    return row["id"] if "id" in named else row[named[0]] if named else None


def _document(text: Any, id: Any, score: Any, place: int, where: str, measure: str | None = None) -> Retrieved:
    """Create a document with checked fields of JSON types."""
    if measure is not None and measure not in MEASURES:
        raise ValueError(f"documents[{place}].measure must be None or of {list(MEASURES)}, got {measure!r:.60}")
    return Retrieved(
        _checked(text, place, where),
        passed_id(id, f"documents[{place}].id"),
        passed_score(score, f"documents[{place}].score"),
        measure,
    )


def _checked(text: Any, place: int, where: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"documents[{place}] must hold some text, and its {where} is {text!r:.60}")
    broken = half_surrogate(text)
    if broken is not None:
        # No model can embed it, so it has no score and no rank.
        raise ValueError(
            f"documents[{place}] must be Unicode text, and its {where} has half of a surrogate pair at character "
            f"{broken}: {text!r:.60}"
        )
    return text
