"""A function from columns of texts to columns of explanations, used by local and by Ray jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ..attribution.attribution import Attribution
from ..engine.initial_factors import numpy_of
from ..engine.position_limit import may_exceed_positions
from ..engine.private_copy import private_model
from ..factors.text_factors import TextFactors
from ..models.comparing import ComparingModel
from ..text.units import TEXT
from .rows import factors_row, highlights_row, pairs_row
from .schema import schema_of, table_of
from .task import Task, quiet

__all__ = ["Failure", "Key", "explain_columns", "factors_or_failures", "keys_in", "queries_without_text"]

Key = tuple[int, str]
"""A text, and the first column of the task with the same embedding settings."""
# After such an error the device is lost, and all later calls fail.
FATAL = tuple(getattr(torch, name) for name in ("AcceleratorError",) if hasattr(torch, name))


@dataclass(frozen=True)
class Failure:
    """Why a text could not be explained."""

    reason: str


def explain_columns(
    model: ComparingModel,
    columns: pa.Table,
    task: Task,
    known: Mapping[Key, TextFactors] | None = None,
    *,
    memory_budget: float | None = None,
    show_progress_bar: bool | None = False,
) -> pa.Table:
    """Explain a table of texts. Each input row gives one output row, in the same order.

    The result depends only on the model and the arguments. Each distinct text is computed once, longest first.

    Args:
        model: the model of the task.
        columns: texts in the columns named by `Task.columns`. Other columns are kept. A column named ``bad_`` plus the
            name of a column of texts gives the problem of a text; rows with a problem are not explained.
        task: what to compute.
        known: factors that are already computed; see `keys_of`.
        memory_budget, show_progress_bar: as for `XSTransformer.text_factors`.

    Returns:
        The rows with the results of the task. A row that could not be explained has a ``reason`` instead.

    Raises:
        ValueError: a column of texts is missing, or another column has the name of a result column.
    """
    missing = [name for name in task.columns if name not in columns.column_names]
    if missing:
        raise ValueError(f"columns must have {', '.join(task.columns)}, got {', '.join(columns.column_names)}")
    clashing = sorted(set(schema_of(task, pa.schema([])).names) & set(columns.column_names))
    if clashing:
        raise ValueError(f"columns have names that the results use: {', '.join(clashing)}")
    rows = _text_rows(columns, task)
    limits = {"memory_budget": memory_budget, "show_progress_bar": show_progress_bar}
    if task.what == "highlights":
        explained = _highlights(model, rows, task, limits)
    else:
        found: dict[Key, TextFactors | Failure] = dict(known or {})
        wanted = [key for row in rows for key in keys_of(row, task) if key not in found]
        found.update(factors_or_failures(model, wanted, task, **limits))
        explained = [_explained(row, task, [found[key] for key in keys_of(row, task)]) for row in rows]
    schema = schema_of(task, columns.schema)
    kept = [name for name in columns.column_names if name in schema.names]
    # Kept columns stay in Arrow, because Python values lose information such as nanoseconds.
    added = table_of(explained, pa.schema([field for field in schema if field.name not in kept]))
    return pa.table([*(columns[name] for name in kept), *added.columns], schema)


def keys_of(row: Mapping[str, Any], task: Task) -> list[Key]:
    """Returns the texts of a row that need factors: none for highlights, and none if a text has a problem."""
    if task.what == "highlights" or _problem(row, task) is not None:
        return []
    return [(task.sides.index(side), row[name]) for side, name in zip(task.sides, task.columns, strict=True)]


def keys_in(table: pa.Table, task: Task) -> list[Key]:
    """Returns `keys_of` for all rows of a table, concatenated."""
    return [key for row in _text_rows(table, task) for key in keys_of(row, task)]


def _text_rows(table: pa.Table, task: Task) -> list[dict[str, Any]]:
    """Returns the texts of each row and their problems, by column name."""
    names = {name for text in task.columns for name in (text, f"bad_{text}")}
    return table.select([name for name in table.column_names if name in names]).to_pylist()


def factors_or_failures(
    model: ComparingModel, keys: Sequence[Key], task: Task, **limits: Any
) -> dict[Key, TextFactors | Failure]:
    """Returns the factors of each distinct text. Texts with the same settings are computed together."""
    found: dict[Key, TextFactors | Failure] = {}
    for place in dict.fromkeys(place for place, _ in keys):
        texts = [*dict.fromkeys(text for own, text in keys if own == place)]
        prompt, side = task.sides[place]
        how = {**dict(task.options), **limits, "units": task.units, "prompt": prompt, "task": side}

        def compute(texts: Sequence[str], how: dict[str, Any] = how) -> Sequence[TextFactors | None]:
            # "skip" identifies texts that cannot be explained without a search; other errors still need one.
            return model.text_factors(texts, errors="skip" if len(texts) > 1 else "raise", **how)

        factors = _each_or_failure(texts, compute)
        found.update(((place, text), factors[text]) for text in texts)
    return found


def _each_or_failure(texts: Sequence[Any], compute: Callable[[Sequence[Any]], Sequence[Any]]) -> dict[Any, Any]:
    """Computes results of distinct texts. After an error, halves are computed until a single text fails."""
    if not texts:
        return {}
    try:
        with quiet():
            found = dict(zip(texts, compute(texts), strict=True))
    except FATAL:
        raise
    except Exception as error:
        if len(texts) == 1:
            return {texts[0]: Failure(_reason(error))}
        half = len(texts) // 2
        return _each_or_failure(texts[:half], compute) | _each_or_failure(texts[half:], compute)
    for text in texts:
        if found[text] is None:
            found |= _each_or_failure([text], compute)
    return found


def _highlights(
    model: ComparingModel, rows: Sequence[Mapping[str, Any]], task: Task, limits: dict[str, Any]
) -> list[dict[str, Any]]:
    """Returns the columns of each row. A document of any length takes one backward pass per node and query."""
    query, document = task.columns
    good = [row for row in rows if _problem(row, task) is None]
    queries = _each_or_failure([*dict.fromkeys(row[query] for row in good)], lambda texts: _encoded(model, texts, task))
    asked: dict[str, list[str]] = {}
    for row in good:
        if not isinstance(queries[row[query]], Failure) and row[query] not in asked.setdefault(row[document], []):
            asked[row[document]].append(row[query])
    explainer = model.explainer(**dict(task.options), **limits)
    prompt, side = task.sides[1]

    def compute(texts: Sequence[str]) -> Sequence[TextFactors]:
        directions = [np.stack([queries[text] for text in asked[document]]) for document in texts]
        found = explainer.projected(texts, directions, prompt=prompt, task=side)
        return found if task.units == "tokens" else [one.over(task.units) for one in found]

    found = _each_or_failure([text for text, own in asked.items() if own], compute)

    def explained(row: Mapping[str, Any]) -> dict[str, Any]:
        problem = _problem(row, task)
        if problem is not None:
            return {"reason": problem}
        for name, one in ((query, queries[row[query]]), (document, found.get(row[document]))):
            if isinstance(one, Failure):
                return {"reason": f"{name}: {one.reason}"}
        along = found[row[document]].factors[:, asked[row[document]].index(row[query])]
        try:
            return highlights_row(queries[row[query]], found[row[document]], along, task.similarity)
        except ValueError as error:
            return {"reason": _reason(error)}

    return [explained(row) for row in rows]


def _encoded(model: ComparingModel, texts: Sequence[str], task: Task) -> list[np.ndarray]:
    """Returns the model's embeddings of queries."""
    prompt, side = task.sides[0]
    explainer = model.explainer()
    if may_exceed_positions(explainer.model[0]):
        for text in texts:
            explainer.tokenized(text, explainer.prompt(prompt, None, side), name="the query", warn=False)
    private = private_model(model)
    encode: Any = {None: private.encode, "query": private.encode_query, "document": private.encode_document}[side]
    embeddings = encode([*texts], prompt=prompt, show_progress_bar=False, convert_to_tensor=True)
    found = [*numpy_of(embeddings.to_dense() if embeddings.is_sparse else embeddings)]
    if not all(embedding.any() for embedding in found):
        raise ValueError("the query's embedding is zero, as for a text without words in a shifted model")
    return found


