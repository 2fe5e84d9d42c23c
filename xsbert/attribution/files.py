"""Results as files and as tables.

A saved result is one safetensors file. It holds factors, embeddings and reference terms in float64. For a model that a
shift was added to, it also holds the unshifted embeddings. Everything else is JSON under the key ``"xsbert"`` of the
file's metadata. Checksums cover all of it (see `xsbert._utils.checksummed_safetensors`). Reading executes no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from math import isfinite
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from .._utils.atomic_files import write
from .._utils.checksummed_safetensors import (
    DTYPES,
    FORMAT_VERSION,
    header_bytes,
    library_versions,
    read_arrays,
    read_header,
    reading,
)
from .._utils.json_fields import read_entry, read_error, read_fields, require, require_finite
from .._utils.optional_imports import pandas
from ..factors.serialization import LARGEST, check_numbers, read_text, to_entries
from ..factors.text_factors import Settings, TextFactors
from ..text.units import word_groups
from ..view.protocols import PairView

if TYPE_CHECKING:
    import pandas as pd


__all__ = [
    "SavedResult",
    "check_result",
    "read_metadata",
    "read_result",
    "read_results",
    "save_result",
    "save_results",
    "to_dataframe",
]

SIDES = ("a", "b")
ARRAYS = {"factors": 2, "embedding": 1, "reference_term": 1}
UNSHIFTED = "embedding_unshifted"
# The key of the additional fields of other methods, see `MethodAttribution`.
GIVEN = "rival"


class SavedResult(PairView, Protocol):
    """A result that can be saved, such as `Attribution`."""

    given_arrays: ClassVar[Mapping[str, int]]
    given_entries: ClassVar[Mapping[str, Any]]

    @property
    def scale(self) -> Any: ...


Loaded = TypeVar("Loaded", bound=SavedResult)


def save_result(result: SavedResult, path: str | PathLike[str]) -> None:
    """Write a result to one file. The write is atomic and replaces an existing file.

    Raises:
        ValueError: The result holds numbers that are not finite, or so large that their sums or products would not be.
        OSError: The file cannot be written.
    """
    arrays, entries = _parts(result)
    write(path, _file("result", arrays, entries))


def save_results(results: Sequence[SavedResult], path: str | PathLike[str]) -> None:
    """Write several results to one file, as `save_result`."""
    arrays, entries = {}, []
    for place, result in enumerate(results):
        own, entry = _parts(result, f"results[{place}].")
        arrays |= {f"{place}.{name}": array for name, array in own.items()}
        entries.append(entry)
    write(path, _file("results", arrays, {"results": entries}))


def _parts(result: SavedResult, where: str = "") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a result and its other content. ``where`` begins the names in messages."""
    arrays = {f"{name}.{key}": getattr(getattr(result, name), key) for name in SIDES for key in ARRAYS}
    if result.score_unshifted is not None:
        arrays |= {f"{name}.{UNSHIFTED}": getattr(result, name).embedding_unshifted for name in SIDES}
    arrays |= {name: getattr(result, name) for name in result.given_arrays}
    for name, array in arrays.items():
        require_finite(array, f"{where}{name}")
    for name in SIDES:
        check_numbers(getattr(result, name), f"{where}{name}")
    _check_given(result)
    content: dict[str, Any] = {"similarity": result.similarity, "settings": asdict(result.settings)}
    for name in SIDES:
        side = getattr(result, name)
        content[name] = {**to_entries(side), "settings": asdict(side.settings) if side.settings else None}
    if result.given_entries:
        content[GIVEN] = {name: getattr(result, name) for name in result.given_entries}
    return {name: np.ascontiguousarray(array, DTYPES["F64"]) for name, array in arrays.items()}, content


def _file(kind: str, arrays: dict[str, np.ndarray], content: dict[str, Any]) -> list[Any]:
    """Return the bytes of a file in pieces."""
    data = sha256()
    for array in arrays.values():
        data.update(array.data)
    stated = {"format_version": FORMAT_VERSION, "kind": kind, "versions": library_versions()}
    layout = {name: ("F64", array.shape) for name, array in arrays.items()}
    header, _ = header_bytes(layout, {**stated, "data": data.hexdigest(), **content})
    return [header, *arrays.values()]


def read_result(
    path: str | PathLike[str], kind: str, given_arrays: Mapping[str, int], given_entries: Mapping[str, Any]
) -> dict[str, Any]:
    """Read the fields of a result that `save_result` wrote.

    Args:
        path: Path of the file.
        kind: Name of the requested class.
        given_arrays, given_entries: Additional fields of that class.

    Raises:
        OSError: The file does not exist or cannot be read.
        ValueError: The file is damaged, is not a saved result of that class, or has an unknown format.

    Warns:
        UserWarning: The file was written by xsbert 0.1.0 and has no checksum over its whole content.
    """
    header, arrays = read_arrays(path, "result")
    return _fields(arrays, header.content, kind, given_arrays, given_entries)


def read_results(path: str | PathLike[str], classes: Sequence[type[Loaded]]) -> list[Loaded]:
    """Read the results that `save_results` wrote.

    Args:
        path: Path of the file.
        classes: First the class of results without additional fields, then that of results with them.

    Raises, warns:
        As `read_result`.
    """
    header, arrays = read_arrays(path, "results")
    plain, other = classes
    results = []
    by_place: dict[str, dict[str, tuple[str, np.ndarray]]] = {}
    for name, array in arrays.items():
        place, _, own_name = name.partition(".")
        by_place.setdefault(place, {})[own_name] = array
    for place, content in enumerate(read_entry(header.content, "results", list)):
        require(isinstance(content, dict), f"results[{place}] is no JSON object")
        own = by_place.get(str(place), {})
        cls = other if GIVEN in content else plain
        result = cls(**_fields(own, content, cls.__name__, cls.given_arrays, cls.given_entries))
        check_result(result)
        results.append(result)
    return results


