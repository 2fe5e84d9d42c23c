"""Contexts and models in which derivatives would be wrong are refused, with the reason, before any work."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch.autograd import forward_ad

from tests.tiny import write_model
from xsbert import XSTransformer, explain_corpus

TEXTS = ("the gentle giant did not unpack .", "a tall traveller")
CALLS = {
    "attribute_prediction": lambda model: model.attribute_prediction(*TEXTS, layer=1, n_steps=2),
    "token_factors": lambda model: model.token_factors(TEXTS, layer=1, n_steps=2),
    "explain_pairs": lambda model: model.explain_pairs([TEXTS], layer=1, n_steps=2),
    "explain_matrix": lambda model: model.explain_matrix(TEXTS, TEXTS, layer=1, n_steps=2),
    "explain_ranking": lambda model: model.explain_ranking(TEXTS[0], TEXTS, layer=1, n_steps=2),
    "text_factors, skipping": lambda model: model.text_factors(TEXTS, layer=1, errors="skip"),
    "with a tolerance": lambda model: model.attribute_prediction(*TEXTS, layer=1),
    "explainer": lambda model: model.explainer(layer=1).feature_pairs(*TEXTS),
    "pulled back": lambda model: model.explainer(layer=1).pulled_back(TEXTS[0], np.ones((1, 16))),
    "projected": lambda model: model.explainer(layer=1).projected(TEXTS, [np.ones((1, 16))] * 2),
    "predict_memory": lambda model: model.predict_memory(TEXTS[0], layer=1),
}
CONTEXTS = {
    "dual level": (forward_ad.dual_level, r"forward_ad.dual_level\(\) or torch.func.jvp is active.* leave it before"),
    "autocast": (
        lambda: torch.autocast("cpu", torch.bfloat16),
        r"torch.autocast\('cpu', dtype=torch.bfloat16\) is active.*'dtype': torch.bfloat16.*derivative_dtype='bfloat16'",
    ),
}


# Transforms of torch.func, which hand a function a tensor and take a tensor from it.
TRANSFORMS = {
    "vmap": lambda function: torch.func.vmap(function)(torch.ones(2, 3)),
    "grad": lambda function: torch.func.grad(function)(torch.ones(3)),
    "jacrev": lambda function: torch.func.jacrev(function)(torch.ones(3)),
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


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_of_torch_is_named(own, name, call):
    def function(values):
        CALLS[call](own)
        return values.sum()

    with pytest.raises(RuntimeError, match=r"a (vmap|grad) of torch.func is active, .*leave it before the call"):
        TRANSFORMS[name](function)


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


@pytest.fixture(params=["a copy", "in place"])
def quantised(own, request):
    """Quantised after it was admitted: a whole copy, which is an XSTransformer still, or the model within."""
    how = {"dtype": torch.qint8}
    if request.param == "a copy":
        return torch.ao.quantization.quantize_dynamic(own, {torch.nn.Linear}, **how)
    torch.ao.quantization.quantize_dynamic(own[0].model, {torch.nn.Linear}, **how, inplace=True)
    return own


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_what_is_quantised_after_it_was_admitted_is_refused(quantised, call):
    assert isinstance(quantised, XSTransformer)
    with pytest.raises(ValueError, match=r"cannot be explained, got torch.ao.nn.quantized.*no derivative"):
        CALLS[call](quantised)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_results_and_corpora_of_what_was_quantised_since_are_refused(own, tmp_path):
    result = own.attribute_prediction(*TEXTS, layer=1, n_steps=2)
    torch.ao.quantization.quantize_dynamic(own[0].model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
    with pytest.raises(ValueError, match="a quantised model cannot be explained"):
        result.feature_pairs()
    pq.write_table(pa.table({"text_a": TEXTS[:1], "text_b": TEXTS[1:]}), tmp_path / "pairs.parquet")
    with pytest.raises(ValueError, match="a quantised model cannot be explained"):
        explain_corpus(own, tmp_path / "pairs.parquet", tmp_path / "out", layer=1)


@pytest.mark.parametrize("option", ["load_in_8bit", "load_in_4bit", "quantization_config"])
def test_what_would_be_quantised_is_not_loaded(option, tmp_path):
    path = write_model("bert", tmp_path)
    with pytest.raises(ValueError, match=f"got '{option}' in model_kwargs: quantised weights have no exact deriv"):
        XSTransformer(path, model_kwargs={option: True})
    with pytest.raises(ValueError, match=f"got '{option}' in config_kwargs"):
        XSTransformer(path, config_kwargs={option: {"bits": 8}})
    XSTransformer(path, model_kwargs={"quantization_config": None}, device="cpu")


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


def test_a_mistyped_argument_is_told_what_was_meant(tmp_path):
    path = write_model("bert", tmp_path)
    for name, meant in (("refrence", "reference"), ("devise", "device")):
        with pytest.raises(TypeError, match=f"'{name}'; did you mean '{meant}'"):
            XSTransformer(path, **{name: "cpu"})


def test_the_list_of_layers_that_was_looked_for_is_named(tmp_path):
    plain = SentenceTransformer(write_model("bert", tmp_path), device="cpu")
    network, held = plain[0].model, vars(plain[0].model.config)
    held["num_hidden_layers"] = None
    for message in (
        "the number of encoder layers of BertModel",
        "its BertConfig has none of num_hidden_layers, num_layers, n_layers",
        r"Set `num_hidden_layers` of the configuration.*with their lengths: encoder.layer \(3\)",
    ):
        with pytest.raises(ValueError, match=message):
            XSTransformer.wrap(plain)
    held["n_layers"] = 3
    assert XSTransformer.wrap(plain).n_layers == 3
    network.encoder.layer = network.encoder.layer[:2]
    with pytest.raises(ValueError, match=r"no list of 3 encoder layers.*encoder.layer \(2\).*If layers were removed"):
        XSTransformer.wrap(plain)
    network.encoder.layer = torch.nn.Sequential(*network.encoder.layer)
    with pytest.raises(ValueError, match="with their lengths: none"):
        XSTransformer.wrap(plain)


def test_a_model_must_be_named():
    with pytest.raises(TypeError, match="model_name_or_path must be a model id or the path of a folder"):
        XSTransformer()
