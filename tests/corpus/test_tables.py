"""The same table has the same rows of explanations whatever holds it, and what is kept beside them stays what it is."""

import datetime
import decimal
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, DatasetDict

from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import XSTransformer
from xsbert.corpus import explain_corpus
from xsbert.corpus.sources import CHUNK, Fingerprint, rows_of_source
from xsbert.evaluation.methods import explain_with

FEW = {"n_steps": 2, "layer": 1, "show_progress_bar": False}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return XSTransformer(save_tiny_model(tmp_path_factory.mktemp("tiny")), device="cpu")


def read(source, *, columns=None, wanted=("text",), id_column=None, keep=()):
    """All rows as one table, and the fingerprint that decides whether a job can be resumed."""
    fingerprint = Fingerprint()
    tables = []
    for table in rows_of_source(source, wanted, columns, id_column, keep):
        fingerprint.update(table)
        tables.append(table)
    return pa.concat_tables(tables), str(fingerprint)


def written(table, path):
    """What Parquet gives back."""
    pq.write_table(table, path)
    return pq.read_table(path)


UTC = datetime.timezone.utc
# Of each kind five values, one of them missing.
VALUES = {
    "whole": [3, None, 2**53 + 1, -1, 0],
    "large": [2**64 - 1, None, 2, 1, 0],
    "fraction": [0.5, None, 1.0, -2.25, 1e300],
    "yes": [True, None, False, True, True],
    "word": ["a", None, "", "é\U0001f600", "nan"],
    "when": [datetime.datetime(2020, 1, day, 3, 4, 5, 6) for day in (1, 2, 3, 4)] + [None],
    "zoned": [datetime.datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)] + [None],
    "lasting": [datetime.timedelta(days=1, microseconds=1), None, datetime.timedelta(0)] * 1 + [None, None],
    "day": [datetime.date(2020, 1, 1), None, datetime.date(1900, 1, 1), None, None],
    "exact": [decimal.Decimal("1.50"), None, decimal.Decimal("-2.25"), None, None],
    "raw": [b"\x00\xff", None, b"", b"a", b"b"],
    "listed": [[1, 2], None, [], [3], [4]],
    "nested": [{"a": 1, "b": ["x"]}, None, {"a": None, "b": []}, {"a": 2, "b": None}, {"a": 3, "b": ["y", None]}],
}
ROWS = [
    {"text": text, **{name: values[place] for name, values in VALUES.items()}} for place, text in enumerate(TEXTS[:5])
]
ARROW = pa.table(
    {
        "text": TEXTS[:5],
        **{name: pa.array(values, pa.uint64() if name == "large" else None) for name, values in VALUES.items()},
    }
)
DTYPES = {"whole": "Int64", "large": "UInt64", "yes": "boolean"}


def pandas_frame():
    frame = pd.DataFrame(ROWS, index=[3, 1, 4, 1, 5])
    # What pandas itself makes of a missing whole number is a fraction, or an object.
    for name, dtype in DTYPES.items():
        frame[name] = pd.array(VALUES[name], dtype)
    return frame


def forms(names):
    """One table in many forms, some of its columns renamed."""
    rows = [{names.get(name, name): value for name, value in row.items()} for row in ROWS]
    table = ARROW.rename_columns([names.get(name, name) for name in ARROW.column_names])
    frame = pandas_frame().rename(columns=names)
    coded = {names.get(name, name): "category" for name in ("text", "word", "whole")}
    return {
        "dicts": lambda: rows,
        "generator": lambda: iter(rows),
        "pandas": lambda: frame,
        "pandas, object": lambda: pd.DataFrame(rows, dtype=object),
        "pandas, categories": lambda: frame.astype(coded),
        "pandas, arrow": lambda: table.to_pandas(types_mapper=pd.ArrowDtype),
        "polars": lambda: pl.from_arrow(table),
        "polars, lazy": lambda: pl.from_arrow(table).lazy(),
        "arrow": lambda: table,
        "arrow, chunks": lambda: pa.concat_tables([table.slice(0, 2), table.slice(2)]),
        "arrow, stream": lambda: table.to_reader(),
        "arrow, data set": lambda: ds.dataset(table),
        "datasets": lambda: Dataset(table),
        "datasets, iterable": lambda: Dataset(table).to_iterable_dataset(),
        "datasets, iterable arrow": lambda: Dataset(table).to_iterable_dataset().with_format("arrow"),
        **{
            f"datasets, {kind}": lambda kind=kind: Dataset(table).with_format(kind)
            for kind in ("pandas", "arrow", "polars", "torch", "numpy")
        },
        "datasets, a part": lambda: Dataset(table).with_format("torch", columns=["whole"]),
        "datasets, transform": lambda: Dataset(table).with_transform(lambda batch: batch),
    }


