"""What a person asks of the app: one pair, or one query with documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..attribution.attribution import Attribution
from ..models import XSTransformer
from ..ranking.ranking import Ranking
from ..ranking.retrievers import Retrieved
from ..text.units import UNITS
from .documents import read_documents

__all__ = ["MOST_BYTES", "MOST_CHARACTERS", "MOST_DOCUMENTS", "Task", "explain", "read_task"]

MOST_BYTES = 500_000
"""Of a request, and so of pasted text."""
MOST_CHARACTERS = 20_000
"""Of a text of a pair, and of a query."""
MOST_DOCUMENTS = 1_000
MOST_HITS = 50
BATCH = 32
"""Documents that are embedded between two looks at whether the request was stopped."""
KINDS = ("pair", "ranking")
SIMILARITIES = ("cosine", "dot")


@dataclass(frozen=True)
class Task:
    """A request, checked as far as this is possible without the model."""

    kind: str
    texts: tuple[str, ...]
    """Texts a and b, or the query."""
    documents: tuple[Retrieved, ...]
    model: str
    layer: int
    reference: str | None
    units: str
    similarity: str | None
    pairs: bool
    """Whether a ranking has pairs of words."""
    top_k: int


def read_task(content: Any, default_model: str) -> Task:
    """Read a request.

    Args:
        content: The JSON of the request: ``kind``, ``a`` and ``b`` or ``query`` and ``documents`` (as text that
            `read_documents` reads), and optionally ``model``, ``layer``, ``reference``, ``units``, ``similarity``,
            ``pairs`` and ``top_k``.
        default_model: The model of requests that name none.

    Raises:
        ValueError: An entry is missing, of the wrong type or out of range. The message is for the person who asked.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"a request must be a JSON object, got {content!r:.40}")
    kind = _one_of(content, "kind", KINDS, "pair")
    names = ("a", "b") if kind == "pair" else ("query",)
    texts = tuple(_text(content, name) for name in names)
    return Task(
        kind=kind,
        texts=texts,
        documents=() if kind == "pair" else _documents(content),
        model=content.get("model") or default_model,
        layer=_integer(content, "layer", -2, -1000, 1000),
        reference=_optional_text(content, "reference"),
        units=_one_of(content, "units", UNITS, "words"),
        similarity=None if not content.get("similarity") else _one_of(content, "similarity", SIMILARITIES, "cosine"),
        pairs=content.get("pairs") is True,
        top_k=_integer(content, "top_k", 10, 1, MOST_HITS),
    )


def _text(content: Mapping[str, Any], name: str) -> str:
    named = "the query" if name == "query" else f"text {name}"
    value = content.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{named} is empty: type some text")
    if len(value) > MOST_CHARACTERS:
        raise ValueError(
            f"{named} has {len(value):,} characters, and the app takes up to {MOST_CHARACTERS:,}: a model reads a few "
            "thousand at most"
        )
    return value


def _documents(content: Mapping[str, Any]) -> tuple[Retrieved, ...]:
    value = content.get("documents")
    if not isinstance(value, str) or not value.strip():
        raise ValueError("there are no documents: type or drop some, one on each line")
    found = read_documents(value.encode("utf-8", "surrogatepass"))
    if len(found) > MOST_DOCUMENTS:
        raise ValueError(
            f"{len(found):,} documents are more than the app takes, {MOST_DOCUMENTS:,}: `xsbert rank` reads files of "
            "any number"
        )
    return tuple(found)


def _optional_text(content: Mapping[str, Any], name: str) -> str | None:
    value = content.get(name)
    if value is not None and not (isinstance(value, str) and len(value) <= 100):
        raise ValueError(f"{name} must be a short text, got {value!r:.40}")
    return value or None


def _one_of(content: Mapping[str, Any], name: str, known: tuple[str, ...], default: str) -> str:
    value = content.get(name, default)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r:.40}")
    return value


def _integer(content: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = content.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r:.40}")
    return value


def explain(task: Task, model: XSTransformer, step: Callable[[str, int, int], None]) -> Attribution | Ranking:
    """Explain a task.

    Args:
        task: The task.
        model: Its model.
        step: Called between batches of documents with the name of the work, and the done and the total number of its
            steps. An error that it raises ends the work.

    Raises:
        As for `XSTransformer.attribute_prediction` and `XSTransformer.explain_ranking`.
    """
    how: dict[str, Any] = {"layer": task.layer, "reference": task.reference, "show_progress_bar": False}
    if task.kind == "pair":
        result = model.attribute_prediction(*task.texts, similarity=task.similarity, **how)
        return result.over(a="sentences", b="sentences") if task.units == "sentences" else result
    return model.explain_ranking(
        task.texts[0],
        list(task.documents),
        top_k=task.top_k,
        detail="pairs" if task.pairs else "highlights",
        units=task.units,
        similarity=task.similarity,
        document_embeddings=_embeddings(task, model, step),
        **how,
    )


def _embeddings(task: Task, model: XSTransformer, step: Callable[[str, int, int], None]) -> np.ndarray | None:
    """Embed many documents batch by batch, so that the request can be stopped. None for few."""
    texts = [each.text for each in task.documents]
    if len(texts) <= BATCH:
        return None
    # Documents of like length share a batch, as sentence-transformers sorts them.
    order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
    parts = []
    for start in range(0, len(texts), BATCH):
        step("documents embedded", start, len(texts))
        chosen = [texts[at] for at in order[start : start + BATCH]]
        parts.append(model.encode_document(chosen, show_progress_bar=False))
    embeddings = np.concatenate(parts)
    return embeddings[np.argsort(order)]
