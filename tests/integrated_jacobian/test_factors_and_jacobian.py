"""The core against closed forms, against a slow obvious oracle, and against itself in the other direction."""

from typing import ClassVar

import pytest
import torch

from xsbert.integrated_jacobian import (
    PathIntegrator,
    factors_from_jacobian,
    feature_pairs,
    integrated_jacobian,
    projected_factors,
    quadrature,
    token_factors,
)

S, H, E = 5, 4, 3
GAUSS = quadrature("gauss-legendre", 12)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


MIX_TOKENS, MIX_FEATURES, OUT = random(S, S, seed=3), random(H, H, seed=4), random(H, E, seed=5)


@pytest.fixture
def ends():
    return random(S, H, seed=1), random(S, H, seed=2)


def smooth(h):
    """A small network that mixes tokens and features."""
    mix_tokens, mix_features, out = (weights.to(h.device) for weights in (MIX_TOKENS, MIX_FEATURES, OUT))
    return torch.softmax(torch.tanh(mix_tokens @ h @ mix_features / 3), dim=0).mul(h).sum(0) @ out


def slow_jacobian(f, x, r, rule):
    """One derivative at a time, one node at a time."""
    total = torch.zeros(E, *x.shape, dtype=x.dtype)
    for node, weight in zip(*rule, strict=True):
        h = (r + node * (x - r)).requires_grad_()
        for output in range(E):
            total[output] += weight * torch.autograd.grad(f(h)[output], h)[0]
    return total


def test_linear_function_has_its_weights_for_jacobian(ends):
    weights = random(E, S, H, seed=6)
    jacobian = integrated_jacobian(lambda h: torch.einsum("esh,sh->e", weights, h), *ends, quadrature("midpoint", 1))
    torch.testing.assert_close(jacobian, weights)


class MovedByItself:
    """`smooth`, which is told what its input is moved by."""

    def __init__(self):
        self.asked = []

    def __call__(self, h):
        return smooth(h)

    def along_token_scales(self, h, vectors, scales):
        self.asked.append((vectors.shape, scales.shape))
        return smooth(h + scales[:, None] * vectors)


def test_a_function_may_take_derivatives_by_shares_itself(ends):
    f = MovedByItself()
    for groups in (None, [[0, 2], [4]]):
        torch.testing.assert_close(
            token_factors(f, *ends, GAUSS, groups=groups), token_factors(smooth, *ends, GAUSS, groups=groups)
        )
    assert set(f.asked) == {((S, H), (S,))}


def test_quadratic_function_in_closed_form(ends):
    x, r = ends
    jacobian = integrated_jacobian(lambda h: (h**2).sum().reshape(1), x, r, quadrature("midpoint", 1))
    torch.testing.assert_close(jacobian[0], x + r)


def test_reverse_mode_against_the_oracle(ends):
    torch.testing.assert_close(integrated_jacobian(smooth, *ends, GAUSS), slow_jacobian(smooth, *ends, GAUSS))


def test_forward_mode_against_the_oracle(ends):
    x, r = ends
    slow = torch.einsum("esh,sh->se", slow_jacobian(smooth, x, r, GAUSS), x - r)
    torch.testing.assert_close(token_factors(smooth, x, r, GAUSS), slow)


def test_forward_equals_reverse(ends):
    x, r = ends
    reverse = factors_from_jacobian(integrated_jacobian(smooth, x, r, GAUSS), x - r)
    torch.testing.assert_close(token_factors(smooth, x, r, GAUSS), reverse, rtol=1e-12, atol=1e-12)


def test_completeness_improves_with_the_order_of_the_rule(ends):
    x, r = ends
    expected = smooth(x) - smooth(r)

    def error(rule, n):
        return float((token_factors(smooth, x, r, quadrature(rule, n)).sum(0) - expected).norm())

    assert error("gauss-legendre", 64) < 1e-10
    assert error("midpoint", 32) / error("midpoint", 64) == pytest.approx(4, rel=0.05)
    assert error("riemann-right", 32) / error("riemann-right", 64) == pytest.approx(2, rel=0.05)


def test_linearity_in_the_function(ends):
    combined = token_factors(lambda h: 2 * smooth(h) - 3 * h[:E, 0], *ends, GAUSS)
    parts = 2 * token_factors(smooth, *ends, GAUSS) - 3 * token_factors(lambda h: h[:E, 0], *ends, GAUSS)
    torch.testing.assert_close(combined, parts)


def test_a_token_that_does_not_move_gets_nothing(ends):
    x, r = ends
    x[2] = r[2]
    factors = token_factors(smooth, x, r, GAUSS)
    assert (factors[2] == 0).all()
    assert (factors[[0, 1, 3, 4]].abs().sum(1) > 0).all()


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 5, 7, 11, 1000])
def test_the_chunk_size_changes_nothing(ends, chunk_size):
    for core in (token_factors, integrated_jacobian):
        torch.testing.assert_close(
            core(smooth, *ends, GAUSS, chunk_size=chunk_size), core(smooth, *ends, GAUSS), rtol=1e-13, atol=1e-13
        )


class Seen(torch.autograd.Function):
    """The identity; notes how many tangents of a batch it is given at once."""

    sizes: ClassVar[list[int]] = []

    @staticmethod
    def forward(y):
        return y.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def jvp(ctx, tangent):
        return Seen.apply(tangent)

    @staticmethod
    def vmap(info, in_dims, y):
        Seen.sizes.append(info.batch_size)
        return Seen.apply(y), in_dims[0]