FORMS = forms({})
PAIR_FORMS = forms({"text": "text_a", "word": "text_b"})


@pytest.mark.parametrize("form", FORMS)
def test_the_same_columns_in_every_form(form, tmp_path):
    expected, fingerprint = read(ROWS, id_column="whole", keep=[*VALUES])
    assert expected["id"].to_pylist() == VALUES["whole"]
    for name, values in VALUES.items():
        assert expected[name].to_pylist() == values
    found, same = read(FORMS[form](), id_column="whole", keep=[*VALUES])
    assert found.select(["row", "text", "bad_text", "id"]).equals(expected.select(["row", "text", "bad_text", "id"]))
    for name, values in VALUES.items():
        assert found[name].to_pylist() == values, name
    assert same == fingerprint
    assert written(found, tmp_path / "rows.parquet").to_pydict() == found.to_pydict()


@pytest.mark.parametrize(
    "form", ["dicts", "pandas", "pandas, object", "polars", "arrow", *(form for form in FORMS if "datasets" in form)]
)
def test_the_same_explanations_in_every_form(form, tmp_path, tiny):
    """And so the job that one form began is finished for all the others."""
    how = {"columns": ("text", "word"), "id_column": "whole", "keep": ["when", "nested", "lasting"], **FEW}
    expected = [*tiny.explain_pairs([(ROWS[at]["text"], ROWS[at]["word"]) for at in (0, 3, 4)], n_steps=2, layer=1)]
    corpus = explain_corpus(tiny, FORMS[form](), tmp_path / "out", **how)
    assert corpus.to_table(["id"])["id"].to_pylist() == VALUES["whole"]
    assert [row["row"] for row in corpus.failures().to_pylist()] == [1, 2]
    for at, out in zip((0, 3, 4), expected, strict=True):
        assert corpus.row(at)["nested"] == VALUES["nested"][at]
        assert corpus.row(at)["when"] == VALUES["when"][at]
        np.testing.assert_allclose(corpus.attribution(at).matrix, out.matrix, atol=1e-6)
    again = explain_corpus(tiny, ROWS, tmp_path / "out", **how)
    assert len(again) == len(ROWS)


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        ([1.0, np.nan, 3.0], [1, None, 3]),
        (pd.array([1, None, 2**53 + 1], "Int64"), [1, None, 2**53 + 1]),
        (pd.array([1.0, None, 2.0], "Float64"), [1, None, 2]),
        (pd.Series([1, None, 2], dtype="int64[pyarrow]"), [1, None, 2]),
        (pd.Series([1, None, 2], dtype=object), [1, None, 2]),
        (pd.Categorical([7, None, 7]), [7, None, 7]),
        (pd.Categorical(["a", None, "b"]), ["a", None, "b"]),
        (pd.Series(["a", np.nan, "b"]), ["a", None, "b"]),
        (pd.Series(["a", np.nan, "b"], dtype=object), ["a", None, "b"]),
        (pd.Series(["1", "01", None], dtype="string"), ["1", "01", None]),
        ([decimal.Decimal("12"), decimal.Decimal("NaN"), None], [12, None, None]),
        (pd.to_datetime(["2020-01-02", None, "2020-01-03"]), ["2020-01-02 00:00:00", None, "2020-01-03 00:00:00"]),
        (pd.Series([2**63, None, 1], dtype=object), [2**63, None, 1]),
        ([uuid.UUID(int=1), None, uuid.UUID(int=2)], [str(uuid.UUID(int=1)), None, str(uuid.UUID(int=2))]),
    ],
    ids=repr,
)
def test_ids_stay_what_they_are(column, ids):
    frame = pd.DataFrame({"text": TEXTS[:3], "key": column})
    rows = frame.to_dict("records")
    for source in (frame, rows, iter(rows)):
        table, _ = read(source, id_column="key")
        assert table["id"].to_pylist() == ids


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.5, 2.0, 3.0], r"column 'key' of ids has float 1.5 in row 0, which is neither a whole number nor a string"),
        ([1.0, 1e300, 2.0], r"has float 1e\+300 in row 1, which is too large to be exact as a float"),
        ([1, 2**64, 2], r"has int 18446744073709551616 in row 1, which does not fit 64 bits"),
        ([-1, 2**63, 2], r"the id 9223372036854775808 in row 1 does not fit uint64|id -1 in row 0 does not fit"),
        (["1", 1, "a"], r"has int 1 in row 1, which follows ids of another kind, string"),
        (["1", b"a", "a"], r"has bytes b'a' in row 1, which is neither"),
        (["1", ["a"], "a"], r"has list \['a'\] in row 1, which is neither"),
        (["1", "\ud800", "a"], r"has str '\\ud800' in row 1, which is no Unicode text"),
    ],
)
def test_ids_that_are_refused(column, message):
    rows = [{"text": text, "key": key} for text, key in zip(TEXTS, column, strict=False)]
    for source in (rows, iter(rows), pd.DataFrame(rows, dtype=object)):
        with pytest.raises(ValueError, match=message):
            read(source, id_column="key")


