"""`xsbert rank "query" documents.jsonl`: rank documents of a file and tell why."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..ranking import Ranking
    from ..retrieval import Retrieved

__all__ = ["asked_for", "parse", "read_documents", "run"]

NAME = "rank"
# Those of xsbert.ranking, which takes seconds to import.
UNITS = ("tokens", "words", "sentences")

EPILOG = """\
The file holds one document per line: JSON objects where the first line begins with {, whose text has the key "text"
(--text-key names another, --id-key that of a name), or else plain text. Empty lines of plain text are skipped.

examples:
  xsbert rank "how do plants make sugar" documents.jsonl --top-k 10 --html ranking.html
  xsbert rank "who sings" songs.txt --passages 128 --json -
"""


def asked_for(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for this, and not for the similarity of the text “rank” and another."""
    return list(arguments[:1]) == [NAME] and (len(arguments) != 2 or arguments[1].startswith("-"))


def parser() -> argparse.ArgumentParser:
    """The parser of its arguments."""
    found = argparse.ArgumentParser(
        prog="xsbert rank",
        description="Rank the documents of a file by the model's own scores, and tell which words made them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("query", metavar="QUERY")
    found.add_argument("documents", metavar="FILE", help="documents, - for standard input")
    found.add_argument("--top-k", type=int, default=10, help="explain the best k (default: 10)")
    found.add_argument("--text-key", default="text", help='key of the text in JSON lines (default: "text")')
    found.add_argument("--id-key", help="key of a document's name in JSON lines")

    model = found.add_argument_group("model")
    model.add_argument("--model", help="model id or local path (default: all-MiniLM-L6-v2)")
    model.add_argument("--reference", help="reference token: unk (default), pad, mask or any of the vocabulary")
    model.add_argument("--query-prompt", help="put before the query, in place of the model's own")
    model.add_argument("--document-prompt", help="put before the documents, in place of the model's own")

    how = found.add_argument_group("attribution")
    how.add_argument("--pairs", action="store_true", help="pairs of words as well, which take longer")
    how.add_argument("--units", choices=UNITS, default="words", help="of the documents (default: words)")
    how.add_argument("--passages", type=int, metavar="N", help="score documents by passages of N tokens")
    how.add_argument("--overlap", type=int, default=32, help="tokens that passages share (default: 32)")
    how.add_argument("--pooling", choices=("max", "mean"), default="max", help="of passages' scores (default: max)")
    how.add_argument("--layer", type=int, default=-2, help="layer whose inputs are explained, 0 … L (default: -2)")
    how.add_argument("--similarity", choices=("cosine", "dot"), help="default: the model's own")
    how.add_argument("--tolerance", type=float, help="relative residual to be reached (default: 0.01)")

    output = found.add_argument_group("output")
    output.add_argument("--html", metavar="FILE", help="write the interactive page")
    output.add_argument("--save", metavar="FILE", help="write the ranking, which Ranking.load reads")
    output.add_argument("--json", metavar="FILE", help="write all numbers; - for standard output, in place of the text")
    return found


def run(options: argparse.Namespace, load: Callable[[argparse.Namespace], Any]) -> None:
    """Rank, explain and print.

    Args:
        options: of `parser`.
        load: makes the model of ``options.model`` and ``options.reference``.
    """
    documents = read_documents(options.documents, options.text_key, options.id_key)
    prompts = (options.query_prompt, options.document_prompt)
    ranking = load(options).explain_ranking(
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
        from ..retrieval import Retrieved

        return [Retrieved(line) for _, line in numbered]
    documents = []
    for number, line in numbered:
        try:
            documents.append(_of_json(line, text_key, id_key))
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from None
    return documents


def _of_json(line: str, text_key: str, id_key: str | None) -> Retrieved:
    from ..retrieval import Retrieved

    fields = json.loads(line)
    if not isinstance(fields, dict) or not isinstance(fields.get(text_key), str) or not fields[text_key].strip():
        raise ValueError(f"a JSON object with some text under {text_key!r} is needed")
    if id_key is not None and id_key not in fields:
        raise ValueError(f"there is nothing under {id_key!r}")
    return Retrieved(fields[text_key], None if id_key is None else str(fields[id_key]))


def _write(ranking: Ranking, options: argparse.Namespace) -> None:
    from ..view.ranking_terminal import account

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


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Its options, with those that loading a model needs.

    Raises:
        SystemExit: they make no sense, or ask for help.
    """
    options = parser().parse_args(arguments)
    options.shift, options.reference_positions, options.run = False, None, run
    return options
