"""How far the token factors are from the integrals that they stand for.

Completeness tells the error of the factors' sum, a vector, on every panel of nodes: e = Σ_n w_n g(α_n) − (f(b) − f(a)).
That of single tokens it does not tell. But a rule's error comes from what the integrand has beyond polynomials of low
degree, and combinations of the node values that vanish for low degrees, null rules (Berntsen & Espelid, BIT 24, 1984),
see that for the tokens as well as for their sum. So the error of the tokens is e times the ratio of the two. It costs
nothing, because the values at the nodes are computed for the factors in any case. Where the factors are projected on a
few directions, e and what null rules see of the sum are still those in all dimensions, which placing nodes has looked
at: along a single direction both may vanish by chance.

Null rules say too little of what single tokens miss where the tokens' errors cancel in their sum, for which the nodes
are placed. From 16 tokens on a few combinations of all tokens with random signs cost little beside the tokens, and are
compared with a finer rule: their squared errors are, in the mean, those of the tokens, summed.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from .rules import gauss_legendre

__all__ = ["checked_error", "error_functionals", "factor_error", "sign_combinations", "signs_worth_their_cost"]

# By how much the estimate is raised, so that it is above the truth in 95 % of cases, and seldom three times as large
# (benchmarks/accuracy.py).
SAFETY = 1.75
# The same in all dimensions for so many nodes on a subinterval: null rules of N nodes see degrees up to N − 1, the rule
# errs from 2N on, and the more lies between both, the less is known of the tokens (layers 0 to 3 of MiniLM).
SAFETY_OF_MANY, MANY_NODES = 2.1, 8
# The same for a single node, relative to the change along the path (docs/background/concepts.md).
SAFETY_OF_ONE = 1.35
# How much more what K directions show of the tokens scatters, by 1/√K (benchmarks/projected_accuracy.py).
SCATTER = 0.25
# By which share the ratio of tokens to their sum may be below that of independent tokens in all dimensions of f; in few
# by less. With none, the estimate for short texts would be up to 4.3 times the truth; with as much along few directions
# too, it would be below the truth in one case of thirteen (two models of benchmarks/projected_accuracy.py).
ALIKE = 0.35
# The error that rounding alone leaves, where the integral is exact.
ROUNDINGS = 8
# Random signs are drawn so often, once for each so many products of a node, but not less often than that.
MOST_SIGNS, PRODUCTS_OF_A_SIGN, FEWEST_SIGNS = 8, 8, 2
# What is added for the scatter of M random signs, by 1/√M: drawn again and again over what the tokens miss in 90
# cases, the estimate is above the truth in 97 % of draws at least, for each of them (benchmarks/signs.py). In total not
# more than SAFETY, which two signs need: more would make the estimate larger than three times the truth more often, and
# smaller than the truth hardly less often.
SCATTER_OF_SIGNS = 1.5


def error_functionals(rule: str, weights: np.ndarray, orders: tuple[int, ...]) -> np.ndarray:
    """What `factor_error` has to know of the integrand: weighted sums of its values at the nodes.

    Args:
        rule: a name in `RULES`; any other stands for Gauss-Legendre nodes, also in another variable.
        weights: (N,) of all nodes.
        orders: nodes of each of P panels, which follow one another.

    Returns:
        (3, P, N): the integral over each panel, and two null rules of it.
    """
    functionals = np.zeros((3, len(orders), len(weights)))
    start = 0
    for panel, order in enumerate(orders):
        inside = slice(start, start + order)
        functionals[0, panel, inside] = weights[inside]
        functionals[1:, panel, inside] = weights[inside] * _null_rules(rule, order)
        start += order
    return functionals


def _null_rules(rule: str, order: int) -> np.ndarray:
    """(2, order) factors on the weights. One node has no null rule, and its value stands for it."""
    if order == 1:
        return np.array([[1.0], [0.0]])
    if rule == "riemann-right":  # errs by the difference of both ends
        ends = np.zeros((2, order))
        ends[0, [0, -1]] = -1, 1
        return ends
    if rule == "midpoint":  # errs by the difference of the slopes at both ends
        slopes = np.zeros((2, order))
        slopes[0, [0, 1]] += 1, -1
        slopes[0, [-2, -1]] += -1, 1
        return slopes if order > 2 else np.array([[-1.0, 1.0], [0.0, 0.0]])
    nodes = 2 * gauss_legendre(order).nodes - 1
    degrees = [order - 1, order - 2] if order > 2 else [1]
    polynomials = legendre.legvander(nodes, order - 1).T
    found = np.zeros((2, order))
    found[: len(degrees)] = [(2 * degree + 1) * polynomials[degree] for degree in degrees]
    return found


def factor_error(
    sums: Tensor, tokens: Tensor, changes: Tensor, size: float, n_nodes: int, rounding: float = 0.0
) -> float:
    """An upper estimate of ‖V − V*‖ / ‖V*‖, with V* the exact factors; below the truth in one case of twenty.

    In all dimensions that holds up to 15 tokens. It was below the truth for one text of seven of 24 to 31 tokens, hence
    `checked_error`.

    A single node has no null rule. Its estimate takes the tokens to err as much as their sum does, relative to what is
    exact, at least: that is the residual, which was 0.8 to 2.1 times the true error in 52 cases (MiniLM and MPNet). A
    single panel of two nodes on a path that is far from straight tells little of the tokens, too: there it was below
    the truth in one case of three.

    Args:
        sums: (3, P, E), `error_functionals` of the derivative of f along the path, in all dimensions of f, also where
            the factors are projected on a few.
        tokens: (3, P, M, K), the same of M combinations of the tokens' parts in it whose squares sum to the sum of the
            tokens' squares.
        changes: (P, E), by how much f changes along each panel.
        size: ‖V‖.
        n_nodes: of all panels.
        rounding: relative rounding of the model's numbers. That of half precision shows in completeness by itself.

    Returns:
        the estimate, 0 where nothing changes.
    """
    sums, tokens, changes = (given.double().cpu() for given in (sums, tokens, changes))
    local = (sums[0] - changes).norm(dim=-1)
    of_sum, of_tokens = sums[1:].norm(dim=-1), tokens[1:].flatten(2).norm(dim=-1)
    # Both null rules of a panel together: one alone may be small by chance.
    of_sum, of_tokens = of_sum.norm(dim=0), of_tokens.norm(dim=0)
    # What is finer than null rules see is no more alike from token to token than independent numbers are, whose squares
    # sum to those of their sum: in long texts the null rules' ratio is below that, and the error's is not.
    share = tokens.shape[-1] / sums.shape[-1]
    ratio = (of_tokens / of_sum).clamp(min=(1 - ALIKE * share) * share**0.5)
    ratio = torch.where(of_sum > 0, ratio, 0.0)
    floor = ROUNDINGS * min(rounding, torch.finfo(torch.float32).eps)
    if not size:
        return 0.0
    many = share == 1 and n_nodes >= MANY_NODES * len(changes)
    estimate = (SAFETY_OF_MANY if many else SAFETY) * float((ratio * local).norm()) / size
    if n_nodes == 1 and (change := float(changes.norm())):
        # Near a bend the node's factors are several times as large as the exact ones, by which the error is measured;
        # but of these the sum is known.
        estimate = max(estimate, SAFETY_OF_ONE * float(local.norm()) / change)
    scatter = 1 + SCATTER * (tokens.shape[-1] ** -0.5 - sums.shape[-1] ** -0.5)
    return math.hypot(scatter * estimate, floor)


def signs_worth_their_cost(n_products: int) -> int:
    """How many combinations of tokens with random signs are compared with a finer rule, for so many products a node.

    For 16 to 31 tokens an explanation takes a fifth more time with them, for 100 tokens a seventh. 0 below 16 products,
    for which null rules suffice.

    >>> signs_worth_their_cost(15), signs_worth_their_cost(20), signs_worth_their_cost(40), signs_worth_their_cost(400)
    (0, 2, 5, 8)
    """
    n_signs = min(MOST_SIGNS, n_products // PRODUCTS_OF_A_SIGN)
    return n_signs if n_signs >= FEWEST_SIGNS else 0


def checked_error(gaps: Tensor, missed: Tensor, size: float, rounding: float = 0.0) -> float:
    """An upper estimate of ‖V − V*‖ / ‖V*‖, as `factor_error`, from a finer rule.

    What the finer rule misses of the tokens it does not tell. There the tokens are taken for independent of each other,
    so that they miss as much together as their sum does.

    Args:
        gaps: (M, K), what M combinations of the tokens with random signs, whose squares sum to the sum of the tokens'
            squares in the mean, differ by from the finer rule.
        missed: (E,), the error of the sum of all tokens by the finer rule, which is known.
        size: ‖V‖.
        rounding: as for `factor_error`.
    """
    if not size:
        return 0.0
    seen = min(SAFETY, 1 + SCATTER_OF_SIGNS / len(gaps) ** 0.5) * float(gaps.norm())
    floor = ROUNDINGS * min(rounding, torch.finfo(torch.float32).eps)
    return math.hypot(seen / size, float(missed.norm()) / size, floor)


# Combinations of tokens with random signs, whose squares sum to that of all tokens in the mean.
N_SIGNS = 8


def sign_combinations(n_tokens: int, n_signs: int = N_SIGNS) -> Tensor:
    """(1 + M, S): all tokens, and M combinations whose squares sum to the sum of the tokens' squares in the mean.

    They have random signs, always the same ones; where M would be S or more, they are the tokens.

    >>> sign_combinations(100, 4).shape, sign_combinations(3, 4).shape
    (torch.Size([5, 100]), torch.Size([4, 3]))
    """
    if n_tokens <= n_signs:
        each = torch.eye(n_tokens, dtype=torch.float64)
    else:
        coins = torch.randint(2, (n_signs, n_tokens), generator=torch.Generator().manual_seed(0))
        each = (2.0 * coins - 1).double() / n_signs**0.5
    return torch.cat([torch.ones(1, n_tokens, dtype=torch.float64), each])
