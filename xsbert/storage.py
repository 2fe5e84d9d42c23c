"""What saved results and saved factors share: safetensors files that say in JSON what they hold.

The JSON lies under the key ``"xsbert"`` of the file's own metadata. Files are taken for untrusted: whatever is read is
checked, and reading executes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Any, get_type_hints
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError

from .factors import Settings, TextFactors
from .units import PROMPT, REST, SPECIAL, TEXT
from .version import __version__

__all__ = [
    "FORMAT_VERSION",
    "KEY",
    "UNREADABLE",
    "describe",
    "library_versions",
    "read_content",
    "read_entry",
    "read_error",
    "read_settings",
    "read_text",
    "require",
    "require_finite",
    "write",
]

FORMAT_VERSION = 1
KEY = "xsbert"
KINDS = {"result": "a result, which Attribution.load reads", "factors": "factors, which load_factors reads"}
UNREADABLE = (SafetensorError, ValueError, OverflowError, RecursionError)
LIBRARIES = ("torch", "transformers", "sentence-transformers")
NOT_DESCRIBED = ("factors", "embedding", "reference_term", "embedding_unshifted", "settings")


def require(condition: Any, problem: str) -> None:
    """Raise a ValueError of the problem unless the condition holds."""
    if not condition:
        raise ValueError(problem)


def require_finite(array: np.ndarray, name: str) -> None:
    """Raise a ValueError if the array holds infinities or NaN."""
    require(np.isfinite(array).all(), f"{name} holds numbers that are not finite")


def library_versions() -> dict[str, str]:
    """The versions of this library and of those that the numbers depend on."""
    versions = {"xsbert": __version__}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "unknown"
    return versions


def write(path: Path, chunks: Iterable[bytes | np.ndarray]) -> None:
    """Write beside the file and rename, so that no reader ever sees half of it."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with unfinished.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def describe(text: TextFactors) -> dict[str, Any]:
    """All of a factor but its numbers and settings, as JSON can hold it."""
    return {field.name: getattr(text, field.name) for field in fields(text) if field.name not in NOT_DESCRIBED}


def read_content(file: Any, kind: str) -> dict[str, Any]:
    """The JSON of an open file of this kind, its format version checked."""
    text = (file.metadata() or {}).get(KEY)
    require(text is not None, "it has no xsbert metadata")
    content = json.loads(text)
    require(isinstance(content, dict), "its metadata are no JSON object")
    version = read_entry(content, "format_version", int)
    require(
        version <= FORMAT_VERSION,
        f"it has format version {version}, and this xsbert reads versions up to {FORMAT_VERSION}; upgrade xsbert",
    )
    found = read_entry(content, "kind", str) if "kind" in content else "result"
    require(found == kind, f"it holds {KINDS.get(found, f'{found!r:.40}')}")
    return content


def read_entry(content: dict[str, Any], key: str, kind: Any) -> Any:
    """One entry of the JSON, of the given type; true and false are no integers here."""
    require(key in content, f"{key!r} is missing")
    value = content[key]
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    require(fits, f"{key!r} has a value of the wrong type: {value!r:.60}")
    return value


def read_settings(content: dict[str, Any]) -> Settings:
    """Settings of their entries in JSON."""
    kinds = get_type_hints(Settings)
    needed = [field.name for field in fields(Settings) if field.default is MISSING or field.name in content]
    return Settings(**{name: read_entry(content, name, kinds[name]) for name in needed})


def read_text(
    entries: dict[str, Any],
    arrays: dict[str, np.ndarray],
    name: str,
    settings: Settings | None,
    known_residual: float | None = None,
) -> TextFactors:
    """The factor of one text.

    Args:
        entries: what `describe` wrote.
        arrays: ``factors`` with two axes, ``embedding``, ``reference_term`` and, for a model that a shift was added to,
            ``embedding_unshifted`` with one.
        name: of the text, for messages.
        settings, known_residual: as in `TextFactors`.

    Raises:
        ValueError: entries are missing, or do not fit each other or the arrays.
    """
    n_units, width = arrays["factors"].shape
    require(n_units > 0 and width > 0, f"{name}.factors are empty")
    for key in arrays.keys() - {"factors"}:
        require(arrays[key].shape == (width,), f"{name}.{key} is not as wide as {name}.factors")
    text, prompt = read_entry(entries, "text", str), read_entry(entries, "prompt", str)
    require(text.startswith(prompt), f"the prompt of {name} does not begin its text")
    normalisation = float(read_entry(entries, "normalisation", (int, float)))
    require(isfinite(normalisation) and normalisation >= 0, f"the normalisation of {name} is {normalisation}")
    n_cut = read_entry(entries, "n_cut", int)
    require(n_cut >= 0, f"n_cut of {name} is {n_cut}")
    return TextFactors(
        text=text,
        prompt=prompt,
        tokens=_units(entries, "tokens", n_units, lambda token: isinstance(token, str)),
        roles=_units(entries, "roles", n_units, lambda role: role in (TEXT, SPECIAL, PROMPT, REST)),
        word_ids=_word_ids(entries, n_units),
        spans=_spans(entries, n_units, len(text)),
        normalisation=normalisation,
        n_cut=n_cut,
        settings=settings,
        factor_error=read_error(entries, "factor_error", name),
        known_residual=known_residual,
        **arrays,
    )


def read_error(entries: dict[str, Any], key: str, name: str) -> float | None:
    """An error of a text, None where the file does not tell it."""
    if entries.get(key) is None:
        return None
    error = float(read_entry(entries, key, (int, float)))
    require(isfinite(error) and error >= 0, f"{key} of {name} is {error}")
    return error


def _units(entries: dict[str, Any], key: str, n_units: int, fits: Callable[[Any], bool]) -> tuple:
    """A list with one entry for each unit."""
    values = read_entry(entries, key, list)
    require(len(values) == n_units, f"{key!r} has {len(values)} entries for {n_units} units")
    for value in values:
        require(fits(value), f"{key!r} has an entry of the wrong kind: {value!r:.60}")
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
