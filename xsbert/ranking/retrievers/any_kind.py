"""`retrieved`: documents of any kind, recognised by the names of their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..._utils.sequences import as_entries, column_names
from .document import Retrieved, checked_document
from .frameworks import from_haystack, from_langchain, from_llama_index
from .rows import from_rows
from .stores import from_qdrant

__all__ = ["retrieved"]


# Readers of answers that do not tell how they are to be read, by the names in them.
SHAPES = (
    ({"corpus_id"}, "from_semantic_search(hits, corpus)"),
    ({"ids", "documents"}, "from_chroma(result)"),
    ({"hits"}, "from_elasticsearch(response) or from_opensearch(response)"),
    ({"_source"}, "from_elasticsearch(hits) or from_opensearch(hits)"),
    ({"root"}, "from_vespa(response)"),
    ({"relevance", "fields"}, "from_vespa(hits)"),
    ({"distance", "entity"}, "from_milvus(hits)"),
    ({"objects"}, "from_weaviate(response)"),
)
HAVING_OBJECTS = ("uuid", "properties", "metadata")
NAMES = (
    "from_chroma, from_elasticsearch, from_faiss, from_haystack, from_lancedb, from_langchain, from_llama_index, "
    "from_milvus, from_opensearch, from_pgvector, from_qdrant, from_rows, from_semantic_search, from_vespa, "
    "from_weaviate"
)


def retrieved(documents: Any, text_column: str | None = None, id_column: str | None = None) -> list[Retrieved]:
    """Read documents of any supported kind.

    These are strings, also as a column of pandas, numpy, Arrow, polars or datasets; `Retrieved`; results of Qdrant,
    LangChain, LlamaIndex and Haystack; and rows and tables with a column of texts. Ids and scores are converted to JSON
    types.

    Args:
        documents: the documents.
        text_column: name of the texts in rows, tables and payloads of Qdrant. None takes ``"text"``.
        id_column: name of the ids in rows and tables. None takes the column ``id``, in any case, if there is one.

    Raises:
        TypeError: documents are one string, one dictionary or a set, or of an unknown kind; rows or tables have no
            column of texts; or the type of an id or a score has no JSON equivalent.
        ValueError: there are no documents, or one has no text, invalid Unicode or an infinite score, and the message
            gives its position; or a column was named, and documents have no columns.
    """
    if isinstance(documents, str):
        raise TypeError(f"documents must hold texts, got {type(documents).__name__}: {documents!r:.60}")
    text = "text" if text_column is None else text_column
    # Iterating over a table would yield its columns or their names.
    names = column_names(documents)
    if names is not None:
        if text not in names:
            raise TypeError(_without_text(type(documents).__name__, names, text))
        return _checked_number(from_rows(documents, text, id_column))
    answer = _answer(documents)
    if answer is not None:
        raise TypeError(_to_be_read(type(documents).__name__, answer))
    # A Series exposes its labels as attributes; one may be "points".
    points = None if hasattr(type(documents), "iloc") else getattr(documents, "points", None)
    items = as_entries(documents if points is None else points, "documents", "texts")
    return _checked_number([_retrieved(item, place, text_column, id_column) for place, item in enumerate(items)])


def _checked_number(found: list[Retrieved]) -> list[Retrieved]:
    if not found:
        raise ValueError("documents must hold at least one text, got none")
    return found


def _retrieved(item: Any, place: int, text_column: str | None, id_column: str | None) -> Retrieved:
    named = {"text_column": text_column, "id": id_column}
    if isinstance(item, (Retrieved, str)):
        _check_unnamed(named, item, place)
    if isinstance(item, Retrieved):
        return checked_document(item.text, item.id, item.score, place, "text", item.measure)
    if isinstance(item, str):
        return checked_document(item, None, None, place, "text")
    text = "text" if text_column is None else text_column
    reader = _reader(item, text)
    if reader is None and isinstance(item, Mapping):
        raise TypeError(f"documents[{place}]: {_without_text(type(item).__name__, [*map(str, item)], text)}")
    if reader is None:
        answer = _answer(item)
        advice = f"; xsbert.ranking.retrievers has {NAMES}" if answer is None else f": {_to_be_read('it', answer)}"
        raise TypeError(
            f"documents[{place}] must be a string or what a known retriever returns, got {type(item).__name__}{advice}"
        )
    taken = {from_rows: {"text": text, "id": id_column}, from_qdrant: {"text": text}}.get(reader, {})
    _check_unnamed({name: value for name, value in named.items() if name.partition("_")[0] not in taken}, item, place)
    try:
        (found,) = reader([item], **taken)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(str(error).replace("documents[0]", f"documents[{place}]")) from None
    return found


def _check_unnamed(named: Mapping[str, str | None], item: Any, place: int) -> None:
    """Checks that no column was named for a document that has none."""
    for name, value in named.items():
        if value is not None:
            raise ValueError(
                f"{name}={value!r} names a column of tables and rows, and documents[{place}] is a {type(item).__name__}"
            )


def _reader(item: Any, text: str) -> Any:
    """Return the reader of a document, by the names of its fields."""
    if isinstance(item, Mapping):
        return from_rows if text in item else None
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


def _answer(value: Any) -> str | None:
    """Returns the reader of a store's answer, or None for other objects."""
    contents = [value, *(getattr(value, name, None) for name in ("body", "json"))]
    content = next((each for each in contents if isinstance(each, Mapping)), None)
    if isinstance(content, Mapping):
        return next((reader for names, reader in SHAPES if names <= {*map(str, content)}), None)
    if isinstance(getattr(value, "objects", None), list) or all(hasattr(value, name) for name in HAVING_OBJECTS):
        return SHAPES[-1][1]
    return None


def _to_be_read(kind: str, reader: str) -> str:
    return f"{kind} is an answer that xsbert.ranking.retrievers.{reader} reads"


def _without_text(kind: str, names: Sequence[str], text: str) -> str:
    """Return advice for rows that have no column of texts."""
    found = next((reader for shape, reader in SHAPES if shape <= {*map(str, names)}), None)
    if found is not None:
        return _to_be_read(kind, found)
    return f"{kind} has nothing under {text!r}, it has {', '.join(map(str, names))}: text_column names the texts"
