"""Our derivative rules against torch's own, in both directions and for many directions at once."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import jvp, vjp, vmap

from xsbert.engine.autodiff.forward_rules import Differentiable

DTYPES = [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)]


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def functions(dtype):
    weight, bias, narrow = random(5, 6, seed=1, dtype=dtype), random(5, seed=2, dtype=dtype), random(6, seed=3)
    keys, values = random(4, 6, seed=4, dtype=dtype), random(4, 6, seed=5, dtype=dtype)
    mask = torch.tensor([True, True, False, True])
    narrow, scores = narrow.to(dtype), random(3, 3, seed=9, dtype=dtype)
    return {
        "linear": lambda h: F.linear(h, weight, bias),
        "linear without a bias": lambda h: F.linear(h, weight),
        "gelu": F.gelu,
        "gelu by tanh": lambda h: F.gelu(h, approximate="tanh"),
        "layer norm": lambda h: F.layer_norm(h, (6,), narrow, narrow, 1e-5),
        "layer norm without weights": lambda h: F.layer_norm(h, (6,)),
        "layer norm over two axes": lambda h: F.layer_norm(h, tuple(h.shape)),
        "attention": lambda h: F.scaled_dot_product_attention(h[None], h[None] * 2, h[None]),
        "masked attention": lambda h: F.scaled_dot_product_attention(h[None], keys[None], values[None], mask),
        "attention with a bias": lambda h: F.scaled_dot_product_attention(
            h[None], h[None] * 2, h[None] + 1, scores, scale=0.3
        ),
        "attention with shared keys": lambda h: F.scaled_dot_product_attention(
            torch.stack([h, h + 1, h - 1, 2 * h]), h.repeat(2, 1, 1), h.repeat(2, 1, 1), enable_gqa=True
        ),
        "attention with two different shared keys": lambda h: F.scaled_dot_product_attention(
            torch.stack([h, h + 1, h - 1, 2 * h]),
            torch.stack([h, 1 - h]),
            torch.stack([h * h, h - 2]),
            enable_gqa=True,
        ),
        "causal attention": lambda h: F.scaled_dot_product_attention(h[None], h[None], h[None], is_causal=True),
    }


@pytest.fixture(params=list(functions(torch.float64)))
def name(request):
    return request.param


@pytest.fixture(params=DTYPES, ids=lambda pair: str(pair[0]))
def precision(request):
    return request.param


def ours(f):
    def replaced(h):
        with Differentiable([], waits=True):
            return f(h)[...]

    return replaced


def test_values_are_those_of_torch(name, precision):
    dtype, atol = precision
    f, h = functions(dtype)[name], random(3, 6, seed=6, dtype=dtype)
    found = ours(f)(h)
    assert found.dtype == dtype
    torch.testing.assert_close(found, f(h), rtol=0, atol=atol)


def test_forward_mode_against_differences(name):
    f, h, tangent = functions(torch.float64)[name], random(3, 6, seed=6), random(3, 6, seed=7)
    step = 1e-6
    difference = (f(h + step * tangent) - f(h - step * tangent)) / (2 * step)
    torch.testing.assert_close(jvp(ours(f), (h,), (tangent,))[1], difference, rtol=1e-7, atol=1e-8)


def test_both_directions_at_all_precisions(name, precision):
    dtype, atol = precision
    f, exact = functions(dtype)[name], functions(torch.float64)[name]
    h, tangents = random(3, 6, seed=6, dtype=dtype), random(4, 3, 6, seed=7, dtype=dtype)
    forward = vmap(lambda tangent: jvp(ours(f), (h,), (tangent,))[1])(tangents)
    expected = torch.stack([jvp(exact, (h.double(),), (tangent.double(),))[1] for tangent in tangents])
    assert forward.dtype == dtype
    torch.testing.assert_close(forward.double(), expected, rtol=0, atol=atol * float(expected.abs().max() + 1))
    cotangents = random(4, *f(h).shape, seed=8, dtype=dtype)
    pull = vjp(ours(f), h)[1]
    reverse = vmap(lambda cotangent: pull(cotangent)[0])(cotangents)
    exact_pull = vjp(exact, h.double())[1]
    expected = torch.stack([exact_pull(cotangent.double())[0] for cotangent in cotangents])
    assert reverse.dtype == dtype
    torch.testing.assert_close(reverse.double(), expected, rtol=0, atol=atol * float(expected.abs().max() + 1))


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(("products", "close"), [(torch.bfloat16, 1e-2), (torch.float16, 1e-3)])
def test_products_of_derivatives_in_less_precision(products, close, waits):
    weight, bias = random(5, 6, seed=1, dtype=torch.float32), random(5, seed=2, dtype=torch.float32)
    h, tangent = random(3, 6, seed=6, dtype=torch.float32), random(3, 6, seed=7, dtype=torch.float32)

    def f(h):
        with Differentiable([], products, waits=waits):
            return F.linear(h, weight, bias)[...]

    value, derivative = jvp(f, (h,), (tangent,))
    exact = tangent @ weight.T
    assert torch.equal(value, F.linear(h, weight, bias))
    assert derivative.dtype == torch.float32
    assert 1e-6 < (derivative - exact).norm() / exact.norm() < close
    value, pull = vjp(f, h)
    cotangent = random(3, 5, seed=8, dtype=torch.float32)
    exact = cotangent @ weight
    assert torch.equal(value, F.linear(h, weight, bias))
    assert 1e-6 < (pull(cotangent)[0] - exact).norm() / exact.norm() < close


def test_what_is_read_on_the_host_is_read_once():
    mask, n_read = torch.ones(3), []

    class Counted(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "local_scalar_dense" in func.name():
                n_read.append(func)
            return func(*args, **(kwargs or {}))

    def f(h):
        with Differentiable(reads, waits=False):
            return h * 2 if mask.all() and mask.sum().item() == 3 else h

    reads, h = [], random(4, 3)
    with Counted():
        for run in range(3):
            along = vmap(lambda h: jvp(f, (h,), (torch.ones_like(h),))[1])(h)
            assert len(n_read) == 2, run
    assert reads == [True, 3.0]
    torch.testing.assert_close(along, torch.full_like(h, 2))


def test_what_depends_on_the_hidden_states_is_not_remembered():
    def f(h):
        with Differentiable(reads, waits=False):
            return h * 2 if h.sum() > 0 else h

    reads = []
    f(torch.ones(3))
    with pytest.raises(RuntimeError, match="data-dependent control flow"):
        vmap(f)(random(4, 3))


def test_nothing_is_replaced_outside():
    h = random(3, 6)
    with Differentiable([], waits=False):
        pass
    assert F.gelu(h.requires_grad_()).grad_fn.name().startswith("GeluBackward")
