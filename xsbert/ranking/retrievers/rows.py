"""Rows and tables with a column of texts, as LanceDB, pgvector and data frames have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..._utils.sequences import as_entries
from ..._utils.tables import as_table, plain_rows
from ..._utils.validation import passed_score
from .document import Retrieved, checked_document, measure_of

__all__ = ["from_lancedb", "from_pgvector", "from_rows"]

# Score columns of LanceDB, the one computed last first.
SCORES = ("_relevance_score", "_score", "_distance")
# What each distance is, by the name of the metric.
OF_LANCEDB = {"cosine": "cosine distance", "dot": "dot product distance", "l2": "squared Euclidean distance"}
OF_PGVECTOR = {
    "<=>": "cosine distance",
    "<#>": "negative dot product",
    "<->": "Euclidean distance",
    "<+>": "Manhattan distance",
    "cosine": "cosine",
    "dot product": "dot product",
}


def from_rows(
    rows: Any, text: str = "text", id: str | None = None, score: str | None = None, *, measure: str | None = None
) -> list[Retrieved]:
    """Read rows of any origin: dictionaries, named tuples, or a table of pandas, polars, Arrow or datasets.

    Args:
        rows: rows with a column of texts.
        text: name of the column of texts.
        id: name of the column of ids. None uses the column ``id``, in any case, if there is one. Numbers stay numbers.
        score: name of the column of scores. None uses the first of LanceDB's that a row has: ``_relevance_score``,
            ``_score``, ``_distance``.
        measure: what the scores are, a key of `MEASURES`. None does not compare them with the model's own.

    Raises:
        TypeError: rows are not dictionaries or a table, or the type of an id or a score has no JSON equivalent.
        ValueError: a row lacks a text or a named column, two columns have the same name, or a score is infinite.
    """
    columns = SCORES if score is None else (score,)
    found = []
    for place, row in enumerate(_rows(rows, text, id, columns)):
        row = _named(row)
        if not isinstance(row, Mapping):
            raise TypeError(
                f"rows[{place}] must be a dictionary, got {type(row).__name__}: {row!r:.60}; cursors of databases "
                "return such rows on demand, psycopg with row_factory=dict_row"
            )
        if score is not None and score not in row:
            raise ValueError(f"documents[{place}] has no column {score!r}, it has {', '.join(map(str, row))}")
        scores = (passed_score(row.get(name), f"documents[{place}].{name}") for name in columns)
        known = next((each for each in scores if each is not None), None)
        found.append(checked_document(row.get(text), _id_of(row, id, place), known, place, f"row {text!r}", measure))
    return found


def from_lancedb(rows: Any, text: str = "text", id: str | None = None, *, metric: str | None = None) -> list[Retrieved]:
    """Read the rows of ``table.search(vector).to_list()``, or a table of pandas, polars, Arrow or datasets.

    Args:
        rows: rows with a column of texts, and ``_distance``, ``_score`` or ``_relevance_score``.
        text, id: as for `from_rows`.
        metric: distance type of a vector search, ``"cosine"``, ``"dot"`` or ``"l2"``, LanceDB's default.

    Raises:
        as for `from_rows`; also ValueError if the metric is not known.
    """
    measure = measure_of(metric, OF_LANCEDB)
    return from_rows(rows, text, id, None if measure is None else "_distance", measure=measure)


def from_pgvector(
    rows: Any,
    text: str = "text",
    id: str | None = None,
    score: str = "distance",
    *,
    metric: str | None = None,
) -> list[Retrieved]:
    """Read the rows of a query of PostgreSQL that orders by a distance of pgvector.

    Args:
        rows: dictionaries (psycopg: ``row_factory=dict_row``), named tuples, rows of SQLAlchemy, or a data frame.
        text, id: as for `from_rows`.
        score: name of the column of the distance, ``embedding <=> %s AS distance``.
        metric: what stands in that column: an operator of pgvector, ``"<=>"``, ``"<#>"``, ``"<->"`` or ``"<+>"``; or
            ``"cosine"`` or ``"dot product"`` if the query computes a similarity of them.

    Raises:
        as for `from_rows`; also ValueError if the metric is not known.
    """
    return from_rows(rows, text, id, score, measure=measure_of(metric, OF_PGVECTOR))


def _named(row: Any) -> Any:
    """Returns a row of SQLAlchemy or a named tuple as a dictionary, and other rows unchanged."""
    if isinstance(row, Mapping):
        return row
    mapping = getattr(row, "_mapping", None)
    if isinstance(mapping, Mapping):
        return mapping
    as_dictionary = getattr(row, "_asdict", None) if isinstance(row, tuple) else None
    return row if as_dictionary is None else as_dictionary()


def _rows(rows: Any, text: str, id: str | None, scores: Sequence[str]) -> Iterable[Any]:
    """Return the rows of a table as dictionaries of the required columns, and a list of rows unchanged."""
    table = as_table(rows)
    if table is None:
        # A streamed data set yields its rows.
        return as_entries(plain_rows(rows), "rows", "rows")
    ids = {name for name in table.names if _is_id(name)} if id is None else {id}
    wanted = {text, *ids, *scores}
    required = [text] if id is None else [text, id]
    names = [*dict.fromkeys([*required, *(name for name in table.names if name in wanted)])]
    return [dict(zip(names, values, strict=True)) for values in zip(*table.columns(names), strict=True)]


def _is_id(name: Any) -> bool:
    return isinstance(name, str) and name.lower() == "id"


def _id_of(row: Mapping[str, Any], name: str | None, place: int) -> Any:
    if name is not None:
        if name not in row:
            raise ValueError(f"documents[{place}] has no column {name!r}, it has {', '.join(map(str, row))}")
        return row[name]
    named = [key for key in row if _is_id(key)]
    if len(named) > 1 and "id" not in named:
        raise ValueError(
            f"documents[{place}] has several ids, {', '.join(map(repr, named))}: name one by "
            "the argument id of explain_ranking"
        )
    return row["id"] if "id" in named else row[named[0]] if named else None