@pytest.mark.parametrize("chunk_size", [1, 3, 5])
def test_chunks_bound_what_is_computed_at_once(ends, chunk_size):
    Seen.sizes.clear()
    token_factors(lambda h: Seen.apply(smooth(h)), *ends, GAUSS, chunk_size=chunk_size)
    assert max(Seen.sizes) == chunk_size


def test_feature_pairs_against_the_formula(ends):
    x, r = ends
    difference = x - r
    jacobian_a, jacobian_b = random(E, S, H, seed=7), random(E, S, H, seed=8)
    pairs = feature_pairs(jacobian_a, difference, jacobian_b, 2 * difference)
    expected = torch.einsum("sh,esh,etk,tk->shtk", difference, jacobian_a, jacobian_b, 2 * difference)
    torch.testing.assert_close(pairs, expected)
    factors_a = factors_from_jacobian(jacobian_a, difference)
    factors_b = factors_from_jacobian(jacobian_b, 2 * difference)
    torch.testing.assert_close(pairs.sum((1, 3)), factors_a @ factors_b.T)


def test_nothing_is_left_behind_on_the_arguments(ends):
    x, r = ends
    token_factors(smooth, x, r, GAUSS)
    integrated_jacobian(smooth, x, r, GAUSS)
    assert x.grad is None
    assert not x.requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("chunk_size", [0, -1, 2.5, True])
def test_bad_chunk_size(ends, chunk_size):
    with pytest.raises(ValueError, match="chunk_size must be None or an integer of at least 1"):
        token_factors(smooth, *ends, GAUSS, chunk_size=chunk_size)


def test_shapes_that_do_not_fit(ends):
    x, r = ends
    with pytest.raises(ValueError, match=r"must both have the shape \(S, H\), got \(5, 4\) and \(4, 4\)"):
        token_factors(smooth, x, r[:4], GAUSS)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_cpu(ends):
    x, r = ends
    for core in (token_factors, integrated_jacobian):
        torch.testing.assert_close(core(smooth, x.cuda(), r.cuda(), GAUSS).cpu(), core(smooth, x, r, GAUSS))


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 4, 7, 1000])
def test_several_texts_together_are_as_each_alone(chunk_size):
    xs, rs = [random(S, H, seed=seed) for seed in (1, 7, 9)], [random(S, H, seed=seed) for seed in (2, 8, 10)]
    rules = [quadrature("gauss-legendre", 3), quadrature("midpoint", 1), quadrature("riemann-right", 5)]
    integrator = PathIntegrator(smooth, xs, rs, chunk_size=chunk_size)
    for found, x, r, rule in zip(integrator.token_factors(rules), xs, rs, rules, strict=True):
        torch.testing.assert_close(found.factors, token_factors(smooth, x, r, rule))
    nodes = [rule.nodes for rule in rules]
    for found, x, r, places in zip(integrator.derivatives(nodes), xs, rs, nodes, strict=True):
        torch.testing.assert_close(found, PathIntegrator(smooth, [x], [r]).derivatives([places])[0])


def test_texts_of_different_lengths_are_not_taken_together():
    with pytest.raises(ValueError, match=r"xs must have one shape, got \(5, 4\) and \(6, 4\)"):
        PathIntegrator(smooth, [random(5, 4), random(6, 4)], [random(5, 4), random(6, 4)])


@pytest.mark.parametrize(
    "compute",
    [
        token_factors,
        integrated_jacobian,
        lambda f, x, r, rule: PathIntegrator(f, [x], [r]).derivatives([rule.nodes])[0],
        lambda f, x, r, rule: projected_factors(f, x, r, rule, random(2, E, seed=11)),
    ],
    ids=["token factors", "Jacobian", "along the path", "projected"],
)
def test_out_of_memory_halves_the_chunk(ends, compute):
    at_once = []

    def greedy(h):
        # Under vmap a function sees one node; how many there are is what the innermost tensor holds.
        inner = h
        while torch._C._functorch.is_functorch_wrapped_tensor(inner):
            inner = torch._C._functorch.get_unwrapped(inner)
        at_once.append(inner.numel() // h.numel())
        if at_once[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return smooth(h)

    found = compute(greedy, *ends, GAUSS)
    assert max(at_once) > 3
    assert at_once[-1] <= 3
    torch.testing.assert_close(found, compute(smooth, *ends, GAUSS))


def test_out_of_memory_for_one_pass_is_an_error(ends):
    def hopeless(h):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        token_factors(hopeless, *ends, GAUSS)


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
def test_texts_projected_together_each_along_its_own_directions(chunk_size):
    xs, rs = [random(S, H, seed=seed) for seed in (11, 12, 13)], [random(S, H, seed=seed) for seed in (21, 22, 23)]
    rules = [quadrature("gauss-legendre", n_steps) for n_steps in (3, 5, 4)]
    directions = [random(n_directions, E, seed=n_directions) for n_directions in (1, 3, 2)]
    found = PathIntegrator(smooth, xs, rs, chunk_size=chunk_size).projected_factors(rules, directions)
    for (projected, _), x, r, rule, own in zip(found, xs, rs, rules, directions, strict=True):
        torch.testing.assert_close(projected, token_factors(smooth, x, r, rule) @ own.T)
        torch.testing.assert_close(projected, projected_factors(smooth, x, r, rule, own))
