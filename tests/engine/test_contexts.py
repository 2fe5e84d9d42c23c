"""What a caller has set in torch around a call: a default dtype changes nothing, autocast is refused."""

import numpy as np
import pytest
import torch

from xsbert import Attribution, load_factors, save_factors

A, B = "The coffee is bad.", "This is not a good coffee."
STEPS = {"layer": 4, "n_steps": 2}


@pytest.fixture(params=[torch.float64, torch.bfloat16, torch.float16], ids=str)
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    assert torch.get_default_dtype() == request.param
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def expected(model):
    return model.attribute_prediction(A, B, **STEPS)


def same(found, wanted):
    assert found.settings == wanted.settings
    assert found.score == wanted.score
    np.testing.assert_array_equal(found.matrix, wanted.matrix)
    np.testing.assert_array_equal(found.main_effects_a, wanted.main_effects_a)


def test_a_default_dtype_changes_nothing(model, expected, default_dtype):
    same(model.attribute_prediction(A, B, **STEPS), expected)


def test_a_default_dtype_changes_no_placed_nodes(model, default_dtype):
    found = model.attribute_prediction(A, B, layer=3, tolerance=0.05)
    torch.set_default_dtype(torch.float32)
    wanted = model.attribute_prediction(A, B, layer=3, tolerance=0.05)
    torch.set_default_dtype(default_dtype)
    same(found, wanted)


def test_files_are_those_of_any_default_dtype(expected, tmp_path, default_dtype):
    expected.save(tmp_path / "r")
    same(Attribution.load(tmp_path / "r"), expected)
    save_factors(tmp_path / "f", [expected.a, expected.b])
    same(Attribution.of(*load_factors(tmp_path / "f"), "cosine"), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_refused_by_every_method_and_by_none_that_only_reads(model, expected, tmp_path, dtype):
    with torch.autocast("cpu", dtype=dtype):
        for call in (
            lambda: model.attribute_prediction(A, B, **STEPS),
            lambda: model.token_factors([A], **STEPS),
            lambda: list(model.explain_pairs([(A, B)], **STEPS)),
            lambda: list(model.explain_matrix([A], [B], **STEPS)),
        ):
            with pytest.raises(RuntimeError, match=r"torch\.autocast\('cpu'.* is active"):
                call()
        expected.save(tmp_path / "r")
        same(Attribution.load(tmp_path / "r"), expected)
    same(model.attribute_prediction(A, B, **STEPS), expected)
