"""Late interaction: real layers behind an untrained head, and tiny random models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Pooling

import xsbert
from tests.late_models import late_model
from tests.tiny import write_transformer
from xsbert import Attribution, XSMultiVectorEncoder, XSTransformer
from xsbert.engine.kept_prompt import reference_inputs
from xsbert.factors.files import load_factors, save_factors

A, B = "What was developed for the cafeteria?", "The fridge, invented by a man, was developed for a cold room."
TASK = ("query", "document")
PLAIN = {}
EXPANDED = {"query_expansion": {"strategy": "fixed", "length": 16}}
ATTENDED = {
    "query_expansion": {"strategy": "min", "length": 18, "attend": True},
    "prompts": {"query": "[Q] ", "document": "[D] "},
}
MEAN = {"similarity": "meanmaxsim", "normalise": False}
KINDS = {"plain": PLAIN, "expanded": EXPANDED, "attended": ATTENDED, "mean": MEAN}


def own_score(model, query, document):
    return float(model.similarity(model.encode_query([query]), model.encode_document([document])))


@pytest.fixture(scope="module", params=KINDS)
def kind(request, minilm_path):
    return xsbert.wrap(late_model(minilm_path, **KINDS[request.param]))


@pytest.fixture(scope="module")
def expanded(minilm_path):
    return xsbert.wrap(late_model(minilm_path, **EXPANDED))


@pytest.fixture(scope="module")
def out(late):
    return late.explain(A, B, task=TASK)


@pytest.mark.parametrize("tolerance", [0.01, pytest.param(0.001, marks=pytest.mark.slow)])
def test_the_account_sums_to_the_models_own_score(kind, tolerance):
    upstream = MultiVectorEncoder(modules=[*kind], prompts=kind.prompts, similarity_fn_name=kind.similarity_fn_name)
    out = kind.explain(A, B, task=TASK, tolerance=tolerance)
    assert out.score == pytest.approx(own_score(upstream, A, B), rel=1e-5)
    assert out.similarity == upstream.similarity_fn_name
    assert out.error <= tolerance * out.score
    (query,), (document,) = (
        kind.text_factors([text], task=task, tolerance=tolerance) for text, task in zip((A, B), TASK, strict=True)
    )
    assert max(query.residual, document.residual) <= tolerance
    # Of the matched vectors alone.
    assert max(out.residual_a, out.residual_b) <= 2 * tolerance


@pytest.mark.slow
def test_the_account_is_complete_at_the_embeddings(expanded):
    out = expanded.explain(A, B, task=TASK, layer=0, tolerance=1e-3)
    assert out.error <= 1e-3 * out.score == pytest.approx(1e-3 * own_score(expanded, A, B), rel=1e-4)


def test_matches_are_those_of_the_models_vectors(kind):
    out = kind.explain(A, B, task=TASK, layer=-1)
    query, document = kind.encode_query([A])[0].double(), kind.encode_document([B])[0].double()
    products = query @ document.T
    matches = out.matches()
    assert [each.cosine for each in matches] == pytest.approx(products.max(1).values.tolist(), rel=1e-4)
    assert sum(each.score for each in matches) == pytest.approx(out.score)
    assert np.allclose(sum(each.matrix for each in matches), out.matrix)
    for name, value in out.parts.items():
        assert sum(each.parts[name] for each in matches) == pytest.approx(value)
    for each in matches:
        assert out.tokens_a[each.position_a] == each.token_a
        assert out.tokens_b[each.position_b] == each.token_b
        assert sum(each.parts.values()) == pytest.approx(each.score, abs=0.02)
    assert len(str(matches).splitlines()) == len(query)


def test_a_match_reads(out):
    (developed,) = [each for each in out.words().matches() if each.token_a == "developed"]
    assert developed.token_b == "developed"
    assert developed.strongest[0][:2] == ("developed", "developed")
    assert str(developed).startswith(f"developed → developed {developed.score:.2f}: developed × developed ")


def test_a_mean_is_the_sum_divided_by_the_vectors(minilm_path):
    upstream = late_model(minilm_path)
    total = xsbert.wrap(upstream).explain(A, B, task=TASK, layer=-1, n_steps=2)
    upstream.similarity_fn_name = "meanmaxsim"
    mean = xsbert.wrap(upstream).explain(A, B, task=TASK, layer=-1, n_steps=2)
    n_vectors = len(total.matches())
    assert np.allclose(mean.matrix * n_vectors, total.matrix)
    assert mean.matches()[1].cosine == pytest.approx(total.matches()[1].cosine)


def test_without_a_task_both_texts_are_encoded_alike(late):
    out = late.explain(A, B, layer=-1)
    assert out.score == pytest.approx(float(late.similarity(late.encode([A]), late.encode([B]))), rel=1e-5)


def test_a_text_with_itself_matches_token_by_token(late):
    out = late.explain(B, B, task=("document", "document"), layer=-2, n_steps=4)
    assert out.score == pytest.approx(len(out.matches()), rel=1e-5)
    assert [each.position_a for each in out.matches()] == [each.position_b for each in out.matches()]
    assert np.allclose(out.matrix, out.matrix.T)
    assert np.allclose(out.main_effects_a, out.main_effects_b)


def test_one_vector_on_either_side_is_symmetric_and_matched_by_all(minilm_path):
    single = late_model(minilm_path, skip=["[CLS]", "[SEP]"])
    single[2].skiplist_tasks = ["query", "document"]
    single = xsbert.wrap(single)
    there, back = (single.explain(*texts, task=TASK, n_steps=4) for texts in (("Rain", "Snow"), ("Snow", "Rain")))
    assert np.allclose(there.matrix, back.matrix.T)
    assert there.score == pytest.approx(back.score)
    out = single.explain(A, "Rain", task=TASK, layer=-1)
    assert {each.token_b for each in out.matches()} == {"rain"}
    assert out.score == pytest.approx(own_score(single, A, "Rain"), rel=1e-5)


def test_skip_lists_and_expansion_are_those_of_the_model(expanded):
    a, b = (expanded.text_factors([text], task=task, layer=-1)[0] for text, task in zip((A, B), TASK, strict=True))
    assert "?" in a.outputs.labels
    assert a.outputs.labels[-1] == "[MASK]"
    assert len(a.outputs.positions) == 16
    assert {",", "."}.isdisjoint(b.outputs.labels)
    assert {",", "."} <= set(b.tokens)
    assert len(b.outputs.positions) == len(b.tokens) - b.tokens.count(",") - b.tokens.count(".")


@pytest.mark.parametrize("settings", [EXPANDED, ATTENDED], ids=["expanded", "attended"])
def test_the_reference_keeps_markers_and_expansion(minilm_path, settings):
    model = xsbert.wrap(late_model(minilm_path, **settings))
    explainer = model.explainer()
    text = explainer.tokenized("A cold day", explainer.prompt(task="query"))
    options = replace(explainer.options, reference_prompt=explainer.reference_prompt)
    ids = reference_inputs(explainer.reference, text, text.features, options)["input_ids"][0].tolist()
    replaced = {
        at for at, (one, own) in enumerate(zip(ids, text.features["input_ids"][0].tolist(), strict=True)) if one != own
    }
    assert {text.tokens[at] for at in replaced} == {"a", "cold", "day"}
    assert {ids[at] for at in replaced} == {explainer.reference.token_id}
    assert len(text.roles) == len(text.spans) == len(text.word_ids) == len(ids)


def test_a_query_of_expansion_alone_has_no_account_but_its_reference(expanded):
    with pytest.warns(UserWarning, match="nothing but special tokens is left"):
        out = expanded.explain("\u200b", B, task=TASK, layer=-1)
    assert out.score == pytest.approx(own_score(expanded, "\u200b", B), rel=1e-5)
    assert not out.matrix.any()
    assert out.main_effects_b.sum() + out.baseline == pytest.approx(out.score, abs=0.02)


def test_a_document_of_skipped_tokens_has_no_score(minilm_path):
    model = xsbert.wrap(late_model(minilm_path, skip=["[CLS]", "[SEP]", "rain"]))
    with pytest.raises(ValueError, match=r"texts\[1\].*leaves no vector"):
        model.text_factors(["A cold day", "Rain"], task="document", layer=-1)


def test_units_and_features_sum_to_the_matrix(late, out):
    words = late.explain(A, B, task=TASK, units="words")
    assert np.allclose(words.matrix, out.words().matrix, atol=1e-4)
    assert out.words().matrix.sum() == pytest.approx(out.matrix.sum())
    small = late.explain("a fridge", "cold room", task=TASK, layer=-1)
    assert np.allclose(small.feature_pairs().sum((1, 3)), small.matrix, atol=1e-3)


def test_factors_combine_and_come_back_from_files(late, out, tmp_path):
    (a,), (b,) = (late.text_factors([text], task=task) for text, task in zip((A, B), TASK, strict=True))
    assert np.allclose(Attribution.of(a, b, "maxsim").matrix, out.matrix)
    assert np.allclose(Attribution.of(out.a, out.b, "maxsim").matrix, out.matrix)
    save_factors(tmp_path / "factors.safetensors", [a, b])
    again = Attribution.of(*load_factors(tmp_path / "factors.safetensors"), "maxsim")
    assert np.allclose(again.matrix, out.matrix)
    out.save(tmp_path / "result.safetensors")
    loaded = Attribution.load(tmp_path / "result.safetensors")
    assert str(loaded.matches()) == str(out.matches())
    assert loaded.score == out.score
    for similarity in ("cosine", "meanmaxsim"):
        with pytest.raises(ValueError, match="must be 'maxsim', that of the model"):
            Attribution.of(a, b, similarity)
    with pytest.raises(ValueError, match="different kinds of outputs"):
        Attribution.of(out.a, b, "maxsim")


def test_rankings_are_those_of_the_model(kind):
    documents = ["Stock prices fell.", B, "A cold day in the cafeteria.", "Rooms were developed " * 20]
    scores = kind.similarity(kind.encode_query([A]), kind.encode_document(documents))[0].tolist()
    for detail in ("highlights", "pairs"):
        ranking = kind.explain_ranking(A, documents, detail=detail, layer=-1)
        assert ranking.scores == pytest.approx(sorted(scores, reverse=True), rel=1e-5)
        assert [hit.score for hit in ranking] == pytest.approx([scores[hit.index] for hit in ranking], rel=1e-5)
        for hit in ranking:
            assert hit.document.total == pytest.approx(hit.score, rel=0.02)
            assert hit.query.total == pytest.approx(hit.score, rel=0.02)


def test_a_long_document_is_pulled_back_along_its_matched_vectors(late):
    query, document = "cold room", " ".join([B] * 2)
    how = {"layer": -1, "n_steps": 4}
    (hit,) = late.explain_ranking(query, [document], detail="pairs", units="tokens", **how)
    pulled, forward = hit.attribution, late.explain(query, document, task=TASK, **how)
    assert pulled.pulled_back == "b"
    assert np.allclose(pulled.matrix, forward.matrix, atol=1e-4)
    with pytest.raises(ValueError, match="explain the pair"):
        pulled.matches()
    (highlights,) = late.explain_ranking(query, [document], units="tokens", **how)
    # Along the query's own vectors, which its factors and its reference make up to the error of the nodes.
    assert highlights.document.total == pytest.approx(forward.score, rel=0.02)
    along = forward.matrix.sum(0) + forward.main_effects_b
    assert np.allclose(highlights.document.values, along, atol=0.02 * np.abs(along).max())


def test_a_memory_budget_changes_no_number(late):
    free, bounded = (late.explain(A, B, task=TASK, n_steps=3, memory_budget=budget) for budget in (None, 5e7))
    assert np.allclose(free.matrix, bounded.matrix, atol=1e-4)
    assert late.predict_memory(A, task="query", chunk_size=2) < late.predict_memory(A, task="query", chunk_size=8)


def test_a_corpus_keeps_the_account_of_pairs_but_not_of_single_matches(late, tmp_path):
    how = {"layer": -1, "tolerance": 0.1}
    rows = [{"text_a": A, "text_b": B}]
    corpus = xsbert.explain_corpus(late, rows, tmp_path / "pairs", task=TASK, show_progress_bar=False, **how)
    kept, out = corpus.attribution(0), late.explain(A, B, task=TASK, **how)
    assert np.allclose(kept.matrix, out.matrix, atol=1e-5)
    assert kept.score == pytest.approx(out.score)
    with pytest.raises(ValueError, match="have no matches"):
        kept.matches()
    with pytest.raises(ValueError, match="only `what='pairs'`"):
        xsbert.explain_corpus(late, [{"query": A, "document": B}], tmp_path / "hits", what="highlights", **how)


def test_dense_factors_have_no_late_similarity(model):
    a, b = model.text_factors(["Rain", "Wet"], layer=6)
    with pytest.raises(ValueError, match="which these factors are not of"):
        Attribution.of(a, b, "maxsim")


def test_many_pairs_and_matrices(late, out):
    (pair,) = late.explain_pairs([(A, B)], task=TASK)
    ((_, _, cell),) = late.explain_matrix([A], [B], task=TASK)
    assert np.allclose(pair.matrix, out.matrix, atol=1e-5)
    assert np.allclose(cell.matrix, out.matrix, atol=1e-5)


def test_it_loads_saves_and_encodes_as_upstream(expanded, tmp_path):
    expanded.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    again = XSMultiVectorEncoder(tmp_path / "saved", device="cpu")
    upstream = MultiVectorEncoder(str(tmp_path / "saved"), device="cpu")
    assert torch.equal(again.encode_query([A])[0], upstream.encode_query([A])[0])
    assert torch.equal(again.encode_document([B])[0], upstream.encode_document([B])[0])
    assert again.explain(A, B, task=TASK, layer=-1).score == pytest.approx(own_score(upstream, A, B), rel=1e-5)
    with pytest.raises(ValueError, match=r"Load it as xsbert\.XSMultiVectorEncoder"):
        XSTransformer(str(tmp_path / "saved"))


def test_the_users_model_stays_as_it_was(minilm_path):
    upstream = late_model(minilm_path, **EXPANDED).train()
    before = {name: weight.clone() for name, weight in upstream.state_dict().items()}
    wrapped = xsbert.wrap(upstream)
    wrapped.explain(A, B, task=TASK, layer=-1, n_steps=1)
    assert type(wrapped) is XSMultiVectorEncoder
    assert wrapped[0] is upstream[0]
    assert upstream.training
    assert all(torch.equal(before[name], weight) for name, weight in upstream.state_dict().items())


def test_what_cannot_be_explained_is_refused(late, model, minilm_path):
    with pytest.raises(ValueError, match="another model"):
        XSMultiVectorEncoder(minilm_path)
    with pytest.raises(TypeError, match="must be a MultiVectorEncoder, got XSTransformer"):
        XSMultiVectorEncoder.wrap(model)
    with pytest.raises(ValueError, match="HierarchicalTokenPooling is none of these"):
        xsbert.wrap(MultiVectorEncoder(modules=[*late, HierarchicalTokenPooling(2)]))
    with pytest.raises(ValueError, match="Pooling is none of these"):
        xsbert.wrap(MultiVectorEncoder(modules=[late[0], Pooling(384), MultiVectorMask()]))
    with pytest.raises(ValueError, match="the model's own, got 'cosine'"):
        late.explain(A, B, similarity="cosine")
    with pytest.raises(ValueError, match="only kinks='freeze'"):
        late.explain(A, B, kinks="integrate")
    with pytest.raises(ValueError, match="a vector for each token"):
        late.explain_direction(A, np.ones(64))
    with pytest.raises(ValueError, match="one dense vector"):
        late.explain_across(late, A, B)
    with pytest.raises(ValueError, match="embedded anew"):
        late.explain_ranking(A, [B], document_embeddings=np.ones((1, 64)))
    with pytest.raises(ValueError, match="faithfulness"):
        xsbert.faithfulness(late, [(A, B)])
    with pytest.raises(ValueError, match="have no matches"):
        model.explain("Rain", "Wet", layer=6).matches()


@pytest.mark.parametrize("architecture", ["roberta", "modernbert", "qwen3"])
def test_other_architectures(architecture, tmp_path):
    folder = write_transformer(architecture, tmp_path)
    # Behind a short window or before the text, tokens that nothing attends to would see nothing.
    expansion = {"strategy": "fixed", "length": 12, "attend": architecture != "roberta"}
    model = xsbert.wrap(late_model(folder, skip=[".", ":"], query_expansion=expansion))
    query, document = "a gentle giant", "the tall traveller left his bags : they were in ."
    out = model.explain(query, document, task=TASK, layer=1, tolerance=1e-3)
    assert out.score == pytest.approx(own_score(model, query, document), rel=1e-4)
    assert out.error <= 3e-3 * abs(out.score)
    assert len(out.matches()) == 12
    if architecture == "roberta":
        with pytest.raises(ValueError, match="numbers positions around padding"):
            model.explain(query, document, reference="pad")
