"""Ids, scores and options come back as JSON and Parquet can hold them, or are refused by name where they come in."""

import datetime
import decimal
import json
import uuid
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from sentence_transformers import util

import xsbert
from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import Attribution, MethodAttribution, Ranking, XSTransformer
from xsbert.evaluation.linguistics import tables as linguistics
from xsbert.evaluation.methods import explain_with
from xsbert.ranking import retrievers as retrieval
from xsbert.ranking.retrievers import Retrieved, retrieved

HOW = {"layer": 1, "n_steps": 1, "show_progress_bar": False}
QUERY = "a cat"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return XSTransformer(save_tiny_model(tmp_path_factory.mktemp("tiny"), dropout=0.0), device="cpu")


def kept(ranking, path):
    """Ids and scores of a ranking after it was saved; whether they are in the JSON as well."""
    ranking.save(path)
    loaded = Ranking.load(path)
    content = json.loads(json.dumps(ranking.to_dict(), allow_nan=False))
    found = [(hit.id, hit.retriever_score) for hit in loaded]
    assert found == [(hit.id, hit.retriever_score) for hit in ranking]
    assert found == [(hit["id"], hit["retriever_score"]) for hit in content["hits"]]
    assert [type(hit.id) for hit in loaded] == [type(hit.id) for hit in ranking]
    return dict(zip(ranking.order, found, strict=True))


IDS = [
    (7, 7),
    (np.int64(7), 7),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (7.0, 7),
    (np.float64(2.5), 2.5),
    (decimal.Decimal(7), 7),
    (np.str_("a1"), "a1"),
    ("", ""),
    (None, None),
    (float("nan"), None),
    (np.float32("nan"), None),
    (pd.NA, None),
    (pd.NaT, None),
    (np.datetime64("NaT"), None),
    (decimal.Decimal("NaN"), None),
    (pd.Timestamp("2020-01-02"), "2020-01-02T00:00:00"),
    (np.datetime64("2020-01-02", "ns"), "2020-01-02T00:00:00.000000000"),
    (datetime.date(2020, 1, 2), "2020-01-02"),
    (uuid.UUID(int=1), str(uuid.UUID(int=1))),
    (pa.scalar(7), 7),
    (torch.tensor(7), 7),
]
SCORES = [
    (0.5, 0.5),
    (np.float32(0.5), 0.5),
    (np.array(0.5), 0.5),
    (torch.tensor(0.5), 0.5),
    (np.int64(2), 2.0),
    (decimal.Decimal("0.5"), 0.5),
    (None, None),
    (float("nan"), None),
    (np.float32("nan"), None),
    (pd.NA, None),
]


