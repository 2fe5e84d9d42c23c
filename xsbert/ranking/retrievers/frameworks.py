"""Documents of frameworks: LangChain, LlamaIndex and Haystack."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .document import Retrieved, checked_document

__all__ = ["from_haystack", "from_langchain", "from_llama_index"]


def from_langchain(documents: Iterable[Any]) -> list[Retrieved]:
    """Read documents of LangChain, or the (document, score) pairs of ``similarity_search_with_score``."""
    found = []
    for place, item in enumerate(documents):
        document, score = item if isinstance(item, tuple) else (item, None)
        text = getattr(document, "page_content", None)
        found.append(checked_document(text, getattr(document, "id", None), score, place, "page_content"))
    return found


def from_llama_index(nodes: Iterable[Any]) -> list[Retrieved]:
    """Read the nodes with scores that a retriever of LlamaIndex returns."""
    found = []
    for place, item in enumerate(nodes):
        node = getattr(item, "node", item)
        text = node.get_content() if hasattr(node, "get_content") else None
        found.append(checked_document(text, str(node.node_id), getattr(item, "score", None), place, "content"))
    return found


def from_haystack(documents: Iterable[Any]) -> list[Retrieved]:
    """Read documents of Haystack."""
    return [
        checked_document(getattr(document, "content", None), document.id, document.score, place, "content")
        for place, document in enumerate(documents)
    ]
