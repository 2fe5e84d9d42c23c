"""Implementation of `xsbert rank`: read documents, rank them, and explain the ranking."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._utils.atomic_files import write_text
from .._utils.table_files.advice import advise
from .._utils.table_files.parquet import is_parquet
from .._utils.table_files.records import BadRecord, Record, json_problem
from .._utils.table_files.rows import MissingColumnError, check_quoting, peek, read_rows, rows_of_lines
from .._utils.table_files.text import lines_of
from .._utils.unicode import half_surrogate
from ..ranking.ranking import Ranking
from ..ranking.retrievers import Retrieved
from ..view.ranking_terminal import summarize
from .loading import load_model
from .options import how_of, prompts_of
from .output import check_folders
from .pairs import spelled_id

__all__ = ["rank_file", "read_documents"]


def rank_file(options: argparse.Namespace) -> None:
    """Rank the documents of a file, and print and write the explanation.

    Args:
        options: options of `xsbert.cli.rank`.

    Raises:
        OSError: a file cannot be read, or the folder of an output file does not exist. This is checked first.
        ValueError: the documents are invalid.
    """
    check_folders(options.html, options.save, None if options.json == "-" else options.json)
    documents = read_documents(options.documents, options.columns[0], options.id, options.quoting)
    ranking = load_model(options).explain_ranking(
        options.query,
        documents,
        top_k=options.top_k,
        detail=options.detail,
        units=options.units,
        passages=options.passages,
        overlap=options.overlap,
        pooling=options.pooling,
        **how_of(options),
        **prompts_of(options),
        show_progress_bar=None if sys.stderr.isatty() else False,
    )
    _write(ranking, options)


def read_documents(
    path: str, column: str = "text", id: str | None = None, quoting: bool | None = None
) -> list[Retrieved]:
    """Reads the documents of a table or of JSON lines; any other file has one document per line.

    Args:
        path: path of the file or of a folder of Parquet files, or ``"-"`` for standard input.
        column, id: names of the columns, or keys of JSON lines, of the texts and of the ids. ``id`` defaults to
            ``"id"``, case-insensitive.
        quoting: for CSV and TSV, whether quotes enclose fields; None means True for CSV and False for TSV.

    Raises:
        OSError: the file cannot be read.
        ImportError: the file is a Parquet file, and pyarrow is not installed.
        ValueError: a line or row is invalid. The message gives its number.
    """
    name = "standard input" if path == "-" else path
    required = [column, *([] if id is None else [id])]
    if path != "-" and is_parquet(path) and Path(path).exists():
        rows: Iterable[Record | BadRecord] = read_rows(path, required=required, quoting=quoting)
        return _all_of(name, rows, column, id)
    kind, lines = peek(lines_of([sys.stdin.buffer.read()] if path == "-" else path, name), name)
    if kind is not None:
        rows = rows_of_lines(lines, name, kind, required=required, quoting=quoting)
        return _all_of(name, rows, column, id)
    check_quoting(quoting, "lines")
    texts = [line.removesuffix("\n").removesuffix("\r") for line in lines if line.strip()]
    if not texts:
        raise ValueError(f"{name} holds no documents")
    first = texts[0].lstrip()[0]
    if first in '["' and Path(path).suffix.lower() != ".txt":
        raise ValueError(
            f"{name} begins with {first}, like JSON or CSV, and every line would become a document, brackets, quotes "
            f"and commas included: pass JSON objects with {column!r}, one a line, or a name that "
            "ends in .csv or .tsv, or in .txt for plain text"
        )
    return [Retrieved(line) for line in texts]


def _all_of(name: str, rows: Iterable[Record | BadRecord], column: str, id: str | None) -> list[Retrieved]:
    documents = []
    try:
        for row in rows:
            if isinstance(row, BadRecord):
                raise ValueError(f"{name}, {row.place}: {row.problem}")
            try:
                documents.append(_document(row.content, column, id))
            except ValueError as error:
                raise ValueError(f"{name}, {row.place}: {error}") from None
    except MissingColumnError as error:
        raise advise(error, "{columns} and {id} name others") from None
    if not documents:
        raise ValueError(f"{name} holds no documents")
    return documents


def _document(fields: Mapping[str, Any], column: str, id: str | None) -> Retrieved:
    """Returns the document of a JSON object or of a table row."""
    text = fields.get(column)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"some text under {column!r} is needed, got {text!r:.60}")
    if id is not None and id not in fields:
        raise ValueError(f"there is nothing under {id!r}")
    broken = half_surrogate(text)
    if broken is not None:
        raise ValueError(f"character {broken} is half of a surrogate pair, so this is not Unicode text")
    key = spelled_id([*fields], "--id") if id is None else id
    return Retrieved(text, None if key is None else _identity(key, fields[key]))


def _identity(key: str, value: Any) -> str | None:
    """Returns an id as a string; null stays None."""
    if value is None or isinstance(value, str):
        return value
    problem = json_problem(value)
    if problem is not None:
        raise ValueError(f"the value of {key!r} cannot be an id, got {value!r:.60}: {problem}")
    return json.dumps(value)


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
    for line in summarize(ranking, width, colours=colours):
        print(line.encode(encoding, "replace").decode(encoding))
