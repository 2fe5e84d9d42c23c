"""The same function as BERT, RoBERTa and MPNet must be explained alike."""

import numpy as np
import pytest

from xsbert import XSBert, XSMPNet, XSRoberta

TEXT_A = "The gentle giant from Reykjavík didn't unpack."
TEXT_B = "A friendly, tall Icelander left the bags as they were."


@pytest.fixture(scope="module", params=[False, True], ids=["off the shelf", "shifted"])
def trio(request, minilm_path, roberta_path, mpnet_path):
    return [
        cls(path, shift=request.param, reference="pad", device="cpu")
        for cls, path in ((XSBert, minilm_path), (XSRoberta, roberta_path), (XSMPNet, mpnet_path))
    ]


def test_they_embed_alike(trio):
    bert, *others = [model.encode([TEXT_A, TEXT_B]) for model in trio]
    for other in others:
        np.testing.assert_allclose(other, bert, atol=1e-6)


@pytest.mark.parametrize("layer", [pytest.param(0, marks=pytest.mark.slow), 4, 6])
@pytest.mark.parametrize("reference", ["pad", "unk"])
def test_they_explain_alike(trio, layer, reference):
    if trio[0].shifted and reference != "pad":
        pytest.skip("a shifted model has its reference")
    bert, *others = [
        model.attribute_prediction(TEXT_A, TEXT_B, layer=layer, n_steps=8, reference=reference) for model in trio
    ]
    for other in others:
        assert other.tokens_a == bert.tokens_a
        np.testing.assert_allclose(other.matrix, bert.matrix, atol=1e-5)
        np.testing.assert_allclose(other.main_effects_a, bert.main_effects_a, atol=1e-5)
        np.testing.assert_allclose(other.main_effects_b, bert.main_effects_b, atol=1e-5)
        assert other.baseline == pytest.approx(bert.baseline, abs=1e-5)
        assert other.score == pytest.approx(bert.score, abs=1e-6)