def test_what_a_ranking_keeps_beside_its_documents(tiny, tmp_path):
    """All ids with all scores, a document each, of `Retrieved` and of rows."""
    cases = [(*IDS[at % len(IDS)], *SCORES[at % len(SCORES)]) for at in range(len(IDS))]
    texts = [f"{'a cat ' * (at + 1)}." for at in range(len(cases))]
    documents = [Retrieved(text, case[0], case[2]) for text, case in zip(texts, cases, strict=True)]
    rows = [{"text": text, "Id": case[0], "_score": case[2]} for text, case in zip(texts, cases, strict=True)]
    expected = {at: (case[1], case[3]) for at, case in enumerate(cases)}
    for given in (documents, rows):
        ranking = tiny.explain_ranking(QUERY, given, **HOW)
        assert kept(ranking, tmp_path / "ranking.safetensors") == expected
    assert ranking.to_dataframe()["id"].dtype == object
    assert str(ranking)
    ranking.to_html(tmp_path / "ranking.html")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"id": True}, TypeError, r"documents\[1\]\.id must be a string or a number, got bool: True"),
        ({"id": b"a"}, TypeError, r"documents\[1\]\.id must be a string or a number, got bytes"),
        ({"id": ["a"]}, TypeError, r"documents\[1\]\.id must be a string or a number, got list"),
        ({"id": {"$oid": "a"}}, TypeError, r"documents\[1\]\.id must be a string or a number, got dict"),
        ({"id": float("inf")}, ValueError, r"documents\[1\]\.id must be finite, got inf"),
        ({"id": 2.0**60}, ValueError, r"documents\[1\]\.id is too large to be exact as a float"),
        ({"id": 2**64}, ValueError, r"documents\[1\]\.id must fit into 64 bits"),
        ({"id": "\ud800"}, ValueError, r"documents\[1\]\.id must be Unicode text"),
        ({"score": float("inf")}, ValueError, r"documents\[1\]\.\w+ must be finite, got inf"),
        ({"score": np.float32("-inf")}, ValueError, r"documents\[1\]\.\w+ must be finite, got -inf"),
        ({"score": "0.5"}, TypeError, r"documents\[1\]\.\w+ must be a number or None, got str: '0.5'"),
        ({"score": True}, TypeError, r"documents\[1\]\.\w+ must be a number or None, got bool"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name(tiny, wrong, error, message):
    row = {("_score" if key == "score" else key): value for key, value in wrong.items()}
    for documents in (["a cat", Retrieved("dog", **wrong)], [{"text": "a cat"}, {"text": "dog", **row}]):
        with pytest.raises(error, match=message):
            tiny.explain_ranking(QUERY, documents, **HOW)


ROWS = {"text": TEXTS[:3], "title": ["x", "y", "z"]}
TABLES = {
    "rows": lambda columns: [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
    "pandas": lambda columns: pd.DataFrame(columns, index=[2, 0, 0]),
    "polars": pl.DataFrame,
    "polars, lazy": pl.LazyFrame,
    "arrow": pa.table,
    "arrow, batch": pa.RecordBatch.from_pydict,
    "datasets": Dataset.from_dict,
    "datasets, pandas": lambda columns: Dataset.from_dict(columns).with_format("pandas"),
    "datasets, torch": lambda columns: Dataset.from_dict(columns).with_format("torch"),
    "datasets, streamed": lambda columns: Dataset.from_dict(columns).to_iterable_dataset(),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", ["id", "ID", "Id"])
@pytest.mark.parametrize("ids", [["a", "b", "c"], [3, 1, 2], [3, None, 2**53 + 1]], ids=str)
def test_ids_of_rows_are_taken_along(table, name, ids):
    if table == "pandas" and None in ids:
        # Pandas makes floating-point numbers of integers beside None, unless it is told the type.
        documents = TABLES[table](ROWS | {name: pd.array(ids, "Int64")})
    else:
        documents = TABLES[table](ROWS | {name: ids})
    for read in (retrieved, retrieval.from_lancedb):
        found = read(documents)
        assert [each.text for each in found] == ROWS["text"]
        assert [each.id for each in found] == ids
        assert [type(each.id) for each in found] == [type(each) for each in ids]


@pytest.mark.parametrize("table", TABLES)
def test_which_column_is_the_id(table):
    both = TABLES[table](ROWS | {"ID": [1, 2, 3], "id": [4, 5, 6]})
    assert [each.id for each in retrieved(both)] == [4, 5, 6]
    named = retrieval.from_lancedb(TABLES[table](ROWS | {"id": [4, 5, 6]}), text="title", id="text")
    assert [(each.text, each.id) for each in named] == [*zip("xyz", TEXTS[:3], strict=True)]
    with pytest.raises(ValueError, match=r"documents\[0\] has several ids, 'ID', 'Id': name one by the argument id"):
        retrieved(TABLES[table](ROWS | {"ID": [1, 2, 3], "Id": [4, 5, 6]}))
    with pytest.raises(ValueError, match="has no column 'key'"):
        retrieval.from_lancedb(TABLES[table](ROWS), id="key")


def test_a_row_may_lack_the_id():
    found = retrieved([{"text": "a cat"}, {"text": "dog", "id": 7}])
    assert [each.id for each in found] == [None, 7]


def test_a_document_without_a_finite_score_is_last_and_saved(tiny, tmp_path, monkeypatch):
    """And does not push others out."""

    def broken(texts, **options):
        embeddings = encode(texts, **options).clone()
        embeddings[[at for at, text in enumerate(texts) if text == TEXTS[1]]] = float("nan")
        return embeddings

    encode = tiny.encode_document
    monkeypatch.setattr(tiny, "encode_document", broken)
    ranking = tiny.explain_ranking(QUERY, TEXTS[:3], **HOW)
    assert ranking.order[-1] == 1
    assert ranking[2].reason == "the model's score of it is not finite"
    assert np.isnan(ranking[2].score)
    assert tiny.explain_ranking(QUERY, TEXTS[:3], top_k=2, **HOW).order == ranking.order[:2]
    kept(ranking, tmp_path / "ranking.safetensors")
    loaded = Ranking.load(tmp_path / "ranking.safetensors")
    assert np.isnan(loaded[2].score)
    assert loaded.to_dict()["hits"][2]["score"] is None
    assert "no score" in str(loaded)
    assert "no score" in loaded.to_html()
    by_passages = tiny.explain_ranking(QUERY, TEXTS[:3], passages=30, overlap=1, **HOW)
    assert by_passages.order == ranking.order


# What may be an integer of numpy, and what then is saved or turned into JSON.
def attributed(tiny, as_int, path):
    out = tiny.attribute_prediction(QUERY, TEXTS[0], layer=as_int(1), n_steps=as_int(2), chunk_size=as_int(3))
    out.save(path)
    assert Attribution.load(path).settings == out.settings
    return out.to_dict(), out.top_pairs(as_int(2))


def attributed_to_a_tolerance(tiny, as_int, path):
    how = {"tolerance": np.float32(0.5), "factor_tolerance": np.float32(0.9), "memory_budget": np.float64(1e9)}
    out = tiny.attribute_prediction(QUERY, TEXTS[0], layer=as_int(-1), max_steps=as_int(64), **how)
    out.save(path)
    return out.to_dict(), [(link.a, link.b) for link in out.words().alignments(threshold=np.float32(0.0)).links]


def ranked(tiny, as_int, path):
    how = {"top_k": as_int(2), "passages": as_int(8), "overlap": as_int(2), "layer": as_int(1), "n_steps": as_int(1)}
    ranking = tiny.explain_ranking(QUERY, TEXTS[:3], pooling="mean", **how)
    ranking.save(path)
    hit = ranking[as_int(0)]
    return ranking.to_dict(), hit.highlights(top_k=as_int(1)), hit.tagged(threshold=np.float32(0.5))


def explained_with(tiny, as_int, path):
    found = []
    for name, options in (
        ("products", {}),
        ("layer cosines", {"layer": as_int(1)}),
        ("gradient", {"layer": as_int(1)}),
        ("randomised", {"layer": as_int(1), "seed": as_int(3), "tolerance": np.float32(0.5)}),
        ("random", {"seed": as_int(3)}),
    ):
        (out,) = explain_with(name, tiny, [(QUERY, TEXTS[0])], budget=as_int(64), **options)
        out.save(path)
        assert MethodAttribution.load(path).settings == out.settings
        found.append(out.to_dict())
    return found


def faithful(tiny, as_int, path):
    pairs = [(QUERY, TEXTS[0]), (QUERY, TEXTS[1])]
    layers = [as_int(1), as_int(-2)]
    how = {"tolerance": np.float32(0.5), "n_bootstrap": as_int(20), "seed": as_int(1), "budget": as_int(64)}
    found = xsbert.faithfulness(tiny, pairs, methods=["integrated", "products"], layers=layers, **how)
    content = found.to_dict()
    for row in content["rows"]:
        del row["seconds"]
    cost = xsbert.cost_of_faithfulness(tiny, pairs, methods=["shapley"], layers=layers, budget=as_int(8))
    return content, cost["shapley"].n_passes, found.estimate(as_int(1)).value


def chosen(tiny, as_int, path):
    how = {"references": ["unk"], "max_texts": as_int(4), "batch_size": as_int(2)}
    return str(xsbert.choose_reference(tiny, TEXTS, **how))


def tabled(tiny, as_int, path):
    out = tiny.attribute_prediction(QUERY, TEXTS[0], layer=1, n_steps=1)
    return (linguistics.cumulative_share([out], np.array([0.5, 1.0])).to_dict(),)


@pytest.mark.parametrize(
    "use", [attributed, attributed_to_a_tolerance, ranked, explained_with, faithful, chosen, tabled]
)
def test_numbers_of_numpy_are_taken_everywhere(tiny, tmp_path, use):
    expected = use(tiny, int, tmp_path / "one.safetensors")
    assert json.dumps(expected[0], allow_nan=False)
    for as_int in (np.int64, np.int32):
        assert repr(use(tiny, as_int, tmp_path / "other.safetensors")) == repr(expected)


@pytest.mark.parametrize("wrong", [True, np.True_, 2.0, np.float64(2), "2", None, [2]], ids=repr)
def test_what_is_no_integer_is_refused_by_name(tiny, wrong):
    pairs = [(QUERY, TEXTS[0])]
    calls = {
        "n_bootstrap": lambda: xsbert.faithfulness(tiny, pairs, n_bootstrap=wrong),
        "seed": lambda: xsbert.faithfulness(tiny, pairs, seed=wrong),
        "budget": lambda: explain_with("products", tiny, pairs, budget=wrong),
        "layer": lambda: explain_with("products", tiny, pairs, layer=wrong),
        "max_texts": lambda: xsbert.choose_reference(tiny, TEXTS, max_texts=wrong),
        "batch_size": lambda: xsbert.choose_reference(tiny, TEXTS, batch_size=wrong),
        "max_steps": lambda: tiny.attribute_prediction(QUERY, TEXTS[0], max_steps=wrong),
    }
    for name, call in calls.items():
        with pytest.raises((TypeError, ValueError), match=rf"^{name} must be an integer.*, got "):
            call()


@pytest.fixture(scope="module")
def table(tiny):
    pairs = [*pairwise(TEXTS[:5])]
    how = {"layers": [1, 2], "references": ["unk", "pad"], "operators": ["remove"], "tolerance": 0.5}
    return xsbert.faithfulness(tiny, pairs, methods=np.array(["integrated", "bilrp", "products"]), **how)


def test_rows_of_faithfulness_by_name(table):
    """By the label that is printed, by the method that was given, and by what tells a row from others."""
    for at, row in enumerate(table.rows):
        assert row.label in str(table)
        for name in (row, at, np.int64(at), at - len(table.rows), row.label):
            assert table.estimate(name) == table.estimate(at)
            assert table.difference(name, "bilrp") == table.difference(at, 4)
    assert table.difference("bilrp", "integrated, layer 2, pad") == table.difference(4, 3)
    assert table.difference("integrated, [UNK], layer 1", "products", "words") == table.difference(0, 5, "words")
    with pytest.raises(ValueError, match=r"^'integrated, pad' fits several rows: integrated, layer 1, \[PAD\]; integr"):
        table.difference("integrated, pad", 0)
    with pytest.raises(ValueError, match=r"^'bilpr' is no row of the table, which has: integrated, layer 1"):
        table.estimate("bilpr")
    with pytest.raises(IndexError, match="row must be a place between 0 and 5, got 6"):
        table.estimate(6)
    for wrong in (True, 1.0, None):
        with pytest.raises(TypeError, match="row must be a row of the table, its place or its name, got"):
            table.estimate(wrong)


def test_what_is_not_defined_is_null_in_json(tiny):
    """Of texts of one word no correlation is defined."""
    found = xsbert.faithfulness(tiny, [("dog", "cat")], methods=["products"], operators=["remove"])
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["rows"][0]["pearson, remove"] == [None, None, None, 0]
    ratio = linguistics.Table("t", ("a", "b"), (("x", np.float64("nan")), ("y", np.float32(0.5))))
    assert json.dumps(ratio.to_dict(), allow_nan=False).count("null") == 1


@pytest.fixture(scope="module")
def embeddings(tiny):
    return tiny.encode_document(TEXTS)


class TestScores:
    """Those of a retriever, and the model's own."""

    def told(self, model, documents, **options):
        """The warnings of a ranking that compare scores."""
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            model.explain_ranking(QUERY, documents, **HOW, **options)
        return [str(each.message) for each in found if "the retriever's score" in str(each.message)]

    @pytest.mark.parametrize("function", [util.cos_sim, util.dot_score, util.euclidean_sim, util.manhattan_sim])
    @pytest.mark.parametrize("similarity", ["cosine", "dot"])
    def test_semantic_search(self, tiny, embeddings, function, similarity):
        (hits,) = util.semantic_search(tiny.encode_query(QUERY), embeddings, score_function=function)
        how = {"similarity": similarity}
        column = pd.Series(TEXTS, index=[5, 4, 3, 2, 1, 0])
        assert self.told(tiny, retrieval.from_semantic_search(hits, column), **how) == []
        exchanged = [TEXTS[5], *TEXTS[1:5], TEXTS[0]]
        others = retrieval.from_semantic_search(hits, exchanged)
        (message,) = self.told(tiny, others, **how)
        worst = next(at for at, each in enumerate(others) if f"documents[{at}] (id {each.id!r}) is" in message)
        assert others[worst].id in ("0", "5")
        assert "for 2 of 6 documents" in message
        assert f"is {others[worst].score:.4f}" in message
        # Also where the texts that are not those of the hits are not among the best.
        assert len(self.told(tiny, others, top_k=1, **how)) == 1

    def test_what_is_no_score_of_the_model_is_not_compared(self, tiny, embeddings):
        (hits,) = util.semantic_search(tiny.encode_query(QUERY), embeddings)
        wrong = retrieval.from_semantic_search(hits, TEXTS[::-1])
        assert len(self.told(tiny, wrong)) == 1
        rows = [{"text": each.text, "_relevance_score": each.score} for each in wrong]
        own = [Retrieved(each.text, each.id, each.score) for each in wrong]
        for documents in (rows, retrieval.from_lancedb(rows), own, TEXTS):
            assert self.told(tiny, documents) == []
        # Passages are other texts than those that were embedded.
        assert self.told(tiny, wrong, passages=30, overlap=1) == []
        named = [Retrieved(each.text, each.id, each.score, measure="similarity") for each in wrong]
        assert len(self.told(tiny, named)) == 1
        with pytest.raises(
            ValueError, match=r"documents\[0\]\.measure must be None or of \['similarity', 'index', 'cosine'"
        ):
            tiny.explain_ranking(QUERY, [Retrieved("a cat", measure="angle")], **HOW)

    def test_a_shift_that_was_added_after_the_search(self, tiny, embeddings):
        (hits,) = util.semantic_search(tiny.encode_query(QUERY), embeddings)
        shifted = XSTransformer.wrap(tiny, shift=True)
        assert self.told(shifted, retrieval.from_semantic_search(hits, TEXTS)) == []
        assert len(self.told(shifted, retrieval.from_semantic_search(hits, TEXTS[::-1]))) == 1

    @pytest.mark.parametrize("kind", ["Flat", "SQ8", "L2norm,Flat"])
    @pytest.mark.parametrize("metric", ["METRIC_INNER_PRODUCT", "METRIC_L2", "METRIC_L1"])
    def test_faiss(self, tiny, embeddings, kind, metric):
        faiss = pytest.importorskip("faiss")
        if metric == "METRIC_L1" and kind != "Flat":
            return
        index = faiss.index_factory(embeddings.shape[1], kind, getattr(faiss, metric))
        index.train(embeddings)
        index.add(embeddings)
        scores, places = index.search(tiny.encode_query(QUERY)[None], 8)
        assert self.told(tiny, retrieval.from_faiss(scores[0], places[0], pd.Series(TEXTS, index=[1] * 6))) == []
        assert len(self.told(tiny, retrieval.from_faiss(scores[0], places[0], TEXTS[::-1]))) == 1
        bits = retrieval.from_faiss(np.arange(6), places[0][:6], TEXTS)
        assert self.told(tiny, bits) == []
