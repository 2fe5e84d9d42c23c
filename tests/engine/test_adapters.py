"""Factors belong to what acts: adapters that are there but do not act make no other model."""

import copy

import numpy as np
import pytest
import torch

from tests.tiny import write_model
from xsbert import Attribution, XSTransformer

peft = pytest.importorskip("peft")
BaseTunerLayer = peft.tuners.tuners_utils.BaseTunerLayer

TEXTS = ("the gentle giant did not unpack .", "a tall traveller")
FEW = {"layer": 1, "n_steps": 2}


def lora(**settings):
    return peft.LoraConfig(**{"r": 2, "target_modules": ["query", "value"], "init_lora_weights": False, **settings})


KINDS = {
    "lora": lora(),
    "dora": lora(use_dora=True),
    "saved modules": lora(modules_to_save=["output.dense"]),
    "ia3": peft.IA3Config(
        target_modules=["query", "value"],
        feedforward_modules=[],
        task_type="FEATURE_EXTRACTION",
        init_ia3_weights=False,
    ),
}


@pytest.fixture
def own(tmp_path):
    torch.manual_seed(0)
    return XSTransformer(write_model("bert", tmp_path), device="cpu")


def factors(model):
    return model.text_factors(TEXTS, **FEW)


def print_of(model):
    (found,) = model.text_factors(TEXTS[:1], **FEW)
    return found.settings.fingerprint


def adapted(model):
    """The layers with adapters."""
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def scaled(model, by):
    for layer in adapted(model):
        layer.scaling = dict.fromkeys(layer.scaling, by)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_that_do_not_act_make_no_other_model(own, kind):
    before = print_of(own)
    own.add_adapter(KINDS[kind], adapter_name="first")
    under_first = factors(own)
    own.add_adapter(copy.deepcopy(KINDS[kind]), adapter_name="second")
    under_second = print_of(own)
    own.set_adapter("first")
    again = factors(own)
    np.testing.assert_array_equal(again[0].factors, under_first[0].factors)
    assert Attribution.of(again[0], under_first[1], "cosine").matrix.shape == (9, 5)
    assert len({before, under_first[0].settings.fingerprint, under_second}) == 3
    own.disable_adapters()
    assert print_of(own) == before
    own.enable_adapters()
    assert print_of(own) == under_first[0].settings.fingerprint
    own.delete_adapter("second")
    assert print_of(own) == under_first[0].settings.fingerprint


def test_two_adapters_at_once_are_another_model_than_one(own):
    own.add_adapter(lora(), adapter_name="first")
    own.add_adapter(lora(), adapter_name="second")
    found = {}
    for active in ("first", "second", ["first", "second"]):
        own.set_adapter(active)
        found[str(active)] = print_of(own)
    assert len(set(found.values())) == 3


def test_an_adapter_may_have_any_name(own):
    other = XSTransformer.wrap(copy.deepcopy(own))
    for model, name in ((own, "one name"), (other, "another")):
        torch.manual_seed(1)
        model.add_adapter(lora(), adapter_name=name)
    assert print_of(own) == print_of(other)


def test_the_scale_of_an_adapter_counts(own):
    before = print_of(own)
    own.add_adapter(lora())
    under = print_of(own)
    scaled(own, 0.25)
    assert print_of(own) not in (before, under)
    scaled(own, 0.0)
    assert print_of(own) == before


def test_a_merged_adapter_is_in_the_weights(own):
    """The model is as good as one with these weights and no adapters."""
    other = XSTransformer.wrap(copy.deepcopy(own))
    own.add_adapter(lora())
    unmerged = print_of(own)
    for layer in adapted(own):
        layer.merge()
    for name, layer in own.named_modules():
        if isinstance(layer, BaseTunerLayer):
            other.get_submodule(name).weight.data = layer.base_layer.weight.data
    assert print_of(own) == print_of(other) != unmerged


def test_merged_adapters_that_are_disabled_are_refused(own):
    """peft takes them out of the weights in the next run, which the private copy must not do to the user's."""
    own.add_adapter(lora())
    for layer in adapted(own):
        layer.merge()
    own.disable_adapters()
    weights = {name: weight.clone() for name, weight in own.named_parameters()}
    with pytest.raises(ValueError, match=r"adapters are merged into the weights and disabled.*unmerge"):
        own.attribute_prediction(*TEXTS, **FEW)
    assert all(torch.equal(weight, weights[name]) for name, weight in own.named_parameters())
    own.encode(TEXTS[0])
    own.attribute_prediction(*TEXTS, **FEW)


def test_a_peft_model_within_is_as_one_with_adapters(own):
    other = XSTransformer.wrap(copy.deepcopy(own))
    torch.manual_seed(1)
    own.add_adapter(lora())
    torch.manual_seed(1)
    other[0].model = peft.get_peft_model(other[0].model, lora())
    assert print_of(own) == print_of(other)


def test_compilation_is_no_other_model(own):
    before = print_of(own)
    own[0].model.encoder.layer[1] = torch.compile(own[0].model.encoder.layer[1])
    assert print_of(own) == before
