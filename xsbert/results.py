"""Results as files and as tables.

A saved result is one safetensors file: factors, embeddings and reference terms in float64, for a model that a shift was
added to also the unshifted embeddings, and everything else as JSON under the key ``"xsbert"`` of the file's own
metadata. Reading it executes nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from .attribution import Attribution, TextFactors
from .method_attribution import MethodAttribution
from .storage import (
    FORMAT_VERSION,
    KEY,
    UNREADABLE,
    describe,
    library_versions,
    read_content,
    read_entry,
    read_error,
    read_settings,
    read_text,
    require,
    require_finite,
    write,
)
from .utils.tokens import word_groups

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMAT_VERSION", "load_result", "read_metadata", "save_result", "to_dataframe"]

SIDES = ("a", "b")
ARRAYS = {"factors": 2, "embedding": 1, "reference_term": 1}
UNSHIFTED = "embedding_unshifted"
METHOD_ARRAYS = {"values": 2, "effects_a": 1, "effects_b": 1}
METHOD_ENTRIES: dict[str, Any] = {"method": str, "left_out": str, "offset": (int, float)}


def save_result(result: Attribution, path: str | PathLike[str]) -> None:
    """Write a result to one file, all of it or nothing; an existing file is replaced.

    Raises:
        ValueError: the result holds numbers that are not finite.
        OSError: the file cannot be written.
    """
    arrays = {f"{name}.{key}": getattr(getattr(result, name), key) for name in SIDES for key in ARRAYS}
    if result.score_unshifted is not None:
        arrays |= {f"{name}.{UNSHIFTED}": getattr(result, name).embedding_unshifted for name in SIDES}
    of_method = isinstance(result, MethodAttribution)
    if of_method:
        arrays |= {name: getattr(result, name) for name in METHOD_ARRAYS}
    for name, array in arrays.items():
        require_finite(array, name)
    content = {
        "format_version": FORMAT_VERSION,
        "versions": library_versions(),
        "similarity": result.similarity,
        "settings": asdict(result.settings),
    }
    for name in SIDES:
        side = getattr(result, name)
        content[name] = {**describe(side), "settings": asdict(side.settings) if side.settings else None}
    if of_method:
        content["rival"] = {name: getattr(result, name) for name in METHOD_ENTRIES}
    arrays = {name: np.ascontiguousarray(array, dtype=np.float64) for name, array in arrays.items()}
    write(Path(path), [save(arrays, metadata={KEY: json.dumps(content, allow_nan=False)})])


def load_result(path: str | PathLike[str]) -> Attribution:
    """Read a result that `save_result` wrote. Its `feature_pairs` are not there: they need the model.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: the file is damaged, is no saved result, or was written in a newer format.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            content = read_content(file, "result")
            a, b = (_side(file, content, name) for name in SIDES)
            given = _given(file, content)
        similarity = read_entry(content, "similarity", str)
        require(similarity in ("cosine", "dot"), f"similarity is {similarity!r:.40}")
        require(a.embedding.shape == b.embedding.shape, "the embeddings differ in width")
        settings = read_settings(read_entry(content, "settings", dict))
        kind = MethodAttribution if given else Attribution
        result = kind(a=a, b=b, similarity=similarity, settings=settings, **given)
        with np.errstate(over="ignore", invalid="ignore"):
            require(isfinite(result.scale) and result.scale > 0, "the embeddings have no similarity")
            unshifted = result.score_unshifted
            require(unshifted is None or isfinite(unshifted), "the unshifted embeddings have no similarity")
    except UNREADABLE as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as a saved result: {error}") from error
    return result


def read_metadata(path: str | PathLike[str]) -> dict[str, Any]:
    """What a saved result says of itself: format version, library versions, texts, tokens, settings.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: the file is damaged, is no saved result, or was written in a newer format.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return read_content(file, "result")
    except UNREADABLE as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as a saved result: {error}") from error


def to_dataframe(result: Attribution) -> pd.DataFrame:
    """A table with one row for each of the S · T pairs of units, the first unit of text a first.

    Returns:
        position, token, word and role of a's unit, the same of b's, and the value. The word of a token is None
        where the tokenizer has no words, or the units are no tokens any more.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_dataframe needs pandas: pip install pandas") from error
    n_a, n_b = result.matrix.shape
    rows = {"a": np.repeat(np.arange(n_a), n_b), "b": np.tile(np.arange(n_b), n_a)}
    columns: dict[str, Any] = {}
    for name in SIDES:
        side: TextFactors = getattr(result, name)
        columns[f"position_{name}"] = rows[name]
        for key, labels in (("token", side.tokens), ("word", _words(side)), ("role", side.roles)):
            columns[f"{key}_{name}"] = np.array(labels, dtype=object)[rows[name]]
    return pd.DataFrame(columns | {"value": result.matrix.ravel()})


def _words(side: TextFactors) -> list[str | None]:
    """(S,) the word that each token is part of."""
    words: list[str | None] = [None] * len(side.tokens)
    if side.word_ids is not None and side.spans is not None:
        groups = word_groups(side.word_ids, side.roles, side.spans, side.text)
        for word, group in zip(side.words().tokens, groups, strict=True):
            for position in group:
                words[position] = word
    return words


def _side(file: Any, content: dict[str, Any], name: str) -> TextFactors:
    entries = read_entry(content, name, dict)
    arrays = {key: _array(file, f"{name}.{key}", n_axes) for key, n_axes in ARRAYS.items()}
    if f"{name}.{UNSHIFTED}" in set(file.keys()):
        arrays[UNSHIFTED] = _array(file, f"{name}.{UNSHIFTED}", 1)
    settings = None if entries.get("settings") is None else read_settings(read_entry(entries, "settings", dict))
    side = read_text(entries, arrays, name, settings, read_error(entries, "known_residual", name))
    require(side.normalisation > 0, f"the normalisation of {name} is {side.normalisation}")
    return side


def _given(file: Any, content: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a rival method; none for factors."""
    if "rival" not in content:
        return {}
    entries = read_entry(content, "rival", dict)
    read = {name: read_entry(entries, name, kind) for name, kind in METHOD_ENTRIES.items()}
    return read | {name: _array(file, name, n_axes) for name, n_axes in METHOD_ARRAYS.items()}


def _array(file: Any, name: str, n_axes: int) -> np.ndarray:
    require(name in set(file.keys()), f"{name} is missing")
    view = file.get_slice(name)
    require(view.get_dtype() == "F64", f"{name} has dtype {view.get_dtype()}, not F64")
    require(len(view.get_shape()) == n_axes, f"{name} has shape {view.get_shape()}")
    array = np.array(file.get_tensor(name))
    require_finite(array, name)
    return array
