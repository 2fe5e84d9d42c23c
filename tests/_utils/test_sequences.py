"""Texts are read by position from whatever column holds them; what holds no texts is refused by name."""

from collections import UserDict

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict

import xsbert
from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import XSTransformer
from xsbert._utils.sequences import as_entries, as_pairs, as_texts, by_position
from xsbert.evaluation.methods import checked_pairs
from xsbert.evaluation.perturbation import Perturber
from xsbert.ranking import retrievers as retrieval

HOW = {"layer": 1, "n_steps": 1, "show_progress_bar": False}
N = len(TEXTS)
PLACES = np.array([[0, 1], [1, 2], [3, 5]])


def filtered():
    """What is left of a frame after a filter: labels with gaps, in another order."""
    frame = pd.DataFrame({"text": ["not this", *TEXTS], "kept": [False, *[True] * N]}, index=range(N, -1, -1))
    return frame[frame["kept"]]["text"]


COLUMNS = {
    "list": lambda: list(TEXTS),
    "tuple": lambda: tuple(TEXTS),
    "generator": lambda: (text for text in TEXTS),
    "keys of a dictionary": lambda: dict.fromkeys(TEXTS).keys(),
    "values of a dictionary": lambda: dict(enumerate(TEXTS)).values(),
    "Series, filtered": filtered,
    "Series, other order": lambda: pd.Series(TEXTS, index=np.random.default_rng(0).permutation(N)),
    "Series, strings": lambda: pd.Series(TEXTS, index=["columns", "points", "id", "text", "c", "a"]),
    "Series, duplicated": lambda: pd.Series(TEXTS, index=[0] * N),
    "Series, category": lambda: pd.Series(TEXTS, index=range(N)[::-1], dtype="category"),
    "Series, Arrow": lambda: pd.Series(TEXTS, index=range(N)[::-1], dtype=pd.ArrowDtype(pa.string())),
    "Index": lambda: pd.Index(TEXTS),
    "numpy, object": lambda: np.array(TEXTS, dtype=object),
    "numpy, U": lambda: np.array(TEXTS),
    "numpy, strings of any length": lambda: np.array(TEXTS, dtype=np.dtypes.StringDType()),
    "list of numpy": lambda: list(np.array(TEXTS)),
    "Arrow": lambda: pa.array(TEXTS),
    "Arrow, chunks": lambda: pa.chunked_array([TEXTS[:2], TEXTS[2:]]).dictionary_encode(),
    "list of Arrow": lambda: list(pa.array(TEXTS)),
    "polars": lambda: pl.Series(TEXTS),
    "polars, category": lambda: pl.Series(TEXTS, dtype=pl.Categorical),
    **{
        f"datasets, {kind}": lambda kind=kind: Dataset.from_dict({"text": TEXTS}).with_format(kind)["text"]
        for kind in (None, "pandas", "arrow", "polars", "numpy", "torch")
    },
    "datasets, chosen": lambda: Dataset.from_dict({"text": TEXTS[::-1]}).select(range(N)[::-1])["text"],
    "datasets, streamed": lambda: Dataset.from_dict({"text": TEXTS}).to_iterable_dataset()["text"],
}
# One of each library, for what takes longer.
KINDS = (
    "tuple",
    "generator",
    "Series, filtered",
    "Series, strings",
    "Series, duplicated",
    "Index",
    "numpy, object",
    "numpy, U",
    "Arrow, chunks",
    "polars",
    "datasets, None",
    "datasets, arrow",
)

TABLES = {
    "DataFrame": lambda: pd.DataFrame({"body": TEXTS}),
    "polars": lambda: pl.DataFrame({"body": TEXTS}),
    "Arrow": lambda: pa.table({"body": TEXTS}),
    "Arrow, batch": lambda: pa.RecordBatch.from_pydict({"body": TEXTS}),
    "datasets": lambda: Dataset.from_dict({"body": TEXTS}),
    "datasets, pandas": lambda: Dataset.from_dict({"body": TEXTS}).with_format("pandas"),
    "datasets, streamed": lambda: Dataset.from_dict({"body": TEXTS}).to_iterable_dataset(),
}
DICTIONARIES = {"dict": lambda: dict(zip("abcdef", TEXTS, strict=True)), "UserDict": lambda: UserDict(a="a", b="b")}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return XSTransformer(save_tiny_model(tmp_path_factory.mktemp("tiny")), device="cpu")


def hits():
    return [{"corpus_id": np.int64(place), "score": np.float32(0.5)} for place in (4, 1)]


def numbers(factors):
    return [(each.text, each.factors.tolist()) for each in factors]


