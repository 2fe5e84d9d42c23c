"""Rankings on real weights: order and scores are the model's own, and contributions sum to them."""

import json
import warnings

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, util

from tests.pairs import PAIRS
from xsbert import XSTransformer
from xsbert.engine.batch_run import Run
from xsbert.factors.contributions import contributions_of
from xsbert.models import ShiftWarning
from xsbert.ranking.ranking import Ranking
from xsbert.ranking.retrievers import Retrieved

QUERY = "Which animal sleeps on the stove?"
DOCUMENTS = [
    "Prices rose by three percent.",
    "A cat sleeps on the warm stove. The dog is in the garden.",
    "The garden smells of roses.",
    "A kitten is awake in the kitchen, and the stove is cold.",
    "He cooks pasta for his friends.",
]
LONG = " ".join(text for pair in PAIRS for text in pair)


@pytest.fixture(scope="module")
def ranking(model):
    return model.explain_ranking(QUERY, DOCUMENTS, n_steps=4)


@pytest.fixture(scope="module")
def with_pairs(model):
    return model.explain_ranking(QUERY, DOCUMENTS[:3], n_steps=4, detail="pairs")


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_order_and_scores_are_those_of_semantic_search(model, plain, similarity, monkeypatch):
    documents = [text for pair in PAIRS[:20] for text in pair]
    compare = {"cosine": util.cos_sim, "dot": util.dot_score}[similarity]
    embeddings = plain.encode_document(documents, convert_to_tensor=True)
    explained = []
    monkeypatch.setattr(Run, "projected_all", lambda self, texts, *_, **__: explained.extend(texts) or 1 / 0)
    for query in ("money", PAIRS[3][0]):
        (hits,) = util.semantic_search(plain.encode_query(query), embeddings, top_k=7, score_function=compare)
        with pytest.raises(ZeroDivisionError):
            model.explain_ranking(query, documents, top_k=7, similarity=similarity, n_steps=1)
        assert [text.text for text in explained] == [documents[hit["corpus_id"]] for hit in hits]
        explained.clear()


def test_scores(ranking, plain):
    (hits,) = util.semantic_search(plain.encode_query(QUERY), plain.encode_document(DOCUMENTS), top_k=5)
    assert ranking.order == [hit["corpus_id"] for hit in hits]
    np.testing.assert_allclose(ranking.scores, [hit["score"] for hit in hits], atol=1e-6)
    assert [hit.text for hit in ranking] == [DOCUMENTS[index] for index in ranking.order]
    assert len(ranking) == ranking.n_documents == 5


@pytest.mark.parametrize("units", ["tokens", "words", "sentences"])
def test_contributions_and_baseline_sum_to_the_score(ranking, units):
    for hit in ranking.over(units):
        # The residual is relative to f(x) − f(r), which is longer than the embedding by less than a factor of 2 here.
        assert hit.error < 2 * hit.residual + 1e-6
        assert hit.contributions.sum() + hit.baseline == pytest.approx(hit.score, abs=2 * hit.residual + 1e-6)
        assert hit.query.total == pytest.approx(hit.score, abs=2 * hit.query_factors.residual + 1e-6)
        assert hit.over("tokens").contributions.sum() == pytest.approx(hit.contributions.sum(), abs=1e-12)


def test_contributions_are_those_of_the_factors(ranking, model):
    query, *documents = model.token_factors([QUERY, *DOCUMENTS], n_steps=4)
    for hit in ranking.over("tokens"):
        side = documents[hit.index]
        scale = np.linalg.norm(query.embedding) * np.linalg.norm(side.embedding)
        np.testing.assert_allclose(hit.contributions, side.factors @ query.embedding / scale, atol=1e-6)
        np.testing.assert_allclose(hit.query.values, query.factors @ side.embedding / scale, atol=1e-6)
        assert hit.baseline == pytest.approx(side.reference_term @ query.embedding / scale, abs=1e-6)
        assert hit.document.units == side.tokens


