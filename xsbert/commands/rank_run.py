"""The work of `xsbert rank`: read documents, rank them, and tell why."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from ..ranking import Ranking
from ..retrieval import Retrieved
from ..view.ranking_terminal import account
from .loading import load_model

__all__ = ["rank_file", "read_documents"]


def rank_file(options: argparse.Namespace) -> None:
    """Rank the documents of a file, and print and write why.

    Args:
        options: of `xsbert.commands.rank`.
    """
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
        show_progress_bar=None if sys.stderr.isatty() else False,
    )
    _write(ranking, options)


def read_documents(path: str, text_key: str = "text", id_key: str | None = None) -> list[Retrieved]:
    """The documents of a file.

    Args:
        path: of the file, or ``"-"`` for standard input.
        text_key, id_key: of JSON lines.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is not what it should be; named by its number.
    """
    name = "standard input" if path == "-" else path
    content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        # Only line feeds end a line: a text may well hold the others that `splitlines` knows.
        lines = [line.removesuffix("\r") for line in content.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise ValueError(f"{name} holds no documents")
    if not numbered[0][1].startswith("{"):
        return [Retrieved(line) for _, line in numbered]
    documents = []
    for number, line in numbered:
        try:
            documents.append(_of_json(line, text_key, id_key))
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from None
    return documents


def _of_json(line: str, text_key: str, id_key: str | None) -> Retrieved:
    fields = json.loads(line)
    if not isinstance(fields, dict) or not isinstance(fields.get(text_key), str) or not fields[text_key].strip():
        raise ValueError(f"a JSON object with some text under {text_key!r} is needed")
    if id_key is not None and id_key not in fields:
        raise ValueError(f"there is nothing under {id_key!r}")
    return Retrieved(fields[text_key], None if id_key is None else str(fields[id_key]))


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
        Path(options.json).write_text(text + "\n", encoding="ascii")
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    encoding = sys.stdout.encoding or "utf-8"
    for line in account(ranking, width, colours=colours):
        print(line.encode(encoding, "replace").decode(encoding))
