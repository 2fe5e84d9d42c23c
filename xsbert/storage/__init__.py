"""Bytes ⇄ fields: files that are whole or not there, safetensors under a checksum, and entries of JSON.

It knows no class of results; what holds which fields is said in `xsbert.stored_text`, `xsbert.results` and
`xsbert.factor_files`.
"""

from .fields import read_entry, read_error, read_fields, read_list, require, require_finite
from .files import check_regular, write, write_text
from .sealed import (
    DTYPES,
    FORMAT_VERSION,
    KEY,
    UNREADABLE,
    Header,
    Layout,
    header_bytes,
    library_versions,
    read_arrays,
    read_header,
)
from .structure import check_structure, parse_json

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
    "require",
    "require_finite",
    "write",
    "write_text",
]
