"""Saves and loads rankings, and converts them to JSON.

A saved ranking is one safetensors file. It holds the factors of the query and the documents in float64, and everything
else as JSON under the key ``"xsbert"`` of the file's metadata. Reading it executes no code.
"""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite, isnan, nan
from os import PathLike
from typing import Any

import numpy as np

from .._utils.checksummed_safetensors import Arrays, read_arrays, write_arrays
from .._utils.json_fields import read_entry, require
from .._utils.validation import finite_or_none
from ..attribution.scale import length_of
from ..attribution.similarity import LATE_SIMILARITIES, SIMILARITIES
from ..factors.outputs import same_kind
from ..factors.serialization import LARGEST, check_numbers, stored_text, text_of_file
from ..factors.text_factors import TextFactors
from ..text.units import UNITS
from ..view.protocols import HitView, RankingView

__all__ = ["as_dict", "check_ranking", "read_ranking", "save_ranking"]

SCHEMA = "urn:xsbert:ranking:1"  # see xsbert.view.schemas
PLAIN = ("index", "score", "text", "n_passages", "n_cut", "reason", "id", "retriever_score", "units", "relative")


def as_dict(ranking: RankingView) -> dict[str, Any]:
    """Return the numbers of the printed summary as JSON types."""
    how = ranking.query_factors.settings
    return {
        "schema": SCHEMA,
        "query": ranking.query,
        "query_n_cut": ranking.query_factors.n_cut,
        "similarity": ranking.similarity,
        "detail": ranking.detail,
        "n_documents": ranking.n_documents,
        "pooling": ranking.pooling,
        "relative": ranking.relative,
        "settings": None if how is None else asdict(how),
        "hits": [_hit_dict(hit) for hit in ranking],
    }


def _hit_dict(hit: HitView) -> dict[str, Any]:
    plain = _plain(hit)
    if not hit.explained:
        return plain
    content = plain | {
        "passages": [[passage.start, passage.end, passage.weight] for passage in hit.passages],
        "document": hit.document.to_dict(),
        "query": hit.query.to_dict(),
        "highlights": None if hit.document.spans is None else [asdict(each) for each in hit.marked()],
        "error": hit.error,
        "residual": hit.residual,
        "factor_error": hit.factor_error,
        "score_unshifted": hit.score_unshifted,
    }
    if hit.relative:
        content |= {
            "document_relative": hit.document_relative.to_dict(),
            "query_relative": hit.query_relative.to_dict(),
        }
    if hit.has_pairs and len(hit.passages) == 1:
        content["pairs"] = hit.attribution.matrix.tolist()
    return content


def _plain(hit: HitView) -> dict[str, Any]:
    """Return the scalar fields of a hit as JSON types. A score that is not finite becomes null."""
    return {name: finite_or_none(getattr(hit, name)) for name in PLAIN}


def save_ranking(ranking: RankingView, path: str | PathLike[str]) -> None:
    """Write a ranking to one file atomically. An existing file is replaced.

    Raises:
        ValueError: the ranking holds numbers that are not finite, or so large that their sums and products are not.
        OSError: the file cannot be written.
    """
    check_ranking(ranking)
    arrays: dict[str, np.ndarray] = {}
    content: dict[str, Any] = {
        **{name: getattr(ranking, name) for name in ("similarity", "detail", "n_documents", "pooling", "relative")},
        "query": stored_text(ranking.query_factors, "query", arrays),
        "hits": [
            _plain(hit)
            | {
                "passages": [
                    {
                        "start": passage.start,
                        "end": passage.end,
                        "weight": passage.weight,
                        "side": stored_text(passage.side, f"{rank}.{place}", arrays),
                    }
                    for place, passage in enumerate(hit.passages)
                ]
            }
            for rank, hit in enumerate(ranking)
        ],
    }
    write_arrays(path, "ranking", content, arrays)


