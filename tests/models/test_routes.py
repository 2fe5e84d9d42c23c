"""Routers: a static encoder for queries, a transformer for documents, each with its own factors."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Router, StaticEmbedding

from xsbert import Attribution, XSTransformer

QUERY, DOCUMENT = "cold weather", "It is freezing outside."


@pytest.fixture(scope="module")
def router(plain):
    """The rows of the static route are MiniLM's own word embeddings, so that both routes have one width."""
    table = plain[0].model.get_input_embeddings().weight.detach().clone()
    static = StaticEmbedding(plain.tokenizer, embedding_weights=table)
    routes = Router.for_query_document([static], [plain[0], plain[1]])
    return SentenceTransformer(modules=[routes, Normalize()], device="cpu")


@pytest.fixture(scope="module")
def routes(router):
    return [XSTransformer.wrap(router, route=name) for name in ("query", "document")]


def test_each_route_embeds_as_the_router(router, routes):
    query, document = routes
    np.testing.assert_allclose(query.encode(QUERY), router.encode_query(QUERY), atol=1e-6)
    np.testing.assert_allclose(document.encode(DOCUMENT), router.encode_document(DOCUMENT), atol=1e-6)
    assert query.explainer().has_closed_form
    assert document.n_layers == 6


def test_a_pair_across_the_routes(router, routes, tmp_path):
    query, document = routes
    out = query.explain_across(document, QUERY, DOCUMENT)
    expected = router.similarity(router.encode_query(QUERY), router.encode_document(DOCUMENT)).item()
    assert out.score == pytest.approx(expected, abs=1e-6)
    assert sum(out.parts.values()) == pytest.approx(expected, abs=0.01)
    assert out.residual_a < 1e-6
    assert out.residual_b <= 0.01
    assert out.settings.reference == "zero and [UNK]"
    assert out.tokens_a == ["cold", "weather"]
    out.save(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(Attribution.load(tmp_path / "out.safetensors").matrix, out.matrix)
    assert "zero and [UNK]" in out.to_html()
    with pytest.raises(ValueError, match="cannot be combined"):
        Attribution.of(out.a, document.text_factors([DOCUMENT])[0], "cosine")


def test_highlights_of_a_document(router, routes):
    _, document = routes
    along = document.explain_direction(DOCUMENT, router.encode_query(QUERY))
    expected = router.similarity(router.encode_query(QUERY), router.encode_document(DOCUMENT)).item()
    assert along.score == pytest.approx(expected, abs=1e-6)
    assert along.error < 0.01


def test_what_does_not_fit_is_refused(router, routes, plain):
    with pytest.raises(ValueError, match=r"wrap one of its routes, as in XSTransformer.wrap\(model, route='query'\)"):
        XSTransformer(modules=[router[0]], device="cpu")
    with pytest.raises(ValueError, match="route must be one of 'document', 'query'"):
        XSTransformer.wrap(router)
    with pytest.raises(ValueError, match="route must be None for a model without a router, got 'query'"):
        XSTransformer.wrap(plain, route="query")
    with pytest.raises(TypeError, match="other must be a model that xsbert explains"):
        routes[0].explain_across(plain, QUERY, DOCUMENT)
    narrow = XSTransformer.wrap(
        SentenceTransformer(modules=[StaticEmbedding(plain.tokenizer, embedding_weights=torch.ones(30522, 4))])
    )
    with pytest.raises(ValueError, match="their embeddings have 4 and 384 dimensions"):
        narrow.explain_across(routes[1], QUERY, DOCUMENT)