# From a model and texts to what can be compared, and what the argument is called.
ENTRY_POINTS = {
    "text_factors": (lambda model, texts: numbers(model.text_factors(texts, **HOW)), "texts"),
    "explainer.factors": (lambda model, texts: len(model.explainer(**HOW).tokenized_all(texts)), "texts"),
    "explainer.projected": (
        lambda model, texts: numbers(model.explainer(**HOW).projected(texts, [np.ones((1, 16))] * N)),
        "texts",
    ),
    "explain_matrix, documents": (
        lambda model, texts: [
            (i, j, out.a.text, out.b.text, out.score) for i, j, out in model.explain_matrix(["a cat"], texts, **HOW)
        ],
        "documents",
    ),
    "explain_matrix, queries": (
        lambda model, texts: [
            (i, j, out.a.text, out.b.text, out.score) for i, j, out in model.explain_matrix(texts, ["a cat"], **HOW)
        ],
        "queries",
    ),
    "explain_ranking": (
        lambda model, texts: [(h.index, h.text, h.score) for h in model.explain_ranking("a cat", texts, **HOW)],
        "documents",
    ),
    "choose_reference": (
        lambda model, texts: str(xsbert.choose_reference(model, texts, references=["unk"], pairs=PLACES)),
        "texts",
    ),
    "shift_cost, a": (
        lambda model, texts: str(xsbert.shift_cost(model, texts, TEXTS[::-1], range(N), references=["unk"])),
        "texts_a",
    ),
    "shift_cost, b": (
        lambda model, texts: str(xsbert.shift_cost(model, TEXTS[::-1], texts, pd.Series(range(N)), references=["unk"])),
        "texts_b",
    ),
    "from_semantic_search": (lambda model, texts: retrieval.from_semantic_search(hits(), texts), "corpus"),
    "from_faiss": (
        lambda model, texts: retrieval.from_faiss(np.float32([0.5, 0.4, 0]), np.array([4, 1, -1]), texts),
        "texts",
    ),
    "Perturber": (lambda model, texts: list_of_units(model, texts), "texts"),
}


def list_of_units(model, texts):
    perturber = Perturber(model, show_progress_bar=False)
    perturber.prepare(texts)
    return [perturber.units_of(text).layout.tokens for text in TEXTS], perturber.n_passes


@pytest.mark.parametrize("point", ENTRY_POINTS)
def test_one_explanation_whatever_holds_the_texts(tiny, point):
    explain, _ = ENTRY_POINTS[point]
    expected = explain(tiny, list(TEXTS))
    for name in KINDS:
        assert explain(tiny, COLUMNS[name]()) == expected, name


@pytest.mark.parametrize("column", COLUMNS)
def test_texts_by_position(column):
    found = as_texts(COLUMNS[column](), "texts")
    assert found == TEXTS
    assert {type(text) for text in found} == {str}
    at = by_position(COLUMNS[column](), "texts")
    assert [at[np.int64(place)] for place in (4, 0, 4)] == [TEXTS[4], TEXTS[0], TEXTS[4]]
    assert len(at) == N
    one, other = as_entries(COLUMNS[column](), "a"), as_entries(COLUMNS[column](), "b")
    pairs = as_pairs(zip(one, other, strict=True), "pairs")
    assert checked_pairs(pairs) == [(text, text) for text in TEXTS]


@pytest.mark.parametrize("point", ENTRY_POINTS)
def test_what_holds_no_texts_is_refused_with_what_to_pass(tiny, point):
    explain, argument = ENTRY_POINTS[point]
    ranked = point == "explain_ranking"
    for name, table in TABLES.items():
        advice = r"nothing under 'text', it has body" if ranked else rf'^{argument} must .*frame\["body"\]'
        with pytest.raises(TypeError, match=advice):
            pytest.fail(f"{name}: {explain(tiny, table())}")
    for name, dictionary in DICTIONARIES.items():
        if point != "from_faiss":
            with pytest.raises(TypeError, match=rf"^{argument} must .*{name}\): pass list\(d\.values\(\)\)"):
                pytest.fail(f"{name}: {explain(tiny, dictionary())}")
    for others, advice in (
        (set(TEXTS), "got set, which has no order: pass a list"),
        (frozenset(TEXTS), "got frozenset, which has no order"),
        ("a cat", "(one string|got str): 'a cat'"),
        (b"a cat", "got bytes"),
        (DatasetDict(train=Dataset.from_dict({"text": TEXTS})), r"such as d\['train'\]\[\"text\"\]"),
        (np.array([TEXTS, TEXTS]), r"one dimension, got an array of shape \(2, 6\)"),
        (7, "got int: 7"),
        (None, "got NoneType: None"),
    ):
        if isinstance(others, dict) and point == "from_faiss":
            continue
        with pytest.raises(TypeError, match=rf"^{argument} must .*{advice}"):
            pytest.fail(f"{others}: {explain(tiny, others)}")


