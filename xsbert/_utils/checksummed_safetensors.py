"""Safetensors files with a JSON description and checksums.

The JSON is the value of the key ``"xsbert"`` in the file's metadata. The value of ``"checksum"`` is the SHA-256 of the
rest of the header: the layout of the tensors and the JSON. The JSON contains checksums of the data, so every byte read
is verified. Files are untrusted nevertheless: all values are validated, duplicate keys raise an error, and reading
executes no code.

Files of format 1, written by xsbert 0.1.0, have no checksum of the header.
"""

from __future__ import annotations

import json
import os
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from math import prod
from os import PathLike
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from .atomic_files import check_regular
from .header_limits import parse_json
from .json_fields import read_entry, require
from .stacklevel import caller_level
from .version import __version__

__all__ = [
    "DTYPES",
    "FORMAT_VERSION",
    "KEY",
    "UNREADABLE",
    "Header",
    "Layout",
    "header_bytes",
    "library_versions",
    "read_arrays",
    "read_header",
    "reading",
]

FORMAT_VERSION = 2
UNSEALED = 1
KEY, CHECKSUM = "xsbert", "checksum"
KINDS = {
    "result": "a result, which Attribution.load reads",
    "factors": "factors, which load_factors reads",
    "ranking": "a ranking, which Ranking.load reads",
}
UNREADABLE = (SafetensorError, ValueError, OverflowError, RecursionError)
LIBRARIES = ("torch", "transformers", "sentence-transformers")
DTYPES = {"F64": np.dtype("<f8"), "I64": np.dtype("<i8"), "U32": np.dtype("<u4"), "U8": np.dtype("u1")}
# The limit of the safetensors format.
MAX_HEADER = 100_000_000
# Values that a header needs. A tensor has at least one byte, and 60 bytes of the header for 8 values. The JSON
# describes the units and, without arrays, has 12 values for each hit in 150 bytes.
FIXED_VALUES, VALUES_PER_BYTE, BYTES_PER_VALUE = 1000, 8, 7
VALUES_PER_UNIT, VALUES_PER_TENSOR, BYTES_PER_JSON_VALUE = 8, 100, 12
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Data type and shape of each tensor, in the order of the file."""


@dataclass(frozen=True)
class Header:
    """The header of a file, verified by its checksum."""

    content: dict[str, Any]
    """The JSON."""
    checksum: str
    """Checksum of the header; empty for a file of format 1."""
    n_bytes: int
    """Offset of the data."""


def header_bytes(layout: Layout, content: Mapping[str, Any]) -> tuple[bytes, str]:
    """Returns the bytes of a file before its data, and the checksum in them.

    Raises:
        ValueError: the content has non-finite numbers.
    """
    stated: dict[str, str] = {KEY: json.dumps(content, allow_nan=False)}
    header: dict[str, Any] = {"__metadata__": stated}
    start = 0
    for name, (dtype, shape) in layout.items():
        end = start + DTYPES[dtype].itemsize * prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
        start = end
    stated[CHECKSUM] = _checksum(header)
    encoded = json.dumps(header).encode()
    # Aligns the data.
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded, stated[CHECKSUM]


def read_header(path: str | PathLike[str], kind: str) -> Header:
    """Reads the header of a file of the given kind.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: the file is damaged, of another kind, or of an unknown format.

    Warns:
        UserWarning: the file is of format 1.
    """
    check_regular(path)
    with open(path, "rb") as file:
        return _parse_header(file.read(8), file.read, os.fstat(file.fileno()).st_size, kind, path)


def read_arrays(path: str | PathLike[str], kind: str) -> tuple[Header, dict[str, tuple[str, np.ndarray]]]:
    """Reads a file and verifies the checksum of its data. Returns the header, and data type and values by name.

    Values of types that xsbert does not write are returned as bytes.

    Raises, warns:
        As `read_header`.
    """
    check_regular(path)
    with open(path, "rb") as file:
        raw = file.read()
    header = _parse_header(raw[:8], lambda n_bytes: raw[8 : 8 + n_bytes], len(raw), kind, path)
    if header.checksum:
        stated = read_entry(header.content, "data", str)
        require(stated == sha256(memoryview(raw)[header.n_bytes :]).hexdigest(), "its data do not fit their checksum")
    arrays = {}
    for name, entry in deserialize(raw):
        dtype = DTYPES.get(entry["dtype"], DTYPES["U8"])
        values = np.frombuffer(entry["data"], dtype)
        arrays[name] = (entry["dtype"], values.reshape(entry["shape"]) if entry["dtype"] in DTYPES else values)
    return header, arrays


def library_versions() -> dict[str, str]:
    """Returns the versions of this library and of the libraries that affect numbers."""
    versions = {"xsbert": __version__}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "unknown"
    return versions


def _checksum(header: Mapping[str, Any]) -> str:
    """Returns the checksum of a header's content, independent of its formatting."""
    stated = {key: value for key, value in header["__metadata__"].items() if key != CHECKSUM}
    canonical = json.dumps({**header, "__metadata__": stated}, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()


def _parse_header(length: bytes, read: Any, size: int, kind: str, path: str | PathLike[str]) -> Header:
    require(len(length) == 8, f"it has {size} bytes, too few for a header")
    (n_header,) = struct.unpack("<Q", length)
    require(n_header <= min(size - 8, MAX_HEADER), f"its header would have {n_header} bytes, of {size} of the file")
    n_data = size - 8 - n_header
    header = parse_json(read(n_header), FIXED_VALUES + min(VALUES_PER_BYTE * n_data, n_header // BYTES_PER_VALUE))
    require(isinstance(header, dict), "its header is no JSON object")
    stated = header.get("__metadata__")
    require(isinstance(stated, dict) and isinstance(stated.get(KEY), str), "it has no xsbert metadata")
    checksum = stated.get(CHECKSUM, "")
    require(CHECKSUM not in stated or checksum == _checksum(header), "its header does not fit its checksum")
    content = parse_json(stated[KEY], _most_values(header, n_data, len(stated[KEY])))
    require(isinstance(content, dict), "its metadata are no JSON object")
    _check_version(content, checksum, path)
    found = read_entry(content, "kind", str) if "kind" in content else "result"
    require(found == kind, f"it holds {KINDS.get(found, f'{found!r:.40}')}")
    return Header(content, checksum, 8 + n_header)


def _most_values(header: Mapping[str, Any], n_data: int, n_json: int) -> int:
    """Returns the largest number of values in the JSON: for the units in the arrays, and for entries without arrays."""
    shapes = [entry.get("shape") for entry in header.values() if isinstance(entry, dict)]
    lengths = [shape[0] for shape in shapes if isinstance(shape, list) and shape and isinstance(shape[0], int)]
    n_units = min(sum(max(length, 0) for length in lengths), n_data)
    of_arrays = VALUES_PER_UNIT * n_units + VALUES_PER_TENSOR * len(header)
    return FIXED_VALUES + of_arrays + n_json // BYTES_PER_JSON_VALUE


def _check_version(content: dict[str, Any], checksum: str, path: str | PathLike[str]) -> None:
    version = read_entry(content, "format_version", int)
    newer = "; upgrade xsbert" if version > FORMAT_VERSION else ""
    require(
        UNSEALED <= version <= FORMAT_VERSION,
        f"it has format version {version}, and this xsbert reads versions {UNSEALED} to {FORMAT_VERSION}{newer}",
    )
    has, needs = ("has a", "has none") if checksum else ("has no", "needs one")
    require(bool(checksum) == (version > UNSEALED), f"it {has} checksum, and format version {version} {needs}")
    if version == UNSEALED:
        warnings.warn(
            f"{os.fspath(path)} was written by xsbert 0.1.0, which adds no checksum over the whole file, so damage "
            "may go unnoticed. Save it again to add one",
            stacklevel=caller_level(),
        )


@contextmanager
def reading(path: str | PathLike[str], what: str) -> Iterator[None]:
    """Converts errors of a file's content to a ValueError that names the file.

    Args:
        path: path of the file.
        what: expected kind of the file, such as ``"saved result"``.
    """
    try:
        yield
    except UNREADABLE as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as a {what}: {error}") from error
