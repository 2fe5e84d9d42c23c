"""Safetensors files that say in JSON what they hold, under a checksum.

The JSON lies under the key ``"xsbert"`` of the file's own metadata. Beside it, under ``"checksum"``, is the SHA-256 of
all the header but itself: layout of the tensors and JSON. The JSON in turn holds checksums of the data, so that no byte
that is read goes unchecked. Files are taken for untrusted all the same: whatever is read is looked at, keys that stand
twice are refused, and reading executes nothing.

Files of format 1, which xsbert 0.1.0 wrote, have no checksum of the header.
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

from .atomic_files import check_regular, write, write_text
from .header_limits import check_structure, parse_json
from .json_fields import read_entry, read_error, read_fields, read_list, require, require_finite
from .stacklevel import caller_level
from .version import __version__

__all__ = [
    "DTYPES",
    "FORMAT_VERSION",
    "KEY",
    "UNREADABLE",
    "Header",
    "Layout",
    "check_regular",
    "check_structure",
    "header_bytes",
    "library_versions",
    "parse_json",
    "read_arrays",
    "read_entry",
    "read_error",
    "read_fields",
    "read_header",
    "read_list",
    "reading",
    "require",
    "require_finite",
    "write",
    "write_text",
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
# As the format itself has it.
MAX_HEADER = 100_000_000
# What a header needs: of its tensors, each of which takes a byte at least and 60 bytes of the header for 8 values, and
# of the JSON, which describes the units and holds 12 values for each hit without arrays, in 150 bytes.
FIXED_VALUES, VALUES_PER_BYTE, BYTES_PER_VALUE = 1000, 8, 7
VALUES_PER_UNIT, VALUES_PER_TENSOR, BYTES_PER_JSON_VALUE = 8, 100, 12
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Data type and shape of each tensor, in the order of the file."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself, checked against its checksum."""

    content: dict[str, Any]
    """The JSON."""
    checksum: str
    """Empty for a file of format 1."""
    n_bytes: int
    """Where the data begin."""


def header_bytes(layout: Layout, content: Mapping[str, Any]) -> tuple[bytes, str]:
    """The beginning of a file, up to its data, and the checksum in it.

    Raises:
        ValueError: the content holds numbers that are not finite.
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
    # So that the data lie aligned.
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded, stated[CHECKSUM]


def read_header(path: str | PathLike[str], kind: str) -> Header:
    """What a file of this kind says of itself.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: the file is damaged, of another kind, or of a format that is not known.

    Warns:
        UserWarning: the file is of format 1.
    """
    check_regular(path)
    with open(path, "rb") as file:
        return _parse_header(file.read(8), file.read, os.fstat(file.fileno()).st_size, kind, path)


def read_arrays(path: str | PathLike[str], kind: str) -> tuple[Header, dict[str, tuple[str, np.ndarray]]]:
    """All of a file whose JSON holds the checksum of its data: what it says, and data type and values by name.

    Values of a type that xsbert does not write come as bytes.

    Raises, warns:
        as `read_header`.
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
    """The versions of this library and of those that the numbers depend on."""
    versions = {"xsbert": __version__}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "unknown"
    return versions


def _checksum(header: Mapping[str, Any]) -> str:
    """Of what a header says, however it is spelled."""
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
    """How many values the JSON may hold: what the units in the arrays need, and what takes no arrays."""
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
            f"{os.fspath(path)} was written by xsbert 0.1.0, whose files have no checksum over all that they hold: "
            "damage to it may go unnoticed. Save it again to add one",
            stacklevel=caller_level(),
        )


@contextmanager
def reading(path: str | PathLike[str], what: str) -> Iterator[None]:
    """Turn whatever is wrong with a file into a ValueError that names it.

    Args:
        path: of the file.
        what: it should be, such as ``"saved result"``.
    """
    try:
        yield
    except UNREADABLE as error:
        raise ValueError(f"{os.fspath(path)} cannot be read as a {what}: {error}") from error