@pytest.mark.parametrize("point", ENTRY_POINTS)
@pytest.mark.parametrize("wrong", [None, float("nan"), b"a dog", 3, ["a dog"], pd.NA], ids=repr)
def test_what_is_no_text_is_named_by_position_and_type(tiny, point, wrong):
    explain, argument = ENTRY_POINTS[point]
    texts = [*TEXTS[:4], wrong, *TEXTS[5:]]
    with pytest.raises(TypeError, match=rf"^{argument}\[4\] must be a string.* got {type(wrong).__name__}"):
        explain(tiny, texts)


@pytest.mark.parametrize("column", [pd.Series, pl.Series, pa.array, lambda texts: np.array(texts, dtype=object)])
def test_missing_values_of_columns(tiny, column):
    with pytest.raises(TypeError, match=r"^texts\[1\] must be a string, got (NoneType|float)"):
        tiny.text_factors(column(["a cat", None, "dog"]), **HOW)
    with pytest.warns(xsbert.engine.failures.SkippedWarning, match=r"texts\[1\]"):
        found = tiny.text_factors(column(["a cat", None, "dog"]), errors="skip", **HOW)
    assert [each and each.text for each in found] == ["a cat", None, "dog"]


def test_pairs_of_columns(tiny):
    frame = pd.DataFrame({"a": TEXTS[:2], "b": TEXTS[2:4]}, index=[1, 0])
    expected = [
        (out.a.text, out.b.text, out.score)
        for out in tiny.explain_pairs([*zip(TEXTS, TEXTS[2:4], strict=False)], **HOW)
    ]
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    for pairs in (
        zip(frame["a"], frame["b"], strict=True),
        zip(arrow["a"], arrow["b"], strict=True),
        frame.to_numpy(),
        frame.to_numpy().astype(str),
        [pd.Series(row, index=[1, 0]) for row in frame.to_numpy()],
        pl.from_pandas(frame).rows(),
        frame,
        arrow,
        Dataset.from_pandas(frame, preserve_index=False),
    ):
        assert [(out.a.text, out.b.text, out.score) for out in tiny.explain_pairs(pairs, **HOW)] == expected
    places = pd.DataFrame(PLACES, columns=["a", "b"])
    with pytest.raises(TypeError, match=r'^pairs must .*pass zip\(frame\["a"\], frame\["b"\]\)'):
        xsbert.choose_reference(tiny, TEXTS, pairs=places)
    for explain in (tiny.explain_pairs, lambda pairs: xsbert.faithfulness(tiny, pairs)):
        with pytest.raises(TypeError, match=r"^pairs must .*list\(d\.values\(\)\) or list\(d\.items\(\)\)"):
            explain({"ab": "cd"})
        with pytest.raises(TypeError, match=r"^pairs must .*got set, which has no order"):
            explain({("a cat", "dog")})
    with pytest.raises(TypeError, match=r"pairs\[0\] must be two texts"):
        tiny.explain_pairs([frame])
    with pytest.raises(TypeError, match=r"pairs\[1\]\[1\] must be a string, got float: nan"):
        [*tiny.explain_pairs([("a cat", "dog"), ("a cat", float("nan"))])]


def test_only_what_is_asked_for_is_read_of_a_large_column():
    read = []

    class Column:
        def __len__(self):
            return 10**9

        def __getitem__(self, place):
            read.append(place)
            return f"text {place}"

    found = retrieval.from_semantic_search([{"corpus_id": 123_456_789, "score": 0.5}], Column())
    assert found[0].text == "text 123456789"
    assert read == [123_456_789]
    with pytest.raises(IndexError, match="hit 0 names the text -1"):
        retrieval.from_semantic_search([{"corpus_id": -1, "score": 0.5}], Column())


def test_embeddings_of_documents_in_a_column(tiny):
    embeddings = tiny.encode_document(list(TEXTS))
    expected = tiny.explain_ranking("a cat", list(TEXTS), document_embeddings=embeddings, **HOW).scores
    rows = [row.tolist() for row in embeddings]
    for column in (
        pd.Series(rows, index=range(N)[::-1]),
        pd.Series(list(embeddings)),
        pl.Series(rows),
        pa.array(rows),
        pd.DataFrame(embeddings, index=range(N)[::-1]),
        Dataset.from_dict({"e": rows})["e"],
    ):
        found = tiny.explain_ranking("a cat", list(TEXTS), document_embeddings=column, **HOW).scores
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="document_embeddings must hold one row of numbers for each document"):
        tiny.explain_ranking("a cat", list(TEXTS), document_embeddings=pd.Series([*rows[:-1], rows[-1][:3]]), **HOW)
