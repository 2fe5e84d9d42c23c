"""The real all-mpnet-base-v2, at layers where its path is smooth: embeddings, tolerance, completeness, symmetry."""

import warnings

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from tests.pairs import PAIRS
from xsbert import XSMPNet
from xsbert.models import ShiftWarning

pytestmark = pytest.mark.real

FEW = PAIRS[:3]


@pytest.fixture(scope="module")
def mpnet(mpnet_real):
    return XSMPNet(mpnet_real, reference="pad", device="cpu")


@pytest.fixture(scope="module")
def means(mpnet_real):
    """Mean hidden states by plain transformers, of a text and of its reference with the text's positions."""
    tokenizer, model = AutoTokenizer.from_pretrained(mpnet_real), AutoModel.from_pretrained(mpnet_real).eval()

    def of(text):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        reference = ids.clone()
        reference[0, 1:-1] = tokenizer.pad_token_id
        positions = torch.arange(ids.shape[1])[None] + tokenizer.pad_token_id + 1
        with torch.no_grad():
            return [
                model(input_ids=i, attention_mask=torch.ones_like(i), position_ids=positions)[0][0].mean(0).numpy()
                for i in (ids, reference)
            ]

    return of


def explained(model, pair, layer):
    """With the default tolerance; that it is out of reach would be a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return model.attribute_prediction(*pair, layer=layer, show_progress_bar=False)


def check_explanation(model, means, pair, layer):
    out = explained(model, pair, layer)
    assert max(out.residual_a, out.residual_b) <= 0.01
    assert out.score == pytest.approx(float(model.similarity(*(model.encode([text]) for text in pair))), abs=1e-6)
    relative_gaps = []
    for text, factors in zip(pair, (out.a.factors, out.b.factors), strict=True):
        f_x, f_r = means(text)
        gap = np.linalg.norm(factors.sum(0) - (f_x - f_r))
        assert gap <= 0.0101 * np.linalg.norm(f_x - f_r)
        relative_gaps.append(gap / np.linalg.norm(f_x))
    # (e_a + δ_a)·(e_b + δ_b) − e_a·e_b, relative to both norms.
    bound = sum(relative_gaps) + np.prod(relative_gaps)
    assert sum(out.parts.values()) == pytest.approx(out.score, abs=bound + 1e-5)


def test_it_embeds_as_sentence_transformers_does(mpnet, mpnet_real):
    texts = [text for pair in FEW for text in pair]
    expected = SentenceTransformer(mpnet_real, device="cpu").encode(texts)
    np.testing.assert_array_equal(mpnet.encode(texts), expected)
    assert expected.shape == (6, 768)
    # Each text is nearest to its partner.
    similarity = mpnet.similarity(expected, expected).fill_diagonal_(0)
    assert similarity.argmax(1).tolist() == [1, 0, 3, 2, 5, 4]


@pytest.mark.parametrize("layer", [10, pytest.param(11, marks=pytest.mark.slow)])
@pytest.mark.parametrize("pair", FEW[:2])
def test_the_default_tolerance_is_reached(pair, layer, mpnet, means):
    check_explanation(mpnet, means, pair, layer)


def test_the_last_layer_takes_one_node(mpnet):
    out = mpnet.attribute_prediction(*FEW[0], layer=12, n_steps=1)
    assert max(out.residual_a, out.residual_b) < 1e-5
    assert out.error < 1e-4


def test_texts_swapped(mpnet):
    pair = FEW[0]
    out, swapped = (mpnet.attribute_prediction(*texts, layer=10, n_steps=4) for texts in (pair, pair[::-1]))
    np.testing.assert_allclose(out.matrix, swapped.matrix.T, atol=1e-6)
    np.testing.assert_allclose(out.main_effects_a, swapped.main_effects_b, atol=1e-6)
    assert out.score == pytest.approx(swapped.score, abs=1e-6)
    assert np.abs(out.matrix).max() > 0.01


def test_shifted_it_is_exact(mpnet, means):
    shifted = XSMPNet.wrap(mpnet, shift=True, reference="pad")
    with pytest.warns(ShiftWarning):
        out = shifted.attribute_prediction(*FEW[0], layer=10, show_progress_bar=False)
    (a, b) = (f_x - f_r for f_x, f_r in map(means, FEW[0]))
    assert out.score == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-5)
    assert out.matrix.sum() == pytest.approx(out.score, abs=0.02)
    assert list(out.parts.values())[1:] == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("layer", [9, 10, 11])
def test_the_default_tolerance_is_reached_for_many(layer, mpnet, means):
    for pair in PAIRS[:20]:
        check_explanation(mpnet, means, pair, layer)
