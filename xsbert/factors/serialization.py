"""Conversion of one text's factor to JSON entries and arrays, and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from math import isfinite
from typing import Any

import numpy as np

from .._utils.checksummed_safetensors import Arrays, read_array
from .._utils.json_fields import read_entry, read_error, read_fields, read_list, require
from ..text.units import PROMPT, REST, SPECIAL, TEXT
from .output_kinds import read_outputs
from .text_factors import ProjectedFactors, Settings, TextFactors

__all__ = ["LARGEST", "check_numbers", "read_text", "stored_text", "text_of_file", "to_entries"]

LARGEST = 1e140
"""Upper bound on sums over a text, absolute and relative to the norm of its embedding. It keeps all sums of products of
two texts finite."""

# Number of axes of each array. The last two are not in every text.
ARRAYS = {"factors": 2, "embedding": 1, "reference_term": 1, "embedding_unshifted": 1, "directions": 2}
NOT_DESCRIBED = (*ARRAYS, "settings", "outputs")


def to_entries(text: TextFactors) -> dict[str, Any]:
    """Return everything but arrays and settings of a factor, as JSON can hold it."""
    entries = {field.name: getattr(text, field.name) for field in fields(text) if field.name not in NOT_DESCRIBED}
    # Files of dense models are as in version 0.1.0.
    if text.outputs is None:
        return entries
    return {**entries, "outputs": text.outputs.to_entries(), "width": len(text.embedding)}


def stored_text(text: TextFactors, name: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the JSON entries of a text, and add its arrays, if they have numbers, to those of its file."""
    given = {key: getattr(text, key, None) for key in ARRAYS}
    arrays |= {f"{name}.{key}": array for key, array in given.items() if array is not None and array.size}
    return {**to_entries(text), "settings": asdict(text.settings) if text.settings else None}


def text_of_file(arrays: Arrays, entries: dict[str, Any], name: str, *, factors: bool = True) -> TextFactors:
    """Read a text that `stored_text` wrote: `TextFactors`, or `ProjectedFactors` if it has directions.

    Args:
        arrays: The arrays of the file.
        entries: The output of `stored_text`.
        name: Name of the text.
        factors: Whether the text needs factors. False returns (S, 0) factors, also if the file has some.

    Raises:
        ValueError: Entries or arrays are missing or inconsistent.
    """
    found = {key: read_array(arrays, f"{name}.{key}", ARRAYS[key]) for key in ("embedding", "reference_term")}
    if f"{name}.embedding_unshifted" in arrays:
        found["embedding_unshifted"] = read_array(arrays, f"{name}.embedding_unshifted", 1)
    stated = None if entries.get("settings") is None else read_entry(entries, "settings", dict)
    settings = None if stated is None else read_fields(Settings, stated)
    residual = read_error(entries, "known_residual", name)
    if not factors:
        found["factors"] = np.zeros((len(read_entry(entries, "tokens", list)), 0))
        return read_text(entries, found, name, settings, residual, len(found["embedding"]))
    found["factors"] = read_array(arrays, f"{name}.factors", 2)
    if f"{name}.directions" not in arrays:
        return read_text(entries, found, name, settings, residual)
    require(residual is not None, f"known_residual of {name} is missing")
    directions = read_array(arrays, f"{name}.directions", 2)
    shape = found["factors"].shape[1], len(found["embedding"])
    require(directions.shape == shape, f"{name}.directions have shape {directions.shape}")
    text = read_text(entries, found, name, settings, residual, shape[1])
    return ProjectedFactors.of(text, directions)


