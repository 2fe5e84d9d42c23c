"""Derivatives of linear layers that wait: what they come to, by torch's own derivatives, and what they save."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import jvp, vjp, vmap
from torch.utils.flop_counter import flop_registry

from xsbert import XSTransformer
from xsbert._utils.torch_internals import TorchDispatchMode
from xsbert.engine.autodiff import forward_rules as derivatives
from xsbert.engine.autodiff.deferred_linear import LazyDerivative, scaled_tokens
from xsbert.engine.autodiff.forward_rules import Differentiable
from xsbert.integrated_jacobian import projected_factors, quadrature, token_factors

S, H, WIDE = 5, 6, 24


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


UP, DOWN, GAMMA, BETA = random(WIDE, H, seed=1), random(H, WIDE, seed=2), random(H, seed=3), random(H, seed=4)
OFFSET, WIDE_OFFSET = random(1, S, H, seed=9), random(WIDE, seed=5)
MASK = torch.tensor([1.0, 1, 0, 1, 1], dtype=torch.float64)[None, :, None]
SECOND = torch.tensor([[[1]]]).expand(1, 1, H)


def layer(h, norm=lambda z: F.layer_norm(z, (H,), GAMMA, BETA)):
    """A feed-forward layer of a transformer, (1, S, H) to the same."""
    return norm(F.dropout(F.linear(F.gelu(F.linear(h, UP)), DOWN, BETA), 0.1, training=False) + h)


def in_place(h):
    z = F.linear(h, UP)
    z.mul_(2)
    return F.linear(z, DOWN)


SAVES = {
    "masked sum": lambda h: (layer(h) * MASK).sum(dim=1, dtype=torch.float64) / MASK.sum(1),
    "sum of what a mask is times": lambda h: torch.sum(torch.mul(MASK, layer(h)), -2, keepdim=True),
    "sum with two masks": lambda h: (layer(h) * MASK * (MASK + 1)).sum(1),
    "sum without weights": lambda h: layer(h, lambda z: F.layer_norm(z, [H], eps=1e-3)).sum(1),
    "sum without a residual": lambda h: F.layer_norm(F.linear(h, UP, WIDE_OFFSET), (WIDE,)).sum(1),
    "residual first": lambda h: F.layer_norm(torch.add(h, F.linear(F.linear(h, UP), DOWN)), (H,), GAMMA).sum(1),
    "two residuals": lambda h: F.layer_norm(h.sin() + F.linear(F.linear(h, UP), DOWN) + h, (H,), GAMMA).sum(1),
    "constant added": lambda h: F.layer_norm(F.linear(F.linear(h, UP), DOWN) + OFFSET, (H,), GAMMA).sum(1),
    "first token": lambda h: F.linear(layer(h)[:, 0], GAMMA[None]).tanh(),
    "one token and the sum": lambda h: (lambda out: out[:, -1].tanh() + (out * MASK).sum(1))(layer(h)),
    "token by its place": lambda h: torch.gather(layer(h) * MASK, 1, SECOND).squeeze(1),
}
OTHERS = {
    "linear": lambda h: F.linear(h, UP)[...],
    "in place": in_place,
    "added twice": lambda h: F.linear(h, UP).add(F.linear(h, UP), alpha=2),
    "two linear layers": lambda h: F.linear(h, UP) + F.linear(h.sin(), UP),
    "same one twice": lambda h: (lambda y: y * y.sigmoid() + y)(F.linear(h, UP)),
    "input by name": lambda h: torch.sum(input=layer(h), dim=1),
    "sum over features": lambda h: layer(h).sum(-1),
    "sum over everything": lambda h: layer(h).sum(),
    "sum over two axes": lambda h: layer(h).sum((0, 1)),
    "weights by feature": lambda h: (layer(h) * GAMMA).sum(1),
    "weights that have a derivative": lambda h: (layer(h) * h[..., :1]).sum(1),
    "tokens by feature": lambda h: layer(h).gather(1, torch.arange(H)[None, None] % S),
    "several tokens": lambda h: layer(h)[:, 1:3],
    "list of them": lambda h: torch.cat([layer(h), F.linear(h, UP)[..., :H]], -1),
    "broadcast residual": lambda h: F.linear(h, UP) + h.sum(-1, keepdim=True),
    "one residual for all": lambda h: F.layer_norm(F.linear(F.linear(h, UP), DOWN) + h.sum((0, 1)), (H,)).sum(1),
    "norm over two axes": lambda h: F.layer_norm(F.linear(h, DOWN @ UP), (S, H)).sum(1),
    "shape is looked at": lambda h: (lambda y: y.reshape(y.size(0), y.shape[1] * WIDE))(F.linear(h, UP)),
}
CHAINS = {**SAVES, **OTHERS}


def ours(f):
    def replaced(h):
        with Differentiable([], waits=True):
            return f(h)[...]

    return replaced


def along(f, h, tangents):
    return vmap(lambda tangent: jvp(f, (h,), (tangent,))[1])(tangents)


def pulled(f, h, cotangents):
    pull = vjp(f, h)[1]
    return vmap(lambda cotangent: pull(cotangent)[0])(cotangents)


class Counted(TorchDispatchMode):
    """Without the hooks on modules of torch's own counter, which look at every gradient."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=found)
        return found


def operations(run):
    with Counted() as counted:
        run()
    return counted.total


