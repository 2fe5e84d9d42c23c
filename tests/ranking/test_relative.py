"""Contributions relative to the norm, finders of answers, and what highlights cost."""

import pickle

import numpy as np
import pytest

from xsbert import Ranking
from xsbert.engine.batch_run import Run
from xsbert.integrated_jacobian import PathIntegrator

QUERY = "Which animal sleeps on the stove?"
DOCUMENTS = [
    "Prices rose by three percent. A cat sleeps on the warm stove. The dog is in the garden.",
    "The garden smells of roses. A kitten is awake in the kitchen, and the stove is cold.",
]


@pytest.fixture(scope="module")
def ranking(model):
    return model.explain_ranking(QUERY, DOCUMENTS, relative=True)


def test_relative_contributions_sum_to_zero(ranking):
    for hit in ranking:
        for shares in (hit.document_relative, hit.query_relative, hit.over("sentences").document_relative):
            assert abs(shares.total) < 0.003
            assert np.abs(shares.values).max() > 0.05
    assert ranking[0].highlights("sentences", 1, relative=True)[0].text == "A cat sleeps on the warm stove."
    assert "[sleeps]" in ranking[0].tagged("[", "]", 0.9, relative=True)


def test_they_are_the_derivative_of_the_cosine(ranking, model):
    """By a small step along the factor of each unit."""
    hit = ranking[0]
    (full,) = model.text_factors([hit.text])
    query, step = hit.asked.encoded.embedding, 1e-4
    for place in (3, 8, 11):
        shorter = full.embedding - step * full.factors[place]
        fall = _cosine(query, full.embedding) - _cosine(query, shorter)
        assert hit.over("tokens").document_relative.values[place] == pytest.approx(fall / step, abs=3e-3)


def _cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_pairs_have_them_too(model, ranking):
    with_pairs = model.explain_ranking(QUERY, DOCUMENTS, detail="pairs")
    assert with_pairs.relative
    for one, other in zip(with_pairs, ranking, strict=True):
        np.testing.assert_allclose(one.document_relative.values, other.document_relative.values, atol=5e-3)
        np.testing.assert_allclose(one.contributions, other.contributions, atol=5e-3)


def test_a_relative_contrast_sums_to_zero(ranking):
    found = ranking.contrast(0, 1, relative=True)
    assert abs(found.residual) < 0.003
    assert found.residual == pytest.approx(-found.by_word.sum() - found.baseline)
    assert found.to_dict()["relative"]


def test_they_need_two_directions_and_a_norm(model, ranking, tmp_path):
    plain = model.explain_ranking(QUERY, DOCUMENTS)
    with pytest.raises(ValueError, match="explain the ranking by its cosine, with relative=True"):
        _ = plain[0].document_relative
    with pytest.raises(TypeError, match="relative must be True or False, got 'yes'"):
        model.explain_ranking(QUERY, DOCUMENTS, relative="yes")
    ranking.save(tmp_path / "ranking")
    loaded = Ranking.load(tmp_path / "ranking")
    np.testing.assert_array_equal(loaded[0].document_relative.values, ranking[0].document_relative.values)
    assert loaded.to_dict() == ranking.to_dict()


@pytest.mark.parametrize("method", ["maxsim", "sentences"])
def test_an_answer_is_the_sentence(ranking, method):
    found = ranking[0].answer(method)
    assert found.text == "A cat sleeps on the warm stove." == ranking[0].text[found.start : found.end]
    assert found.method == method
    assert 0.4 < found.score < 1


def test_sentences_have_the_models_own_score(model, plain, ranking):
    found = ranking[0].answer("sentences")
    own = plain.similarity(plain.encode_query(QUERY), plain.encode_document(found.text))
    assert found.score == pytest.approx(float(own), abs=1e-6)


def test_an_answer_takes_the_model(ranking):
    with pytest.raises(ValueError, match="method must be one of 'maxsim', 'sentences', got 'bm25'"):
        ranking[0].answer("bm25")
    copied = pickle.loads(pickle.dumps(ranking))
    with pytest.raises(ValueError, match="answers need the model"):
        copied[0].answer()
    np.testing.assert_array_equal(copied.query_matrix, ranking.query_matrix)


def test_the_querys_factors_are_computed_when_they_are_used(model, monkeypatch):
    calls = []
    original = Run.factors
    monkeypatch.setattr(Run, "factors", lambda *given: calls.append(1) or original(*given))
    ranking = model.explain_ranking(QUERY, DOCUMENTS)
    _ = [hit.tagged() for hit in ranking], ranking.scores, [hit.error for hit in ranking]
    assert calls == []
    assert ranking[0].query.total == pytest.approx(ranking[0].score, abs=0.02)
    _ = ranking[1].query, ranking.query_matrix
    assert calls == [1]


def test_a_model_that_has_changed_meanwhile_is_noticed(model):
    copy = type(model)(modules=[*pickle.loads(pickle.dumps(list(model)))], similarity_fn_name="cosine")
    ranking = copy.explain_ranking(QUERY, DOCUMENTS)
    next(copy.parameters()).data.mul_(1.5)
    with pytest.raises(RuntimeError, match="the model has changed since the documents were explained"):
        _ = ranking.query_words


def test_highlights_evaluate_nothing_but_the_nodes(model, monkeypatch):
    """The nodes of a tolerance, one backward pass for each, and no evaluation that only measures."""
    monkeypatch.setattr(PathIntegrator, "derivatives", lambda *_: 1 / 0)
    nodes = {
        tolerance: model.explain_ranking(QUERY, DOCUMENTS, tolerance=tolerance)[0].passages[0].side.settings.n_steps
        for tolerance in (0.01, 0.03, 0.1)
    }
    assert nodes == {0.01: 6, 0.03: 5, 0.1: 3}
    side = model.explain_ranking(QUERY, DOCUMENTS)[0].passages[0].side
    assert (side.settings.n_looks, side.residual <= 0.01) == (0, True)