WHEN = datetime.datetime(2020, 1, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 1, "b"], r"column 'k' that is to be kept has int 1 in row 1 after string"),
        (["a", "b", b"c"], r"has bytes b'c' in row 2 after string"),
        ([True, 1, 0], r"has int 1 in row 1 after bool"),
        ([WHEN.date(), WHEN, WHEN], r"has datetime .* in row 1 after date32"),
        ([WHEN, WHEN.replace(tzinfo=UTC), None], r"has datetime .* in row 1 after timestamp\[us\]"),
        ([None, {}, {}], r"has dict {} in row 1: Parquet holds no dictionary without keys"),
        ([{"a": {}}, None, None], r"has dict {'a': {}} in row 0: Parquet holds no dictionary without keys"),
        ([{1: "a"}, None, None], r"has dict {1: 'a'} in row 0: the keys of a dictionary must be strings"),
        ([{"a": 1}, {"a": "x"}, None], r"has dict {'a': 'x'} in row 1 after struct<a: int64>"),
        ([["a", b"b"], None, None], r"has list \['a', b'b'\] in row 0: a column is of one type"),
        ([1, {2, 3}, None], r"has set {2, 3} in row 1 after int64"),
        ([{2, 3}, None, None], r"has set {2, 3} in row 0: a set has no order"),
        ([1 + 2j, None, None], r"has complex \(1\+2j\) in row 0"),
        ([2**64, 1, 2], r"has int 18446744073709551616 in row 0"),
        ([1, 2**70, 2], r"has int 1180591620717411303424 in row 1 after u?int64"),
    ],
)
def test_kept_values_that_are_refused(values, message):
    rows = [{"text": text, "k": value} for text, value in zip(TEXTS, values, strict=False)]
    frame = pd.DataFrame({"text": TEXTS[:3]})
    frame["k"] = pd.Series(values, dtype=object)
    for source in (rows, iter(rows), frame):
        with pytest.raises(ValueError, match=message):
            read(source, keep=["k"])


