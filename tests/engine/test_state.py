"""The model is the user's: as before after success and after failure, and unaffected meanwhile."""

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.tiny import write_model
from xsbert import XSTransformer
from xsbert.integrated_jacobian import PathIntegrator

TEXT_A = "the gentle giant did not unpack his bags ."
TEXT_B = "a tall traveller left them as they were ."


@pytest.fixture
def own(tmp_path):
    return SentenceTransformer(write_model("bert", tmp_path, normalize=True), device="cpu")


def state(model):
    """All of a model that an explanation could disturb."""
    return {
        "hooks": [
            (name, len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
            for name, module in model.named_modules()
        ],
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "training": [module.training for module in model.modules()],
        "gradients": [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()],
        "identity": [id(p) for p in model.parameters()],
        "values": [p.detach().clone() for p in model.parameters()],
        "versions": [p._version for p in model.parameters()],
        "attention": model[0].config._attn_implementation,
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before, after):
    for name, value in before.items():
        if name == "values":
            assert all(torch.equal(x, y) for x, y in zip(value, after[name], strict=True))
        elif name == "gradients":
            for (flag, gradient), (new_flag, new_gradient) in zip(value, after[name], strict=True):
                assert flag == new_flag
                assert (gradient is None) == (new_gradient is None)
                assert gradient is None or torch.equal(gradient, new_gradient)
        else:
            assert value == after[name], name


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shift", [False, True])
def test_the_model_is_as_before(own, training, shift):
    own.train(training)
    own(own.preprocess([TEXT_A]))["sentence_embedding"].sum().backward()
    next(own.parameters()).requires_grad_(False)
    encoded = own.encode([TEXT_A, TEXT_B])
    own.train(training)
    before = state(own)
    model = XSTransformer.wrap(own, shift=shift)
    model.attribute_prediction(TEXT_A, TEXT_B, layer=1).feature_pairs()
    assert_same(before, state(own))
    np.testing.assert_array_equal(own.encode([TEXT_A, TEXT_B]), encoded)


def test_explanations_are_in_evaluation_mode(own):
    model = XSTransformer.wrap(own)
    own[0].config.hidden_dropout_prob = 0.5
    evaluated = model.attribute_prediction(TEXT_A, TEXT_B, layer=1)
    own.train()
    trained = model.attribute_prediction(TEXT_A, TEXT_B, layer=1)
    np.testing.assert_array_equal(trained.matrix, evaluated.matrix)
    assert own.training


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError, MemoryError])
@pytest.mark.parametrize("where", ["token_factors", "record"])
def test_as_before_after_an_interruption(own, interruption, where, monkeypatch):
    model = XSTransformer.wrap(own, shift=True)
    expected = model.attribute_prediction(TEXT_A, TEXT_B, layer=1)
    encoded = model.encode(TEXT_A)
    before = state(own)

    if where == "token_factors":

        def interrupted(self, *args, **kwargs):
            self.f(self.xs[0])
            raise interruption

        monkeypatch.setattr(PathIntegrator, "token_factors", interrupted)
    else:
        original, calls = torch.nn.functional.gelu, []

        def stumbling(*args, **kwargs):
            calls.append(1)
            if len(calls) > 4:
                raise interruption
            return original(*args, **kwargs)

        own[0].model.encoder.layer[1].intermediate.intermediate_act_fn.forward = stumbling

    with pytest.raises(interruption):
        model.attribute_prediction(TEXT_A, TEXT_B, layer=1)
    monkeypatch.undo()
    if where == "record":
        del own[0].model.encoder.layer[1].intermediate.intermediate_act_fn.forward
    assert_same(before, state(own))
    np.testing.assert_array_equal(model.encode(TEXT_A), encoded)
    np.testing.assert_array_equal(model.attribute_prediction(TEXT_A, TEXT_B, layer=1).matrix, expected.matrix)


@pytest.mark.parametrize("shift", [False, True])
def test_encode_in_another_thread_returns_what_it_always_did(own, shift):
    model = XSTransformer.wrap(own, shift=shift)
    expected = model.encode([TEXT_A, TEXT_B, "the giant"])
    started, done, wrong = threading.Event(), threading.Event(), []

    def keep_encoding():
        while not done.is_set():
            if not np.array_equal(model.encode([TEXT_A, TEXT_B, "the giant"]), expected):
                wrong.append(1)
            started.set()

    thread = threading.Thread(target=keep_encoding)
    thread.start()
    started.wait()
    try:
        for _ in range(10):
            model.attribute_prediction(TEXT_A, TEXT_B, layer=1)
    finally:
        done.set()
        thread.join()
    assert not wrong


