"""A small example collection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["Sample", "sample"]


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