def test_missing_values_of_pandas_in_kept_columns():
    frame = pd.DataFrame(
        {
            "text": pd.Series(["a cat", np.nan, "dog"], dtype=object),
            "when": [pd.NaT, pd.Timestamp("2020-01-01"), pd.NaT],
            "word": pd.Series(["x", np.nan, "y"], dtype=object),
            "coded": pd.Categorical(["x", None, "y"]),
            "lasting": [pd.Timedelta("1D"), pd.NaT, pd.NaT],
            "mixed marks": pd.Series([pd.NA, None, np.nan], dtype=object),
            "number": [1.5, np.nan, 2.0],
            "sparse": pd.arrays.SparseArray([1.0, np.nan, 2.0]),
        }
    )
    table, _ = read(frame, keep=[*frame.columns[1:]])
    assert table["text"].to_pylist() == ["a cat", None, "dog"]
    assert table["bad_text"].to_pylist() == [None, "there is no text (null)", None]
    assert table["when"].to_pylist() == [None, datetime.datetime(2020, 1, 1), None]
    assert table["word"].to_pylist() == table["coded"].to_pylist() == ["x", None, "y"]
    assert table["lasting"].to_pylist() == [datetime.timedelta(days=1), None, None]
    assert table["mixed marks"].null_count == 3
    assert table["number"].to_pylist() == [1.5, None, 2.0]
    assert table["sparse"].to_pylist() == [1.0, None, 2.0]


def test_values_of_numpy_and_torch():
    rows = [
        {
            "text": "a cat",
            "day": np.datetime64("2020-01-01"),
            "when": np.datetime64("2020-01-01T01:00", "ns"),
            "lasting": np.timedelta64(1, "s"),
            "number": torch.tensor(3),
            "vector": torch.ones(2),
            "matrix": np.eye(2),
        },
        dict.fromkeys(["day", "when", "lasting", "number", "vector", "matrix"])
        | {"text": "dog", "day": np.datetime64("NaT")},
    ]
    table, _ = read(rows, id_column="number", keep=[name for name in rows[0] if name != "text"])
    assert table.drop_columns(["row", "bad_text"]).to_pylist() == [
        {
            "id": 3,
            "text": "a cat",
            "day": datetime.date(2020, 1, 1),
            "when": datetime.datetime(2020, 1, 1, 1),
            "lasting": datetime.timedelta(seconds=1),
            "number": 3,
            "vector": [1.0, 1.0],
            "matrix": [[1.0, 0.0], [0.0, 1.0]],
        },
        {name: "dog" if name == "text" else None for name in ["id", *rows[0]]},
    ]


