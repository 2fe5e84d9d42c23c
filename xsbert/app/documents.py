"""Documents from pasted text or a dropped file, read as `xsbert rank` reads files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .._utils.table_files.records import BadRecord
from .._utils.table_files.rows import peek, rows_of_lines
from .._utils.table_files.text import lines_of
from ..ranking.retrievers import Retrieved

__all__ = ["as_lines", "read_documents"]


def read_documents(data: bytes, name: str = "documents") -> list[Retrieved]:
    """Read the documents of JSON lines, CSV or TSV with a column ``text``, or of plain text with one a line.

    Args:
        data: The bytes of the text or file.
        name: The name of the file. Its ending marks CSV and TSV. The first character marks JSON lines.

    Raises:
        ValueError: The data is not text, a row has no text, or there are no documents.
    """
    kind, lines = peek(lines_of([data], name), name)
    if kind is None:
        texts = [line.strip() for line in lines if line.strip()]
        documents = [Retrieved(text) for text in texts]
    else:
        documents = []
        for row in rows_of_lines(lines, name, kind, required=["text"]):
            if isinstance(row, BadRecord):
                raise ValueError(f"{name}, {row.place}: {row.problem}")
            documents.append(_document(row.content, f"{name}, {row.place}"))
    if not documents:
        raise ValueError(f"{name} holds no documents")
    return documents


def _document(fields: Mapping[str, Any], place: str) -> Retrieved:
    text = fields.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}: some text under 'text' is needed, got {text!r:.60}")
    key = next((key for key in fields if key.lower() == "id"), None)
    value = None if key is None else fields[key]
    return Retrieved(text, value if value is None or isinstance(value, (str, int, float)) else json.dumps(value))


def as_lines(documents: list[Retrieved]) -> str:
    """Return the documents as text that `read_documents` reads: plain lines where nothing is lost, else JSON lines."""
    plain = all(each.id is None and each.text == " ".join(each.text.split()) for each in documents)
    if plain and not documents[0].text.startswith(("{", "[")):
        return "\n".join(each.text for each in documents)
    rows = [{"text": each.text} if each.id is None else {"id": each.id, "text": each.text} for each in documents]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
