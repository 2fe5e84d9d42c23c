"""Several references at once: means of factors and of reference terms, complete, with a stated error."""

import numpy as np
import pytest

from xsbert import Attribution, XSTransformer, load_factors, save_factors
from xsbert.cli.options import reference
from xsbert.corpus.task import resolved_options

TEXTS = ["The coffee is bad.", "This is not a good coffee."]
BOTH = ("unk", "mask")
FINE = {"layer": 5, "tolerance": 1e-4}


@pytest.fixture(scope="module")
def found(model):
    return model.text_factors(TEXTS, reference=BOTH, **FINE)


def test_factors_are_means_over_the_references(model, found):
    single = [model.text_factors(TEXTS, reference=each, **FINE) for each in BOTH]
    for both, *parts in zip(found, *single, strict=True):
        np.testing.assert_allclose(both.factors, np.mean([part.factors for part in parts], axis=0), atol=2e-3)
        np.testing.assert_allclose(both.reference_term, np.mean([part.reference_term for part in parts], axis=0))
        assert both.residual <= 1e-4
        assert both.settings.reference == "[UNK] + [MASK]"
        assert both.settings.n_steps <= sum(part.settings.n_steps for part in parts)


def test_the_score_is_split_completely(model, found):
    result = Attribution.of(*found, "cosine")
    assert sum(result.parts.values()) == pytest.approx(result.score, abs=1e-3)
    assert result.score == pytest.approx(model.attribute_prediction(*TEXTS, layer=5).score, abs=1e-6)


def test_the_order_of_the_references_does_not_matter(model, found):
    other = model.text_factors(TEXTS[:1], reference=BOTH[::-1], **FINE)[0]
    np.testing.assert_array_equal(other.factors, found[0].factors)
    assert other.settings.fingerprint == found[0].settings.fingerprint
    alone = model.text_factors(TEXTS[:1], **FINE)[0]
    with pytest.raises(ValueError, match=r"different reference .*'\[PAD\]' and '\[UNK\] \+ \[MASK\]'"):
        Attribution.of(alone, found[1], "cosine")


@pytest.mark.slow
def test_the_stated_error_holds(model):
    for reference_ in (BOTH, ("pad", "unk", "mask")):
        rough = model.text_factors(TEXTS, reference=reference_, layer=4, n_steps=3)
        exact = model.text_factors(TEXTS, reference=reference_, layer=4, n_steps=24)
        for one, other in zip(rough, exact, strict=True):
            true = np.linalg.norm(one.factors - other.factors) / np.linalg.norm(other.factors)
            assert true <= one.factor_error < 5 * true
    held = model.text_factors(TEXTS[:1], reference=BOTH, layer=4, factor_tolerance=0.002)[0]
    assert held.factor_error <= 0.002


def test_reverse_mode_agrees(model, found):
    direction = found[1].embedding[None] / np.linalg.norm(found[1].embedding)
    (projected,) = model.explainer(reference=BOTH, **FINE).projected(TEXTS[:1], [direction])
    np.testing.assert_allclose(projected.factors, found[0].factors @ direction.T, atol=2e-3)
    assert projected.residual <= 1e-4
    pairs = model.explainer(reference=BOTH, layer=5, n_steps=2)
    a, b = pairs.pair(*TEXTS)
    matrix = a.factors @ b.factors.T
    np.testing.assert_allclose(pairs.feature_pairs(*TEXTS).sum((1, 3)), matrix, atol=1e-3 * np.abs(matrix).max())


def test_texts_that_are_one_of_the_references(model):
    with pytest.warns(UserWarning, match="nothing but unknown tokens"):
        both, unk = (model.text_factors(["[UNK] [UNK]"], reference=each, **FINE)[0] for each in (BOTH, "unk"))
    assert not unk.factors.any()
    assert both.factors.any()
    assert both.residual <= 1e-4


def test_a_model_may_have_several_references(model, found, tmp_path):
    wrapped = XSTransformer.wrap(model, reference=list(BOTH))
    assert wrapped.reference.token == "[UNK] + [MASK]"
    own = wrapped.text_factors(TEXTS[:1], **FINE)[0]
    np.testing.assert_array_equal(own.factors, found[0].factors)
    save_factors(tmp_path / "factors", [own])
    (loaded,) = load_factors(tmp_path / "factors")
    assert loaded.settings == own.settings
    assert Attribution.of(loaded, found[1], "cosine").score == pytest.approx(Attribution.of(*found, "cosine").score)
    options = dict(resolved_options(model, {"reference": BOTH}))
    assert options["reference"] == ("[UNK]", "[MASK]")
    assert dict(resolved_options(wrapped, {"reference": BOTH})).get("reference") is None


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ((), ValueError, "at least one token, got"),
        (("unk", "[UNK]"), ValueError, "distinct tokens"),
        (("unk", 3), TypeError, "a string or a sequence of strings"),
        ({"unk", "mask"}, TypeError, "a string or a sequence of strings"),
        (("unk", "nonsense-token"), ValueError, "is not in the tokenizer's vocabulary"),
    ],
)
def test_what_is_no_reference(model, given, kind, message):
    with pytest.raises(kind, match=message):
        model.text_factors(TEXTS, reference=given)


def test_a_shift_has_one_reference(model, plain):
    with pytest.raises(ValueError, match=r"a shift subtracts the embedding of one reference, got \[UNK\] \+ \[MASK\]"):
        XSTransformer.wrap(plain, shift=True, reference=BOTH)
    shifted = XSTransformer.wrap(plain, shift=True)
    with pytest.raises(ValueError, match=r"shifted by the reference '\[UNK\]', which is part of its embeddings"):
        shifted.text_factors(TEXTS, reference=BOTH)
    with pytest.raises(ValueError, match=r"one path from each reference, \[UNK\] \+ \[MASK\]"):
        model.explainer(reference=BOTH).path(TEXTS[0])


def test_the_command_line_takes_several():
    assert reference("unk,mask") == ("unk", "mask")
    assert reference("unk") == "unk"
    assert reference(",") == ","


def test_the_references_keep_a_prompt(model):
    both, unk, mask = (
        model.text_factors(TEXTS[:1], prompt="query: ", reference=each, **FINE)[0] for each in (BOTH, "unk", "mask")
    )
    assert both.settings.reference_prompt == "keep"
    np.testing.assert_allclose(both.factors, (unk.factors + mask.factors) / 2, atol=1e-4)
    at = [place for place, role in enumerate(both.roles) if role == "prompt"]
    np.testing.assert_array_equal(both.reference_term, (unk.reference_term + mask.reference_term) / 2)
    replaced = model.text_factors(TEXTS[:1], prompt="query: ", reference=BOTH, reference_prompt="replace", **FINE)[0]
    assert np.abs(replaced.factors[at]).sum() > 2 * np.abs(both.factors[at]).sum()
