"""Contexts and models in which derivatives would be wrong are refused, with the reason, before any work."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch.autograd import forward_ad

from tests.tiny import write_model
from xsbert import XSTransformer

TEXTS = ("the gentle giant did not unpack .", "a tall traveller")
CALLS = {
    "attribute_prediction": lambda model: model.attribute_prediction(*TEXTS, layer=1, n_steps=2),
    "token_factors": lambda model: model.token_factors(TEXTS, layer=1, n_steps=2),
    "explain_pairs": lambda model: model.explain_pairs([TEXTS], layer=1, n_steps=2),
    "explain_matrix": lambda model: model.explain_matrix(TEXTS, TEXTS, layer=1, n_steps=2),
    "predict_memory": lambda model: model.predict_memory(TEXTS[0], layer=1),
}
CONTEXTS = {
    "dual level": (forward_ad.dual_level, r"forward_ad.dual_level\(\) or torch.func.jvp is open.* leave it before"),
    "autocast": (
        lambda: torch.autocast("cpu", torch.bfloat16),
        r"torch.autocast\('cpu', dtype=torch.bfloat16\) is on.*'dtype': torch.bfloat16.*derivative_dtype='bfloat16'",
    ),
}


@pytest.fixture
def own(tmp_path):
    return XSTransformer(write_model("bert", tmp_path), device="cpu")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", CONTEXTS)
def test_the_context_is_named(own, name, call):
    context, message = CONTEXTS[name]
    expected = own.attribute_prediction(*TEXTS, layer=1, n_steps=2)
    with context():
        level, autocast = forward_ad._current_level, torch.is_autocast_enabled("cpu")
        with pytest.raises(RuntimeError, match=message):
            CALLS[call](own)
        with pytest.raises(RuntimeError, match=message):
            expected.feature_pairs()
        assert (forward_ad._current_level, torch.is_autocast_enabled("cpu")) == (level, autocast)
    assert (forward_ad._current_level, torch.is_autocast_enabled("cpu")) == (-1, False)
    after = own.attribute_prediction(*TEXTS, layer=1, n_steps=2)
    np.testing.assert_array_equal(after.matrix, expected.matrix)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", enabled=False)])
def test_other_contexts_change_nothing(own, context):
    expected = own.attribute_prediction(*TEXTS, layer=1, n_steps=2)
    with context():
        np.testing.assert_array_equal(own.attribute_prediction(*TEXTS, layer=1, n_steps=2).matrix, expected.matrix)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_dynamically_quantised_models_are_refused(tmp_path):
    plain = SentenceTransformer(write_model("bert", tmp_path), device="cpu")
    plain[0].model = torch.ao.quantization.quantize_dynamic(plain[0].model, {torch.nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ValueError, match=r"cannot be explained, got torch.ao.nn.quantized.*no derivative"):
        XSTransformer.wrap(plain)


@pytest.mark.parametrize(
    "marks",
    [{"is_quantized": True}, {"hf_quantizer": object()}, {"quantization_method": "bitsandbytes"}],
    ids=lambda marks: next(iter(marks)),
)
def test_models_that_transformers_quantised_are_refused(marks, tmp_path):
    plain = SentenceTransformer(write_model("bert", tmp_path), device="cpu")
    for name, value in marks.items():
        setattr(plain[0].model, name, value)
    with pytest.raises(ValueError, match=f"cannot be explained, got a BertModel with {next(iter(marks))}"):
        XSTransformer.wrap(plain)


def test_modules_of_packages_that_quantise_are_refused(tmp_path):
    plain = SentenceTransformer(write_model("bert", tmp_path), device="cpu")
    kind = type("Linear8bitLt", (torch.nn.Linear,), {"__module__": "bitsandbytes.nn.modules"})
    plain[0].model.pooler.dense = kind(16, 16)
    with pytest.raises(ValueError, match=r"cannot be explained, got bitsandbytes.nn.modules.Linear8bitLt"):
        XSTransformer.wrap(plain)


def test_a_path_need_not_be_a_string(tmp_path):
    path = Path(write_model("bert", tmp_path))
    named = XSTransformer(str(path), device="cpu").token_factors(TEXTS, layer=1, n_steps=2)
    found = XSTransformer(path, device="cpu").token_factors(TEXTS, layer=1, n_steps=2)
    np.testing.assert_array_equal(found[0].factors, named[0].factors)
    assert found[0].settings == named[0].settings
