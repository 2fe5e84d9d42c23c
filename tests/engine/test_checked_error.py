"""The error of the factors of all but short texts: random signs against a finer rule."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from xsbert.engine.integration import integrated
from xsbert.engine.modes import ForwardMode, ReverseMode, sign_rows
from xsbert.engine.options import Options
from xsbert.engine.text_path import TextPath, WorkLimits
from xsbert.integrated_jacobian import PathIntegrator, quadrature, token_factors
from xsbert.integrated_jacobian.adaptive import place_nodes
from xsbert.integrated_jacobian.error_estimates import (
    checked_error,
    factor_error,
    sign_combinations,
    signs_worth_their_cost,
)

S, E = 40, 36
QUIET = {"show_progress_bar": False}


def random(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def path_of(f, x, r):
    return TextPath(f, x, r, f(x), f(r), WorkLimits(f, x, r, E, Options(**QUIET)))


def bent(seed, n_tokens=S):
    """Tokens that are normalised, each by itself: they bend at places of their own, and sharply."""
    x, r, w = (random(n, k, seed=3 * seed + i) for i, (n, k) in enumerate([(n_tokens, 3), (n_tokens, 3), (3, E)]))
    return path_of(lambda h: (h / (0.3 + h.square().sum(-1, keepdim=True)).sqrt()).sum(0) @ w, x, r)


def share_of_path(h, x, r):
    """α, by the first token."""
    return (h - r)[0] @ (x - r)[0] / (x - r)[0].square().sum()


def opposed(high=3.0, low=-1.0):
    """Every second token errs against the others, so that their sum is exact whatever the nodes."""
    sides = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(S // 2)
    x, r = (value * torch.ones(S, 2, dtype=torch.float64) for value in (high, low))
    w = random(E, seed=1), random(E, seed=2)
    return path_of(lambda h: (torch.tanh(h[:, 0]) @ sides) * w[0] + h[:, 1].sum() * w[1], x, r)


def cancelling(n_tokens):
    """Every token errs in a direction of its own, and their sum is exact whatever the nodes."""
    x, r = (value * torch.ones(n_tokens, 2, dtype=torch.float64) for value in (3.0, -1.0))
    w = random(n_tokens, E, seed=1)
    w, sums = w - w.mean(0), random(E, seed=2)
    return path_of(lambda h: torch.tanh(h[:, 0]) @ w + h[:, 1].sum() * sums, x, r)


def found_and_true(path, mode=None, **how):
    options = Options(**how, **QUIET)
    (found,) = integrated([path], options, [mode or ForwardMode()])
    truth = token_factors(path.f, path.x, path.r, quadrature("gauss-legendre", 160), **QUIET)
    return found, truth


def gap(factors, truth):
    return float((factors - truth).norm() / truth.norm())


def test_combinations_are_those_of_the_factors():
    path, rule = bent(0), quadrature("gauss-legendre", 3)
    combinations = random(4, S, seed=5)
    (found,) = PathIntegrator(path.f, [path.x], [path.r]).token_factors([rule], members=combinations)
    torch.testing.assert_close(found.factors, combinations @ token_factors(path.f, path.x, path.r, rule))


def test_signs_sum_squares_to_those_of_the_tokens_in_the_mean():
    tokens = random(5000, E, seed=4)
    combinations = sign_combinations(5000, 4000)
    assert torch.equal(combinations[0], torch.ones(5000, dtype=torch.float64))
    assert float((combinations[1:] @ tokens).square().sum() / tokens.square().sum()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("rule", ["gauss-legendre", "midpoint", "riemann-right"])
def test_the_stated_error_is_above_the_true_one_and_not_far(rule):
    ratios = []
    for seed in range(12):
        for n_steps in (2, 3, 4, 6):
            found, truth = found_and_true(bent(seed), n_steps=n_steps, rule=rule)
            ratios.append(found.factor_error / gap(found.factors, truth))
    assert np.mean(np.array(ratios) >= 1) >= 0.85
    assert np.mean(np.array(ratios) >= 0.85) == 1
    assert np.mean(np.array(ratios) <= 3) >= 0.95


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4])
def test_errors_that_cancel_in_the_sum_are_stated(n_steps):
    found, truth = found_and_true(opposed(), n_steps=n_steps)
    true = gap(found.factors, truth)
    assert true <= found.factor_error <= 4 * true


@pytest.mark.parametrize("n_tokens", [16, 23, 24, 31])
@pytest.mark.parametrize("n_steps", [2, 3, 4])
def test_also_in_texts_of_sixteen_tokens_and_more(n_steps, n_tokens):
    found, truth = found_and_true(cancelling(n_tokens), n_steps=n_steps)
    true = gap(found.factors, truth)
    assert true <= found.factor_error <= 3 * true


def test_more_nodes_are_placed_for_them():
    loose, truth = found_and_true(opposed(2.0, -0.5), tolerance=0.01)
    tight, _ = found_and_true(opposed(2.0, -0.5), tolerance=0.01, factor_tolerance=0.01)
    assert gap(loose.factors, truth) > 0.01
    assert gap(tight.factors, truth) <= tight.factor_error <= 0.01


def test_but_no_more_than_allowed():
    found, _ = found_and_true(opposed(2.0, -0.5), tolerance=0.01, factor_tolerance=0.01, max_steps=2)
    assert len(found.placement.rule.nodes) <= 2


@pytest.mark.parametrize("sharp", [False, True])
def test_more_nodes_are_on_every_subinterval(sharp):
    path = bent(6)

    def f(h):
        return torch.tanh(h).sum(0) + sharp * torch.tanh((share_of_path(h, path.x, path.r) - 0.37) * 1e5)

    integrator = PathIntegrator(f, [path.x], [path.r])
    (placement,) = place_nodes(integrator, [f(path.x) - f(path.r)], 1e-3, 512)
    assert (len(placement.orders) > 1) == sharp
    chain = [placement]
    for _ in range(4):
        chain.append(chain[-1].with_more_nodes())
    assert max(chain[-2].orders) > 6  # from seven nodes on a third is more than two
    for before, after in pairwise(chain):
        added = max(2, math.ceil(max(before.orders) / 3))
        assert after.orders == tuple(order + added for order in before.orders)
        assert sum(after.orders) == len(after.rule.nodes)
        assert after.rule.weights.sum() == pytest.approx(1, abs=1e-2)
        assert after.residual is None


def test_short_texts_are_not_checked():
    found, _ = found_and_true(bent(1, n_tokens=15), n_steps=4)
    assert found.placement.n_passes == 0
    found, _ = found_and_true(bent(1, n_tokens=16), n_steps=4)
    assert found.placement.n_passes == (2 + 1 + 1) * (4 + 2)
    assert [signs_worth_their_cost(n) for n in (1, 15, 16, 31, 32, 63, 64, 1000)] == [0, 0, 2, 3, 4, 7, 8, 8]


def test_null_rules_of_many_nodes_say_less_of_single_tokens():
    (sums, changes), tokens = (random(3, 1, E, seed=10), random(1, E, seed=11)), random(3, 1, 4, E, seed=12)
    few, many = (factor_error(sums, tokens, changes, 1.0, n) for n in (7, 8))
    assert many == pytest.approx(1.2 * few)
    # Along a few directions, and on several subintervals, they are not believed less.
    assert factor_error(sums, tokens[..., :2], changes, 1.0, 7) == factor_error(sums, tokens[..., :2], changes, 1.0, 8)
    sums, tokens, changes = sums.repeat(1, 3, 1), tokens.repeat(1, 3, 1, 1), changes.repeat(3, 1)
    assert factor_error(sums, tokens, changes, 1.0, 7) == factor_error(sums, tokens, changes, 1.0, 8)


def test_nothing_is_checked_where_nothing_changes():
    path = bent(1)
    found, _ = found_and_true(path_of(path.f, path.x, path.x), n_steps=4)
    assert (found.factor_error, found.placement.n_passes) == (0, 0)


def test_signs_are_those_that_the_model_sees():
    """1/√M is rounded in half precision, which must not be taken for an error of the nodes."""
    path = bent(7)
    half = replace(path, x=path.x.bfloat16(), r=path.r.bfloat16())
    for mode in (ForwardMode(), ReverseMode(random(S, E, seed=8))):
        signs = sign_rows(mode, half)
        assert torch.equal(signs, signs.bfloat16().double())
        assert not torch.equal(signs, sign_rows(mode, path))


def test_words_are_checked_as_tokens_are():
    groups = [[place, place + 1] for place in range(0, 2 * S, 2)]
    found, truth = found_and_true(bent(2, n_tokens=2 * S), ForwardMode(groups), n_steps=3)
    true = gap(found.factors, truth.reshape(S, 2, E).sum(1))
    assert found.placement.n_passes > 0
    assert true <= found.factor_error <= 3 * true


@pytest.mark.parametrize("n_directions", [3, E])
def test_many_directions_are_checked_few_are_not(n_directions):
    directions = random(n_directions, E, seed=8)
    found, truth = found_and_true(bent(3), ReverseMode(directions), n_steps=3)
    true = gap(found.factors, truth @ directions.T)
    assert (found.placement.n_passes > 0) == (n_directions == E)
    assert true <= found.factor_error <= 4 * true


def test_a_jump_within_rounding_is_checked_in_float64():
    """In float32 the finer rule would see the jump elsewhere."""
    path = bent(4)
    x, r, w = path.x.float().double(), path.r.float().double(), random(E, seed=9)

    def f(h):
        at = share_of_path(h, x, r) - 0.37
        return path.f(h) + 3 * at / (1e-18 + at.square()).sqrt() * w

    fine, asked = path_of(f, x, r), []

    def in_float64():
        asked.append(True)
        return fine

    coarse = path_of(lambda h: f(h.double()).float(), x.float(), r.float())
    options = Options(tolerance=0.01, **QUIET)
    (found,) = integrated([replace(coarse, in_float64=in_float64)], options, [ForwardMode()])
    assert found.n_float64 > 0
    n_asked = len(asked)
    (exact,) = integrated([fine], Options(tolerance=1e-5, **QUIET), [ForwardMode()])
    true = gap(found.factors, exact.factors)
    # To place nodes, for those in the jump, and for the check.
    assert n_asked == 3
    assert true <= found.factor_error <= 4 * true


def test_what_the_finer_rule_misses_itself_is_added():
    gaps, missed = torch.full((4, 1), 0.5), torch.tensor([0.0, 2.0])
    assert checked_error(gaps, 0 * missed, 4.0) == pytest.approx(1.75 / 4)
    # For fewer signs no more: a pair of tokens shows at most √2 of what it misses.
    assert checked_error(gaps[:1], 0 * missed, 4.0) == pytest.approx(1.75 * 0.5 / 4)
    assert checked_error(gaps, missed, 4.0) == pytest.approx(np.hypot(1.75, 2) / 4)
    assert checked_error(0 * gaps, 0 * missed, 4.0, rounding=1e-7) == pytest.approx(8e-7)
    assert checked_error(gaps, missed, 0.0) == 0


def test_a_bend_that_both_rules_miss_is_known_from_the_sum():
    path, w = bent(5), random(E, seed=9)
    sharp = path_of(
        lambda h: path.f(h) + 3 * torch.tanh((share_of_path(h, path.x, path.r) - 0.37) * 1e4) * w, path.x, path.r
    )
    found, _ = found_and_true(sharp, n_steps=4)
    (exact,) = integrated([sharp], Options(tolerance=1e-5, **QUIET), [ForwardMode()])
    true = gap(found.factors, exact.factors)
    assert true > 0.05
    assert true <= found.factor_error <= 3 * true
