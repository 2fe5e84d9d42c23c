"""A real SPLADE model, and tiny ones of other kinds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf
from sentence_transformers import CrossEncoder, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Pooling, Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder, SparseStaticEmbedding, SpladePooling

import xsbert
from tests.tiny import POSITIONS, SIZES, tokenizer
from xsbert import Attribution, XSSparseEncoder, XSTransformer
from xsbert.factors.files import load_factors, save_factors

A, B = "A good refrigerator for the cafeteria", "The fridge was developed by a man who invented things."
LAYERS = (0, 1, 2)


def scored(model, a, b):
    one, other = model.encode([a, b])
    return float(model.similarity(one, other))


@pytest.fixture(scope="module")
def out(splade):
    return splade.attribute_prediction(A, B, layer=1, tolerance=1e-3)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_the_account_sums_to_the_models_own_score(splade, layer, similarity):
    own = SparseEncoder(modules=[*splade], similarity_fn_name=similarity)
    result = splade.attribute_prediction(A, B, layer=layer, similarity=similarity, tolerance=1e-3)
    assert result.score == pytest.approx(scored(own, A, B), rel=1e-5)
    assert sum(result.parts.values()) == pytest.approx(result.score, rel=2e-3)
    assert max(result.residual_a, result.residual_b) <= 1e-3


def test_terms_sum_to_the_score_and_split_over_the_units_of_both_texts(out):
    terms = out.terms()
    assert sum(each.score for each in terms) == pytest.approx(out.score)
    assert [each.score for each in terms] == sorted((each.score for each in terms), reverse=True)
    for each in terms:
        for side in (each.a, each.b):
            assert side.contributions.sum() + side.baseline == pytest.approx(side.value, abs=0.01)
        assert each.score == pytest.approx(each.a.value * each.b.value)
    refrigerator = terms[0]
    assert refrigerator.term == "refrigerator"
    assert (refrigerator.a.strongest[0][0], refrigerator.b.strongest[0][0]) == ("refrigerator", "fridge")
    assert str(refrigerator).startswith(f"refrigerator {refrigerator.score:.2f} = ")
    assert len(str(terms).splitlines()) == len(terms)


def test_cells_are_the_products_of_the_terms_contributions(out):
    cells = sum(np.outer(each.a.contributions, each.b.contributions) for each in out.terms())
    assert np.allclose(cells, out.matrix, atol=1e-9)


def test_one_text_shows_which_word_made_which_term(splade):
    (factors,) = splade.text_factors([A], layer=1)
    terms = factors.words().terms()
    embedding = splade.encode([A]).to_dense()[0].numpy()
    assert {each.id for each in terms} == set(np.flatnonzero(embedding))
    assert [each.value for each in terms] == pytest.approx(sorted(embedding[embedding > 0], reverse=True), abs=1e-5)
    assert terms[0].term == "refrigerator"
    assert terms[0].strongest[0][0] == "refrigerator"


def test_reverse_mode_agrees_with_forward_mode(splade):
    a, b = splade.text_factors([A, B], layer=1, n_steps=6)
    forward = Attribution.of(a, b, "dot")
    mixed = splade.attribute_prediction(A, B, layer=1, n_steps=6)
    assert mixed.pulled_back == "b"
    assert np.allclose(forward.matrix, mixed.matrix, atol=1e-4)
    assert [str(each) for each in forward.terms()][:3] == [str(each) for each in mixed.terms()][:3]


@pytest.mark.slow
def test_the_frozen_account_is_close_to_the_integral_with_kinks(splade):
    frozen, exact = (splade.attribute_prediction(A, B, layer=1, kinks=kinks) for kinks in ("freeze", "integrate"))
    assert exact.score == pytest.approx(frozen.score)
    assert exact.error <= 0.02 * exact.score
    assert np.corrcoef(frozen.matrix.ravel(), exact.matrix.ravel())[0, 1] > 0.98
    assert exact.settings.n_steps > 4 * frozen.settings.n_steps


def test_feature_pairs_sum_to_the_matrix(splade):
    result = splade.attribute_prediction("a fridge", "the refrigerator", layer=2, n_steps=4)
    assert np.allclose(result.feature_pairs().sum((1, 3)), result.matrix, atol=1e-3)


def test_max_active_dims_are_those_of_encode(splade):
    few = XSSparseEncoder.wrap(SparseEncoder(modules=[*splade], max_active_dims=4))
    result = few.attribute_prediction(A, B, layer=2)
    assert result.score == pytest.approx(scored(few, A, B), rel=1e-5)
    assert len(few.text_factors([A], layer=2)[0].embedding) == 4
    assert result.score < scored(splade, A, B)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_texts_without_a_common_term_score_zero(splade, similarity):
    texts = "cold weather in the north", "Stock prices fell."
    result = splade.attribute_prediction(*texts, layer=1, similarity=similarity)
    assert result.score == 0 == scored(splade, *texts)
    assert not result.matrix.any()
    assert not result.terms()
    assert "0.0000" in str(result)


def test_a_text_without_any_term_scores_zero(splade):
    network = splade[0].model
    empty = SparseEncoder(modules=[splade[0], SpladePooling("max")])
    with torch.no_grad():
        kept = network.cls.predictions.decoder.bias.clone()
        network.cls.predictions.decoder.bias -= 1e4
    try:
        wrapped = xsbert.wrap(empty)
        for similarity in ("dot", "cosine"):
            result = wrapped.attribute_prediction(A, B, layer=1, similarity=similarity)
            assert result.score == 0
            assert result.matrix.shape == (len(result.tokens_a), len(result.tokens_b))
        ranking = wrapped.explain_ranking(A, [B, "Monday"], layer=1)
        assert ranking.scores == [0, 0]
    finally:
        with torch.no_grad():
            network.cls.predictions.decoder.bias.copy_(kept)


def test_rankings_are_those_of_the_model(splade):
    documents = ["Stock prices fell.", "It rains in the north, where winters are long.", "A cold day."]
    query = "cold weather in the north"
    scores = splade.similarity(splade.encode_query([query]), splade.encode_document(documents))[0].tolist()
    given = splade.encode_document(documents)
    for detail in ("highlights", "pairs"):
        ranking = splade.explain_ranking(query, documents, detail=detail, layer=1, tolerance=1e-3)
        assert ranking.scores == pytest.approx(sorted(scores, reverse=True), abs=1e-4)
        for hit in ranking:
            assert hit.document.total == pytest.approx(hit.score, abs=0.05)
            assert hit.query.total == pytest.approx(hit.score, abs=0.05)
    assert splade.explain_ranking(query, documents, document_embeddings=given, layer=2).order == ranking.order
    assert ranking[0].attribution.terms()[0].term in ("cold", "north")
    assert "cold" in ranking[0].tagged()
    assert ranking.contrast(0, 1).words


def test_many_pairs_and_matrices(splade):
    texts = ["a fridge", "the refrigerator", "A cold day."]
    (pair,) = splade.explain_pairs([tuple(texts[:2])], layer=2)
    cells = {(i, j): out for i, j, out in splade.explain_matrix(texts[:1], texts[1:], layer=2)}
    assert cells[0, 0].score == pytest.approx(pair.score)
    assert np.allclose(cells[0, 0].matrix, pair.matrix, atol=1e-5)


def test_results_and_factors_come_back_from_files(splade, out, tmp_path):
    out.save(tmp_path / "result.safetensors")
    again = Attribution.load(tmp_path / "result.safetensors")
    assert (again.matrix == out.matrix).all()
    assert str(again.terms()) == str(out.terms())
    factors = splade.text_factors(["a fridge", A], layer=2)
    save_factors(tmp_path / "factors.safetensors", factors)
    for one, other in zip(factors, load_factors(tmp_path / "factors.safetensors"), strict=True):
        assert (one.factors == other.factors).all()
        assert (one.embedding == other.embedding).all()
        assert one.outputs.labels == other.outputs.labels


def test_the_users_model_stays_as_it_was(splade):
    plain = SparseEncoder(modules=[*splade]).train()
    before = {name: weight.clone() for name, weight in plain.state_dict().items()}
    forward = plain[0].model.get_output_embeddings().forward
    xsbert.wrap(plain).attribute_prediction("a fridge", "the refrigerator", layer=2, n_steps=1)
    assert plain.training
    assert all(torch.equal(before[name], weight) for name, weight in plain.state_dict().items())
    assert plain[0].model.get_output_embeddings().forward == forward
    plain.eval()


def test_wrap_chooses_the_class(splade, plain):
    assert type(xsbert.wrap(plain)) is XSTransformer
    sparse = SparseEncoder(modules=[*splade])
    wrapped = xsbert.wrap(sparse, reference="mask")
    assert type(wrapped) is XSSparseEncoder
    assert isinstance(wrapped, SparseEncoder)
    assert wrapped[0] is sparse[0]
    assert wrapped.reference.token == "[MASK]"
    assert type(xsbert.wrap(wrapped)) is XSSparseEncoder
    with pytest.raises(TypeError, match=r"got str\. Load it by that class first"):
        xsbert.wrap("a/path")
    with pytest.raises(TypeError, match="reads both texts at once"):
        xsbert.wrap(CrossEncoder.__new__(CrossEncoder))
    with pytest.raises(TypeError, match="must be a SparseEncoder, got SentenceTransformer"):
        XSSparseEncoder.wrap(plain)
    with pytest.raises(TypeError, match="must be a SentenceTransformer, got SparseEncoder"):
        XSTransformer.wrap(sparse)


def test_it_loads_saves_and_encodes_as_upstream(splade, tmp_path):
    splade.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    again = XSSparseEncoder(tmp_path / "saved", device="cpu")
    upstream = SparseEncoder(str(tmp_path / "saved"), device="cpu")
    assert torch.equal(again.encode([A]).to_dense(), upstream.encode([A]).to_dense())
    assert again.similarity_fn_name == upstream.similarity_fn_name
    with pytest.raises(ValueError, match=r"Load it as xsbert\.XSSparseEncoder"):
        XSTransformer(str(tmp_path / "saved"))


def test_what_would_be_another_model_is_refused(minilm_path, tmp_path):
    with pytest.raises(ValueError, match="SparseAutoEncoder with random weights"):
        XSSparseEncoder(minilm_path)
    with pytest.raises(ValueError, match="kinks must be one of"):
        xsbert.engine.Options(kinks="none")


def test_dense_models_have_no_terms(model):
    result = model.attribute_prediction("Rain", "Wet", layer=6)
    with pytest.raises(ValueError, match="has no terms"):
        result.terms()


# Tiny models


def masked_language_model(name, folder):
    """Save a tiny masked language model with random weights."""
    config_class, settings = {
        "bert": (hf.BertConfig, SIZES),
        "roberta": (hf.RobertaConfig, SIZES),
        "distilbert": (
            hf.DistilBertConfig,
            {"dim": 16, "n_heads": 2, "n_layers": 3, "hidden_dim": 24, "max_position_embeddings": POSITIONS},
        ),
        "modernbert": (hf.ModernBertConfig, {**SIZES, "global_attn_every_n_layers": 2, "local_attention": 6}),
    }[name]
    fast = tokenizer(1, 1, "right")
    config = config_class(**settings, vocab_size=len(fast), pad_token_id=1, bos_token_id=0, eos_token_id=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = hf.AutoModelForMaskedLM.from_config(config)
        for parameter in network.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.4)
    network.save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


TEXTS = "the gentle giant did not unpack", "a tall traveller left his bags in the"


@pytest.mark.parametrize(
    "name", ["bert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("roberta", "distilbert", "modernbert"))]
)
@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_poolings_and_activations_of_all_architectures(name, pooling, activation, tmp_path):
    transformer = Transformer(masked_language_model(name, tmp_path), transformer_task="fill-mask")
    model = xsbert.wrap(SparseEncoder(modules=[transformer, SpladePooling(pooling, activation)], device="cpu"))
    for layer in (0, model.n_layers):
        result = model.attribute_prediction(*TEXTS, layer=layer, tolerance=1e-3)
        assert result.score == pytest.approx(scored(model, *TEXTS), rel=1e-5)
        assert result.score > 0
        assert result.error <= 4e-3 * result.score
    # With all choices live, f at the reference is the model's own embedding of it, for the terms of the text.
    path = model.explainer(layer=0, kinks="integrate").path(TEXTS[0])
    assert torch.allclose(path.f(path.x), path.f_x, atol=1e-4)
    assert torch.allclose(path.f(path.r), path.f_r, atol=1e-4)


@pytest.mark.parametrize("normalize", [False, True])
def test_sparse_autoencoders(plain, normalize):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder = SparseAutoEncoder(384, 512, k=16, normalize=normalize)
        torch.nn.init.normal_(autoencoder.encoder.weight)
    model = xsbert.wrap(SparseEncoder(modules=[plain[0], Pooling(384), autoencoder], device="cpu"))
    a, b = "A cold day.", "The weather is freezing."
    result = model.attribute_prediction(a, b, layer=4, tolerance=1e-3)
    assert result.score == pytest.approx(scored(model, a, b), rel=1e-4)
    assert result.error <= 4e-3 * result.score
    assert result.terms()[0].term.startswith("latent ")
    with pytest.raises(ValueError, match="jump where another is among the largest"):
        model.attribute_prediction(a, b, kinks="integrate")


def test_other_modules_are_refused_with_what_is_needed(splade, plain):
    with pytest.raises(ValueError, match="xsbert needs a masked language model with a SpladePooling"):
        xsbert.wrap(SparseEncoder(modules=[plain[0], Pooling(384)], device="cpu"))


def test_long_texts_take_little_memory(splade):
    text = "the harbourmaster distrusts every forecast that promises sunshine and rain " * 60
    with pytest.warns(UserWarning, match="cut off"):
        path = splade.explainer(layer=0).path(text)
    assert len(path.x) == 512
    assert path.limits.predicted_bytes(512) < 1.5e9


def test_factors_of_different_vocabularies_are_not_combined(splade):
    a, b = splade.text_factors(["a fridge", "the refrigerator"], layer=2, n_steps=1)
    with pytest.raises(ValueError, match="different kinds of outputs"):
        Attribution.of(a, replace(b, outputs=None), "dot")


@pytest.fixture(scope="module")
def routed(splade):
    """Queries by fixed weights of their tokens, documents by the SPLADE model."""
    fast = splade.tokenizer
    weights = torch.rand(len(fast), generator=torch.Generator().manual_seed(0)) + 0.5
    router = Router.for_query_document(
        query_modules=[SparseStaticEmbedding(fast, weight=weights)], document_modules=[splade[0], splade[1]]
    )
    return xsbert.wrap(SparseEncoder(modules=[router], device="cpu", similarity_fn_name="dot"))


def test_queries_without_a_model_are_explained_in_closed_form(routed):
    query, document = "cold cold day in the north", "It is cold in the north, on most days."
    own = float(routed.similarity(routed.encode_query(query), routed.encode_document(document)))
    result = routed.attribute_prediction(query, document, layer=1, tolerance=1e-3, task=("query", "document"))
    assert result.score == pytest.approx(own, rel=1e-5)
    assert result.error <= 2e-3 * result.score
    assert result.residual_a == 0
    assert result.main_effects_b.sum() == 0
    terms = {each.term: each for each in result.terms()}
    assert terms["cold"].a.strongest[:2] == [("cold", terms["cold"].a.value / 2)] * 2
    ranking = routed.explain_ranking(query, [document, "Stock prices fell."], layer=1)
    assert ranking[0].score == pytest.approx(own, rel=1e-5)
    assert ranking[0].document.total == pytest.approx(own, rel=0.02)
    assert ranking[0].query.total == pytest.approx(own, rel=0.02)
    both = routed.explain_ranking(query, [document], layer=1, detail="pairs")[0].attribution
    assert np.allclose(both.matrix.sum(), result.words().matrix.sum(), rtol=0.02)
    with pytest.raises(ValueError, match="no hidden states"):
        result.feature_pairs()


def test_other_routes_are_refused(splade):
    router = Router.for_query_document([splade[0], splade[1]], [splade[0], splade[1]])
    with pytest.raises(ValueError, match="one of them a SparseStaticEmbedding"):
        xsbert.wrap(SparseEncoder(modules=[router], device="cpu"))


def test_relative_contributions_of_a_sparse_encoder(splade):
    texts = ["It is cold in the north. Dogs bark.", "Stock prices fell."]
    ranking = splade.explain_ranking("cold north", texts, layer=1, similarity="cosine", relative=True)
    for hit in ranking:
        for one in (hit.document_relative, hit.query_relative):
            assert one.total == pytest.approx(0, abs=0.02)
    assert ranking[0].highlights("sentences", relative=True)[0].text == "It is cold in the north."
    assert ranking[0].answer("sentences").text == "It is cold in the north."
    with pytest.raises(ValueError, match="divided by the norm, such as 'cosine', got 'dot'"):
        splade.explain_ranking("cold north", texts, relative=True)
    with pytest.raises(ValueError, match="compares the last hidden states of dense models"):
        ranking[0].answer()


def test_a_sparse_encoder_has_one_reference(splade):
    with pytest.raises(
        ValueError, match=r"reference=\('unk', 'mask'\): each text of a sparse encoder .* give one token"
    ):
        splade.text_factors(["cold"], reference=("unk", "mask"))
