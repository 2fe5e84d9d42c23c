"""Scores of compressed indexes of FAISS differ from the model's own, and a warning of other texts is still right."""

import itertools
import warnings

import numpy as np
import pytest

from xsbert.ranking.retriever_scores import warn_of_other_scores
from xsbert.ranking.retrievers import from_faiss

faiss = pytest.importorskip("faiss")

SUBJECTS = ["cat", "dog", "bird", "child", "farmer", "river", "city", "garden", "engine", "doctor", "king", "sailor"]
VERBS = ["sees", "paints", "sells", "finds", "breaks", "hears", "carries", "builds"]
OBJECTS = ["house", "song", "stone", "letter", "lamp", "train", "map", "coat", "bread", "bridge", "drum", "book"]
TEXTS = [f"The {s} {v} a {o}." for s, v, o in itertools.product(SUBJECTS, VERBS, OBJECTS)][::3]
QUERIES = [f"{s} {o}" for s, o in itertools.product(SUBJECTS[::3], OBJECTS[::2])]
K = 10


@pytest.fixture(scope="module")
def embedded(plain):
    return plain.encode_document(TEXTS, batch_size=128), plain.encode_query(QUERIES)


def product(width, n_parts, n_bits, metric):
    return faiss.IndexPQ(width, n_parts, n_bits, metric)


def inverted_product(width, n_parts, n_bits, metric):
    coarse = faiss.IndexFlatIP(width) if metric == faiss.METRIC_INNER_PRODUCT else faiss.IndexFlatL2(width)
    return faiss.IndexIVFPQ(coarse, width, 4, n_parts, n_bits, metric)


def told(embedded, query, scores, places):
    documents = from_faiss(scores, np.arange(len(places)), [TEXTS[at] for at in places])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        candidates = [(embedded[1][query].astype(float), embedded[0][places].astype(float))]
        warn_of_other_scores(documents, [*range(len(places))], candidates)
    return [str(each.message) for each in caught if issubclass(each.category, UserWarning)]


@pytest.mark.parametrize("metric", [faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2])
@pytest.mark.parametrize("kind", [product, inverted_product])
@pytest.mark.parametrize("n_parts", [8, 16, 48])
def test_product_quantization(embedded, kind, n_parts, metric):
    index = kind(embedded[0].shape[1], n_parts, 8, metric)
    index.train(embedded[0])
    index.add(embedded[0])
    scores, places = index.search(embedded[1], K)
    queries = [at for at in range(len(QUERIES)) if (places[at] >= 0).all()]
    assert len(queries) > 20
    others = np.random.default_rng(0).permutation(len(TEXTS))
    right = [told(embedded, at, scores[at], places[at]) for at in queries]
    wrong = [told(embedded, at, scores[at], others[places[at]]) for at in queries]
    # Few searches of right texts are warned of, none with 48 bytes a vector; and none of other texts is missed.
    assert sum(map(len, right)) <= (0 if n_parts == 48 else len(queries) / 3)
    assert [len(each) for each in wrong] == [1] * len(queries)
    assert all(
        "or its index compresses embeddings very strongly" in message for (message,) in [*wrong, *filter(None, right)]
    )


def test_one_other_text_among_exact_scores(embedded):
    """Where the index is not compressed, a single score counts."""
    index = faiss.IndexFlatIP(embedded[0].shape[1])
    index.add(embedded[0])
    scores, places = index.search(embedded[1], K)
    assert told(embedded, 0, scores[0], places[0]) == []
    far = int((embedded[0] @ embedded[1][0]).argmin())
    (message,) = told(embedded, 0, scores[0], [*places[0][:4], far, *places[0][5:]])
    assert message.startswith("the retriever's score of documents[4] (id '4') is")


def test_very_few_bits(embedded):
    """Scores that say little about the texts give a warning that names the compression."""
    index = product(embedded[0].shape[1], 16, 4, faiss.METRIC_INNER_PRODUCT)
    index.train(embedded[0])
    index.add(embedded[0])
    scores, places = index.search(embedded[1], K)
    found = [told(embedded, at, scores[at], places[at]) for at in range(len(QUERIES))]
    assert any(found)
    assert all("very strongly" in message for messages in found for message in messages)