def test_pairs_are_those_of_attribute_prediction(with_pairs, model):
    for hit in with_pairs:
        one = model.attribute_prediction(QUERY, hit.text, n_steps=4)
        np.testing.assert_allclose(hit.over("tokens").attribution.matrix, one.matrix, atol=1e-5)
        np.testing.assert_allclose(hit.attribution.matrix, one.words().matrix, atol=1e-5)
        assert hit.attribution.score == pytest.approx(hit.score, abs=1e-6)


def test_long_documents_are_pulled_back_and_short_ones_are_not(model):
    texts = ["A stove.", " ".join(DOCUMENTS)]
    hits = model.explain_ranking("A warm stove", texts, n_steps=3, detail="pairs")
    chosen = {hit.index: hit.attribution.pulled_back for hit in hits}
    assert chosen == {0: None, 1: "b"}
    for hit in hits:
        one = model.attribute_prediction("A warm stove", hit.text, n_steps=3)
        np.testing.assert_allclose(hit.over("tokens").attribution.matrix, one.matrix, atol=1e-5)
        alone = model.explain_ranking("A warm stove", [hit.text], n_steps=3)[0]
        np.testing.assert_allclose(hit.contributions, alone.contributions, atol=1e-6)


def test_pairs_are_not_there_unless_asked_for(ranking, with_pairs):
    assert not ranking[0].has_pairs
    assert with_pairs[0].has_pairs
    with pytest.raises(ValueError, match=r'pairs of words were not computed: .*detail="pairs"'):
        _ = ranking[0].attribution


def test_a_shifted_model_has_no_baseline(shifted):
    with pytest.warns(ShiftWarning, match=r"may change the order: documents\[\d\] has") as caught:
        ranking = shifted.explain_ranking(QUERY, DOCUMENTS[:2], n_steps=8)
    assert sum(issubclass(each.category, UserWarning) for each in caught) == 1
    assert caught[0].filename == __file__
    for hit in ranking:
        assert hit.baseline == 0
        assert hit.contributions.sum() == pytest.approx(hit.score, abs=1e-3)
        own = XSTransformer.wrap(shifted)  # the shift stays
        assert own.shifted
        assert hit.score_unshifted is not None


def test_prompts_of_each_side(plain):
    model = XSTransformer.wrap(plain)
    model.prompts = {"query": "question: ", "document": "answer: "}
    ranking = model.explain_ranking(QUERY, DOCUMENTS[:2], n_steps=3)
    expected = util.cos_sim(model.encode_query(QUERY), model.encode_document(DOCUMENTS[:2]))[0]
    for hit in ranking:
        assert hit.score == pytest.approx(float(expected[hit.index]), abs=1e-6)
        assert hit.document.roles.count("prompt") == 2
        assert hit.error < 2 * hit.residual + 1e-6
        spans = [span for span, role in zip(hit.document.spans, hit.document.roles, strict=True) if role == "text"]
        assert hit.text[slice(*spans[0])] in ("A", "Prices")
    assert ranking.query == QUERY
    for wrong in ({"prompt": "x: "}, {"prompt_name": "query"}):
        with pytest.raises(ValueError, match=r"must be a pair, got '.*' for both"):
            model.explain_ranking(QUERY, DOCUMENTS, **wrong)
    own = model.explain_ranking(QUERY, DOCUMENTS[:1], n_steps=1, prompt=("q ", "d "))[0]
    expected = util.cos_sim(plain.encode("q " + QUERY), plain.encode("d " + DOCUMENTS[0]))
    assert own.score == pytest.approx(float(expected), abs=1e-6)


