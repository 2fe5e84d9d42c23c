"""A table gives the same columns, by position, whatever library holds it."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from datasets import Dataset, DatasetDict, IterableDatasetDict

from xsbert._utils.tables import as_table, column_values

TEXTS = ["a cat", "dog", "a bird sings", None]
NUMBERS = [1, None, 3, 2**53 + 1]
WHEN = [datetime.datetime(2020, 1, day) for day in (1, 2, 3)]
COLUMNS = {"text": TEXTS, "id": NUMBERS, "when": [*WHEN, None]}


def frame():
    return pd.DataFrame(
        {"text": TEXTS, "id": pd.array(NUMBERS, "Int64"), "when": pd.to_datetime([*WHEN, None])}, index=[3, 0, 0, 1]
    )


KINDS = {
    "pandas": frame,
    "pandas, object": lambda: frame().astype(object),
    "pandas, arrow": lambda: frame().convert_dtypes(dtype_backend="pyarrow"),
    "pandas, sorted": lambda: frame().iloc[::-1].iloc[::-1].set_index("id", drop=False),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "polars, lazy": lambda: pl.DataFrame(COLUMNS).lazy(),
    "arrow": lambda: pa.table(COLUMNS),
    "arrow, batch": lambda: pa.RecordBatch.from_pydict(COLUMNS),
    "arrow, stream": lambda: pa.table(COLUMNS).to_reader(),
    "arrow, data set": lambda: ds.dataset(pa.table(COLUMNS)),
    "stream of another library": lambda: Streamed(pa.table(COLUMNS)),
    "datasets": lambda: Dataset.from_dict(COLUMNS),
    "datasets, chosen": lambda: Dataset(pa.table(COLUMNS)).select([3, 2, 1, 0]).select([3, 2, 1, 0]),
    **{
        f"datasets, {kind}": lambda kind=kind: Dataset.from_dict(COLUMNS).with_format(kind)
        for kind in ("pandas", "arrow", "polars", "torch", "numpy")
    },
    "datasets, one column": lambda: Dataset.from_dict(COLUMNS).with_format("torch", columns=["id"]),
}


class Streamed:
    """Whatever else speaks Arrow."""

    def __init__(self, table):
        self._table = table

    @property
    def columns(self):
        return self._table.column_names

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_any_table(kind):
    table = as_table(KINDS[kind]())
    assert set(table.names) == {"text", "id", "when"}
    when, texts, numbers = table.columns(["when", "text", "id"])
    assert texts == TEXTS
    assert numbers == NUMBERS
    assert when == COLUMNS["when"]
    with pytest.raises(ValueError, match="has no column 'words'; it has 'text', 'id', 'when'"):
        as_table(KINDS[kind]()).columns(["words"])


def test_structured_arrays():
    array = np.array([("a cat", "2020-01-01"), ("dog", "NaT")], dtype=[("text", "U9"), ("when", "M8[ns]")])
    texts, when = as_table(array).columns(["text", "when"])
    assert texts == ["a cat", "dog"]
    assert when == [np.datetime64("2020-01-01", "ns"), None]


@pytest.mark.parametrize(
    "none",
    [
        ["a"],
        [{"text": "a"}],
        "a",
        {"text": ["a"]},
        pd.Series(["a"]),
        pd.Series(["a", "b"], index=["columns", "schema"]),
        pd.Index(["a"]),
        pl.Series(["a"]),
        pa.array(["a"]),
        pa.chunked_array([["a"]]),
        np.array(["a"]),
        np.array([["a", "b"]]),
        Dataset.from_dict({"text": ["a"]})["text"],
        Dataset.from_dict({"text": ["a"]}).to_iterable_dataset(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_table(none):
    assert as_table(none) is None


def test_a_transform_of_the_users_own_is_not_passed_over():
    data = Dataset.from_dict({"text": ["A"]}).with_transform(lambda batch: {"text": ["a cat"]})
    assert as_table(data) is None
    assert [*data] == [{"text": "a cat"}]


@pytest.mark.parametrize(
    "column",
    [
        TEXTS,
        pd.Series(TEXTS, index=[3, 2, 1, 0]),
        pd.Series(TEXTS, index=[3, 2, 1, 0], dtype=object),
        pd.Series(TEXTS, dtype="category"),
        pd.Series(TEXTS, dtype="string[pyarrow]"),
        pd.Index(TEXTS),
        pd.array(TEXTS),
        pl.Series(TEXTS),
        pl.Series(TEXTS, dtype=pl.Categorical),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS[:1], TEXTS[1:]]).dictionary_encode(),
        np.array(TEXTS, dtype=object),
        Dataset.from_dict({"text": TEXTS})["text"],
        Dataset.from_dict({"text": TEXTS}).with_format("polars")["text"],
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_columns_by_position(column):
    assert column_values(column) == TEXTS


def test_names_of_columns_are_taken_as_they_are():
    numbered = pd.DataFrame([("a", "b"), ("c", "d")])
    assert as_table(numbered).columns([1, 0]) == [["b", "d"], ["a", "c"]]
    nested = pd.DataFrame({("x", "a"): ["a"], ("x", "b"): ["b"]})
    assert as_table(nested).columns([("x", "b")]) == [["b"]]
    with pytest.raises(ValueError, match=r"has no column 'id'; .* 'id' is the name of its index, which reset_index"):
        as_table(frame().set_index("id")).columns(["id"])


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame([("a", "b", "c")], columns=["text", "id", "id"]),
        pa.table([["a"], ["b"], ["c"]], names=["text", "id", "id"]),
    ],
)
def test_columns_of_one_name_are_refused_where_they_are_asked_for(table):
    assert as_table(table).columns(["text"]) == [["a"]]
    with pytest.raises(ValueError, match="has 2 columns named 'id': names must differ"):
        as_table(table).columns(["text", "id"])


@pytest.mark.parametrize("kind", [DatasetDict, IterableDatasetDict])
def test_data_sets_of_several_splits_are_refused_by_name(kind):
    data = Dataset.from_dict({"text": ["a"]})
    data = data if kind is DatasetDict else data.to_iterable_dataset()
    with pytest.raises(TypeError, match=rf"{kind.__name__} holds several data sets, 'train', 'test': pass one"):
        as_table(kind(train=data, test=data))