@pytest.mark.parametrize("name", CHAINS)
def test_derivatives_are_those_of_torch(name):
    h, tangents = random(1, S, H, seed=6), random(S, 1, S, H, seed=7)
    torch.testing.assert_close(ours(CHAINS[name])(h), CHAINS[name](h))
    found = along(ours(CHAINS[name]), h, tangents)
    torch.testing.assert_close(found, along(CHAINS[name], h, tangents), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", CHAINS)
def test_derivatives_are_those_of_torch_in_reverse_mode(name):
    h = random(1, S, H, seed=6)
    cotangents = random(S, *CHAINS[name](h).shape, seed=7)
    found = pulled(ours(CHAINS[name]), h, cotangents)
    torch.testing.assert_close(found, pulled(CHAINS[name], h, cotangents), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", SAVES)
def test_fewer_products_are_taken(name, monkeypatch):
    h, tangents = random(1, S, H, seed=6), random(S, 1, S, H, seed=7)
    waiting = operations(lambda: along(ours(SAVES[name]), h, tangents))
    monkeypatch.setattr(derivatives, "step", lambda *_: NotImplemented)
    at_once = operations(lambda: along(ours(SAVES[name]), h, tangents))
    one_product = 2 * S * S * H * WIDE
    assert at_once - one_product < waiting < at_once - one_product / 10


@pytest.mark.parametrize("name", SAVES)
def test_fewer_products_are_taken_in_reverse_mode(name, monkeypatch):
    h, one_product = random(1, S, H, seed=6), 2 * 4 * S * S * H * WIDE
    cotangents = random(4 * S, *SAVES[name](h).shape, seed=7)
    waiting = operations(lambda: pulled(ours(SAVES[name]), h, cotangents))
    monkeypatch.setattr(derivatives, "step", lambda *_: NotImplemented)
    at_once = operations(lambda: pulled(ours(SAVES[name]), h, cotangents))
    assert at_once - one_product < waiting < at_once - one_product / 10


@pytest.mark.parametrize("first", ["linear", "norm", "neither"])
def test_moved_by_shares(first):
    starts = {
        "linear": lambda h: F.linear(h, UP).sin() + F.linear(h, UP + 1) + h.sum(-1, keepdim=True),
        "norm": lambda h: F.linear(F.dropout(F.layer_norm(h, (H,), GAMMA, BETA), training=False), UP).sin(),
        "neither": lambda h: F.linear(h * h, UP),
    }
    h, vectors, shares = random(1, S, H, seed=6), random(1, S, H, seed=7), random(S, S, seed=8)
    f = starts[first]

    def by(share):
        with Differentiable([], waits=True):
            return f(scaled_tokens(h, vectors, share[None, :, None]))[...]

    found = vmap(lambda share: jvp(by, (torch.zeros(S, dtype=h.dtype),), (share,))[1])(shares)
    expected = along(f, h, shares[:, None, :, None] * vectors)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(by(shares[0]), f(h + shares[0][None, :, None] * vectors))
    cotangents = random(3, *f(h).shape, seed=9)
    found = pulled(by, torch.zeros(S, dtype=h.dtype), cotangents)
    torch.testing.assert_close(found, (pulled(f, h, cotangents) * vectors).sum(-1)[:, 0])


def test_dropout_that_is_on_is_not_skipped():
    def f(h):
        with Differentiable([], waits=True):
            return F.dropout(F.linear(h, UP), 1.0, training=True)[...]

    h = random(1, S, H)
    assert all(not part.any() for part in jvp(f, (h,), (h,)))


def test_it_is_told_apart_from_numbers():
    def f(h):
        with Differentiable([], waits=True):
            out = F.linear(h, UP)
            assert isinstance(out, LazyDerivative)
            assert (out.shape, out.dtype, out.device, out.ndim) == ((1, S, WIDE), torch.float64, h.device, 3)
            escaped.append(out)
            return h

    h, escaped = random(1, S, H), []
    jvp(f, (h,), (h,))
    with pytest.raises(Exception, match="meta"):
        escaped[0].tolist()


@pytest.mark.parametrize("name", ["minilm_path", "roberta_path", "mpnet_path"])
def test_the_last_layer_of_real_models_is_multiplied_once(name, request, monkeypatch):
    model = XSTransformer(request.getfixturevalue(name), device="cpu")
    path = model.explainer(layer=-1).path("The quick brown fox jumps over the lazy dog.")
    rule = quadrature("gauss-legendre", 2)

    directions = torch.eye(path.f_x.shape[0])[:40]
    works = {
        "forward": lambda: token_factors(path.f, path.x, path.r, rule, show_progress_bar=False),
        "reverse": lambda: projected_factors(path.f, path.x, path.r, rule, directions, show_progress_bar=False),
    }
    found = {mode: (work(), operations(work)) for mode, work in works.items()}
    monkeypatch.setattr(derivatives, "step", lambda *_: NotImplemented)
    for mode, work in works.items():
        (factors, waiting), expected = found[mode], work()
        torch.testing.assert_close(factors, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
        # Of 12 H² numbers in a layer the second product of the feed-forward layer takes 4 H², query, key and value 3.
        assert waiting < 0.66 * operations(work), mode


def test_nothing_waits_along_a_single_direction(model, monkeypatch):
    path = model.explainer(layer=-1).path("The quick brown fox jumps over the lazy dog.")
    rule, direction = quadrature("gauss-legendre", 2), torch.eye(path.f_x.shape[0])[:1]

    def explain():
        return projected_factors(path.f, path.x, path.r, rule, direction, show_progress_bar=False)

    factors, waiting = explain(), operations(explain)
    monkeypatch.setattr(derivatives, "step", lambda *_: NotImplemented)
    torch.testing.assert_close(factors, explain())
    assert waiting == operations(explain)
    full = token_factors(path.f, path.x, path.r, rule, show_progress_bar=False)
    torch.testing.assert_close(factors, full[:, :1], rtol=0, atol=1e-6 * float(full.abs().max()))
