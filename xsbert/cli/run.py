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

from ..attribution.attribution import Attribution
from ..engine import SkippedWarning
from ..models import XSTransformer
from .lines import Lines
from .loading import load_model
from .output import print_account, record, to_json, write_files
from .pairs import BadLine, Columns, Pair, read_pairs
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
    write_files(result, options.html, options.png, None if to_output else options.json, options.top)
    if to_output:
        print(to_json(record(result, options.top)), file=out)
    else:
        print_account(result, out, options.top)


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
        lines = stack.enter_context(Lines(_standard_input() if options.pairs == "-" else options.pairs, name))
        results = Results(options.output, options.resume) if options.output else None
        if results is not None:
            stack.callback(results.close)
        bar = tqdm(total=_n_lines(options.pairs), unit="line", disable=not _on_terminal(sys.stderr))
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
                    say(f"error: {name}, line {outcome.line}: {outcome.problem}")
                else:
                    _deliver(*outcome, options, results, out)
            bar.update(lines.n_read - bar.n)
    if not n_found:
        raise ValueError(f"{name} holds no pairs")
    return n_bad


def _read(
    lines: Lines, name: str, options: argparse.Namespace, note: Callable[[str], None]
) -> Iterator[Pair | BadLine | None]:
    columns = Columns(options.text_a, options.text_b, options.id, options.header)
    return read_pairs(lines, name, options.format or "auto", columns, note, options.quoting)


def _check_file(options: argparse.Namespace, name: str) -> None:
    """Reads a whole file before any explanation. Pipes, which can be read only once, are skipped.

    Raises:
        ValueError: the file is malformed, or its format is not supported.
        IsADirectoryError: the path is a folder.
    """
    if options.pairs != "-" and os.path.isdir(options.pairs):
        raise IsADirectoryError(
            f"--pairs {options.pairs} is a folder: give a CSV, TSV or JSON-lines file; `xsbert corpus` reads folders "
            "of Parquet files"
        )
    source = _standard_input() if options.pairs == "-" else options.pairs
    if not stat.S_ISREG(os.stat(source).st_mode):
        return
    begin = os.lseek(source, 0, os.SEEK_CUR) if isinstance(source, int) else 0
    with Lines(source, name) as lines:
        for _ in _read(lines, name, options, lambda text: None):
            pass
    if isinstance(source, int):
        os.lseek(source, begin, os.SEEK_SET)


def _as_they_come(found: Iterator[Pair | BadLine | None], lines: Lines) -> Iterator[list[Pair | BadLine]]:
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
    model: XSTransformer | None, entries: list[Pair | BadLine], options: argparse.Namespace
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
    model: XSTransformer, pairs: list[Pair], options: argparse.Namespace
) -> Iterator[Attribution | BadLine]:
    """Yields the results of pairs in order, or the reason why a pair cannot be explained."""
    texts = [(pair.text_a, pair.text_b) for pair in pairs]
    how = {**_how(options), **_prompts(options), "units": "words" if options.words else "tokens"}
    with _naming_lines(pairs) as problems:
        results = model.explain_pairs(texts, **how, errors="skip", show_progress_bar=False)
    for pair, result in zip(pairs, results, strict=True):
        yield BadLine(pair.line, "; ".join(problems[pair.line])) if result is None else result


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
        line, side = pairs[int(found[1])].line, "ab"[int(found[2])]
        if issubclass(category, SkippedWarning):
            named = PLACE.sub(f"text_{side}", str(message).removeprefix("left out: "))
            # A text gives one warning, which applies to all of its pairs.
            for pair in pairs:
                if pairs[int(found[1])].texts[int(found[2])] in pair.texts:
                    problems[pair.line].append(named)
        else:
            show(PLACE.sub(f"line {line}, text_{side}", str(message)), category, *place)

    with warnings.catch_warnings():
        # Another batch may give the same warning for the same position.
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show_named
        yield problems


def _check_options(model: XSTransformer, options: argparse.Namespace) -> None:
    """Raises at once the errors that every pair would raise."""
    list(model.explain_pairs([], **_how(options), **_prompts(options)))


def _explain(
    model: XSTransformer, text_a: str, text_b: str, options: argparse.Namespace, progress: bool | None
) -> Attribution:
    result = model.attribute_prediction(
        text_a, text_b, **_how(options), **_prompts(options), show_progress_bar=progress
    )
    return result.words() if options.words else result


def _how(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "layer": options.layer,
        "tolerance": options.tolerance,
        "factor_tolerance": options.factor_tolerance,
        "n_steps": options.n_steps,
        "rule": options.rule or "gauss-legendre",
        "similarity": options.similarity,
        "reference_prompt": options.reference_prompt,
    }


def _prompts(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the prompt or its name: one for both texts, or a pair."""
    name = "prompt" if options.prompt_name is None else "prompt_name"
    values = getattr(options, name)
    return {name: None if values is None else values[0] if len(values) == 1 else (values[0], values[1])}


def _deliver(
    pair: Pair, result: Attribution, options: argparse.Namespace, results: Results | None, out: TextIO | None
) -> None:
    content: dict[str, Any] = {"line": pair.line}
    if pair.id is not None:
        content["id"] = pair.id
    content |= {"units": "words" if options.words else "tokens", **record(result, options.top)}
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
