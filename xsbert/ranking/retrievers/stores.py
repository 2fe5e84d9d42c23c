"""Answers of vector stores and search engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .document import Retrieved, checked_document, measure_of

__all__ = [
    "from_chroma",
    "from_elasticsearch",
    "from_milvus",
    "from_opensearch",
    "from_qdrant",
    "from_vespa",
    "from_weaviate",
]

# What each store's score is, by the store's own name of the metric.
OF_CHROMA = {"cosine": "cosine distance", "ip": "dot product distance", "l2": "squared Euclidean distance"}
OF_MILVUS = {"COSINE": "cosine", "IP": "dot product", "L2": "squared Euclidean distance"}
OF_WEAVIATE = {
    "cosine": "cosine distance",
    "dot": "negative dot product",
    "l2-squared": "squared Euclidean distance",
    "manhattan": "Manhattan distance",
}
OF_ELASTICSEARCH = {
    "cosine": "scaled cosine",
    "dot_product": "scaled dot product",
    "max_inner_product": "positive dot product",
    "l2_norm": "inverse squared Euclidean distance",
}
OF_OPENSEARCH = {
    "cosinesimil": "scaled cosine",
    "innerproduct": "positive dot product",
    "l2": "inverse squared Euclidean distance",
    "l1": "inverse Manhattan distance",
}
OF_VESPA = {
    "angular": "inverse angle",
    "prenormalized-angular": "inverse cosine distance",
    "dotproduct": "dot product",
    "euclidean": "inverse Euclidean distance",
}
OF_QDRANT = {
    "Cosine": "cosine",
    "Dot": "dot product",
    "Euclid": "Euclidean distance",
    "Manhattan": "Manhattan distance",
}


def from_qdrant(points: Any, text: str = "text", *, metric: str | None = None) -> list[Retrieved]:
    """Read the result of ``client.query_points(…)`` of Qdrant, or the list of its points.

    Args:
        points: each with ``id``, ``score`` and ``payload``.
        text: key of the text in the payload.
        metric: distance of the collection, ``"Cosine"``, ``"Dot"``, ``"Euclid"`` or ``"Manhattan"``.

    Raises:
        ValueError: a point has no text, for example because it was requested without its payload; or the metric is not
            known.
    """
    measure = measure_of(metric, OF_QDRANT)
    points = getattr(points, "points", points)
    return [
        checked_document(
            (point.payload or {}).get(text), str(point.id), point.score, place, f"payload {text!r}", measure
        )
        for place, point in enumerate(points)
    ]


def from_chroma(
    result: Any, text: str | None = None, *, query: int | None = None, metric: str | None = None
) -> list[Retrieved]:
    """Read the result of ``collection.query(…)`` of Chroma.

    Args:
        result: the dictionary that it returns, with ``ids``, ``documents`` and ``distances`` of each query.
        text: key of the text in the metadata. None takes the documents.
        query: position of the query. It is needed if there were several.
        metric: space of the collection, ``"cosine"``, ``"ip"`` or ``"l2"``, Chroma's default.

    Raises:
        TypeError: the result is not a dictionary.
        ValueError: there were several queries, a text is missing, or the metric is not known.
    """
    measure = measure_of(metric, OF_CHROMA)
    if not isinstance(result, Mapping) or "ids" not in result:
        raise TypeError(f"result must be the dictionary that collection.query returns, got {type(result).__name__}")
    ids = _of_query(result["ids"], query, "result")
    at = 0 if query is None else query
    columns = [result.get(name) for name in ("metadatas" if text else "documents", "distances")]
    held, distances = (column[at] if column is not None else [None] * len(ids) for column in columns)
    where = f"metadata {text!r}" if text else "document"
    return [
        checked_document(_under(entry, text) if text else entry, identity, distance, place, where, measure)
        for place, (entry, identity, distance) in enumerate(zip(held, ids, distances, strict=True))
    ]


def from_milvus(
    hits: Any, text: str = "text", *, query: int | None = None, metric: str | None = None
) -> list[Retrieved]:
    """Read the result of ``client.search(…)`` of Milvus, or the hits of one query of it.

    Args:
        hits: each with the primary key, ``distance`` and ``entity``, the requested ``output_fields``.
        text: field of the text.
        query: position of the query. It is needed if there were several.
        metric: metric type of the search, ``"COSINE"``, ``"IP"`` or ``"L2"``.

    Raises:
        ValueError: there were several queries; a hit has no text, for example because ``output_fields`` lacks it; or
            the metric is not known.
    """
    measure = measure_of(metric, OF_MILVUS)
    entries = [*hits]
    if entries and not isinstance(entries[0], Mapping) and not hasattr(entries[0], "distance"):
        entries = [*_of_query(entries, query, "hits")]
    found = []
    for place, hit in enumerate(entries):
        entity = hit.get("entity") if isinstance(hit, Mapping) else getattr(hit, "entity", None)
        distance = hit["distance"] if isinstance(hit, Mapping) else hit.distance
        found.append(
            checked_document(_under(entity, text), _key_of_hit(hit), distance, place, f"field {text!r}", measure)
        )
    return found


def from_weaviate(response: Any, text: str = "text", *, metric: str | None = None) -> list[Retrieved]:
    """Read the response of ``collection.query.near_vector(…)`` and other queries of Weaviate.

    Scores are those of the metadata that was requested: the distance, else the certainty, else the score of a hybrid or
    keyword search, which is never compared.

    Args:
        response: with ``objects``, or the list of them, each with ``uuid``, ``properties`` and ``metadata``.
        text: property of the text.
        metric: distance of the collection, ``"cosine"``, Weaviate's default, ``"dot"``, ``"l2-squared"`` or
            ``"manhattan"``.

    Raises:
        ValueError: an object has no text, or the metric is not known.
    """
    measure = measure_of(metric, OF_WEAVIATE)
    found = []
    for place, each in enumerate(getattr(response, "objects", response)):
        scores = [getattr(each.metadata, name, None) for name in ("distance", "certainty", "score")]
        kinds = (measure, "scaled cosine" if metric == "cosine" else None, None)
        score, kind = next(
            ((score, kind) for score, kind in zip(scores, kinds, strict=True) if score is not None), (None, None)
        )
        found.append(
            checked_document(_under(each.properties, text), each.uuid, score, place, f"property {text!r}", kind)
        )
    return found


def from_elasticsearch(response: Any, text: str = "text", *, metric: str | None = None) -> list[Retrieved]:
    """Read the response of ``client.search(…)`` of Elasticsearch, or the list of its hits.

    Args:
        response: the response, whose hits have ``_id``, ``_score`` and ``_source`` or ``fields``.
        text: field of the text. Dots lead into objects: ``"page.body"``.
        metric: similarity of the vector field, ``"cosine"``, ``"dot_product"``, ``"max_inner_product"`` or
            ``"l2_norm"``, for a kNN search. Scores of other searches, such as BM25, are not similarities of embeddings.

    Raises:
        TypeError: the response has no hits.
        ValueError: a hit has no text, or the metric is not known.
    """
    return _of_search(response, text, measure_of(metric, OF_ELASTICSEARCH))


def from_opensearch(response: Any, text: str = "text", *, metric: str | None = None) -> list[Retrieved]:
    """Read the response of ``client.search(…)`` of OpenSearch, or the list of its hits.

    Args:
        response, text: as for `from_elasticsearch`.
        metric: space of the vector field, ``"cosinesimil"``, ``"innerproduct"``, ``"l2"``, OpenSearch's default, or
            ``"l1"``, for a k-NN search.

    Raises:
        as for `from_elasticsearch`.
    """
    return _of_search(response, text, measure_of(metric, OF_OPENSEARCH))


def from_vespa(
    response: Any, text: str = "text", id: str | None = None, *, metric: str | None = None
) -> list[Retrieved]:
    """Read the response of ``app.query(…)`` of Vespa, the JSON of its query API, or the list of hits.

    Args:
        response: hits have ``id``, ``relevance`` and ``fields``.
        text: field of the text.
        id: field of the id. None takes the id of the hit.
        metric: distance metric of the tensor field, ``"angular"``, ``"prenormalized-angular"``, ``"dotproduct"`` or
            ``"euclidean"``, if the rank profile returns ``closeness(field, …)`` alone.

    Raises:
        ValueError: the response has errors and no hits, a hit has no text, or the metric is not known.
    """
    measure = measure_of(metric, OF_VESPA)
    content = response if isinstance(response, Mapping) else getattr(response, "json", None)
    hits = response
    if isinstance(content, Mapping):
        root = content.get("root", {})
        hits = root.get("children", [])
        if not hits and root.get("errors"):
            raise ValueError(f"response has no hits, and the errors {root['errors']!r:.300}")
    return [
        checked_document(
            _under(hit.get("fields"), text),
            hit.get("id") if id is None else _under(hit.get("fields"), id),
            hit.get("relevance"),
            place,
            f"field {text!r}",
            measure,
        )
        for place, hit in enumerate(hits)
    ]


def _of_query(by_query: Any, query: int | None, name: str) -> Any:
    """Returns the hits of one query.

    Raises:
        ValueError: there are several queries and none was chosen, or there is no such query.
    """
    if query is None and len(by_query) != 1:
        raise ValueError(f"{name} has the hits of {len(by_query)} queries: query says which is meant, from 0")
    if query is not None and not 0 <= query < len(by_query):
        raise ValueError(f"query must be between 0 and {len(by_query) - 1}, got {query}")
    return by_query[query or 0]


def _key_of_hit(hit: Any) -> Any:
    """Returns the primary key of a hit of Milvus, under whatever name the collection has for it."""
    if not isinstance(hit, Mapping):
        return hit.id
    if "id" in hit:
        return hit["id"]
    return next((value for name, value in hit.items() if name not in ("distance", "entity")), None)


def _of_search(response: Any, text: str, measure: str | None) -> list[Retrieved]:
    content = getattr(response, "body", response)
    try:
        hits = content["hits"]["hits"] if isinstance(content, Mapping) else [*content]
    except (KeyError, TypeError):
        raise TypeError(
            f"response must be that of a search, or the list of its hits, got {type(response).__name__}: "
            f"{content!r:.60}"
        ) from None
    found = []
    for place, hit in enumerate(hits):
        held = _under(hit.get("_source"), text)
        if held is None:
            # Fields are lists of values.
            held = (hit.get("fields") or {}).get(text)
            held = held[0] if isinstance(held, list) and len(held) == 1 else held
        found.append(checked_document(held, hit.get("_id"), hit.get("_score"), place, f"field {text!r}", measure))
    return found


def _under(fields: Any, name: str) -> Any:
    """Returns the value of a field, also of one within objects; None if there is none."""
    if not isinstance(fields, Mapping):
        return None
    if name in fields:
        return fields[name]
    first, dot, rest = name.partition(".")
    return _under(fields.get(first), rest) if dot else None
