"""Explanations along a direction: a query's embedding, a classifier's row, a difference, a centroid."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from xsbert import Attribution, XSTransformer
from xsbert.view.html.content_policy import stated_policy

TEXT, QUERY = "The weather is freezing today.", "A cold day."


@pytest.fixture(scope="module")
def along(model):
    return model.explain_direction(TEXT, model.encode(QUERY), name="a cold <day>")


def test_a_query_gives_the_contributions_of_a_pair(model, along):
    pair = model.attribute_prediction(TEXT, QUERY).words()
    assert along.score == pytest.approx(pair.score, abs=1e-6)
    of_text, _ = pair.word_effects()
    np.testing.assert_allclose(along.values, [effect.value for effect in of_text], atol=0.01)
    assert along.side.tokens == pair.a.tokens
    assert along.error < 0.01
    assert along.residual <= 0.01


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_parts_sum_to_the_score(model, similarity):
    u = np.random.default_rng(0).normal(size=384)
    out = model.explain_direction(TEXT, torch.tensor(u), similarity=similarity, bias=0.25, tolerance=1e-4)
    e = model.encode(TEXT).astype(float)
    expected = e @ u / (np.linalg.norm(u) if similarity == "cosine" else 1.0) + 0.25
    assert out.score == pytest.approx(expected, abs=1e-5)
    assert sum(out.parts.values()) == pytest.approx(out.score, abs=1e-3)
    assert list(out.parts) == ["contributions", "baseline", "bias"]


def test_four_parts_of_a_centroid(model):
    """The centroid of texts has the mean of their reference terms, and the parts of the mean of pairs."""
    others = ["A cold day.", "Ice and snow."]
    sides = model.text_factors(others)
    u, rho = (np.mean([getattr(side, name) for side in sides], axis=0) for name in ("embedding", "reference_term"))
    out = model.explain_direction(TEXT, u, direction_reference=rho, similarity="dot")
    (text,) = model.text_factors([TEXT])
    pairs = [Attribution.of(text, side, "dot").parts for side in sides]
    for mine, theirs in zip(
        out.parts.values(), ["interactions", "main effects a", "main effects b", "baseline"], strict=True
    ):
        norms = [side.normalisation for side in sides]
        expected = np.mean([part[theirs] * norm for part, norm in zip(pairs, norms, strict=True)])
        assert mine == pytest.approx(expected, abs=0.01 * abs(out.score) + 1e-3)
    assert out.error < 0.01 * abs(out.score)


def test_a_row_of_a_classifier(model):
    texts = ["It is warm.", "A hot summer.", "It is cold.", "Ice and snow."]
    classifier = LogisticRegression().fit(model.encode(texts), [0, 0, 1, 1])
    out = model.explain_direction(
        TEXT, classifier.coef_[0], bias=classifier.intercept_[0], similarity="dot", name="cold"
    )
    assert out.score == pytest.approx(classifier.decision_function(model.encode([TEXT]))[0], abs=1e-5)
    assert out.top(1)[0][0] == "freezing"
    assert out.top(1)[0][1] > 0


def test_a_difference_of_two_vectors_is_the_difference_of_their_scores(model):
    one, other = model.encode(["It is cold.", "It is warm."])
    margin = model.explain_direction(TEXT, one - other, similarity="dot")
    parts = [model.explain_direction(TEXT, each, similarity="dot") for each in (one, other)]
    assert margin.score == pytest.approx(parts[0].score - parts[1].score, abs=1e-6)
    np.testing.assert_allclose(margin.values, parts[0].values - parts[1].values, atol=0.01)


@pytest.mark.parametrize(("units", "n_units"), [("tokens", 8), ("words", 8), ("sentences", 3)])
def test_units(model, units, n_units):
    out = model.explain_direction(TEXT, model.encode(QUERY), units=units)
    assert len(out.values) == n_units
    assert out.values.sum() + out.baseline == pytest.approx(out.score, abs=0.01)


def test_a_shifted_and_a_truncated_model(plain, shifted):
    out = shifted.explain_direction(TEXT, shifted.encode(QUERY))
    assert out.baseline == 0
    short = XSTransformer.wrap(plain)
    short.truncate_dim = 64
    cut = short.explain_direction(TEXT, short.encode(QUERY))
    assert cut.score == pytest.approx(short.similarity(short.encode(TEXT), short.encode(QUERY)).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("direction", "error", "message"),
    [
        (np.ones(100), ValueError, "direction must have the embedding's 384 dimensions, got 100"),
        (np.ones((1, 384)), ValueError, r"direction must be a vector of the shape \(E,\), got the shape \(1, 384\)"),
        (np.zeros(384), ValueError, "direction must not be zero"),
        (np.full(384, np.nan), ValueError, "direction must hold finite numbers, got 384 that are not"),
        ("weather", TypeError, "direction must be a vector of numbers, got 'weather'"),
        (None, ValueError, "direction must be a vector"),
    ],
)
def test_bad_directions_are_refused_by_name(model, direction, error, message):
    with pytest.raises(error, match=message):
        model.explain_direction(TEXT, direction)


def test_other_bad_input(model):
    with pytest.raises(ValueError, match="direction_reference must have the embedding's 384 dimensions"):
        model.explain_direction(TEXT, np.ones(384), direction_reference=np.ones(3))
    with pytest.raises(TypeError, match="bias must be a number"):
        model.explain_direction(TEXT, np.ones(384), bias="1")
    with pytest.raises(ValueError, match="units must be"):
        model.explain_direction(TEXT, np.ones(384), units="letters")
    with pytest.raises(TypeError, match="name must be a string"):
        model.explain_direction(TEXT, np.ones(384), name=3)


def test_page_summary_dictionary_and_plot(along, tmp_path):
    page = along.to_html(tmp_path / "along.html")
    assert (tmp_path / "along.html").read_text(encoding="utf-8") == page
    assert "<script" not in page
    assert "script-src" in stated_policy(page)
    assert "a cold &lt;day&gt;" in page
    style = re.search("<style>(.xs-direction.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert digest in stated_policy(page)
    assert 'class="p10">freezing</span>' in page
    assert ' style="' not in page
    assert "<style>" in along._repr_html_()
    text = str(along)
    assert f"{along.score:.4f}" in text
    assert "freezing" in text
    content = json.loads(json.dumps(along.to_dict()))
    assert content["values"] == along.values.tolist()
    assert content["score"] == along.score
    assert "freezing" in content["units"]
    fig, _ = along.plot(special_tokens=False)
    assert "along" in fig.axes[0].get_title(loc="left")
    assert "8 units" in repr(along)
