"""A text that cannot be explained is named by its place; with errors="skip" the others are explained all the same."""

import numpy as np
import pytest
import torch

from tests.tiny import write_model
from xsbert import XSTransformer
from xsbert.engine import SkippedWarning

GOOD = ["the gentle giant", "a tall traveller", "his bags"]
STEPS = {"layer": 1, "n_steps": 3}
BAD = [
    ("\ud800", "must be Unicode text, got half of a surrogate pair at character 0"),
    (" ", "must hold some text"),
    (None, "must be a string, got NoneType"),
]


@pytest.fixture
def own(tmp_path):
    return XSTransformer(write_model("bert", tmp_path), device="cpu", reference="pad")


def spoil(model, word):
    """Embeddings of texts with this word are no numbers."""
    ids = model[0].tokenizer(word, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model[0].model.embeddings.word_embeddings.weight[ids[0]] = torch.nan


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_bad_text_is_named(own, bad, message):
    with pytest.raises((TypeError, ValueError), match=rf"texts\[1\] {message}"):
        own.text_factors([GOOD[0], bad, GOOD[1]], **STEPS)
    with pytest.raises((TypeError, ValueError), match=rf"pairs\[1\]\[0\] {message}"):
        own.explain_pairs([(GOOD[0], GOOD[1]), (bad, GOOD[1])], **STEPS)
    with pytest.raises((TypeError, ValueError), match=rf"documents\[2\] {message}"):
        own.explain_matrix(GOOD, [*GOOD[:2], bad], **STEPS)


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_bad_text_is_skipped(own, bad, message):
    expected = own.text_factors(GOOD, **STEPS)
    with pytest.warns(SkippedWarning, match=rf"left out: texts\[1\] {message}"):
        found = own.text_factors([GOOD[0], bad, *GOOD[1:]], errors="skip", **STEPS)
    assert found[1] is None
    for one, other in zip([found[0], *found[2:]], expected, strict=True):
        np.testing.assert_array_equal(one.factors, other.factors)
    with pytest.warns(SkippedWarning, match=rf"queries\[0\] {message}"):
        cells = list(own.explain_matrix([bad, GOOD[0]], GOOD, errors="skip", **STEPS))
    assert [(i, j) for i, j, _ in cells] == [(1, 0), (1, 1), (1, 2)]
    with pytest.warns(SkippedWarning, match=rf"pairs\[0\]\[1\] {message}"):
        pairs = list(own.explain_pairs([(GOOD[0], bad), (GOOD[0], GOOD[1])], errors="skip", **STEPS))
    assert pairs[0] is None
    np.testing.assert_allclose(pairs[1].matrix, cells[1][2].matrix, rtol=1e-12)


def test_numbers_that_are_not_finite(own):
    """In a batch with others of its length, the text is found out."""
    texts = ["the giant", "his bags", "the bags"]
    expected = own.text_factors([texts[0], texts[2]], **STEPS)
    spoil(own, "his")
    with pytest.raises(FloatingPointError, match=r"the embedding of texts\[1\], 'his bags', holds numbers"):
        own.text_factors(texts, **STEPS)
    with pytest.warns(SkippedWarning, match=r"texts\[1\]") as seen:
        found = own.text_factors(texts, errors="skip", **STEPS)
    assert len(seen) == 1
    assert found[1] is None
    for one, other in zip([found[0], found[2]], expected, strict=True):
        np.testing.assert_allclose(one.factors, other.factors, atol=1e-6)


def test_a_zero_embedding(own):
    shifted = XSTransformer.wrap(own, shift=True, reference="pad")
    with pytest.raises(ValueError, match=r"documents\[1\]: the cosine of a zero embedding is not defined"):
        shifted.explain_matrix(GOOD, ["his bags", "<pad> <pad>"], similarity="cosine", **STEPS)
    with pytest.warns(SkippedWarning, match=r"documents\[1\]: the cosine"):
        cells = shifted.explain_matrix(
            GOOD[:2], ["his bags", "<pad> <pad>", "the giant"], similarity="cosine", errors="skip", **STEPS
        )
    assert [(i, j) for i, j, _ in cells] == [(0, 0), (0, 2), (1, 0), (1, 2)]
    # Its dot product is defined.
    assert len(list(shifted.explain_matrix(GOOD, ["<pad> <pad>"], similarity="dot", **STEPS))) == 3


def test_too_long_for_the_memory(own):
    long = " ".join(["giant"] * 30)
    enough = 6 * own.predict_memory("the giant", layer=1, chunk_size=1)
    with pytest.raises(MemoryError, match=r"texts\[1\]: memory_budget=.* is too small"):
        own.text_factors(["the giant", long], memory_budget=enough, **STEPS)
    with pytest.warns(SkippedWarning, match=r"texts\[1\]: memory_budget"):
        found = own.text_factors(["the giant", long], memory_budget=enough, errors="skip", **STEPS)
    assert found[0] is not None
    assert found[1] is None


def test_what_becomes_of_errors_is_said_in_one_of_two_words(own):
    with pytest.raises(ValueError, match="errors must be one of 'raise', 'skip', got 'ignore'"):
        own.text_factors(GOOD, errors="ignore")
    assert list(own.explain_matrix([], GOOD)) == []
    assert list(own.explain_pairs([])) == []
    assert own.text_factors([]) == []
