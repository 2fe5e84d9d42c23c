"""The work of `xsbert rank`: read documents, rank them, and tell why."""

from __future__ import annotations

import argparse
import csv
import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..optional import optional
from ..plain import half_surrogate
from ..ranking import Ranking
from ..retrieval import Retrieved
from ..storage import write_text
from ..view.ranking_terminal import account
from .loading import load_model

__all__ = ["rank_file", "read_documents"]


def rank_file(options: argparse.Namespace) -> None:
    """Rank the documents of a file, and print and write why.

    Args:
        options: of `xsbert.commands.rank`.

    Raises:
        OSError: a file cannot be read, or there is no folder for one that is to be written: before any work is done.
        ValueError: the documents are not what they should be.
    """
    _check_folders(options)
    documents = read_documents(options.documents, options.text_key, options.id_key)
    prompts = (options.query_prompt, options.document_prompt)
    ranking = load_model(options).explain_ranking(
        options.query,
        documents,
        top_k=options.top_k,
        detail="pairs" if options.pairs else "highlights",
        units=options.units,
        similarity=options.similarity,
        prompt=None if prompts == (None, None) else prompts,
        passages=options.passages,
        overlap=options.overlap,
        pooling=options.pooling,
        layer=options.layer,
        tolerance=options.tolerance,
        factor_tolerance=options.factor_tolerance,
        show_progress_bar=None if sys.stderr.isatty() else False,
    )
    _write(ranking, options)


def read_documents(path: str, text_key: str = "text", id_key: str | None = None) -> list[Retrieved]:
    """The documents of a file: a table where its name ends in .csv, .tsv or .parquet, else one for each line.

    Args:
        path: of the file, or ``"-"`` for standard input.
        text_key, id_key: of JSON lines, and names of the columns of tables.

    Raises:
        OSError: it cannot be read.
        ImportError: it is a Parquet file, and pyarrow is not installed.
        ValueError: a line or row is not what it should be; named by its number.
    """
    name = "standard input" if path == "-" else path
    suffix = "" if path == "-" else Path(path).suffix.lower()
    if suffix in (".parquet", ".pq"):
        parquet = optional("pyarrow.parquet", '"xsbert[corpus]"', "a Parquet file")
        wanted = [text_key, *([] if id_key is None else [id_key])]
        _check_columns(name, wanted, parquet.read_schema(path).names)
        rows = enumerate(parquet.read_table(path, columns=wanted).to_pylist())
        return _all_of(name, (("row", number, row) for number, row in rows), text_key, id_key)
    content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8: {error}") from None
    if suffix in (".csv", ".tsv"):
        return _of_table(name, text, "\t" if suffix == ".tsv" else ",", text_key, id_key)
    # Only line feeds end a line: a text may well hold the others that `splitlines` knows.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise ValueError(f"{name} holds no documents")
    first = numbered[0][1].lstrip()
    if first.startswith("{") or suffix in (".jsonl", ".ndjson"):
        return _all_of(name, (("line", *each) for each in numbered), text_key, id_key)
    if first[0] in '["' and suffix != ".txt":
        raise ValueError(
            f"{name} begins with {first[0]}, as JSON or CSV would, of which every line would be taken for a document, "
            f"brackets, quotes and commas included: give JSON objects with {text_key!r}, one a line, or a name that "
            "ends in .csv or .tsv, or in .txt for plain text"
        )
    return [Retrieved(line) for _, line in numbered]


def _of_table(name: str, text: str, delimiter: str, text_key: str, id_key: str | None) -> list[Retrieved]:
    """The rows of a CSV or TSV file, whose first line names the columns."""
    csv.field_size_limit(2**31 - 1)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    _check_columns(name, [text_key, *([] if id_key is None else [id_key])], rows.fieldnames or [])
    return _all_of(name, (("line", rows.line_num, row) for row in rows), text_key, id_key)


def _check_columns(name: str, wanted: list[str], found: Any) -> None:
    missing = [key for key in wanted if key not in found]
    if missing:
        raise ValueError(
            f"{name} has no column {', '.join(missing)}; it has {', '.join(found)}. --text-key and --id-key name others"
        )


def _all_of(
    name: str, rows: Iterator[tuple[str, int, str | Mapping[str, Any]]], text_key: str, id_key: str | None
) -> list[Retrieved]:
    documents = []
    for unit, number, row in rows:
        try:
            documents.append(_document(row, text_key, id_key))
        except ValueError as error:
            raise ValueError(f"{name}, {unit} {number}: {error}") from None
    if not documents:
        raise ValueError(f"{name} holds no documents")
    return documents


def _document(row: str | Mapping[str, Any], text_key: str, id_key: str | None) -> Retrieved:
    """Of a line of JSON, or a row of a table."""
    kind = "a JSON object with some text" if isinstance(row, str) else "some text"
    fields: Any = json.loads(row) if isinstance(row, str) else row
    if not isinstance(fields, Mapping) or not isinstance(fields.get(text_key), str) or not fields[text_key].strip():
        raise ValueError(f"{kind} under {text_key!r} is needed")
    # Where `csv` puts what has no column, such as what follows a comma that was not quoted.
    if None in fields:
        raise ValueError(f"there are more fields than in the header: {fields[None]!r:.60}")
    if id_key is not None and id_key not in fields:
        raise ValueError(f"there is nothing under {id_key!r}")
    text, name = fields[text_key], None if id_key is None else fields[id_key]
    broken = half_surrogate(text)
    if broken is not None:
        raise ValueError(f"half of a surrogate pair at character {broken}, which is no Unicode text")
    return Retrieved(text, None if name is None else str(name))


def _check_folders(options: argparse.Namespace) -> None:
    """Refuse files that cannot be written, which would else be found when all is computed."""
    for path in (options.html, options.save, None if options.json == "-" else options.json):
        folder = Path(path).parent if path else Path()
        if path and Path(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder} to write to", path)
        if path and not os.access(path if Path(path).exists() else folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _write(ranking: Ranking, options: argparse.Namespace) -> None:
    if options.html:
        ranking.to_html(options.html)
    if options.save:
        ranking.save(options.save)
    text = json.dumps(ranking.to_dict(), allow_nan=False)
    if options.json == "-":
        print(text)
        return
    if options.json:
        write_text(options.json, text + "\n")
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    encoding = sys.stdout.encoding or "utf-8"
    for line in account(ranking, width, colours=colours):
        print(line.encode(encoding, "replace").decode(encoding))
