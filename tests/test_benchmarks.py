"""The published algorithm as the benchmarks write it out, and the models that they name."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny_models import TEXTS, save_tiny_model
from xsbert import XSTransformer
from xsbert._utils.memory import peak_bytes
from xsbert.engine.options import Options
from xsbert.engine.text_path import TextPath, WorkLimits

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def benchmarks():
    """The modules `common`, `pair` and `riemann`, found as scripts find them."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import common
        import pair
        import riemann
    finally:
        sys.path.remove(str(BENCHMARKS))
    return common, pair, riemann


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_imports(path, monkeypatch):
    """Their names come and go with those of the package, and nobody runs them all after each change."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    try:
        importlib.import_module(path.stem)
    finally:
        # The next script with such a name is another one.
        for name in set(sys.modules) - before:
            if getattr(sys.modules[name], "__file__", None) and Path(sys.modules[name].__file__).parent == BENCHMARKS:
                del sys.modules[name]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return XSTransformer(save_tiny_model(tmp_path_factory.mktemp("tiny"), "mpnet"), shift=True, device="cpu")


def test_the_published_algorithm_is_the_same_rule(benchmarks, tiny):
    _, pair, _ = benchmarks
    published = pair.published(tiny, *TEXTS[:2], 1, 20)
    out = tiny.attribute_prediction(*TEXTS[:2], layer=1, n_steps=20, rule="riemann-right")
    np.testing.assert_allclose(published["matrix"], out.matrix, atol=1e-5)
    assert published["score"] == pytest.approx(out.score, abs=1e-6)
    assert published["residual"] == pytest.approx(max(out.residual_a, out.residual_b), abs=1e-5)


def test_the_gradients_of_all_steps_are_held_once(benchmarks, shifted):
    _, pair, _ = benchmarks
    text, n_steps, width = "Tea!", 4, 384
    most = peak_bytes(lambda: pair.published_jacobian(shifted, text, 5, n_steps))
    gradients = 4 * n_steps * len(shifted.preprocess([text])["input_ids"][0]) * width**2
    # Beside them are the graph of the forward pass and the sum over the steps, a quarter of them here.
    assert 1.2 * gradients < most < 1.6 * gradients


def test_gradients_that_do_not_fit(benchmarks, tiny, monkeypatch):
    _, pair, _ = benchmarks
    n_bytes = 4 * 50 * len(tiny.preprocess([TEXTS[1]])["input_ids"][0]) * 16 * 16
    monkeypatch.setattr(pair, "available_memory", lambda device: n_bytes)
    pair.check_fits(tiny, TEXTS[:2], 50)
    with pytest.raises(MemoryError, match=r"--n-published 51 is too large: .* GB of gradients alone, of \d+ tokens"):
        pair.check_fits(tiny, TEXTS[:2], 51)
    monkeypatch.setattr(pair, "available_memory", lambda device: None)
    pair.check_fits(tiny, TEXTS[:2], 51)


def test_available_memory(benchmarks):
    common, *_ = benchmarks
    available = common.available_memory("cuda" if torch.cuda.is_available() else "cpu")
    assert available is None or 1e7 < available < 1e14


def test_names_of_models(benchmarks, minilm_path):
    common, *_ = benchmarks
    assert common.path_of("minilm") == minilm_path
    assert common.path_of("some/model") == "some/model"


@pytest.mark.real
def test_the_name_of_the_real_model(benchmarks, mpnet_real):
    common, *_ = benchmarks
    assert common.path_of("mpnet") == mpnet_real


@pytest.mark.parametrize("n_steps", [1, 7, 50])
def test_a_right_sum_of_a_square(benchmarks, n_steps):
    """g(α) = 2αc has the right Riemann sum c (1 + 1/N)."""
    *_, riemann = benchmarks
    x, r = torch.ones(3, 4), torch.zeros(3, 4)

    def f(h):
        return (h * h).sum(0)

    assert riemann.residual(TextPath(f, x, r, f(x), f(r), WorkLimits(f, x, r, 4, Options())), n_steps) == pytest.approx(
        1 / n_steps, rel=1e-5
    )
