"""Implementation of the command line: load a model, explain one pair or many."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from tqdm import tqdm

from .._utils.table_files.parquet import is_parquet
from .._utils.table_files.rows import check_quoting
from ..attribution.attribution import Attribution
from ..engine import SkippedWarning
from ..models.comparing import ComparingModel
from .lines import Lines
from .loading import load_model
from .options import how_of, prompts_of
from .output import print_account, record, to_json, write_files
from .pairs import BadLine, Columns, Pair, parquet_pairs, read_pairs
from .resume import Results

__all__ = ["explain_file", "explain_pair"]

# The name of a text in messages of `explain_pairs`.
PLACE = re.compile(r"pairs\[(\d+)\]\[([01])\]")
# Batch sizes in pairs. The first batches are small, so that the first results appear soon.
FIRST_BATCH, LARGEST_BATCH = 4, 64


def explain_pair(options: argparse.Namespace) -> None:
    """Explain two texts and print the summary."""
    out = _standard_output()
    text_a, text_b = options.texts
    result = _explain(load_model(options), text_a, text_b, options, None if _on_terminal(sys.stderr) else False)
    to_output = options.json == "-"
    write_files(result, options.html, options.png, None if to_output else options.json, options.top_k)
    if to_output:
        print(to_json(record(result, options.top_k)), file=out)
    else:
        print_account(result, out, options.top_k)


def explain_file(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Explain the pairs of a file in order, as they arrive.

    Args:
        say: called with each message for the user.

    Returns:
        The number of lines that could not be explained. Each is reported.

    Raises:
        ValueError: there are no pairs, the options are invalid for all of them, or the file is malformed. A file is
            checked completely before any explanation. In a pipe, the pairs before the error are explained.
        OSError: the file cannot be read, or the results cannot be written.
    """
    name = "standard input" if options.pairs == "-" else options.pairs
    out = None if options.output else _standard_output()
    _check_file(options, name)
    n_bad, n_found, model = 0, 0, None
    with ExitStack() as stack:
        lines = stack.enter_context(_opened(options, name))
        results = Results(options.output, options.resume) if options.output else None
        if results is not None:
            stack.callback(results.close)
        unit = "row" if isinstance(lines, Rows) else "line"
        n_lines = None if unit == "row" else _n_lines(options.pairs)
        bar = tqdm(total=n_lines, unit=unit, disable=not _on_terminal(sys.stderr))
        stack.enter_context(bar)
        found = _read(lines, name, options, lambda text: say(f"{name}: {text}"))
        for batch in _as_they_come(found, lines):
            n_found += len(batch)
            new = [entry for entry in batch if isinstance(entry, BadLine) or not (results and results.has(entry))]
            if model is None and any(isinstance(entry, Pair) for entry in new):
                model = load_model(options)
                _check_options(model, options)
            for outcome in _outcomes(model, new, options):
                if isinstance(outcome, BadLine):
                    n_bad += 1
                    say(f"error: {name}, {outcome.unit} {outcome.line}: {outcome.problem}")
                else:
                    _deliver(*outcome, options, results, out)
            bar.update(lines.n_read - bar.n)
    if not n_found:
        raise ValueError(f"{name} holds no pairs")
    return n_bad


class Rows:
    """Pairs of a Parquet file or of a folder of them, with the interface of `Lines`. All rows are there at once."""

    def __init__(self, path: str, columns: Columns) -> None:
        self._found = parquet_pairs(path, columns)
        self.n_read = 0
        """Number of rows returned."""

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *error: object) -> None:
        self._found.close()

    def __iter__(self) -> Iterator[Pair | BadLine]:
        for entry in self._found:
            self.n_read += 1
            yield entry

    def ready(self) -> bool:
        """Whether a row is available without waiting."""
        return True


def _opened(options: argparse.Namespace, name: str) -> Lines | Rows:
    if options.pairs != "-" and is_parquet(options.pairs) and os.path.exists(options.pairs):
        check_quoting(options.quoting, "parquet")
        if options.format not in (None, "auto"):
            raise ValueError(f"--format {options.format} does not go with {options.pairs}, which is read as Parquet")
        return Rows(options.pairs, _columns(options))
    return Lines(_standard_input() if options.pairs == "-" else options.pairs, name)


def _columns(options: argparse.Namespace) -> Columns:
    return Columns(options.columns, options.id, options.header)


def _read(
    lines: Lines | Rows, name: str, options: argparse.Namespace, note: Callable[[str], None]
) -> Iterator[Pair | BadLine | None]:
    if isinstance(lines, Rows):
        return iter(lines)
    return read_pairs(lines, name, options.format or "auto", _columns(options), note, options.quoting)


