"""One function from columns to columns: texts in, explanations out. Both ways of running apply it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ..attribution import Attribution, TextFactors
from ..models import XSTransformer
from .rows import factors_row, highlights_row, pairs_row, schema_of, table_of
from .task import Task, quiet

__all__ = ["Failure", "Key", "explain_columns", "factors_or_failures", "keys_of"]

Key = tuple[str | None, str]
"""Prompt and text."""
# After such an error the device is gone: all that follows would fail as well.
FATAL = tuple(getattr(torch, name) for name in ("AcceleratorError",) if hasattr(torch, name))


@dataclass(frozen=True)
class Failure:
    """Why a text could not be explained."""

    reason: str


def explain_columns(
    model: XSTransformer,
    columns: pa.Table,
    task: Task,
    known: Mapping[Key, TextFactors] | None = None,
    *,
    memory_budget: float | None = None,
    show_progress_bar: bool | None = False,
) -> pa.Table:
    """Explain a table of texts: one row in, one row out, in the same order.

    Nothing but the model and the arguments decides the result, so it does not matter where or when it is called.
    Each distinct text is computed once, the longest first.

    Args:
        model: the one that the task was made for.
        columns: texts in the columns that `Task.columns` names, and any others, which are kept. A column
            ``bad_`` and the name of a column of texts tells what is wrong with a text; such rows are not explained.
        task: what to compute.
        known: factors that are there already, by prompt and text.
        memory_budget, show_progress_bar: as for `XSTransformer.token_factors`.

    Returns:
        the rows with what the task asks for. A row that could not be explained has a ``reason`` instead.

    Raises:
        ValueError: a column of texts is missing.
    """
    missing = [name for name in task.columns if name not in columns.column_names]
    if missing:
        raise ValueError(f"columns must have {', '.join(task.columns)}, got {', '.join(columns.column_names)}")
    rows = columns.to_pylist()
    found: dict[Key, Any] = dict(known or {})
    limits = {"memory_budget": memory_budget, "show_progress_bar": show_progress_bar}
    queries: dict[Key, np.ndarray | Failure] = {}
    if task.what == "highlights":
        queries = _encoded(model, rows, task)
    wanted = dict.fromkeys(key for row in rows for key in keys_of(row, task) if key not in found)
    for prompt in dict.fromkeys(prompt for prompt, _ in wanted):
        texts = [text for own, text in wanted if own == prompt]
        factors = factors_or_failures(model, texts, task, prompt, **limits)
        found.update(((prompt, text), factors[text]) for text in texts)
    kept = [name for name in columns.column_names if not name.startswith("bad_")]
    explained = [{**{name: row[name] for name in kept}, **_explained(row, task, found, queries)} for row in rows]
    return table_of(explained, schema_of(task, columns.schema))


def keys_of(row: Mapping[str, Any], task: Task) -> list[Key]:
    """The texts of a row whose factors it needs; none where a text of it is bad."""
    if _problem(row, task) is not None:
        return []
    keys = list(zip(task.prompts, (row[name] for name in task.columns), strict=True))
    return keys[1:] if task.what == "highlights" else keys


def factors_or_failures(
    model: XSTransformer, texts: Sequence[str], task: Task, prompt: str | None, **limits: Any
) -> dict[str, TextFactors | Failure]:
    """Factors of distinct texts, computed together."""
    options = {**dict(task.options), "units": task.units, "prompt": prompt, **limits}
    return _each_or_failure(texts, lambda texts: model.token_factors(texts, **options))


def _each_or_failure(texts: Sequence[str], compute: Callable[[Sequence[str]], Sequence[Any]]) -> dict[str, Any]:
    """What is computed of distinct texts. Where one fails, halves are tried until it is alone."""
    if not texts:
        return {}
    try:
        with quiet():
            return dict(zip(texts, compute(texts), strict=True))
    except FATAL:
        raise
    except Exception as error:
        if len(texts) == 1:
            return {texts[0]: Failure(_reason(error))}
    half = len(texts) // 2
    return _each_or_failure(texts[:half], compute) | _each_or_failure(texts[half:], compute)


def _encoded(model: XSTransformer, rows: Sequence[Mapping[str, Any]], task: Task) -> dict[Key, np.ndarray | Failure]:
    """Embeddings of the distinct queries, as the model encodes them."""
    name, prompt = task.columns[0], task.prompts[0]
    texts = [*dict.fromkeys(row[name] for row in rows if _problem(row, task) is None)]

    def encode(texts: Sequence[str]) -> list[np.ndarray]:
        return [*model.encode(texts, prompt=prompt or "", show_progress_bar=False, convert_to_numpy=True)]

    return {(prompt, text): embedding for text, embedding in _each_or_failure(texts, encode).items()}


def _explained(
    row: Mapping[str, Any], task: Task, found: Mapping[Key, TextFactors | Failure], queries: Mapping[Key, Any]
) -> dict[str, Any]:
    """The columns that a row gets."""
    problem = _problem(row, task)
    if problem is not None:
        return {"reason": problem}
    texts = [found[key] for key in keys_of(row, task)]
    if task.what == "highlights":
        texts = [queries[task.prompts[0], row[task.columns[0]]], *texts]
    named = zip(task.columns, texts, strict=True)
    failed = [f"{name}: {text.reason}" for name, text in named if isinstance(text, Failure)]
    if failed:
        return {"reason": "; ".join(failed)}
    try:
        if task.what == "factors":
            return factors_row(texts[0], task.dtype)
        if task.what == "pairs":
            return pairs_row(Attribution.of(*texts, task.similarity), task.top_k)
        return highlights_row(*texts, task.similarity)
    except ValueError as error:
        return {"reason": _reason(error)}


def _problem(row: Mapping[str, Any], task: Task) -> str | None:
    """What is wrong with the texts of a row, before any is computed."""
    problems = []
    for name in task.columns:
        problem = row.get(f"bad_{name}")
        if problem is None and row[name] is None:
            problem = "there is no text (null)"
        if problem is not None:
            problems.append(f"{name}: {problem}")
    return "; ".join(problems) or None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