def read_ranking(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the fields of a ranking that `save_ranking` wrote. Hits and passages are dictionaries of their fields.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: the file is damaged, is not a saved ranking, or has a newer format.
    """
    header, arrays = read_arrays(path, "ranking")
    content = header.content
    query = text_of_file(arrays, read_entry(content, "query", dict), "query")
    similarity = read_entry(content, "similarity", str)
    require(similarity in (*SIMILARITIES, *LATE_SIMILARITIES), f"similarity is {similarity!r:.40}")
    entries = read_entry(content, "hits", list)
    n_documents = read_entry(content, "n_documents", int)
    require(n_documents >= len(entries), f"n_documents is {n_documents}, below the hits' number")
    return {
        "query_factors": query,
        "hits": [_hit(arrays, each, rank, query, similarity) for rank, each in enumerate(entries)],
        "similarity": similarity,
        "detail": read_entry(content, "detail", str),
        "n_documents": n_documents,
        "pooling": None if content.get("pooling") is None else read_entry(content, "pooling", str),
        "relative": _is_relative(content),
    }


def check_ranking(ranking: RankingView) -> None:
    """Check that a ranking can be displayed and that its derived numbers are finite.

    Raises:
        ValueError: a check fails.
    """
    check_numbers(ranking.query_factors, "query")
    for rank, hit in enumerate(ranking):
        for key in ("score", "retriever_score"):
            value = getattr(hit, key)
            # A document without a finite score is not explained, and says why.
            if value is None or (key == "score" and isnan(value) and not hit.explained):
                continue
            require(abs(float(value)) <= LARGEST, f"the {key} of hit {rank} is {value!r:.40}")
        if not hit.explained:
            continue
        for place, passage in enumerate(hit.passages):
            check_numbers(passage.side, f"{rank}.{place}")
            scale = length_of(ranking.query_factors, hit.similarity) * length_of(passage.side, hit.similarity)
            require(scale > 0, f"passage {place} of hit {rank} has no {hit.similarity} similarity with the query")
        with np.errstate(all="ignore"):
            _check_hit(hit, f"hit {rank}")


def _check_hit(hit: HitView, name: str) -> None:
    sides = {"document": hit.document, "query": hit.query}
    for key, shares in sides.items():
        size = float(np.abs(shares.values).sum()) + abs(shares.baseline)
        require(isfinite(size), f"what the units of the {key} have in the score of {name} is not finite")
    numbers = {"residual": hit.residual, "factor_error": hit.factor_error, "score_unshifted": hit.score_unshifted}
    for key, value in numbers.items():
        require(value is None or isfinite(value), f"the {key} of {name} is {value}")
    if hit.relative:
        for shares in (hit.document_relative, hit.query_relative):
            size = float(np.abs(shares.values).sum()) + abs(shares.baseline)
            require(isfinite(size), f"the relative contributions of {name} are not finite")
    if hit.has_pairs:
        # Raises an error if the factors cannot be combined or have no similarity.
        for place in range(len(hit.passages)):
            hit.attribution_of(place)


def _hit(arrays: Arrays, entries: Any, rank: int, query: TextFactors, similarity: str) -> dict[str, Any]:
    require(isinstance(entries, dict), f"hit {rank} is no JSON object")
    require("score" in entries, "'score' is missing")
    text, score = read_entry(entries, "text", str), _finite(entries, "score", (int, float), rank)
    units = read_entry(entries, "units", str)
    require(units in UNITS, f"units of hit {rank} are {units!r:.40}")
    reason = _optional(entries, "reason", str)
    passages = []
    for place, part in enumerate(read_entry(entries, "passages", list)):
        require(isinstance(part, dict), f"passage {place} of hit {rank} is no JSON object")
        start, end = read_entry(part, "start", int), read_entry(part, "end", int)
        require(0 <= start <= end <= len(text), f"passage {place} of hit {rank} leaves its text")
        weight = float(read_entry(part, "weight", (int, float)))
        require(0 < weight <= 1, f"the weight of passage {place} of hit {rank} is {weight}")
        side = text_of_file(arrays, read_entry(part, "side", dict), f"{rank}.{place}")
        alike = same_kind(side.outputs, query.outputs)
        fits = alike and (side.outputs is not None or side.embedding.shape == query.embedding.shape)
        require(fits, f"hit {rank} is not as wide as the query")
        passages.append({"start": start, "end": end, "weight": weight, "side": side})
    require((reason is None) == bool(passages), f"hit {rank} must have either passages or a reason")
    require(score is not None or reason is not None, f"hit {rank} has neither a score nor a reason")
    return {
        "index": read_entry(entries, "index", int),
        "score": nan if score is None else float(score),
        "text": text,
        "passages": passages,
        "similarity": similarity,
        "units": units,
        "n_passages": read_entry(entries, "n_passages", int),
        "n_cut": read_entry(entries, "n_cut", int),
        "reason": reason,
        "id": _finite(entries, "id", (str, int, float), rank),
        "retriever_score": _finite(entries, "retriever_score", (int, float), rank),
        "relative": _is_relative(entries),
    }


def _is_relative(entries: dict[str, Any]) -> bool:
    """Files of earlier versions lack the entry, and what the contributions need."""
    return "relative" in entries and read_entry(entries, "relative", bool)


def _optional(entries: dict[str, Any], key: str, kind: Any) -> Any:
    return None if entries.get(key) is None else read_entry(entries, key, kind)


def _finite(entries: dict[str, Any], key: str, kind: Any, rank: int) -> Any:
    value = _optional(entries, key, kind)
    require(not isinstance(value, float) or isfinite(value), f"{key!r} of hit {rank} is {value}")
    return value