def test_objects_of_polars_are_refused():
    """Arrow is given their addresses."""
    frame = pl.DataFrame({"text": ["a cat"], "k": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(ValueError, match=r"column 'k' that is to be kept has object .* in row 0"):
        read(frame, keep=["k"])


def test_nanoseconds_are_kept(tmp_path, tiny):
    times = [pd.Timestamp("2020-01-01 00:00:00.000000001"), pd.NaT, pd.Timestamp("2020-01-02")]
    rows = [{"text": text, "when": when} for text, when in zip(TEXTS, times, strict=False)]
    frame = pd.DataFrame(rows)
    frame["when"] = frame["when"].astype("datetime64[ns]")
    sources = [rows, frame, pa.Table.from_pandas(frame), pl.from_pandas(frame), frame["when"].dt.as_unit("ns")]
    found = [read(source, keep=["when"]) for source in sources[:-1]]
    for table, fingerprint in found:
        assert table["when"].type == pa.timestamp("ns")
        assert table["when"].cast(pa.int64()).to_pylist() == [1577836800000000001, None, 1577923200000000000]
        assert fingerprint == found[0][1]
    corpus = explain_corpus(tiny, rows, tmp_path / "out", what="factors", keep=["when"], **FEW)
    assert corpus.to_table(["when"])["when"].cast(pa.int64()).to_pylist()[0] == 1577836800000000001


@pytest.mark.parametrize("kind", [list, pd.DataFrame, pl.DataFrame, pa.Table.from_pylist])
def test_columns_that_are_null_at_first(kind):
    """Where all rows are at hand, these say of what type a column is."""
    rows = [{"text": "a cat", "key": None, "k": None}] * CHUNK + [{"text": "dog", "key": 7, "k": "late"}]
    source = kind(rows) if kind is not pl.DataFrame else pl.DataFrame(rows, infer_schema_length=None)
    table, _ = read(source, id_column="key", keep=["k"])
    assert table["id"].null_count == CHUNK
    assert table["id"][-1].as_py() == 7
    assert table["k"][-1].as_py() == "late"


@pytest.mark.parametrize("kind", [list, tuple, pd.DataFrame, pa.Table.from_pylist])
def test_all_rows_at_hand_say_of_what_type_a_column_is(kind):
    rows = [{"text": "a cat", "k": 1, "d": {"a": 1}}] * CHUNK + [{"text": "dog", "k": 0.5, "d": {"b": "x"}}]
    table, _ = read(kind(rows), keep=["k", "d"])
    assert table["k"].to_pylist() == [1] * CHUNK + [0.5]
    assert table["d"][-1].as_py() == {"a": None, "b": "x"}


def test_nothing_is_changed_to_fit_the_first_rows():
    """Strings that look like numbers, keys that come later, fractions after whole numbers."""
    for first, late in [(1, "12"), ("a", 1), ({"a": 1}, {"a": 1, "b": 2}), (1, 0.5), (WHEN.date(), WHEN), (1, True)]:
        rows = [{"text": "a cat", "k": first}] * CHUNK + [{"text": "dog", "k": late}]
        with pytest.raises(ValueError, match=rf"column 'k' that is to be kept has .* in row {CHUNK} after"):
            read(iter(rows), keep=["k"])
    rows = [{"text": "a cat", "k": 1}] * CHUNK + [{"text": "dog", "k": "12"}]
    with pytest.raises(ValueError, match=rf"has str '12' in row {CHUNK}, which follows ids of another kind"):
        read(iter(rows), id_column="k")


def test_parquet_columns_are_kept_as_they_are(tmp_path):
    table = pa.table(
        {
            "text": TEXTS[:2],
            "small": pa.array([1, None], pa.int8()),
            "large": pa.array([2**64 - 1, None], pa.uint64()),
            "when": pa.array([1, None], pa.timestamp("ns", "Europe/Berlin")),
            "single": pa.array([0.5, None], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    found, _ = read(tmp_path / "rows.parquet", id_column="large", keep=["small", "when", "single", "large"])
    assert found.select(["small", "when", "single", "large"]).equals(table.select(["small", "when", "single", "large"]))
    assert found["id"].to_pylist() == [2**64 - 1, None]


PAIRS = [("a cat", "dog"), ("a bird sings", "a cat")]


@pytest.mark.parametrize(
    "source",
    [
        PAIRS,
        [[*pair] for pair in PAIRS],
        np.array(PAIRS),
        np.array(PAIRS, dtype=object),
        [*np.array(PAIRS)],
        pd.Series(PAIRS, index=[4, 2]),
        pa.array([[*pair] for pair in PAIRS]),
        np.array(PAIRS, dtype=[("text_a", "U20"), ("text_b", "U20")]),
        pd.DataFrame(PAIRS, columns=["text_a", "text_b"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_pairs_without_names(source):
    table, _ = read(source, wanted=("text_a", "text_b"))
    assert [*zip(table["text_a"].to_pylist(), table["text_b"].to_pylist(), strict=True)] == PAIRS


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(TEXTS, index=[*range(len(TEXTS))][::-1]),
        pd.Index(TEXTS),
        pl.Series(TEXTS),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS]),
        np.array(TEXTS),
        Dataset.from_dict({"text": TEXTS})["text"],
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_column_of_texts(column):
    assert read(column)[0]["text"].to_pylist() == TEXTS


def test_names_of_columns():
    frame = pd.DataFrame([("a cat", "x"), ("dog", "y")])
    table, _ = read(frame, columns=(0,))
    assert table["text"].to_pylist() == ["a cat", "dog"]
    with pytest.raises(TypeError, match="keep must hold names of columns that are strings, got 1"):
        read(frame, columns=(0,), keep=[1])
    nested = pd.DataFrame({("x", "a"): ["a cat"], ("x", "b"): ["dog"]})
    assert read(nested, columns=(("x", "b"),))[0]["text"].to_pylist() == ["dog"]
    with pytest.raises(ValueError, match=r"has no column 'text'; it has \('x', 'a'\), .* columns, id_column and keep"):
        read(nested)
    double = pd.DataFrame([("a", "b", "c")], columns=["text", "k", "k"])
    with pytest.raises(ValueError, match="has 2 columns named 'k'"):
        read(double, keep=["k"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (DatasetDict(train=Dataset.from_dict({"text": ["a"]})), "holds several data sets, 'train': pass one of them"),
        ({"text": ["a"]}, "got dict"),
        ({"a cat", "dog"}, "got set"),
        (np.zeros((1, 2, 3)), r"one or two dimensions, got an array of shape \(1, 2, 3\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_holds_no_rows(source, message):
    with pytest.raises(TypeError, match=message):
        read(source)


def test_a_transform_of_the_users_own_is_what_is_explained():
    data = Dataset.from_dict({"text": ["A", "B"]}).with_transform(
        lambda batch: {"text": ["a cat"] * len(batch["text"])}
    )
    assert read(data)[0]["text"].to_pylist() == ["a cat", "a cat"]


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.Table.from_pylist, Dataset.from_list])
def test_tables_without_rows(kind):
    empty = kind([{"text": "a"}])
    empty = empty.select([]) if isinstance(empty, Dataset) else empty[:0]
    assert [*rows_of_source(empty, ("text",), None, None, [])] == []


@pytest.mark.parametrize("form", PAIR_FORMS)
def test_the_same_pairs_in_every_form(form, tiny):
    """For the model itself, as for a corpus."""
    with pytest.warns(UserWarning, match=r"pairs\[1\]\[1\] must be a string, got NoneType"):
        found = [*tiny.explain_pairs(PAIR_FORMS[form](), errors="skip", n_steps=1, layer=2)]
    texts = [out and (out.a.text, out.b.text) for out in found]
    assert texts == [(row["text"], row["word"]) if row["word"] else None for row in ROWS]


def test_tables_of_two_columns_and_of_others(tiny):
    """A table of two columns is a sequence of pairs; of a wider one the names say which."""
    frame = pl.DataFrame({"premise": ["a cat", "dog"], "hypothesis": ["a bird sings", "a cat"], "label": ["x", "y"]})
    (one, other) = tiny.explain_pairs(frame[["premise", "hypothesis"]], n_steps=1, layer=2)
    assert (one.a.text, one.b.text, other.a.text, other.b.text) == ("a cat", "a bird sings", "dog", "a cat")
    for wide in (
        frame,
        frame.lazy(),
        frame.to_pandas(),
        frame.to_arrow(),
        Dataset.from_dict(frame.to_dict(as_series=False)),
    ):
        with pytest.raises(
            TypeError, match=r"text_a and text_b, or with two columns alone, got .* with 'premise', 'hyp"
        ):
            tiny.explain_pairs(wide)
    for results in (
        explain_with("products", tiny, frame[["premise", "hypothesis"]]),
        explain_with("products", tiny, [*frame[["premise", "hypothesis"]].iter_rows()]),
    ):
        assert [out.b.text for out in results] == ["a bird sings", "a cat"]
    with pytest.raises(TypeError, match="DatasetDict holds several data sets, 'train'"):
        tiny.explain_pairs(DatasetDict(train=Dataset.from_dict({"text_a": ["a"], "text_b": ["b"]})))


def test_files_of_one_folder_may_differ_in_their_types(tmp_path):
    (tmp_path / "rows").mkdir()
    for place, (kind, key) in enumerate([(pa.int64(), pa.int64()), (pa.int32(), pa.float64()), (pa.null(), pa.null())]):
        values = pa.array([None if pa.types.is_null(kind) else place], kind)
        table = pa.table({"text": ["a cat"], "k": values, "key": values.cast(key)})
        pq.write_table(table, tmp_path / "rows" / f"{place}.parquet")
    table, _ = read(tmp_path / "rows", id_column="key", keep=["k"])
    assert table["k"].to_pylist() == table["id"].to_pylist() == [0, 1, None]
    other = pa.table({"text": ["a cat"], "k": ["1"], "key": [1]})
    pq.write_table(other, tmp_path / "rows" / "3.parquet")
    with pytest.raises(ValueError, match="column 'k' that is to be kept has str '1' in row 3 after int64"):
        read(tmp_path / "rows", keep=["k"])
