"""What the real search libraries return is read as documents; those that are not installed are skipped."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset
from sentence_transformers import util

from xsbert.ranking import retrievers as retrieval
from xsbert.ranking.retrievers import Retrieved, retrieved

TEXTS = ["A cat sleeps on the stove.", "Prices rose sharply.", "The garden smells of roses."]
QUERY = "a sleeping animal"


@pytest.fixture(scope="module")
def embeddings(plain):
    return plain.encode_document(TEXTS)


@pytest.fixture(scope="module")
def query(plain):
    return plain.encode_query(QUERY)


@pytest.fixture(scope="module")
def expected(query, embeddings):
    return util.semantic_search(query, embeddings)[0]


def check(found, expected, model):
    """Texts and scores are those of the search, and the ranking takes them as they are."""
    assert [document.text for document in found] == [TEXTS[hit["corpus_id"]] for hit in expected]
    if found[0].score is not None:
        np.testing.assert_allclose(
            [document.score for document in found], [hit["score"] for hit in expected], atol=1e-4
        )
    ranking = model.explain_ranking(QUERY, found, n_steps=1, layer=6)
    assert ranking.order == [0, 1, 2]
    assert [hit.retriever_score for hit in ranking] == [document.score for document in found]
    assert [hit.id for hit in ranking] == [document.id for document in found]


def test_semantic_search(model, expected):
    check(retrieval.from_semantic_search(expected, TEXTS), expected, model)
    with pytest.raises(TypeError, match="hits must belong to one query"):
        retrieval.from_semantic_search([expected], TEXTS)
    with pytest.raises(IndexError, match="hit 0 names the text 7, and there are 3 texts"):
        retrieval.from_semantic_search([{"corpus_id": 7, "score": 0.5}], TEXTS)
    assert retrieval.from_semantic_search([], TEXTS) == []


def test_faiss(model, embeddings, query, expected):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(embeddings)
    scores, places = index.search(query[None], 5)
    assert (places[0] == -1).sum() == 2
    check(retrieval.from_faiss(scores[0], places[0], TEXTS), expected, model)
    named = faiss.IndexIDMap(faiss.IndexFlatIP(embeddings.shape[1]))
    named.add_with_ids(embeddings, np.array([10, 20, 30]))
    scores, places = named.search(query[None], 3)
    found = retrieval.from_faiss(scores[0], places[0], {10: TEXTS[0], 20: TEXTS[1], 30: TEXTS[2]})
    check(found, expected, model)
    assert found[0].id == "10"
    with pytest.raises(ValueError, match="one row each, of one query"):
        retrieval.from_faiss(scores, places, TEXTS)
    with pytest.raises(IndexError, match="hit 0 names the text 10"):
        retrieval.from_faiss(scores[0], places[0], TEXTS)


def test_lancedb(model, embeddings, query, expected, tmp_path):
    lancedb = pytest.importorskip("lancedb")
    rows = [
        {"vector": vector, "text": text, "name": f"n{at}"}
        for at, (vector, text) in enumerate(zip(embeddings, TEXTS, strict=True))
    ]
    table = lancedb.connect(tmp_path / "db").create_table("texts", rows)
    search = table.search(query).distance_type("cosine").limit(3)
    found = retrieval.from_lancedb(search.to_list(), id="name")
    check([Retrieved(each.text, each.id, 1 - each.score) for each in found], expected, model)
    assert found[0].id == "n0"
    assert retrieval.from_lancedb(search.to_arrow(), id="name") == found
    assert retrieval.from_lancedb(search.to_pandas(), id="name") == found
    with pytest.raises(ValueError, match=r"documents\[0\] must hold some text, and its row 'body' is None"):
        retrieval.from_lancedb(search.to_list(), text="body")


def test_qdrant(model, embeddings, query, expected):
    qdrant = pytest.importorskip("qdrant_client")
    client = qdrant.QdrantClient(":memory:")
    size = qdrant.models.VectorParams(size=embeddings.shape[1], distance=qdrant.models.Distance.COSINE)
    client.create_collection("texts", vectors_config=size)
    points = [
        qdrant.models.PointStruct(id=at, vector=vector.tolist(), payload={"text": text})
        for at, (vector, text) in enumerate(zip(embeddings, TEXTS, strict=True))
    ]
    client.upsert("texts", points)
    response = client.query_points("texts", query=query.tolist(), limit=3)
    check(retrieval.from_qdrant(response), expected, model)
    assert retrieved(response) == retrieved(response.points) == retrieval.from_qdrant(response.points)
    bare = client.query_points("texts", query=query.tolist(), limit=3, with_payload=False)
    with pytest.raises(ValueError, match=r"documents\[0\] must hold some text, and its payload 'text' is None"):
        retrieval.from_qdrant(bare)


def test_langchain(model, plain, expected):
    pytest.importorskip("langchain_core")
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import InMemoryVectorStore

    class Ours(Embeddings):
        def embed_documents(self, texts):
            return plain.encode_document(texts).tolist()

        def embed_query(self, text):
            return plain.encode_query(text).tolist()

    store = InMemoryVectorStore(Ours())
    store.add_texts(TEXTS)
    scored = store.similarity_search_with_score(QUERY, k=3)
    check(retrieval.from_langchain(scored), expected, model)
    documents = store.similarity_search(QUERY, k=3)
    check(retrieved(documents), expected, model)
    assert retrieved(scored)[0].score == pytest.approx(expected[0]["score"], abs=1e-5)


def test_llama_index(model, expected):
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text, id_=f"n{at}"), score=0.1 * at) for at, text in enumerate(TEXTS)]
    assert retrieved(nodes) == retrieval.from_llama_index(nodes)
    assert retrieved(nodes)[1] == Retrieved(TEXTS[1], "n1", 0.1)
    ranker = retrieval.llama_index_postprocessor(model, n_steps=2, layer=6, top_k=2)
    found = ranker.postprocess_nodes(nodes, QueryBundle(QUERY))
    assert [each.node.node_id for each in found] == [f"n{hit['corpus_id']}" for hit in expected[:2]]
    np.testing.assert_allclose([each.score for each in found], [hit["score"] for hit in expected[:2]], atol=1e-6)
    start, end, weight = found[0].node.metadata["xsbert_highlights"][0]
    assert found[0].node.text[start:end] in ("sleeps", "cat")
    assert weight > 0
    assert "xsbert" not in found[0].node.get_content(metadata_mode="llm")
    assert nodes[0].node.metadata == {}
    assert ranker.postprocess_nodes([], QueryBundle(QUERY)) == []
    with pytest.raises(ValueError, match="the postprocessor needs the query"):
        ranker.postprocess_nodes(nodes)


def test_haystack(model, embeddings, query, expected):
    pytest.importorskip("haystack")
    from haystack import Document
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    store.write_documents(
        [Document(content=text, embedding=vector.tolist()) for text, vector in zip(TEXTS, embeddings, strict=True)]
    )
    documents = InMemoryEmbeddingRetriever(store, scale_score=False).run(query.tolist(), top_k=3)["documents"]
    check(retrieval.from_haystack(documents), expected, model)
    assert retrieved(documents) == retrieval.from_haystack(documents)
    with pytest.raises(ValueError, match=r"documents\[1\] must hold some text, and its content is None"):
        retrieved([documents[0], Document(content=None)])


ROWS = [{"n": 1, "text": TEXTS[0], "_score": 0.5}, {"n": 2, "text": TEXTS[1], "_score": 0.25}]


@pytest.mark.parametrize("kind", [pd.DataFrame, pa.Table.from_pylist, Dataset.from_list, list])
def test_tables_have_their_texts_in_a_column(kind):
    """And are not taken for the names of their columns."""
    assert retrieved(kind(ROWS)) == [Retrieved(row["text"], score=row["_score"]) for row in ROWS]
    others = kind([{"title": "a", "body": "b"}])
    with pytest.raises(
        TypeError, match=r"nothing under 'text', it has title, body: .* xsbert\.ranking\.retrievers\.from_lancedb"
    ):
        retrieved(others)
    assert retrieval.from_lancedb(others, text="body") == [Retrieved("b")]
    with pytest.raises(ValueError, match=r"documents\[1\] must hold some text, and its row 'text' is (None|nan)"):
        retrieved(kind([ROWS[0], {**ROWS[1], "text": None}]))


def test_what_is_no_document_is_refused_with_the_readers():
    with pytest.raises(TypeError, match=r"documents\[0\]: dict holds places .*from_semantic_search\(hits, corpus\)"):
        retrieved([{"corpus_id": 3, "score": 0.5}])
    with pytest.raises(TypeError, match=r"got ndarray; xsbert\.ranking\.retrievers has from_faiss, from_haystack"):
        retrieved((np.ones((1, 3)), np.ones((1, 3))))
    with pytest.raises(ValueError, match=r"documents\[1\] must be Unicode text, .* surrogate pair at character 4"):
        retrieved(["a dog", "bad \ud800 x"])


def test_no_search_library_is_imported():
    source = Path(retrieval.__file__).read_text(encoding="utf-8")
    names = "faiss|lancedb|qdrant_client|langchain_core|llama_index|haystack"
    assert not re.search(rf"^\s*(import|from) ({names})", source, flags=re.MULTILINE)