def _check_file(options: argparse.Namespace, name: str) -> None:
    """Reads a whole file before any explanation. Pipes, which can be read only once, are skipped.

    Raises:
        ValueError: the file is malformed, or its format is not supported.
    """
    path = options.pairs
    mode = os.stat(_standard_input() if path == "-" else path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return
    begin = os.lseek(_standard_input(), 0, os.SEEK_CUR) if path == "-" else 0
    with _opened(options, name) as lines:
        for _ in _read(lines, name, options, lambda text: None):
            pass
    if path == "-":
        os.lseek(_standard_input(), begin, os.SEEK_SET)


def _as_they_come(found: Iterator[Pair | BadLine | None], lines: Lines | Rows) -> Iterator[list[Pair | BadLine]]:
    """Yields batches of the entries that have arrived, with at least one entry and a limited size."""
    size, ended = FIRST_BATCH, False
    fault: ValueError | None = None
    while not ended:
        batch: list[Pair | BadLine] = []
        while not batch or (len(batch) < size and lines.ready()):
            try:
                entry = next(found)
            except StopIteration:
                ended = True
                break
            except ValueError as error:
                # The pairs before the error in a pipe are still explained.
                ended, fault = True, error
                break
            if entry is not None:
                batch.append(entry)
        if batch:
            yield batch
        size = min(2 * size, LARGEST_BATCH)
    if fault is not None:
        raise fault


def _outcomes(
    model: ComparingModel | None, entries: list[Pair | BadLine], options: argparse.Namespace
) -> Iterator[tuple[Pair, Attribution] | BadLine]:
    """Yields each pair with its result, and each line without result."""
    pairs = [entry for entry in entries if isinstance(entry, Pair)]
    explained: Iterator[Attribution | BadLine] = iter(())
    if model is not None:
        explained = _explain_together(model, pairs, options)
    for entry in entries:
        if isinstance(entry, BadLine):
            yield entry
            continue
        outcome = next(explained)
        yield outcome if isinstance(outcome, BadLine) else (entry, outcome)


def _explain_together(
    model: ComparingModel, pairs: list[Pair], options: argparse.Namespace
) -> Iterator[Attribution | BadLine]:
    """Yields the results of pairs in order, or the reason why a pair cannot be explained."""
    texts = [(pair.text_a, pair.text_b) for pair in pairs]
    how = {**how_of(options), **prompts_of(options), "units": options.units}
    with _naming_lines(pairs) as problems:
        results = model.explain_pairs(texts, **how, errors="skip", show_progress_bar=False)
    for pair, result in zip(pairs, results, strict=True):
        yield BadLine(pair.line, "; ".join(problems[pair.line]), pair.unit) if result is None else result


@contextmanager
def _naming_lines(pairs: list[Pair]) -> Iterator[dict[int, list[str]]]:
    """Yields the problems of skipped texts by line. Other warnings are shown with the line of the text."""
    problems: dict[int, list[str]] = {pair.line: [] for pair in pairs}
    show = warnings.showwarning

    def show_named(message: Warning | str, category: type[Warning], *place: Any) -> None:
        found = PLACE.search(str(message))
        if found is None:
            show(message, category, *place)
            return
        told, side = pairs[int(found[1])], "ab"[int(found[2])]
        if issubclass(category, SkippedWarning):
            named = PLACE.sub(f"text_{side}", str(message).removeprefix("left out: "))
            # A text gives one warning, which applies to all of its pairs.
            for pair in pairs:
                if pairs[int(found[1])].texts[int(found[2])] in pair.texts:
                    problems[pair.line].append(named)
        else:
            show(PLACE.sub(f"{told.unit} {told.line}, text_{side}", str(message)), category, *place)

    with warnings.catch_warnings():
        # Another batch may give the same warning for the same position.
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show_named
        yield problems


def _check_options(model: ComparingModel, options: argparse.Namespace) -> None:
    """Raises at once the errors that every pair would raise."""
    list(model.explain_pairs([], **how_of(options), **prompts_of(options)))


def _explain(
    model: ComparingModel, text_a: str, text_b: str, options: argparse.Namespace, progress: bool | None
) -> Attribution:
    how = {**how_of(options), **prompts_of(options), "units": options.units}
    return model.explain(text_a, text_b, **how, show_progress_bar=progress)


def _deliver(
    pair: Pair, result: Attribution, options: argparse.Namespace, results: Results | None, out: TextIO | None
) -> None:
    content: dict[str, Any] = {pair.unit: pair.line}
    if pair.id is not None:
        content["id"] = pair.id
    content |= {"units": options.units, **record(result, options.top_k)}
    line = to_json(content)
    if results is not None:
        results.add(content, line)
    elif out is not None:
        tqdm.write(line, file=out)
        out.flush()


def _n_lines(path: str) -> int | None:
    """Returns the number of lines of a file; None if it can be read only once."""
    if path == "-" or not stat.S_ISREG(os.stat(path).st_mode):
        return None
    with open(path, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _standard_output() -> TextIO:
    if sys.stdout is None:
        raise OSError("standard output is closed")
    return sys.stdout


def _standard_input() -> int:
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return sys.stdin.fileno()


def _on_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
