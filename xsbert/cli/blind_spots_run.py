"""Implementation of `xsbert blind-spots`: read texts, edit and score them, and compare with another model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._utils.atomic_files import write_text
from .._utils.table_files.parquet import is_parquet
from ..evaluation.blindness import BlindSpots, blind_spots
from ..view.terminal import printable
from .lines import Lines
from .loading import load_model
from .options import how_of, prompts_of
from .output import check_folders, to_json
from .pairs import BadLine, Columns, parquet_pairs, read_pairs
from .rank_run import read_documents

__all__ = ["blind_spots_of_file"]


def blind_spots_of_file(options: argparse.Namespace, say: Callable[[str], None]) -> bool:
    """Find the blind spots of a model on the texts of a file, and print and write them.

    Args:
        options: options of `xsbert.cli.blind_spots`.
        say: called with each reason why the model does not pass.

    Returns:
        Whether the model passes; True without ``--fail-above`` and ``--fail-if-worse``.

    Raises:
        OSError: a file cannot be read, or the folder of an output file does not exist. This is checked first.
        ValueError: the texts or options are invalid.
    """
    check_folders(options.csv, None if options.json == "-" else options.json)
    texts = _texts(options)
    how: dict[str, Any] = {
        **{name: getattr(options, name) for name in ("kinds", "quantile", "threshold", "language")},
        **how_of(options),
        **prompts_of(options),
        "show_progress_bar": None if sys.stderr is not None and sys.stderr.isatty() else False,
    }
    table = blind_spots(load_model(options), texts, explain=options.explain, **how)
    comparison = None
    if options.against is not None:
        other = argparse.Namespace(**{**vars(options), "model": options.against})
        comparison = table.compare(blind_spots(load_model(other), texts, explain=0, **how))
    if options.csv:
        table.to_csv(options.csv)
    content = table.to_dict() | {"comparison": None if comparison is None else comparison.to_dict()}
    if options.json == "-":
        print(to_json(content))
    else:
        if options.json:
            write_text(options.json, to_json(content) + "\n")
        encoding = sys.stdout.encoding or "utf-8"
        for shown in [table] if comparison is None else [table, comparison]:
            print(printable(str(shown)).encode(encoding, "replace").decode(encoding))
    problems = _problems(table, options)
    if comparison is not None and options.fail_if_worse:
        problems += [f"{row.kind} collapses more often than with {comparison.other_model}" for row in comparison.worse]
    for problem in problems:
        say(f"blind: {problem}")
    return not problems


def _problems(table: BlindSpots, options: argparse.Namespace) -> list[str]:
    if options.fail_above is None:
        return []
    share: float = options.fail_above
    found = [
        f"{kind}: {rate} of {rate.n} edits collapse, more than {share:g}"
        for kind, rate in table.failures(
            share if options.kinds is None else dict.fromkeys(options.kinds, share)
        ).items()
    ]
    return found if table.separates else [*found, table.sentence]


def _texts(options: argparse.Namespace) -> list[Any]:
    """Returns the texts of the file, or its pairs."""
    if len(options.columns) == 1:
        return [each.text for each in read_documents(options.texts, options.columns[0], quoting=options.quoting)]
    name = "standard input" if options.texts == "-" else options.texts
    columns = Columns(options.columns)
    if options.texts != "-" and is_parquet(options.texts) and Path(options.texts).exists():
        found = [*parquet_pairs(options.texts, columns)]
    else:
        with Lines(0 if options.texts == "-" else options.texts, name) as lines:
            entries = read_pairs(lines, name, "auto", columns, lambda message: None, options.quoting)
            found = [entry for entry in entries if entry is not None]
    for entry in found:
        if isinstance(entry, BadLine):
            raise ValueError(f"{name}, {entry.unit} {entry.line}: {entry.problem}")
    if not found:
        raise ValueError(f"{name} holds no pairs")
    return [entry.texts for entry in found if not isinstance(entry, BadLine)]
