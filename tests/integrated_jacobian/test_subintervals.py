"""Near-jumps: subintervals that are graded towards them, and the error of the factors."""

import numpy as np
import pytest
import torch

from tests.pairs import PAIRS
from xsbert import XSMPNet, XSTransformer
from xsbert.integrated_jacobian import PathIntegrator, quadrature, token_factors
from xsbert.integrated_jacobian.adaptive import place_nodes
from xsbert.integrated_jacobian.error_estimates import error_functionals, factor_error
from xsbert.integrated_jacobian.subintervals import Subinterval, composite


def random(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, R, W = random(4, 3, seed=1), random(4, 3, seed=2), random(3, 6, seed=3)


def jumping(width):
    """A normalisation of numbers that pass by zero within a small part of the path."""

    def f(h):
        at = (h - R)[0] @ (X - R)[0] / (X - R)[0].square().sum() - 0.37
        switched = at / (width**2 + at.square()).sqrt()
        return torch.tanh(h).sum(0) @ W + switched * W[0]

    return f


@pytest.mark.parametrize("width", [1e-3, 1e-6, 1e-9])
def test_a_jump_takes_few_nodes_whatever_its_width(width):
    f = jumping(width)
    (placement,) = place_nodes(PathIntegrator(f, [X], [R]), [f(X) - f(R)], 1e-2, 512)
    assert placement.reached
    assert len(placement.orders) > 1
    assert len(placement.rule.nodes) <= 40
    assert placement.n_passes <= 300
    change = f(X) - f(R)
    assert float((token_factors(f, X, R, placement.rule).sum(0) - change).norm() / change.norm()) <= 1e-2


@pytest.mark.parametrize("shift", [0.0, 0.01])
def test_jumps_that_no_middle_meets_are_found_by_what_subintervals_miss(shift):
    """Two equal jumps, as far before the middle of an interval as after it: its value is no surprise there."""
    ends = (1 - np.cos(np.pi * np.arange(14, 16) / 32)) / 2
    middle, apart = ends.mean(), (0.25 + shift) * np.diff(ends)[0]
    width = 1e-9

    def f(h):
        at = (h - R)[0] @ (X - R)[0] / (X - R)[0].square().sum()
        distances = torch.stack([at - (middle - apart), at - (middle + apart)])
        return torch.tanh(h).sum(0) @ W + 2 * torch.tanh(distances / width).sum() * W[0]

    (placement,) = place_nodes(PathIntegrator(f, [X], [R]), [f(X) - f(R)], 1e-2, 512)
    assert placement.reached
    assert placement.n_passes <= 400


@pytest.mark.parametrize(("bend", "width", "centre"), [(torch.tanh, 1e-5, 0.123), (torch.atan, 1e-3, 0.37)])
def test_errors_that_add_up_do_not_hold_up_the_search(bend, width, centre):
    """An embedding of one dimension: what subintervals miss has one direction, and cannot cancel as squares expect."""
    x, r = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    def f(h):
        return bend((h[0] - centre) / width)

    (placement,) = place_nodes(PathIntegrator(f, [x], [r]), [f(x) - f(r)], 1e-2, 512)
    assert placement.reached


def test_a_jump_that_the_dtype_does_not_resolve_is_said():
    f = jumping(1e-9)
    x, r, w = X.float(), R.float(), W.float()

    def narrow(h):
        return f(h.double()).to(h.dtype)

    (placement,) = place_nodes(PathIntegrator(narrow, [x], [r]), [narrow(x) - narrow(r)], 1e-3, 512)
    assert w.dtype == torch.float32
    assert placement.unresolved
    assert not placement.reached


def test_subintervals_follow_one_another():
    rule = composite((Subinterval(0.0, 0.25, 2), Subinterval(0.25, 1.0, 3)))
    assert (np.diff(rule.nodes) > 0).all()
    assert rule.weights.sum() == pytest.approx(1)
    # Exact to the degree of the poorer subinterval, and not beyond.
    assert rule.weights @ rule.nodes**3 == pytest.approx(1 / 4)
    assert abs(rule.weights @ rule.nodes**4 - 1 / 5) > 1e-6


def stated_and_true(name, n_steps, seed):
    """The stated and the true error of a rule, for a bent function of random numbers."""
    x, r, w = random(6, 3, seed=3 * seed), random(6, 3, seed=3 * seed + 1), random(3, 24, seed=3 * seed + 2)

    def f(h):
        return (h / (0.3 + h.square().sum(-1, keepdim=True)).sqrt()).sum(0) @ w

    rule = quadrature(name, n_steps)
    functionals = error_functionals(name, rule.weights, (n_steps,))
    (measured,) = PathIntegrator(f, [x], [r]).token_factors([rule], functionals=[functionals.reshape(-1, n_steps)])
    traces = measured.traces.reshape(3, 1, *measured.traces.shape[1:])
    sums, tokens = traces[:, :, 0], traces[:, :, 1:]
    stated = factor_error(sums, tokens, (f(x) - f(r))[None], float(measured.factors.norm()), n_steps)
    truth = token_factors(f, x, r, quadrature("gauss-legendre", 120))
    return stated, float((measured.factors - truth).norm() / truth.norm())


RULES_AND_NODES = {
    "gauss-legendre": (3, 4, 5, 6, 7, 8, 9),
    "midpoint": (2, 3, 5, 9, 17),
    "riemann-right": (2, 5, 20, 50),
}


@pytest.mark.parametrize("name", RULES_AND_NODES)
def test_the_stated_error_is_above_the_true_one_and_not_far(name):
    found = np.array([stated_and_true(name, n, seed) for n in RULES_AND_NODES[name] for seed in range(12)])
    ratios = found[:, 0] / found[:, 1]
    assert (ratios >= 1).mean() >= 0.9
    assert (ratios <= 3).mean() >= 0.9


def test_one_or_two_nodes_tell_it_less_surely():
    found = np.array([stated_and_true("gauss-legendre", n, seed) for n in (1, 2) for seed in range(12)])
    ratios = found[:, 0] / found[:, 1]
    assert 0.6 <= (ratios >= 1).mean() < 0.9
    assert (ratios <= 3).mean() >= 0.9


def stated_and_true_along(f, x, r, directions, n_steps):
    """The same of factors that are projected on directions (K, E), the first dimensions of f."""
    rule = quadrature("gauss-legendre", n_steps)
    functionals = error_functionals("gauss-legendre", rule.weights, (n_steps,)).reshape(-1, n_steps)
    integrator = PathIntegrator(f, [x], [r])
    (measured,) = integrator.projected_factors([rule], [directions], [functionals])
    (slopes,) = integrator.derivatives([rule.nodes])
    sums = (torch.from_numpy(functionals) @ slopes)[:, None]
    tokens = measured.traces.reshape(3, 1, *measured.traces.shape[1:])[:, :, 1:]
    stated = factor_error(sums, tokens, (f(x) - f(r))[None], float(measured.factors.norm()), n_steps)
    truth = token_factors(f, x, r, quadrature("gauss-legendre", 120))[:, : len(directions)]
    return stated, float((measured.factors - truth).norm() / truth.norm())


@pytest.mark.parametrize("n_steps", [2, 3, 4, 6])
def test_along_one_direction_errors_that_cancel_are_stated(n_steps):
    """Two tokens err against each other there, so that their sum is exact."""
    x, r = torch.full((2, 1), 3.0, dtype=torch.float64), torch.full((2, 1), -1.0, dtype=torch.float64)

    def f(h):
        bent = torch.tanh(h[:, 0])
        return torch.stack([bent[0] - bent[1], bent[0] + bent[1]])

    assert abs(f(x)[0] - f(r)[0]) < 1e-12
    stated, true = stated_and_true_along(f, x, r, torch.tensor([[1.0, 0.0]], dtype=torch.float64), n_steps)
    assert true > 1e-4
    assert true <= stated <= 4 * true


@pytest.mark.parametrize("n_directions", [24, 8, 2])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_finer_than_null_rules_see_is_no_more_alike_than_independent_tokens(n_directions, seed):
    """Many tokens bend alike, which null rules see; each also has waves of its own, which the rule misses."""
    x, r = torch.ones(64, 1, dtype=torch.float64), torch.zeros(64, 1, dtype=torch.float64)
    common, own, phases = random(24, seed=3 * seed), random(64, 24, seed=3 * seed + 1), random(64, seed=3 * seed + 2)

    def f(h):
        places = h[:, 0]
        return torch.tanh(3 * places - 1).sum() * common + 0.02 * torch.sin(18.85 * places + 9 * phases) @ own

    stated, true = stated_and_true_along(f, x, r, torch.eye(24, dtype=torch.float64)[:n_directions], 6)
    assert 0.9 * true <= stated <= 3 * true


@pytest.mark.slow
def test_the_stated_error_along_few_directions_on_real_weights(model):
    """As rankings have it: the embedding of a query, or the span of several."""
    documents = list(dict.fromkeys(text for pair in PAIRS for text in pair))[:8]
    embeddings = model.encode(documents).astype(float)
    spans = [np.linalg.qr(np.roll(embeddings, 1 + n, axis=0)[:4].T)[0].T for n in range(len(documents))]

    def projected(n_directions, **how):
        explainer = model.explainer(show_progress_bar=False, **how)
        return explainer.projected(documents, [span[:n_directions] for span in spans])

    ratios = []
    for layer in (-2, -1):
        exact = projected(4, layer=layer, n_steps=32)
        for n_directions in (1, 4):
            for how in ({"tolerance": 0.01}, {"n_steps": 12}):
                for one, truth in zip(projected(n_directions, layer=layer, **how), exact, strict=True):
                    gap = one.factors - truth.factors[:, :n_directions]
                    size = np.linalg.norm(truth.factors[:, :n_directions])
                    ratios.append(one.factor_error / (np.linalg.norm(gap) / size))
    assert np.mean(np.array(ratios) >= 1) >= 0.9
    assert np.median(ratios) <= 3


@pytest.mark.slow
def test_the_stated_error_of_one_node_on_real_weights(plain):
    """Near bends the node's factors are several times as large as the exact ones."""
    ratios = []
    for reference in ("unk", "pad"):
        model = XSTransformer.wrap(plain, reference=reference)
        for layer in (1, 3, 4, 5):
            (truth,) = model.text_factors(["The train was late again."], layer=layer, n_steps=32)
            for rule in ("gauss-legendre", "midpoint"):
                (found,) = model.text_factors(["The train was late again."], layer=layer, n_steps=1, rule=rule)
                gap = np.linalg.norm(found.factors - truth.factors) / np.linalg.norm(truth.factors)
                ratios.append(found.factor_error / gap)
    assert 1 <= min(ratios) <= max(ratios) <= 3


@pytest.mark.slow
def test_the_stated_error_on_real_weights(model):
    texts = ["The train was late again.", "She is afraid of spiders."]
    ratios = []
    for layer in (0, 1, 2, 3, 4, 5):
        for found, truth in zip(
            model.token_factors(texts, layer=layer), model.token_factors(texts, layer=layer, n_steps=64), strict=True
        ):
            assert found.settings.n_looks > 0
            assert found.settings.n_float64 == 0
            ratios.append(
                found.factor_error * np.linalg.norm(truth.factors) / np.linalg.norm(found.factors - truth.factors)
            )
    assert np.mean(np.array(ratios) >= 1) >= 0.9
    assert max(ratios) <= 3


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("layer", [8, 6, 3, 0])
def test_every_layer_of_the_real_mpnet(layer, mpnet_real):
    (found,) = XSMPNet(mpnet_real, reference="pad", device="cpu").token_factors(["A dog runs home."], layer=layer)
    assert found.residual <= 0.01
