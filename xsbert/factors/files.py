"""Files that hold the factors of many texts, for use with a search index.

One safetensors file is written text by text and read at the requested places. For n texts with U units in total and
embeddings of E dimensions it holds

    embeddings           (n, E)   float64
    reference_terms      (n, E)   float64, absent if all are zero, as for a shifted model
    unshifted            (n, E)   float64, embeddings without a shift that was added to the model; zero for texts
                                  without one, absent if no text has one
    factors              (U, E)   float64, text i in rows offsets[i] … offsets[i + 1] − 1
    offsets              (n + 1,) int64
    descriptions         (B,)     JSON of text i in bytes description_offsets[i] … description_offsets[i + 1] − 1
    description_offsets  (n + 1,) int64
    checksums            (n,)     uint32, CRC-32 of the header's checksum and each text's JSON, factors, embedding,
                                  reference term and unshifted embedding

Where each text has numbers of its own, such as the terms of a sparse encoder, E is that of the widest text. Others are
padded with zeros, and the JSON of a text has the number of its own.

The metadata holds these sizes and the settings of the texts as JSON, with a checksum of its own (see
`xsbert._utils.checksummed_safetensors`). Only the requested texts are read, whatever the file size, and everything read
is checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from operator import index
from os import PathLike
from typing import Any, cast
from zlib import crc32

import numpy as np
from safetensors import safe_open

from .._utils.atomic_files import write
from .._utils.checksummed_safetensors import (
    DTYPES,
    FORMAT_VERSION,
    UNREADABLE,
    Header,
    Layout,
    header_bytes,
    library_versions,
    read_header,
)
from .._utils.header_limits import parse_json
from .._utils.json_fields import read_entry, read_fields, require, require_finite
from .serialization import check_numbers, read_text, to_entries
from .text_factors import Settings, TextFactors, check_combinable

__all__ = ["load_factors", "save_factors"]

# Upper bounds on the JSON values in the description of a text, of each of its units and of each of its numbers.
VALUES_OF_A_TEXT, VALUES_PER_UNIT, VALUES_PER_NUMBER = 100, 8, 2
SIZES = ("n_texts", "n_units", "width", "n_bytes")


def save_factors(path: str | PathLike[str], factors: Sequence[TextFactors]) -> None:
    """Write the factors of many texts to one file. The write is atomic and replaces an existing file.

    `load_factors` returns bit-identical factors. The file takes 8 · E bytes per unit, so factors summed to words or
    sentences make a smaller file.

    Args:
        factors: Factors of n texts, from `XSTransformer.text_factors`. Their places in the file follow this order.
            Numbers of nodes, tolerances and units may differ.

    Raises:
        TypeError: An entry is not a `TextFactors`.
        ValueError: There are none, or some cannot be combined with the others, are valid only for one pair, or hold
            numbers that are not finite or have products that would not be.
        OSError: The file cannot be written.

    >>> save_factors(folder / "two.safetensors", model.text_factors(["A cold day.", "Rain"], layer=5))
    """
    factors = list(factors)
    _check(factors)
    settings = {how: number for number, how in enumerate(dict.fromkeys(text.settings for text in factors))}
    descriptions = [_description(text, settings[text.settings]) for text in factors]
    names = ["factors", "embedding"]
    if any(text.reference_term.any() for text in factors):
        names.append("reference_term")
    if any(text.embedding_unshifted is not None for text in factors):
        names.append("embedding_unshifted")
    sizes = {
        "n_texts": len(factors),
        "n_units": sum(len(text.tokens) for text in factors),
        "width": max(1, *(len(text.embedding) for text in factors)),
        "n_bytes": sum(map(len, descriptions)),
    }
    content = {
        "format_version": FORMAT_VERSION,
        "kind": "factors",
        "versions": library_versions(),
        **sizes,
        "reference_terms": "reference_term" in names,
        "unshifted": "embedding_unshifted" in names,
        "settings": [asdict(cast(Settings, how)) for how in settings],
    }
    layout = _layout(**sizes, reference_terms=content["reference_terms"], unshifted=content["unshifted"])
    header, seal = header_bytes(layout, content)
    checksums = [
        _checksum(seal.encode(), description, *(_numbers(text, name, sizes["width"]) for name in names))
        for text, description in zip(factors, descriptions, strict=True)
    ]
    parts: dict[str, Iterable[bytes | np.ndarray]] = {
        "embeddings": (_numbers(text, "embedding", sizes["width"]) for text in factors),
        "reference_terms": (_numbers(text, "reference_term", sizes["width"]) for text in factors),
        "unshifted": (_numbers(text, "embedding_unshifted", sizes["width"]) for text in factors),
        "factors": (_numbers(text, "factors", sizes["width"]) for text in factors),
        "offsets": [_offsets(len(text.tokens) for text in factors)],
        "description_offsets": [_offsets(map(len, descriptions))],
        "checksums": [np.array(checksums, DTYPES["U32"])],
        "descriptions": descriptions,
    }
    write(path, _chunks(header, layout, parts))


def load_factors(path: str | PathLike[str], places: Sequence[int] | None = None) -> list[TextFactors]:
    """Read factors that `save_factors` wrote. `Attribution.of` combines any two of them without the model.

    Args:
        places: Places of the texts to read, 0 … n − 1, in any order and with repetitions. The rest of the file is not
            read. None reads all texts.

    Returns:
        One factor for each place, equal to the saved one.

    Raises:
        OSError: The file does not exist or cannot be read.
        TypeError: A place is not an integer.
        IndexError: A place is not in the file.
        ValueError: The file is damaged, does not hold saved factors, or has an unknown format.

    Warns:
        UserWarning: The file was written by xsbert 0.1.0 and has no checksum over its whole content.

    >>> save_factors(folder / "factors.safetensors", model.text_factors(["A cold day.", "Rain"], layer=5))
    >>> [factors.text for factors in load_factors(folder / "factors.safetensors", places=[1])]
    ['Rain']
    """
    try:
        header = read_header(path, "factors")
        with safe_open(path, framework="numpy") as file:
            stored = _Stored.of(file, header)
            texts = [stored.read(place) for place in _resolve_places(places, stored.n_texts)]
        for text in texts:
            check_combinable(texts[0], text)
    except UNREADABLE as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as saved factors: {error}") from error
    return texts


@dataclass(frozen=True)
class _Stored:
    """An open file of factors with consistent sizes."""

    views: dict[str, Any]
    """Lazy slices of the tensors by name."""
    n_texts: int
    settings: list[Settings]
    seal: bytes
    """The checksum of the header. Empty for files of xsbert 0.1.0."""

    @classmethod
    def of(cls, file: Any, header: Header) -> _Stored:
        content = header.content
        sizes = {name: read_entry(content, name, int) for name in SIZES}
        require(min(sizes.values()) > 0, f"it says that it is empty: {sizes}")
        # Files of earlier versions lack this entry and hold no unshifted embeddings.
        unshifted = "unshifted" in content and read_entry(content, "unshifted", bool)
        layout = _layout(**sizes, reference_terms=read_entry(content, "reference_terms", bool), unshifted=unshifted)
        held = set(file.keys())
        for name in layout:
            require(name in held, f"{name} is missing")
        views = {name: file.get_slice(name) for name in layout}
        for name, (dtype, shape) in layout.items():
            found = (views[name].get_dtype(), tuple(views[name].get_shape()))
            require(found == (dtype, shape), f"{name} has dtype and shape {found}, not {(dtype, shape)}")
        settings = read_entry(content, "settings", list)
        for entries in settings:
            require(isinstance(entries, dict), f"'settings' has an entry of the wrong type: {entries!r:.60}")
        settings = [read_fields(Settings, entries) for entries in settings]
        return cls(views, sizes["n_texts"], settings, header.checksum.encode())

    def read(self, place: int) -> TextFactors:
        """Read and check the factor of one text."""
        name = f"text {place}"
        description = self._rows("descriptions", "description_offsets", place).tobytes()
        arrays = {
            "factors": self._rows("factors", "offsets", place),
            "embedding": self._row("embeddings", place),
        }
        if "reference_terms" in self.views:
            arrays["reference_term"] = self._row("reference_terms", place)
        if "unshifted" in self.views:
            arrays["embedding_unshifted"] = self._row("unshifted", place)
        checksum = _checksum(self.seal, description, *arrays.values())
        require(checksum == self._row("checksums", place), f"{name} does not fit its checksum")
        arrays.setdefault("reference_term", np.zeros_like(arrays["embedding"]))
        for key, array in arrays.items():
            require_finite(array, f"{name}.{key}")
        if "embedding_unshifted" in arrays and not arrays["embedding_unshifted"].any():
            del arrays["embedding_unshifted"]
        n_units, width = arrays["factors"].shape
        entries = parse_json(description, VALUES_OF_A_TEXT + VALUES_PER_UNIT * n_units + VALUES_PER_NUMBER * width)
        require(isinstance(entries, dict), f"the description of {name} is no JSON object")
        if entries.get("outputs") is not None:
            own = read_entry(entries, "width", int)
            require(0 <= own <= width, f"{name} has {own} numbers of {width}")
            arrays = {key: np.ascontiguousarray(array[..., :own]) for key, array in arrays.items()}
        number = read_entry(entries, "settings", int)
        require(0 <= number < len(self.settings), f"{name} has settings {number} of {len(self.settings)}")
        return read_text(entries, arrays, name, self.settings[number])

    def _row(self, name: str, place: int) -> np.ndarray:
        return np.array(self.views[name][place : place + 1][0])

    def _rows(self, name: str, offsets: str, place: int) -> np.ndarray:
        start, end = self.views[offsets][place : place + 2].tolist()
        length = self.views[name].get_shape()[0]
        require(0 <= start < end <= length, f"{offsets} of text {place} are {start} and {end}, of {length} in all")
        return np.array(self.views[name][start:end])


def _resolve_places(places: Sequence[int] | None, n_texts: int) -> Iterable[int]:
    if places is None:
        return range(n_texts)
    resolved = []
    for place in places:
        try:
            resolved.append(index(place))
        except TypeError:
            raise TypeError(f"places must hold integers, got {place!r:.80}") from None
        # Boolean masks are refused. So is −1, which search libraries use to pad missing results.
        if isinstance(place, bool):
            raise TypeError(f"places must hold integers, got {place!r}")
        if not 0 <= place < n_texts:
            raise IndexError(f"places must be between 0 and {n_texts - 1}, got {place}")
    return resolved


def _layout(n_texts: int, n_units: int, width: int, n_bytes: int, reference_terms: bool, unshifted: bool) -> Layout:
    """Return dtype and shape of each tensor. Eight-byte types come first to keep all tensors aligned."""
    layout = {
        "embeddings": ("F64", (n_texts, width)),
        "reference_terms": ("F64", (n_texts, width)),
        "unshifted": ("F64", (n_texts, width)),
        "factors": ("F64", (n_units, width)),
        "offsets": ("I64", (n_texts + 1,)),
        "description_offsets": ("I64", (n_texts + 1,)),
        "checksums": ("U32", (n_texts,)),
        "descriptions": ("U8", (n_bytes,)),
    }
    if not reference_terms:
        del layout["reference_terms"]
    if not unshifted:
        del layout["unshifted"]
    return layout


def _check(factors: Sequence[TextFactors]) -> None:
    """Raise an error for factors that could not be loaded, or not be combined after loading."""
    require(factors, "factors must hold at least one text, got none")
    for place, text in enumerate(factors):
        name = f"factors[{place}]"
        if not isinstance(text, TextFactors):
            raise TypeError(f"{name} must be a TextFactors, got {type(text).__name__}")
        try:
            check_combinable(factors[0], text)
        except ValueError as error:
            raise ValueError(f"{name} does not go with factors[0]: {error}") from error
        require(
            text.known_residual is None,
            f"{name} was projected on the other text of its pair, and is good for that pair alone; "
            "text_factors computes factors that are good for any",
        )
        width = len(text.embedding)
        shapes = {"factors": (len(text.tokens), width), "embedding": (width,), "reference_term": (width,)}
        if text.embedding_unshifted is not None:
            shapes["embedding_unshifted"] = (width,)
        for key, shape in shapes.items():
            array = getattr(text, key)
            require(
                array.shape == shape and (array.size or text.outputs is not None),
                f"{name}.{key} has shape {array.shape}, not {shape}",
            )
            require_finite(array, f"{name}.{key}")
        check_numbers(text, name)


def _description(text: TextFactors, number: int) -> bytes:
    """Return everything but the arrays as JSON, with settings by their index."""
    entries = {**to_entries(text), "settings": number}
    return json.dumps(entries, allow_nan=False, separators=(",", ":")).encode()


def _numbers(text: TextFactors, name: str, width: int) -> np.ndarray:
    """Return an array of a text, padded with zeros to the widest, if each text has numbers of its own."""
    array = np.zeros_like(text.embedding) if getattr(text, name) is None else getattr(text, name)
    short = width - array.shape[-1]
    if short:
        array = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, short)])
    return np.ascontiguousarray(array, DTYPES["F64"])


def _offsets(lengths: Iterable[int]) -> np.ndarray:
    """Return the (n + 1,) start positions of n parts and the end of the last."""
    return np.array([*accumulate(lengths, initial=0)], DTYPES["I64"])


def _checksum(*parts: bytes | np.ndarray) -> int:
    checksum = 0
    for part in parts:
        checksum = crc32(part.data if isinstance(part, np.ndarray) else part, checksum)
    return checksum


def _chunks(
    header: bytes, layout: Layout, parts: dict[str, Iterable[bytes | np.ndarray]]
) -> Iterator[bytes | np.ndarray]:
    """Yield the bytes of the file text by text, to keep memory use low."""
    yield header
    for name in layout:
        yield from parts[name]