def test_given_embeddings_are_used_for_the_scores(model, plain, ranking, monkeypatch):
    embeddings = plain.encode_document(DOCUMENTS)
    monkeypatch.setattr(SentenceTransformer, "encode_document", lambda *args, **kwargs: 1 / 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.explain_ranking(QUERY, DOCUMENTS, n_steps=4, document_embeddings=embeddings)
    assert found.order == ranking.order
    np.testing.assert_allclose(found.scores, ranking.scores, atol=1e-6)
    half = model.explain_ranking(QUERY, DOCUMENTS, n_steps=4, document_embeddings=torch.tensor(embeddings).half())
    np.testing.assert_allclose(half.scores, ranking.scores, atol=1e-3)


def test_embeddings_of_other_texts_are_told(model, plain):
    embeddings = plain.encode_document(DOCUMENTS)[::-1].copy()
    with pytest.warns(UserWarning, match=r"the given embedding of documents\[\d\] scores .* and the model's own"):
        model.explain_ranking(QUERY, DOCUMENTS, n_steps=4, document_embeddings=embeddings)


BAD = [
    ({"documents": []}, ValueError, "documents must hold at least one text, got none"),
    ({"documents": "one text"}, TypeError, "documents must hold texts, got str: 'one text'"),
    ({"documents": ["a", " ", "b"]}, ValueError, r"documents\[1\] must hold some text, and its text is ' '"),
    ({"documents": ["a", 3]}, TypeError, r"documents\[1\] must be a string or what a known retriever returns, got int"),
    ({"documents": ["a", Retrieved("")]}, ValueError, r"documents\[1\] must hold some text"),
    ({"query": ""}, ValueError, "query must hold some text, got ''"),
    ({"query": 3}, TypeError, "query must be a string"),
    ({"top_k": 0}, ValueError, "top_k must be None or an integer of at least 1, got 0"),
    ({"top_k": True}, ValueError, "top_k must be None or an integer"),
    ({"detail": "all"}, ValueError, "detail must be one of 'highlights', 'pairs', got 'all'"),
    ({"units": "letters"}, ValueError, "units must be one of 'tokens', 'words', 'sentences', got 'letters'"),
    ({"pooling": "sum"}, ValueError, "pooling must be one of 'max', 'mean', got 'sum'"),
    ({"passages": 8, "overlap": 8}, ValueError, "overlap must be an integer from 0 to below passages=8, got 8"),
    ({"passages": 0}, ValueError, "passages must be None or an integer of at least 1, got 0"),
    ({"passages": 300}, ValueError, "passages=300 is above .* limit of 256"),
    ({"document_embeddings": np.ones((2, 7))}, ValueError, "as wide as the model's, 384, got 7"),
    ({"document_embeddings": np.ones((3, 384))}, ValueError, r"one row for each of the 2 documents, got \(3, 384\)"),
    ({"document_embeddings": np.ones(384)}, ValueError, r"one row for each of the 2 documents, got \(384,\)"),
    (
        {"document_embeddings": np.full((2, 384), np.nan)},
        ValueError,
        r"document_embeddings\[0\] holds numbers that are not finite",
    ),
    ({"document_embeddings": np.ones((2, 384)), "passages": 8, "overlap": 2}, ValueError, "or passages, not both"),
    ({"similarity": "euclidean"}, ValueError, "euclidean.*only bilinear"),
    ({"layer": 7}, ValueError, "layer must be between -6 and 6"),
    ({"top": 3}, TypeError, "unexpected keyword argument 'top'"),
    ({"topk": 3}, TypeError, "unexpected keyword argument 'topk'; did you mean 'top_k'"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[str(change)[:50] for change, *_ in BAD])
def test_bad_input(model, change, error, message):
    with pytest.raises(error, match=message):
        model.explain_ranking(**{"query": "a", "documents": ["One text.", "Another."], **change})


def test_the_error_of_the_factors_is_held_too(model):
    """Also where the nodes that are tried first reach the tolerance of the sum."""
    document = " ".join(DOCUMENTS[:2])
    (loose,) = model.explain_ranking(QUERY, [document], tolerance=0.05)
    wanted = loose.factor_error / 10
    (held,) = model.explain_ranking(QUERY, [document], tolerance=0.05, factor_tolerance=wanted)
    assert held.factor_error <= wanted
    assert held.residual <= 0.05


def test_a_document_that_fails_is_in_the_result_with_the_reason(model, monkeypatch):
    original = Run.projected_all

    def fails(self, texts, directions, **how):
        if any("pasta" in text.text for text in texts):
            raise FloatingPointError("numbers that are not finite")
        return original(self, texts, directions, **how)

    monkeypatch.setattr(Run, "projected_all", fails)
    ranking = model.explain_ranking(QUERY, DOCUMENTS, n_steps=2)
    assert len(ranking) == 5
    reasons = {hit.index: hit.reason for hit in ranking}
    assert reasons == {4: "numbers that are not finite", **dict.fromkeys(range(4))}
    (bad,) = (hit for hit in ranking if not hit.explained)
    with pytest.raises(ValueError, match="document 4 is not explained: numbers that are not finite"):
        _ = bad.contributions
    assert "not explained: numbers" in str(ranking)
    assert "not finite" in ranking.to_html()
    assert ranking.to_dataframe()["role"].str.contains("not finite").sum() == 1
    assert np.isnan(ranking.query_matrix).all(1).sum() == 1
    with pytest.raises(ValueError, match="document 4 is not explained"):
        ranking.contrast(0, ranking.order.index(4))
    json.dumps(ranking.to_dict(), allow_nan=False)


@pytest.mark.filterwarnings("ignore::xsbert.models.ShiftWarning")
def test_a_document_of_reference_tokens_has_no_cosine(shifted):
    ranking = shifted.explain_ranking(QUERY, [*DOCUMENTS[:2], "[PAD] [PAD]"], n_steps=2)
    reasons = {hit.index: hit.reason for hit in ranking}
    assert "cosine of a zero embedding" in reasons.pop(2)
    assert set(reasons.values()) == {None}


def test_what_the_limit_cuts_off_is_told(model):
    with pytest.warns(UserWarning, match=r"documents\[1\] is longer than the model's limit of 256 tokens") as caught:
        ranking = model.explain_ranking(QUERY, ["Short.", LONG], n_steps=1)
    assert sum(issubclass(each.category, UserWarning) for each in caught) == 1
    cut = {hit.index: hit.n_cut for hit in ranking}
    assert cut[0] == 0
    assert cut[1] > 100
    assert f"{cut[1]} tokens cut off" in str(ranking)
    assert f"{cut[1]} tokens were cut off" in ranking.to_html()


def test_many_documents_that_are_cut_are_one_warning(model):
    documents = [LONG, "Short.", f"{LONG} {LONG}", f"A {LONG}"]
    with pytest.warns(UserWarning, match=r"documents\[2\] is longer than .* of 2 further hits") as caught:
        ranking = model.explain_ranking(QUERY, documents, n_steps=1, layer=6)
    assert sum(issubclass(each.category, UserWarning) for each in caught) == 1
    assert sum(hit.n_cut > 0 for hit in ranking) == 3


def test_a_query_that_is_cut_is_told(model):
    with pytest.warns(UserWarning, match=r"query is longer than the model's limit"):
        ranking = model.explain_ranking(LONG, ["Short."], n_steps=1, layer=6)
    n_cut = ranking.query_factors.n_cut
    assert n_cut > 100
    assert ranking.to_dict()["query_n_cut"] == n_cut
    assert f"{n_cut} tokens of the query were cut off by the model's limit" in str(ranking)
    assert ranking.to_html().count(f"{n_cut} tokens of the query were cut off by the model") == 2
    short = model.explain_ranking("a query", ["Short."], n_steps=1, layer=6)
    assert short.to_dict()["query_n_cut"] == 0
    assert "of the query were cut off" not in str(short) + short.to_html()


def test_ranks_are_integers(model):
    ranking = model.explain_ranking(QUERY, DOCUMENTS[:2], n_steps=1, layer=6)
    with pytest.raises(TypeError, match=r"i must be a rank, an integer from 0, got 0\.5"):
        ranking.contrast(0.5, 1)
    assert ranking.contrast(np.int64(0), 1).margin == ranking.contrast(0, 1).margin


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_passages(model, plain, pooling):
    documents = [LONG[:900], DOCUMENTS[1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ranking = model.explain_ranking(QUERY, documents, n_steps=3, passages=40, overlap=10, pooling=pooling)
    assert ranking.pooling == pooling
    for hit in ranking:
        text = documents[hit.index]
        parts = [text[part.start : part.end] for part in hit.passages]
        scores = util.cos_sim(plain.encode_query(QUERY), plain.encode_document(parts))[0].numpy()
        assert hit.score == pytest.approx(float(scores.mean()), abs=1e-6)
        assert len(parts) == (1 if pooling == "max" else hit.n_passages)
        assert hit.error < 3 * hit.residual + 1e-6
        for (start, end), unit, role in zip(hit.document.spans, hit.document.units, hit.document.roles, strict=True):
            if role == "text":
                assert text[start:end] == unit
        words = hit.over("words").contributions.sum()
        assert words == pytest.approx(hit.over("sentences").contributions.sum(), abs=1e-9)
        assert words == pytest.approx(hit.over("tokens").contributions.sum(), abs=1e-9)
    assert {hit.index: hit.n_passages > 1 for hit in ranking} == {0: True, 1: False}


def test_the_best_passage_makes_the_score(model, plain):
    text = LONG[:900]
    every = model.explain_ranking(QUERY, [text], n_steps=1, passages=40, overlap=10, pooling="mean")[0]
    best = model.explain_ranking(QUERY, [text], n_steps=1, passages=40, overlap=10)[0]
    parts = [text[part.start : part.end] for part in every.passages]
    scores = util.cos_sim(plain.encode_query(QUERY), plain.encode_document(parts))[0]
    chosen = every.passages[int(scores.argmax())]
    assert (best.passages[0].start, best.passages[0].end) == (chosen.start, chosen.end)
    assert best.score == pytest.approx(float(scores.max()), abs=1e-6)
    assert len(parts) == best.n_passages > 2
    # Together the passages hold every word.
    held = np.zeros(len(text), dtype=bool)
    for part in every.passages:
        held[part.start : part.end] = True
    assert not "".join(character for character, inside in zip(text, held, strict=True) if not inside).strip()


def test_highlights_and_tags(ranking):
    hit = ranking[0]
    best = hit.highlights()
    assert hit.index == 1
    assert {each.text for each in best[:3]} == {"cat", "sleeps", "stove"}
    assert [each.weight for each in best] == sorted((each.weight for each in best), reverse=True)
    assert all(hit.text[each.start : each.end] == each.text for each in best)
    assert hit.highlights(top_k=2) == best[:2]
    assert sum(each.weight for each in best) == pytest.approx(
        sum(v for v, role in zip(hit.contributions, hit.document.roles, strict=True) if role == "text")
    )
    sentence = hit.highlights("sentences")[0]
    assert sentence.text == "A cat sleeps on the warm stove."
    assert hit.within(0).values.sum() == pytest.approx(sentence.weight)
    assert hit.within(1).units[:2] == ("The", "dog")
    with pytest.raises(IndexError, match="the model saw 2 sentences, got sentence 2"):
        hit.within(2)
    marked = hit.tagged("[", "]", 0.9)
    assert marked.replace("[", "").replace("]", "") == hit.text
    assert f"[{best[0].text}]" in marked
    assert hit.tagged("[", "]", 0.0).count("[") <= hit.tagged("[", "]", 0.3, units="words").count("[") + 6
    with pytest.raises(ValueError, match="threshold must be between 0 and 1, got 2"):
        hit.tagged(threshold=2)
    with pytest.raises(ValueError, match="units must be one of 'words', 'sentences', got 'lines'"):
        hit.highlights("lines")
    with pytest.raises(ValueError, match="top_k must be None or an integer of at least 1, got 0"):
        hit.highlights(top_k=0)


def test_a_contrast_of_two_hits(ranking):
    found = ranking.contrast(0, 4)
    assert found.margin == pytest.approx(ranking[0].score - ranking[4].score)
    assert found.by_word.sum() + found.baseline + found.residual == pytest.approx(found.margin, abs=1e-12)
    assert abs(found.residual) < 4 * ranking.query_factors.residual
    np.testing.assert_allclose(found.by_word, -ranking.contrast(4, 0).by_word)
    words = dict(zip(found.words, found.by_word, strict=True))
    assert max(words, key=words.get) in ("sleeps", "stove", "animal")
    documents = found.document_i.total - found.document_j.total
    assert documents == pytest.approx(found.margin, abs=2 * (ranking[0].residual + ranking[4].residual))
    with pytest.raises(IndexError, match="j must be a rank between 0 and 4, got 5"):
        ranking.contrast(0, 5)


def test_texts_of_one_length_are_computed_together(model, monkeypatch):
    texts = ["A warm stove.", "A cold house.", "The big garden of roses.", "A red garden."]
    sizes = []
    original = Run.projected

    def counted(self, batch, *rest, **how):
        sizes.append(len(batch))
        return original(self, batch, *rest, **how)

    monkeypatch.setattr(Run, "projected", counted)
    ranking = model.explain_ranking("A stove", texts, n_steps=2)
    assert sorted(sizes) == [1, 3]
    for hit in ranking:
        alone = model.explain_ranking("A stove", [hit.text], n_steps=2)[0]
        np.testing.assert_allclose(hit.contributions, alone.contributions, atol=1e-6)


def test_the_model_is_left_as_it_was_also_after_a_failure(plain, monkeypatch):
    model = XSTransformer.wrap(plain)
    model.train()
    before = {name: module.training for name, module in model.named_modules()}
    model.explain_ranking("A stove", ["A cat."], n_steps=1)
    assert {name: module.training for name, module in model.named_modules()} == before
    monkeypatch.setattr(util, "semantic_search", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.explain_ranking("A stove", ["A cat."], n_steps=1)
    assert {name: module.training for name, module in model.named_modules()} == before
    model.eval()


def test_parts_and_repr(ranking):
    assert isinstance(ranking[:2], Ranking)
    assert ranking[:2].order == ranking.order[:2]
    assert ranking[-1] is ranking.hits[-1]
    assert list(ranking) == list(ranking.hits)
    assert repr(ranking) == f"<Ranking: 5 of 5 documents for '{QUERY}'>"
    assert repr(ranking[0]).startswith("<Hit 1: 0.")
    assert ranking.query_matrix.shape == (5, len(ranking.query_words.units))
    np.testing.assert_allclose(ranking.query_words.values, ranking.query_matrix.mean(0))


def test_factors_for_another_query_are_refused(ranking):
    rng = np.random.default_rng(0)
    side = ranking[0].passages[0].side
    with pytest.raises(ValueError, match="computed only for another query"):
        contributions_of(side, rng.normal(size=384), 1.0)


def test_retrievers_names_and_scores_are_kept(model):
    documents = [Retrieved("A cat.", "c-1", 0.5), Retrieved("A stove.", None, 2.5)]
    hits = {hit.index: hit for hit in model.explain_ranking("A cat", documents, n_steps=1)}
    assert (hits[0].id, hits[0].retriever_score) == ("c-1", 0.5)
    assert (hits[1].id, hits[1].retriever_score) == (None, 2.5)


def test_a_tolerance_is_reached_by_a_few_nodes_or_by_those_that_are_placed(model):
    loose = model.explain_ranking("A stove", DOCUMENTS[1:2], tolerance=0.02)[0].passages[0].side
    assert loose.residual <= 0.02
    assert (loose.settings.n_steps, loose.settings.n_looks, loose.settings.tolerance) == (6, 0, 0.02)
    fine = model.explain_ranking("A stove", DOCUMENTS[1:2], tolerance=1e-6)[0].passages[0].side
    assert fine.residual <= 1e-6
    assert fine.settings.n_steps > 10
    assert fine.settings.n_looks > 0
    shallow = model.explain_ranking("A stove", DOCUMENTS[1:2], tolerance=0.1, layer=2)[0].passages[0].side
    assert shallow.settings.n_looks > 16
    full, both = model.text_factors(DOCUMENTS[1:2])[0], model.attribute_prediction("A stove", DOCUMENTS[1] * 3)
    assert full.settings.n_steps < 8 == both.b.settings.n_steps
