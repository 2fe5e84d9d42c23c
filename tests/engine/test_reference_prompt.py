"""The tokens of a prompt in the reference: kept, or replaced like those of the text."""

import numpy as np
import pytest

from xsbert import Attribution, XSTransformer, load_factors, save_factors
from xsbert.__main__ import main
from xsbert.text.units import PROMPT, TEXT

A, B = "cold weather", "It is freezing outside."
PROMPTS = {"prompt": ("query: ", "passage: ")}


@pytest.fixture(scope="module")
def plain_model(plain):
    return XSTransformer.wrap(plain)


@pytest.fixture(scope="module")
def both(plain_model):
    return {
        name: plain_model.attribute_prediction(A, B, **PROMPTS, reference_prompt=name) for name in ("keep", "replace")
    }


def rows(side, role):
    return np.array(side.roles) == role


def test_both_explain_the_same_score(plain_model, both):
    a, b = (plain_model.encode(text, prompt=prompt) for text, prompt in zip((A, B), PROMPTS["prompt"], strict=True))
    for name, out in both.items():
        assert out.score == pytest.approx(plain_model.similarity(a, b).item(), abs=1e-6)
        assert max(out.residual_a, out.residual_b) <= 0.01
        assert out.settings.reference_prompt == name
    assert "prompt kept" in str(both["keep"])
    assert "prompt kept" not in str(both["replace"])


def test_kept_tokens_have_no_contribution_at_the_embeddings(plain_model):
    for name, is_zero in (("keep", True), ("replace", False)):
        (side,) = plain_model.text_factors([A], prompt="query: ", layer=0, n_steps=2, reference_prompt=name)
        found = np.abs(side.factors[rows(side, PROMPT)]).max()
        # Positions are those of the text, so that kept tokens do not move at all.
        assert (found == 0) == is_zero
        assert np.abs(side.factors[rows(side, TEXT)]).max() > 0


def test_words_get_more_where_the_prompt_is_kept(both):
    of_words = {
        name: np.abs(out.matrix[np.ix_(rows(out.a, TEXT), rows(out.b, TEXT))].sum()) / abs(out.matrix.sum())
        for name, out in both.items()
    }
    assert of_words["keep"] > of_words["replace"]


def test_the_reference_is_the_prompt_with_unknown_tokens(plain_model):
    path = plain_model.explainer().path(plain_model.explainer().tokenized(A, plain_model.explainer().prompt("query: ")))
    expected = plain_model.encode("[UNK] [UNK]", prompt="query: ", convert_to_tensor=True)
    np.testing.assert_allclose(path.f_r / path.f_r.norm(), expected, atol=1e-5)


def test_the_default_keeps_prompts_and_a_shifted_model_replaces_them(plain_model, shifted, both):
    out = plain_model.attribute_prediction(A, B, **PROMPTS)
    np.testing.assert_array_equal(out.matrix, both["keep"].matrix)
    assert plain_model.attribute_prediction(A, B).settings.reference_prompt == "replace"
    exact = shifted.attribute_prediction(A, B, **PROMPTS, n_steps=2)
    assert exact.settings.reference_prompt == "replace"
    with pytest.raises(ValueError, match="part of its embeddings"):
        shifted.attribute_prediction(A, B, reference_prompt="keep")


def test_texts_with_different_prompts_in_one_call(plain_model):
    explainer = plain_model.explainer(n_steps=2)
    texts = [explainer.tokenized("cold rain", explainer.prompt(prompt)) for prompt in ("query: ", "passage: ", "a b: ")]
    together = explainer.factors_of(texts)
    for text, found in zip(texts, together, strict=True):
        (alone,) = explainer.factors_of([text])
        np.testing.assert_allclose(found.factors, alone.factors, atol=1e-6)
        np.testing.assert_allclose(found.reference_term, alone.reference_term, atol=1e-6)


def test_factors_of_both_kinds_are_not_combined(plain_model, tmp_path):
    one, other = (
        plain_model.text_factors([A], prompt="query: ", n_steps=1, reference_prompt=name)[0]
        for name in ("keep", "replace")
    )
    (bare,) = plain_model.text_factors([B], n_steps=1)
    with pytest.raises(ValueError, match="different reference_prompt"):
        Attribution.of(one, other, "cosine")
    for side in (one, other):
        out = Attribution.of(bare, side, "cosine")
        assert out.settings.reference_prompt == side.settings.reference_prompt
    save_factors(tmp_path / "factors.safetensors", [one])
    assert load_factors(tmp_path / "factors.safetensors")[0].settings.reference_prompt == "keep"


def test_the_option_is_checked(plain_model):
    with pytest.raises(ValueError, match="reference_prompt must be None or one of 'replace', 'keep', got 'drop'"):
        plain_model.explainer(reference_prompt="drop")


def test_the_command_line(minilm_path, capsys):
    argv = [A, B, "--prompt", "query: ", "--n-steps", "2", "--model", minilm_path]
    shown = []
    for name in ("keep", "replace"):
        assert main([*argv, "--reference-prompt", name]) == 0
        shown.append(capsys.readouterr().out)
    assert ["prompt kept" in text for text in shown] == [True, False]