def read_text(
    entries: dict[str, Any],
    arrays: dict[str, np.ndarray],
    name: str,
    settings: Settings | None,
    known_residual: float | None = None,
    n_dimensions: int | None = None,
) -> TextFactors:
    """Build the factor of one text.

    Args:
        entries: The output of `to_entries`.
        arrays: ``factors`` with two axes; ``embedding``, ``reference_term`` and, for a model that a shift was added to,
            ``embedding_unshifted`` with one.
        name: Name of the text, for messages.
        settings, known_residual: As in `TextFactors`.
        n_dimensions: Number of dimensions of the embedding. None if it is that of the factors.

    Raises:
        ValueError: Entries are missing or inconsistent.
    """
    n_units, n_columns = arrays["factors"].shape
    width = n_columns if n_dimensions is None else n_dimensions
    outputs = read_outputs(entries.get("outputs"), width, name)
    # A sparse encoder may find no term in a text.
    require(n_units > 0 and (width > 0 or outputs is not None), f"{name}.factors are empty")
    for key in arrays.keys() - {"factors"}:
        require(arrays[key].shape == (width,), f"{name}.{key} is not as wide as {name}.factors")
    text, prompt = read_entry(entries, "text", str), read_entry(entries, "prompt", str)
    require(text.startswith(prompt), f"the prompt of {name} does not begin its text")
    normalisation = float(read_entry(entries, "normalisation", (int, float)))
    require(isfinite(normalisation) and normalisation >= 0, f"the normalisation of {name} is {normalisation}")
    n_cut = read_entry(entries, "n_cut", int)
    require(n_cut >= 0, f"n_cut of {name} is {n_cut}")
    found = TextFactors(
        text=text,
        prompt=prompt,
        tokens=read_list(entries, "tokens", n_units, lambda token: isinstance(token, str)),
        roles=read_list(entries, "roles", n_units, lambda role: role in (TEXT, SPECIAL, PROMPT, REST)),
        word_ids=_word_ids(entries, n_units),
        spans=_spans(entries, n_units, len(text)),
        normalisation=normalisation,
        n_cut=n_cut,
        settings=settings,
        factor_error=read_error(entries, "factor_error", name),
        known_residual=known_residual,
        # Files of earlier versions lack this entry.
        encoded_by=read_entry(entries, "encoded_by", str) if "encoded_by" in entries else "",
        factors=arrays["factors"],
        embedding=arrays["embedding"],
        reference_term=arrays["reference_term"],
        embedding_unshifted=arrays.get("embedding_unshifted"),
        outputs=outputs,
    )
    check_numbers(found, name)
    return found


def check_numbers(text: TextFactors, name: str) -> None:
    """Check that numbers derived from a text are finite: norms, residuals, products with other texts.

    Args:
        text: Whole factors, or factors along directions.
        name: Name of the text, for messages.

    Raises:
        ValueError: A number is not finite, or so large or small that sums, products or quotients may not be.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # An upper bound on sums over any units.
        sums = np.abs(text.factors).sum(0)
        ends = [np.abs(array) for array in (text.embedding, text.reference_term)]
        largest = max(float(array.max(initial=0.0)) for array in (sums, *ends))
        require(largest <= LARGEST, f"{name} holds numbers whose products would not be finite: up to {largest:.3g}")
        lengths = {"embedding": float(np.linalg.norm(text.embedding)), "normalisation": text.normalisation}
        for key, length in lengths.items():
            require(isfinite(length), f"the {key} of {name} has the length {length}")
            require(
                length == 0 or largest / length <= LARGEST,
                f"the {key} of {name} has the length {length:.3g}, too small for numbers up to {largest:.3g}",
            )
        _check_residual(text, sums, name)
        if text.embedding_unshifted is not None:
            length = float(np.linalg.norm(text.embedding_unshifted))
            fits = not text.embedding_unshifted.any() or 1 / LARGEST <= length <= LARGEST
            require(fits, f"{name}.embedding_unshifted has the length {length:.3g}")


def _check_residual(text: TextFactors, sums: np.ndarray, name: str) -> None:
    """Raise ValueError if the residual is not finite, in these units or in others."""
    if text.known_residual is not None:
        require(isfinite(text.known_residual), f"the residual of {name} is {text.known_residual}")
        return
    expected = text.embedding - text.reference_term
    # If embedding and reference are equal, only zero factors have a residual.
    if sums.any() or expected.any():
        bound = float(np.linalg.norm(sums) + np.linalg.norm(expected)) / np.linalg.norm(expected)
        require(isfinite(bound), f"the residual of {name} is not finite: its factors do not fit its embedding")


def _word_ids(entries: dict[str, Any], n_units: int) -> tuple[int | None, ...] | None:
    if entries.get("word_ids") is None:
        return None
    return read_list(entries, "word_ids", n_units, lambda word: word is None or type(word) is int)


def _spans(entries: dict[str, Any], n_units: int, length: int) -> tuple[tuple[int, int], ...] | None:
    if entries.get("spans") is None:
        return None

    def fits(span: Any) -> bool:
        pair = isinstance(span, list) and len(span) == 2 and all(type(place) is int for place in span)
        return pair and 0 <= span[0] <= span[1] <= length

    return tuple((start, end) for start, end in read_list(entries, "spans", n_units, fits))