def test_two_threads_agree_with_two_in_a_row(own):
    model = XSTransformer.wrap(own)
    jobs = [(TEXT_A, TEXT_B, 1), (TEXT_B, "the giant", 2)]
    expected = [model.attribute_prediction(a, b, layer=layer).matrix for a, b, layer in jobs]
    barrier, found = threading.Barrier(2), {}

    def explain(index):
        a, b, layer = jobs[index]
        barrier.wait()
        found[index] = [model.attribute_prediction(a, b, layer=layer).matrix for _ in range(5)]

    threads = [threading.Thread(target=explain, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, matrices in found.items():
        for matrix in matrices:
            np.testing.assert_allclose(matrix, expected[index], atol=1e-6)
    assert len(found) == 2


def test_forward_and_reverse_mode_in_two_threads(own):
    """torch knows one level of forward-mode differentiation per process: reverse mode beside it must not see it."""
    model = XSTransformer.wrap(own)
    expected = model.attribute_prediction(TEXT_A, TEXT_B, layer=1).feature_pairs()
    stop, failures = threading.Event(), []

    def keep_explaining():
        try:
            while not stop.is_set():
                model.token_factors([TEXT_A], layer=1, n_steps=4, show_progress_bar=False)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=keep_explaining)
    thread.start()
    try:
        for _ in range(5):
            pairs = model.attribute_prediction(TEXT_A, TEXT_B, layer=1).feature_pairs()
            np.testing.assert_allclose(pairs, expected, atol=1e-6)
    finally:
        stop.set()
        thread.join()
    assert not failures


def test_wrapping_shares_the_weights_and_leaves_the_model_alone(own):
    plain = own.encode(TEXT_A)
    names = list(own._modules)
    shifted = XSTransformer.wrap(own, shift=True)
    np.testing.assert_array_equal(own.encode(TEXT_A), plain)
    assert list(own._modules) == names
    assert np.abs(shifted.encode(TEXT_A) - plain).max() > 1e-3
    assert {id(p) for p in shifted.parameters()} == {id(p) for p in own.parameters()}
    assert isinstance(shifted, SentenceTransformer)
    assert shifted.similarity_fn_name == own.similarity_fn_name
    assert shifted.prompts == own.prompts


def test_nothing_is_kept_alive(own):
    model = XSTransformer.wrap(own)

    def modules():
        gc.collect()
        return sum(issubclass(type(item), torch.nn.Module) for item in gc.get_objects())

    before = modules()
    model.attribute_prediction(TEXT_A, TEXT_B, layer=1)
    assert modules() == before


def test_the_random_state_is_not_touched(own):
    model = XSTransformer.wrap(own)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model.attribute_prediction(TEXT_A, TEXT_B, layer=1)
    assert torch.equal(torch.rand(3), expected)


FORK = """
import os, signal, sys, threading, time
import torch

torch.set_num_threads(1)
sys.setswitchinterval(1e-5)  # threads take turns anywhere, so that a fork may come anywhere
from xsbert import XSTransformer

model = XSTransformer(sys.argv[1], device="cpu")
started, done = threading.Event(), threading.Event()


def explain():
    while not done.is_set():
        model.text_factors(["the gentle giant did not unpack his bags ."], layer=0, n_steps=64)
        started.set()


thread = threading.Thread(target=explain)
thread.start()
started.wait()
try:
    for _ in range(12):
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            out = model.text_factors(["a tall traveller"], layer=1, n_steps=2)
            os._exit(0 if out[0].residual < 1 else 3)
        _, status = os.waitpid(child, 0)
        print(status, end=" ", flush=True)
finally:
    done.set()
    thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.slow
def test_a_fork_beside_an_explanation_does_not_hang(tmp_path):
    """Each child explains by itself; one that inherited a held lock would wait until its alarm ends it."""
    path = write_model("bert", tmp_path)
    run = subprocess.run([sys.executable, "-c", FORK, path], capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["0"] * 12


FORK_UNDER_A_BAR = """
import os, signal, sys, threading
from tqdm import tqdm
from xsbert import XSTransformer

model = XSTransformer(sys.argv[1], device="cpu")
held, done = threading.Event(), threading.Event()


def draw():
    with tqdm.get_lock():
        held.set()
        done.wait()


thread = threading.Thread(target=draw)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    model.attribute_prediction("a tall traveller", "the old dog", layer=1, tolerance=0.01)
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
sys.exit(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.slow
def test_a_fork_while_a_bar_is_drawn_does_not_hang(tmp_path):
    """The lock under which tqdm draws stays held in the child; what takes less than two seconds asks for none."""
    path = write_model("bert", tmp_path)
    run = subprocess.run([sys.executable, "-c", FORK_UNDER_A_BAR, path], capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr
