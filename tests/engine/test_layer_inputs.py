"""Models that feed every layer from outside the stack: tiny random ones of the real classes, for the mechanism."""

import numpy as np
import pytest
import torch

from tests.tiny import FED, H, write_model
from xsbert import XSTransformer
from xsbert.engine.layer_inputs import Pieces, StateLayout
from xsbert.engine.split_model import SplitModel

A, B = "the tall giant did not unpack his bags", "a gentle traveller left them"
SAME_LENGTH = ["the gentle giant", "his bags left"]


@pytest.fixture(scope="module", params=FED)
def model(request, tmp_path_factory):
    return XSTransformer(write_model(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


def test_every_layer_reaches_the_tolerance(model):
    """Without the layers' own inputs in the path, all layers but the last were refused."""
    expected = model.similarity(*model.encode([A, B])).item()
    for layer in range(model.n_layers + 1):
        out = model.attribute_prediction(A, B, layer=layer, tolerance=0.01)
        assert max(out.residual_a, out.residual_b) <= 0.01
        assert out.score == pytest.approx(expected, abs=1e-6)
        assert sum(out.parts.values()) == pytest.approx(expected, abs=0.03)


def test_the_state_holds_all_that_enters(model):
    n_own = model[0].config.hidden_size_per_layer_input
    widths = [model.explainer(layer=layer).path(A).x.shape[1] for layer in range(model.n_layers)]
    versions = getattr(model[0].config, "altup_num_inputs", 1)
    assert widths[0] == versions * H + model.n_layers * n_own
    if versions == 1:
        assert np.diff(widths).tolist() == [-n_own] * (model.n_layers - 1)


def test_hidden_states_alone_are_not_complete(model):
    """A part of the change along the path goes through the layers' own inputs."""
    path = model.explainer(layer=1).path(A)
    own = torch.zeros(path.x.shape[1], dtype=torch.bool)
    own[: H * getattr(model[0].config, "altup_num_inputs", 1)] = True
    moved = torch.where(own, path.x, path.r)
    gap = (path.f(moved) - path.f_x).norm() / (path.f_x - path.f_r).norm()
    assert gap > 0.05
    torch.testing.assert_close(path.f(path.x), path.f_x, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(path.f(path.r), path.f_r, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layer", [0, -2])
def test_forward_equals_reverse_mode(model, layer):
    out = model.attribute_prediction(A, B, layer=layer, n_steps=3)
    reverse = out.feature_pairs().sum((1, 3), dtype=np.float64)
    np.testing.assert_allclose(reverse, out.matrix, rtol=0, atol=2e-5 * np.abs(out.matrix).max())


def test_texts_together_and_apart(model):
    together = model.text_factors(SAME_LENGTH, layer=1, n_steps=3)
    for text, factors in zip(SAME_LENGTH, together, strict=True):
        (apart,) = model.text_factors([text], layer=1, n_steps=3)
        scale = np.abs(apart.factors).max()
        np.testing.assert_allclose(factors.factors, apart.factors, rtol=0, atol=1e-5 * scale)


def test_a_ranking_and_words(model):
    ranking = model.explain_ranking("his bags", [A, B], layer=1)
    scores = model.similarity(model.encode(["his bags"]), model.encode([A, B]))[0]
    for hit in ranking:
        assert hit.score == pytest.approx(scores[hit.index].item(), abs=1e-5)
        assert hit.document.total == pytest.approx(hit.score, abs=0.03)


def test_the_model_is_not_changed(model):
    before = model.encode([A])
    forwards = [vars(layer).get("forward") for layer in model[0].model.layers]
    model.attribute_prediction(A, B, layer=1, n_steps=2)
    assert [vars(layer).get("forward") for layer in model[0].model.layers] == forwards == [None] * model.n_layers
    np.testing.assert_array_equal(model.encode([A]), before)


def test_a_state_is_taken_apart_as_it_was_put_together():
    torch.manual_seed(0)
    hidden = torch.randn(4, 2, 5, 3)
    shared = {"full": (torch.randn(2, 2, 5, 6), torch.randn(2, 2, 5, 6))}
    pieces = [Pieces(torch.randn(2, 5, 7), shared), Pieces(torch.randn(2, 5, 7), {})]
    state, layout = StateLayout.pack(hidden, pieces)
    assert state.shape == (2, 5, 4 * 3 + 2 * 12 + 2 * 7)
    again, parts = layout.unpack(state)
    assert torch.equal(again, hidden)
    assert torch.equal(parts[0].own_input, pieces[0].own_input)
    assert torch.equal(parts[1].own_input, pieces[1].own_input)
    assert all(map(torch.equal, parts[0].shared["full"], shared["full"]))
    assert parts[1].shared == {}


def test_other_models_have_no_such_layout(tmp_path):
    plain = XSTransformer(write_model("bert", tmp_path), device="cpu")
    assert not SplitModel(plain, 1).is_fed