def _fields(
    arrays: dict[str, tuple[str, np.ndarray]],
    content: dict[str, Any],
    kind: str,
    given_arrays: Mapping[str, int],
    given_entries: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the fields of one result. The arguments are as for `read_result`."""
    a, b = (_side(arrays, content, name) for name in SIDES)
    given = _given(arrays, content, kind, given_arrays, given_entries)
    similarity = read_entry(content, "similarity", str)
    require(similarity in ("cosine", "dot"), f"similarity is {similarity!r:.40}")
    require(a.embedding.shape == b.embedding.shape, "the embeddings differ in width")
    settings = read_fields(Settings, read_entry(content, "settings", dict))
    return {"a": a, "b": b, "similarity": similarity, "settings": settings, **given}


def check_result(result: SavedResult) -> None:
    """Check that the numbers derived from a result's fields are finite.

    Raises:
        ValueError: One is not.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        require(isfinite(result.scale) and result.scale > 0, "the embeddings have no similarity")
        unshifted = result.score_unshifted
        require(unshifted is None or isfinite(unshifted), "the unshifted embeddings have no similarity")
    _check_given(result)


def read_metadata(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the metadata of a saved result: format version, library versions, texts, tokens, settings.

    Raises, warns:
        As `read_result`.
    """
    with reading(path, "saved result"):
        return read_header(path, "result").content


def to_dataframe(result: SavedResult) -> pd.DataFrame:
    """Return a table with one row for each of the S · T pairs of units, in row-major order.

    Returns:
        Position, token, word and role of the units of a and b, and the value. The word is None if the tokenizer has
        no words, or for a unit of several words.

    Raises:
        ImportError: pandas is not installed.
    """
    n_a, n_b = result.matrix.shape
    rows = {"a": np.repeat(np.arange(n_a), n_b), "b": np.tile(np.arange(n_b), n_a)}
    columns: dict[str, Any] = {}
    for name in SIDES:
        side: TextFactors = getattr(result, name)
        columns[f"position_{name}"] = rows[name]
        for key, labels in (("token", side.tokens), ("word", _words(side)), ("role", side.roles)):
            columns[f"{key}_{name}"] = np.array(labels, dtype=object)[rows[name]]
    return pandas().DataFrame(columns | {"value": result.matrix.ravel()})


def _words(side: TextFactors) -> list[str | None]:
    """Return the (S,) words that the units belong to, or are."""
    words: list[str | None] = [None] * len(side.tokens)
    if side.spans is None:
        return words
    if side.word_ids is None:
        return [unit if len(unit.split()) == 1 else None for unit in side.tokens]
    groups = word_groups(side.word_ids, side.roles, side.spans, side.text)
    for word, group in zip(side.words().tokens, groups, strict=True):
        for position in group:
            words[position] = word
    return words


def _side(arrays: dict[str, tuple[str, np.ndarray]], content: dict[str, Any], name: str) -> TextFactors:
    entries = read_entry(content, name, dict)
    own = {key: _array(arrays, f"{name}.{key}", n_axes) for key, n_axes in ARRAYS.items()}
    if f"{name}.{UNSHIFTED}" in arrays:
        own[UNSHIFTED] = _array(arrays, f"{name}.{UNSHIFTED}", 1)
    settings = read_entry(entries, "settings", dict) if entries.get("settings") is not None else None
    how = None if settings is None else read_fields(Settings, settings)
    side = read_text(entries, own, name, how, read_error(entries, "known_residual", name))
    require(side.normalisation > 0, f"the normalisation of {name} is {side.normalisation}")
    return side


def _given(
    arrays: dict[str, tuple[str, np.ndarray]],
    content: dict[str, Any],
    kind: str,
    given_arrays: Mapping[str, int],
    given_entries: Mapping[str, Any],
) -> dict[str, Any]:
    """Read the additional fields of a class. `Attribution` itself has none."""
    if GIVEN not in content:
        require(not given_entries, f"it is no {kind}: read it by Attribution.load")
        return {}
    entries = read_entry(content, GIVEN, dict)
    method = read_entry(entries, "method", str)
    require(bool(given_entries), f"it is the result of the method {method!r:.40}: read it by MethodAttribution.load")
    read = {name: read_entry(entries, name, types) for name, types in given_entries.items()}
    return read | {name: _array(arrays, name, n_axes) for name, n_axes in given_arrays.items()}


def _check_given(result: SavedResult) -> None:
    """Raise ValueError if sums over the additional fields of a class would not be finite."""
    numbers = [name for name, kind in result.given_entries.items() if kind is not str]
    with np.errstate(over="ignore", invalid="ignore"):
        for name in (*result.given_arrays, *numbers):
            size = float(np.abs(np.asarray(getattr(result, name), np.float64)).sum())
            require(size <= LARGEST, f"{name} holds numbers whose sum would not be finite: {size:.3g}")


def _array(arrays: dict[str, tuple[str, np.ndarray]], name: str, n_axes: int) -> np.ndarray:
    require(name in arrays, f"{name} is missing")
    dtype, array = arrays[name]
    require(dtype == "F64", f"{name} has dtype {dtype}, not F64")
    require(array.ndim == n_axes, f"{name} has shape {[*array.shape]}")
    require_finite(array, name)
    # A writable copy, like the arrays of a fresh result.
    return np.array(array, np.float64)
