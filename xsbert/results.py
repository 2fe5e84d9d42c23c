"""Results as files and as tables.

A saved result is one safetensors file: factors, embeddings and reference terms in float64, and everything else as
JSON under the key ``"xsbert"`` of the file's own metadata. Reading it executes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from importlib import metadata
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .attribution import Attribution, Settings, TextFactors
from .utils.tokens import PROMPT, REST, SPECIAL, TEXT, word_groups

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMAT_VERSION", "load_result", "read_metadata", "save_result", "to_dataframe"]

FORMAT_VERSION = 1
KEY = "xsbert"
SIDES = ("a", "b")
ARRAYS = {"factors": 2, "embedding": 1, "reference_term": 1}
UNREADABLE = (SafetensorError, ValueError, OverflowError, RecursionError)
LIBRARIES = ("torch", "transformers", "sentence-transformers")


def save_result(result: Attribution, path: str | PathLike[str]) -> None:
    """Write a result to one file, all of it or nothing; an existing file is replaced.

    Raises:
        ValueError: the result holds numbers that are not finite.
        OSError: the file cannot be written.
    """
    arrays = {f"{name}.{key}": getattr(getattr(result, name), key) for name in SIDES for key in ARRAYS}
    for name, array in arrays.items():
        _require(np.isfinite(array).all(), f"{name} holds numbers that are not finite, which are not saved")
    content = {
        "format_version": FORMAT_VERSION,
        "versions": _versions(),
        "similarity": result.similarity,
        "settings": asdict(result.settings),
    }
    for name in SIDES:
        side = getattr(result, name)
        content[name] = {field.name: getattr(side, field.name) for field in fields(side) if field.name not in ARRAYS}
        content[name]["settings"] = asdict(side.settings) if side.settings else None
    arrays = {name: np.ascontiguousarray(array, dtype=np.float64) for name, array in arrays.items()}
    _write(Path(path), save(arrays, metadata={KEY: json.dumps(content, allow_nan=False)}))


def load_result(path: str | PathLike[str]) -> Attribution:
    """Read a result that `save_result` wrote. Its `feature_pairs` are not there: they need the model.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: the file is damaged, is no saved result, or was written in a newer format.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            content = _content(file)
            a, b = (_side(file, content, name) for name in SIDES)
        similarity = _entry(content, "similarity", str)
        _require(similarity in ("cosine", "dot"), f"similarity is {similarity!r:.40}")
        _require(a.embedding.shape == b.embedding.shape, "the embeddings differ in width")
        result = Attribution(a=a, b=b, similarity=similarity, settings=_settings(_entry(content, "settings", dict)))
        with np.errstate(over="ignore", invalid="ignore"):
            _require(isfinite(result.scale) and result.scale > 0, "the embeddings have no similarity")
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
            return _content(file)
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


def _versions() -> dict[str, str]:
    from . import __version__

    versions = {"xsbert": __version__}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "unknown"
    return versions


def _write(path: Path, content: bytes) -> None:
    """Write beside the file and rename, so that no reader ever sees half of it."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _require(condition: Any, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _content(file: Any) -> dict[str, Any]:
    text = (file.metadata() or {}).get(KEY)
    _require(text is not None, "it has no xsbert metadata")
    content = json.loads(text)
    _require(isinstance(content, dict), "its metadata are no JSON object")
    version = _entry(content, "format_version", int)
    _require(
        version <= FORMAT_VERSION,
        f"it has format version {version}, and this xsbert reads versions up to {FORMAT_VERSION}; upgrade xsbert",
    )
    return content


def _entry(content: dict[str, Any], key: str, kind: Any) -> Any:
    """One entry of the JSON, of the given type; true and false are no integers here."""
    _require(key in content, f"{key!r} is missing")
    value = content[key]
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    _require(fits, f"{key!r} has a value of the wrong type: {value!r:.60}")
    return value


def _settings(content: dict[str, Any]) -> Settings:
    kinds = get_type_hints(Settings)
    needed = [field.name for field in fields(Settings) if field.default is MISSING or field.name in content]
    return Settings(**{name: _entry(content, name, kinds[name]) for name in needed})


def _side(file: Any, content: dict[str, Any], name: str) -> TextFactors:
    entries = _entry(content, name, dict)
    arrays = {key: _array(file, f"{name}.{key}", n_axes) for key, n_axes in ARRAYS.items()}
    n_units, width = arrays["factors"].shape
    _require(n_units > 0 and width > 0, f"{name}.factors are empty")
    for key in ("embedding", "reference_term"):
        _require(arrays[key].shape == (width,), f"{name}.{key} is not as wide as {name}.factors")
    text, prompt = _entry(entries, "text", str), _entry(entries, "prompt", str)
    _require(text.startswith(prompt), f"the prompt of {name} does not begin its text")
    normalisation = float(_entry(entries, "normalisation", (int, float)))
    _require(isfinite(normalisation) and normalisation > 0, f"the normalisation of {name} is {normalisation}")
    n_cut = _entry(entries, "n_cut", int)
    _require(n_cut >= 0, f"n_cut of {name} is {n_cut}")
    return TextFactors(
        text=text,
        prompt=prompt,
        tokens=_units(entries, "tokens", n_units, lambda token: isinstance(token, str)),
        roles=_units(entries, "roles", n_units, lambda role: role in (TEXT, SPECIAL, PROMPT, REST)),
        word_ids=_word_ids(entries, n_units),
        spans=_spans(entries, n_units, len(text)),
        normalisation=normalisation,
        n_cut=n_cut,
        settings=None if entries.get("settings") is None else _settings(_entry(entries, "settings", dict)),
        known_residual=_known_residual(entries, name),
        **arrays,
    )


def _known_residual(entries: dict[str, Any], name: str) -> float | None:
    if entries.get("known_residual") is None:
        return None
    residual = float(_entry(entries, "known_residual", (int, float)))
    _require(isfinite(residual) and residual >= 0, f"the residual of {name} is {residual}")
    return residual


def _array(file: Any, name: str, n_axes: int) -> np.ndarray:
    _require(name in set(file.keys()), f"{name} is missing")
    view = file.get_slice(name)
    _require(view.get_dtype() == "F64", f"{name} has dtype {view.get_dtype()}, not F64")
    _require(len(view.get_shape()) == n_axes, f"{name} has shape {view.get_shape()}")
    array = np.array(file.get_tensor(name))
    _require(np.isfinite(array).all(), f"{name} holds numbers that are not finite")
    return array


def _units(entries: dict[str, Any], key: str, n_units: int, fits: Callable[[Any], bool]) -> tuple:
    """A list with one entry for each unit."""
    values = _entry(entries, key, list)
    _require(len(values) == n_units, f"{key!r} has {len(values)} entries for {n_units} units")
    for value in values:
        _require(fits(value), f"{key!r} has an entry of the wrong kind: {value!r:.60}")
    return tuple(values)


def _word_ids(entries: dict[str, Any], n_units: int) -> tuple[int | None, ...] | None:
    if entries.get("word_ids") is None:
        return None
    return _units(entries, "word_ids", n_units, lambda word: word is None or type(word) is int)


def _spans(entries: dict[str, Any], n_units: int, length: int) -> tuple[tuple[int, int], ...] | None:
    if entries.get("spans") is None:
        return None

    def fits(span: Any) -> bool:
        pair = isinstance(span, list) and len(span) == 2 and all(type(place) is int for place in span)
        return pair and 0 <= span[0] <= span[1] <= length

    return tuple((start, end) for start, end in _units(entries, "spans", n_units, fits))