def queries_without_text(model: ComparingModel, table: pa.Table, task: Task) -> set[str]:
    """Returns the queries of which the model sees only special tokens and the prompt, for highlights.

    Args:
        table: finished rows.
    """
    if task.what != "highlights":
        return set()
    explained = table.filter(table["reason"].is_null())
    prompt, side = task.sides[0]
    explainer = model.explainer()
    resolved = explainer.prompt(prompt, None, side)
    queries = explained[task.columns[0]].unique().to_pylist()
    found = [explainer.tokenized(query, resolved, name="the query", warn=False) for query in queries]
    return {query for query, each in zip(queries, found, strict=True) if TEXT not in each.roles}


def _explained(row: Mapping[str, Any], task: Task, texts: Sequence[TextFactors | Failure]) -> dict[str, Any]:
    """Returns the result columns of a row."""
    problem = _problem(row, task)
    if problem is not None:
        return {"reason": problem}
    named = list(zip(task.columns, texts, strict=True))
    failed = [f"{name}: {text.reason}" for name, text in named if isinstance(text, Failure)]
    if failed:
        return {"reason": "; ".join(failed)}
    good = [text for text in texts if isinstance(text, TextFactors)]
    try:
        if task.what == "factors":
            return factors_row(good[0], task.dtype)
        return pairs_row(Attribution.of(good[0], good[1], task.similarity), task.top_k)
    except ValueError as error:
        return {"reason": _reason(error)}


def _problem(row: Mapping[str, Any], task: Task) -> str | None:
    """Returns the problem of the texts of a row, before any computation."""
    found: dict[str, list[str]] = {}
    for name in task.columns:
        problem = row.get(f"bad_{name}")
        if problem is None and row[name] is None:
            problem = "there is no text (null)"
        if problem is not None:
            found.setdefault(problem, []).append(name)
    return "; ".join(f"{', '.join(names)}: {problem}" for problem, names in found.items()) or None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
