"""Results as files and as tables.

A saved result is one safetensors file. It holds factors, embeddings and reference terms in float64. For a model that a
shift was added to, it also holds the unshifted embeddings. Everything else is JSON under the key ``"xsbert"`` of the
file's metadata. Checksums cover all of it (see `xsbert._utils.checksummed_safetensors`). Reading executes no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from .._utils.checksummed_safetensors import Arrays, read_array, read_arrays, read_header, reading, write_arrays
from .._utils.json_fields import read_entry, read_fields, require, require_finite
from .._utils.optional_imports import pandas
from ..factors.serialization import LARGEST, check_numbers, stored_text, text_of_file
from ..factors.text_factors import Settings, TextFactors
from ..text.units import word_groups
from ..view.protocols import PairView
from .similarity import LATE_SIMILARITIES, SIMILARITIES

if TYPE_CHECKING:
    import pandas as pd


__all__ = [
    "SavedResult",
    "Stored",
    "check_method_numbers",
    "check_result",
    "read_metadata",
    "read_result",
    "read_results",
    "save_result",
    "save_results",
    "stored_result",
    "to_dataframe",
]

SIDES = ("a", "b")
# What files of other methods hold in place of factors: arrays with their numbers of axes, and entries under a key of
# the JSON with their types.
METHOD = "rival"
METHOD_ARRAYS = {"values": 2, "effects_a": 1, "effects_b": 1}
METHOD_ENTRIES: Mapping[str, Any] = {"method": str, "left_out": str, "offset": (int, float)}


class SavedResult(PairView, Protocol):
    """A result that can be saved, such as `Attribution`."""

    @property
    def scale(self) -> Any: ...


class Stored(NamedTuple):
    """What a file holds of one result."""

    arrays: dict[str, np.ndarray]
    content: dict[str, Any]
    """All that is not an array, as JSON can hold it."""


def stored_result(
    result: SavedResult,
    method_arrays: Mapping[str, np.ndarray] | None = None,
    method_entries: Mapping[str, Any] | None = None,
) -> Stored:
    """Return what a file holds of a result.

    Args:
        result: The result.
        method_arrays, method_entries: Numbers and description of another method, see `METHOD_ARRAYS`.

    Raises:
        ValueError: The result holds numbers that are not finite, or so large that their sums or products would not be.
    """
    arrays: dict[str, np.ndarray] = {}
    content: dict[str, Any] = {"similarity": result.similarity, "settings": asdict(result.settings)}
    for name in SIDES:
        content[name] = stored_text(getattr(result, name), name, arrays)
    arrays |= method_arrays or {}
    if method_entries is not None:
        content[METHOD] = dict(method_entries)
    for name, array in arrays.items():
        require_finite(array, name)
    for name in SIDES:
        check_numbers(getattr(result, name), name)
    check_method_numbers({**(method_arrays or {}), **(method_entries or {})})
    return Stored(arrays, content)


def save_result(stored: Stored, path: str | PathLike[str]) -> None:
    """Write a result to one file. The write is atomic and replaces an existing file.

    Raises:
        OSError: The file cannot be written.
    """
    write_arrays(path, "result", stored.content, stored.arrays)


def save_results(results: Sequence[Stored], path: str | PathLike[str]) -> None:
    """Write several results to one file, as `save_result`."""
    arrays = {f"{place}.{name}": array for place, each in enumerate(results) for name, array in each.arrays.items()}
    write_arrays(path, "results", {"results": [each.content for each in results]}, arrays)


def read_result(path: str | PathLike[str], kind: str, *, of_method: bool = False) -> dict[str, Any]:
    """Read the fields of a result that `save_result` wrote.

    Args:
        path: Path of the file.
        kind: Name of the requested class.
        of_method: Whether the class is for other methods. The fields are then those of `METHOD_ARRAYS` and
            `METHOD_ENTRIES` as well, and the texts have no factors.

    Raises:
        OSError: The file does not exist or cannot be read.
        ValueError: The file is damaged, is not a saved result of that class, or has an unknown format.

    Warns:
        UserWarning: The file was written by xsbert 0.1.0 and has no checksum over its whole content.
    """
    header, arrays = read_arrays(path, "result")
    return _fields(arrays, header.content, kind, of_method)


def read_results(path: str | PathLike[str], own: str, other: str) -> list[tuple[bool, dict[str, Any]]]:
    """Read the fields of the results that `save_results` wrote.

    Args:
        path: Path of the file.
        own, other: Names of the class of results, and of those of other methods.

    Returns:
        For each result whether it is one of another method, and its fields as `read_result` returns them.

    Raises, warns:
        As `read_result`.
    """
    header, arrays = read_arrays(path, "results")
    of_place: dict[str, Arrays] = {}
    for name, array in arrays.items():
        place, _, own_name = name.partition(".")
        of_place.setdefault(place, {})[own_name] = array
    found = []
    for place, content in enumerate(read_entry(header.content, "results", list)):
        require(isinstance(content, dict), f"results[{place}] is no JSON object")
        of_method = METHOD in content
        fields = _fields(of_place.get(str(place), {}), content, other if of_method else own, of_method)
        found.append((of_method, fields))
    return found


def _fields(arrays: Arrays, content: dict[str, Any], kind: str, of_method: bool) -> dict[str, Any]:
    given = _of_method(arrays, content, kind, of_method)
    a, b = (_side(arrays, content, name, of_method) for name in SIDES)
    similarity = read_entry(content, "similarity", str)
    require(similarity in (*SIMILARITIES, *LATE_SIMILARITIES), f"similarity is {similarity!r:.40}")
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


def _side(arrays: Arrays, content: dict[str, Any], name: str, of_method: bool) -> TextFactors:
    side = text_of_file(arrays, read_entry(content, name, dict), name, factors=not of_method)
    require(side.normalisation > 0, f"the normalisation of {name} is {side.normalisation}")
    return side


def _of_method(arrays: Arrays, content: dict[str, Any], kind: str, of_method: bool) -> dict[str, Any]:
    """Read the numbers and the description of another method. Integrated Jacobians have none."""
    if METHOD not in content:
        require(not of_method, f"it is no {kind}: read it by Attribution.load")
        return {}
    entries = read_entry(content, METHOD, dict)
    method = read_entry(entries, "method", str)
    require(of_method, f"it is the result of the method {method!r:.40}: read it by MethodAttribution.load")
    read = {name: read_entry(entries, name, types) for name, types in METHOD_ENTRIES.items()}
    return read | {name: read_array(arrays, name, n_axes) for name, n_axes in METHOD_ARRAYS.items()}


def check_method_numbers(fields: Mapping[str, Any]) -> None:
    """Raise ValueError if sums over the numbers of another method would not be finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        for name, value in fields.items():
            if isinstance(value, str):
                continue
            size = float(np.abs(np.asarray(value, np.float64)).sum())
            require(size <= LARGEST, f"{name} holds numbers whose sum would not be finite: {size:.3g}")
