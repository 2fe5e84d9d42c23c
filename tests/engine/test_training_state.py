"""What watches or trains a model has no part in explanations, and stays on the model; what computes has."""

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.modules import module as modules
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from tests.tiny import write_model
from xsbert import XSTransformer, choose_reference
from xsbert.engine.private_copy import private_copy

TEXTS = ("the gentle giant did not unpack .", "a tall traveller")
FEW = {"layer": 1, "n_steps": 2}

pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing_(en|dis)able.*:FutureWarning")


@pytest.fixture(scope="module", params=["bert", "qwen3", "t5"])
def path(request, tmp_path_factory):
    return write_model(request.param, tmp_path_factory.mktemp("model"))


@pytest.fixture
def own(path):
    return XSTransformer(path, device="cpu")


@pytest.fixture
def bert(tmp_path):
    return XSTransformer(write_model("bert", tmp_path), device="cpu")


def explanations(model):
    """Numbers of every way through the model: forward mode, reverse mode, float64, a ranking, feature pairs."""
    result = model.attribute_prediction(*TEXTS, **FEW)
    path = model.explainer(layer=1).path(TEXTS[0])
    return [
        result.matrix,
        result.feature_pairs(),
        model.explainer(layer=1).pulled_back(TEXTS[0], np.ones((1, 16))).factors,
        path.in_float64().f_x.numpy(),
        np.array([hit.score for hit in model.explain_ranking(TEXTS[0], TEXTS, **FEW)]),
    ]


def check_same(model, expected):
    for found, wanted in zip(explanations(model), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def explained_as_encoded(model):
    """The score of an explanation, which is that of `encode`."""
    score = model.attribute_prediction(*TEXTS, **FEW).score
    assert score == pytest.approx(float(model.similarity(*model.encode([*TEXTS]))), abs=1e-6)
    return score


@pytest.mark.parametrize("training", [pytest.param(False, marks=pytest.mark.slow), True])
def test_gradient_checkpointing_changes_no_explanation(own, training):
    expected = explanations(own)
    network = own[0].model
    own.train(training)
    for prepare in (
        network.gradient_checkpointing_enable,
        network.enable_input_require_grads,
        network.gradient_checkpointing_disable,
    ):
        prepare()
        modes = [module.training for module in own.modules()]
        flags = [getattr(module, "gradient_checkpointing", None) for module in own.modules()]
        check_same(own, expected)
        assert [module.training for module in own.modules()] == modes
        assert [getattr(module, "gradient_checkpointing", None) for module in own.modules()] == flags
    assert network.get_input_embeddings()._forward_hooks
    assert all(weight.grad is None and weight.requires_grad for weight in own.parameters())


def test_a_model_that_the_trainer_checkpoints_is_explained(bert, tmp_path):
    data = Dataset.from_dict({"a": TEXTS, "b": TEXTS[::-1], "score": [0.5, 0.7]})
    arguments = SentenceTransformerTrainingArguments(
        str(tmp_path / "run"),
        max_steps=1,
        gradient_checkpointing=True,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
    )
    SentenceTransformerTrainer(bert, arguments, data, loss=CosineSimilarityLoss(bert)).train()
    found = explanations(bert)
    fresh = XSTransformer.wrap(copy.deepcopy(bert))
    for module in fresh.modules():
        module._forward_hooks.clear()
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = False
    check_same(fresh, found)


def test_hooks_of_the_user_stay_and_do_not_run(own):
    expected = explanations(own)
    seen = []

    def watch(*args):
        seen.append(args)

    registered = (
        *(modules.register_module_forward_hook(watch), modules.register_module_forward_pre_hook(watch)),
        modules.register_module_full_backward_hook(watch),
    )
    try:
        for module in own.modules():
            module.register_forward_pre_hook(watch)
            module.register_forward_hook(watch, always_call=True)
            module.register_full_backward_pre_hook(watch)
            module.register_full_backward_hook(watch)
        own[0].model.get_input_embeddings().register_forward_hook(lambda *args: args[-1].requires_grad_(True))
        for weight in own.parameters():
            weight.register_hook(watch)
        with pytest.warns(UserWarning, match=r"the forward hooks on .* do not run in explanations"):
            check_same(own, expected)
        choose_reference(own, [*TEXTS, "the giant", "his bags"])
        assert seen == []
    finally:
        for handle in registered:
            handle.remove()
    own.encode(TEXTS[0])
    assert seen


def test_a_hook_that_changes_the_model_is_reported(bert):
    """Explanations are of the model without it, which nobody should have to find out."""
    expected = bert.attribute_prediction(*TEXTS, **FEW)
    layer = bert[0].model.encoder.layer[1]
    layer.register_forward_hook(lambda module, args, output: output * 2)
    with pytest.warns(UserWarning, match=r"on BertLayer do not run.*differs from that of `encode`.*into a module"):
        found = bert.attribute_prediction(*TEXTS, **FEW)
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    assert len(layer._forward_hooks) == 1


@pytest.mark.parametrize(
    "reparametrise",
    [
        weight_norm,
        spectral_norm,
        lambda linear: prune.ln_structured(linear, "weight", 0.5, 2, 0),
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
    ],
    ids=["weight_norm", "spectral_norm", "prune", "parametrised weight_norm", "parametrised spectral_norm"],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_that_are_computed_by_hooks_are_those_of_the_model(bert, reparametrise):
    linear = bert[0].model.encoder.layer[2].output.dense
    reparametrise(linear)
    with torch.no_grad():
        next(weight for weight in linear.parameters() if weight.ndim == 2).mul_(1.5)
    bert.eval()
    explained_as_encoded(bert)
    path = bert.explainer(layer=1).path(TEXTS[0])
    torch.testing.assert_close(path.in_float64().f_x.float(), path.f_x.float(), atol=1e-5, rtol=1e-5)


def test_wrappers_of_layers_are_looked_through(bert):
    expected = explanations(bert)
    layers = bert[0].model.encoder.layer
    layers[0], layers[1] = checkpoint_wrapper(layers[0]), torch.compile(layers[1])
    layers[2].compile()
    bert[0].model.pooler = torch.nn.DataParallel(bert[0].model.pooler)
    check_same(bert, expected)
    assert [type(layer).__name__ for layer in layers] == ["CheckpointWrapper", "OptimizedModule", "BertLayer"]


def test_buffers_that_a_module_writes_to_stay(bert):
    class Counting(torch.nn.Linear):
        def forward(self, states):
            self.calls += 1
            return super().forward(states)

    linear = bert[0].model.encoder.layer[0].output.dense
    linear.__class__ = Counting
    linear.register_buffer("calls", torch.zeros(()))
    bert.attribute_prediction(*TEXTS, **FEW)
    bert.explain_ranking(TEXTS[0], TEXTS, **FEW)
    assert linear.calls == 0


def test_a_private_copy_shares_weights_and_what_accelerate_needs(bert):
    accelerate = pytest.importorskip("accelerate")
    (copied,) = private_copy([bert[0]])
    assert {id(weight) for weight in copied.parameters()} == {id(weight) for weight in bert[0].parameters()}
    accelerate.cpu_offload(bert[0].model, execution_device=torch.device("cpu"))
    (copied,) = private_copy([bert[0]])
    for module, other in zip(bert[0].modules(), copied.modules(), strict=True):
        hook, copied_hook = getattr(module, "_hf_hook", None), getattr(other, "_hf_hook", None)
        assert getattr(copied_hook, "weights_map", None) is getattr(hook, "weights_map", None)
