"""Error estimates of token factors, the numerical approximations of integrals.

Completeness gives the error of the factors' sum, a vector, on every subinterval: e = Σ_n w_n g(α_n) − (f(b) − f(a)). It
does not give the errors of single tokens. A rule's error depends on the part of the integrand beyond polynomials of low
degree. Null rules are combinations of node values that vanish for low degrees (Berntsen & Espelid, BIT 24, 1984). They
measure this part for the tokens and for their sum. The error of the tokens is estimated as e times the ratio of the
two. The estimate is free, because the factors need the values at the nodes anyway. If factors are projected on a few
directions, e and the null rules of the sum still use all dimensions, which are known from placing nodes. Along a single
direction both may vanish by chance.

Null rules underestimate the errors of single tokens if these cancel in the sum, for which the nodes are placed. From 16
tokens on, a few combinations of all tokens with random signs cost little compared to the tokens. They are compared with
a finer rule. The expectation of their squared errors is the sum of the tokens' squared errors.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from .rules import gauss_legendre

__all__ = [
    "checked_error",
    "error_functionals",
    "error_of_tokens",
    "factor_error",
    "sign_combinations",
    "signs_worth_their_cost",
]

# Safety factor: the estimate exceeds the true error in 95 % of cases, and is seldom three times as large
# (benchmarks/accuracy.py).
SAFETY = 1.75
# The same in all dimensions for so many nodes on a subinterval: null rules of N nodes see degrees up to N − 1, the rule
# errs from 2N on, and the more lies between both, the less is known of the tokens (layers 0 to 3 of MiniLM).
SAFETY_OF_MANY, MANY_NODES = 2.1, 8
# The same for a single node, relative to the change along the path (docs/background/concepts.md).
SAFETY_OF_ONE = 1.35
# Extra scatter of estimates along K directions, in units of 1/√K (benchmarks/projected_accuracy.py).
SCATTER = 0.25
# Largest relative amount by which the ratio of tokens to their sum may be below that of independent tokens in all
# dimensions of f; along few directions it is smaller. With 0, the estimate for short texts is up to 4.3 times the true
# error. With the full amount along few directions, it is below the true error in one case of thirteen (two models of
# benchmarks/projected_accuracy.py).
ALIKE = 0.35
# Error of an exact integral due to rounding, in units of the rounding.
ROUNDINGS = 8
# Largest number of random sign combinations, products per node for each, and smallest number.
MOST_SIGNS, PRODUCTS_OF_A_SIGN, FEWEST_SIGNS = 8, 8, 2
# Safety term for the scatter of M random signs, in units of 1/√M. With repeated draws for 90 cases, the estimate
# exceeds the true error in at least 97 % of the draws of each case (benchmarks/signs.py). The total is at most SAFETY,
# which two signs need. A larger total makes estimates above three times the true error more frequent, and hardly
# reduces those below it.
SCATTER_OF_SIGNS = 1.5


def error_functionals(rule: str, weights: np.ndarray, orders: tuple[int, ...]) -> np.ndarray:
    """Returns the weighted sums of the integrand's node values that `factor_error` needs.

    Args:
        rule: a name in `RULES`; any other name means Gauss-Legendre nodes, also in another variable.
        weights: (N,) weights of all nodes.
        orders: number of nodes of each of P consecutive subintervals.

    Returns:
        (3, P, N) functionals: the integral over each subinterval, and two null rules on it.
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
    """Returns (2, order) factors of the weights. One node has no null rule, so its value is used."""
    if order == 1:
        return np.array([[1.0], [0.0]])
    if rule == "riemann-right":  # the error is proportional to the difference of the values at both ends
        ends = np.zeros((2, order))
        ends[0, [0, -1]] = -1, 1
        return ends
    if rule == "midpoint":  # the error is proportional to the difference of the slopes at both ends
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
    """Returns an upper estimate of ‖V − V*‖ / ‖V*‖ with the exact factors V*. One case of twenty is underestimated.

    In all dimensions this rate holds up to 15 tokens. For texts of 24 to 31 tokens, one of seven was underestimated, so
    these use `checked_error`.

    A single node has no null rule. Its estimate assumes that the relative error of the tokens is at least that of their
    sum, the residual. The residual was 0.8 to 2.1 times the true error in 52 cases (MiniLM and MPNet). A single
    subinterval of two nodes on a strongly curved path also says little about the tokens: one case of three was
    underestimated.

    Args:
        sums: (3, P, E) `error_functionals` of the derivative of f along the path, in all dimensions of f, also if the
            factors are projected on a few.
        tokens: (3, P, M, K) functionals of M combinations of the tokens' parts of the derivative. The squares of the
            combinations sum to the sum of the tokens' squares.
        changes: (P, E) changes of f along each subinterval.
        size: ‖V‖.
        n_nodes: number of nodes of all subintervals.
        rounding: relative rounding of the model's numbers. Completeness already includes that of half precision.

    Returns:
        The estimate; 0 if f does not change.
    """
    sums, tokens, changes = (given.double().cpu() for given in (sums, tokens, changes))
    local = (sums[0] - changes).norm(dim=-1)
    of_sum, of_tokens = sums[1:].norm(dim=-1), tokens[1:].flatten(2).norm(dim=-1)
    # Combines both null rules of a subinterval, because a single one may be small by chance.
    of_sum, of_tokens = of_sum.norm(dim=0), of_tokens.norm(dim=0)
    # Parts of the integrand that null rules do not resolve are at most as alike between tokens as independent numbers,
    # and the squares of these sum to the square of their sum. In long texts the null rules' ratio is below this bound;
    # the ratio of the errors is not.
    share = tokens.shape[-1] / sums.shape[-1]
    ratio = (of_tokens / of_sum).clamp(min=(1 - ALIKE * share) * share**0.5)
    ratio = torch.where(of_sum > 0, ratio, 0.0)
    floor = ROUNDINGS * min(rounding, torch.finfo(torch.float32).eps)
    if not size:
        return 0.0
    many = share == 1 and n_nodes >= MANY_NODES * len(changes)
    estimate = (SAFETY_OF_MANY if many else SAFETY) * float((ratio * local).norm()) / size
    if n_nodes == 1 and (change := float(changes.norm())):
        # Near a bend, the node's factors are several times as large as the exact ones, to which the error is relative.
        # The sum of the exact factors is known.
        estimate = max(estimate, SAFETY_OF_ONE * float(local.norm()) / change)
    scatter = 1 + SCATTER * (tokens.shape[-1] ** -0.5 - sums.shape[-1] ** -0.5)
    return math.hypot(scatter * estimate, floor)


def signs_worth_their_cost(n_products: int) -> int:
    """Returns the number of random-sign combinations to compare with a finer rule, for a number of products per node.

    They increase the time of an explanation by a fifth for 16 to 31 tokens, and by a seventh for 100 tokens. The number
    is 0 below 16 products, where null rules suffice.

    >>> signs_worth_their_cost(15), signs_worth_their_cost(20), signs_worth_their_cost(40), signs_worth_their_cost(400)
    (0, 2, 5, 8)
    """
    n_signs = min(MOST_SIGNS, n_products // PRODUCTS_OF_A_SIGN)
    return n_signs if n_signs >= FEWEST_SIGNS else 0


def checked_error(gaps: Tensor, missed: Tensor, size: float, rounding: float = 0.0) -> float:
    """Returns an upper estimate of ‖V − V*‖ / ‖V*‖, as `factor_error`, from a finer rule.

    The errors of the finer rule for single tokens are unknown. They are assumed to be independent, so that their total
    equals the error of their sum.

    Args:
        gaps: (M, K) differences from the finer rule for M combinations of the tokens with random signs. The expected
            sum of squares of the combinations is the sum of the tokens' squares.
        missed: (E,) error of the finer rule for the sum of all tokens, which is known.
        size: ‖V‖.
        rounding: as for `factor_error`.
    """
    if not size:
        return 0.0
    seen = min(SAFETY, 1 + SCATTER_OF_SIGNS / len(gaps) ** 0.5) * float(gaps.norm())
    floor = ROUNDINGS * min(rounding, torch.finfo(torch.float32).eps)
    return math.hypot(seen / size, float(missed.norm()) / size, floor)


# Error of a rule of N nodes from its null rules of the two highest degrees, both relative to the factors: upper and
# usual factor on null^1.5, of three nodes and of more. The error was below the upper one in 97 % of cases, and below
# the usual one in half of them (benchmarks/null_rules.py). The power lies between 1, for an integrand that null rules
# do not resolve, and 2, for one that is nearly a polynomial of degree N.
OF_THREE_NODES, OF_MORE_NODES, POWER_OF_NULL_RULES = (0.09, 0.03), (0.035, 0.012), 1.5


def error_of_tokens(tokens: Tensor, size: float, n_nodes: int, rounding: float = 0.0) -> tuple[float, float]:
    """Returns an upper estimate of ‖V − V*‖ / ‖V*‖ along few directions, and the usual error, from null rules alone.

    It needs the values of every token at the nodes, and no evaluation of f in other directions. Along one direction the
    sum over tokens may vanish by chance, what all tokens miss does not.

    Args:
        tokens: (2, S, K) null rules of `error_functionals` of the tokens' parts of the derivative, on one interval.
        size: ‖V‖.
        n_nodes: number of nodes, at least 3.
        rounding: as for `factor_error`.

    Returns:
        the estimate, which 3 % of cases exceed, and the error that half of the cases exceed; 0 if f does not change.
    """
    if not size:
        return 0.0, 0.0
    null = float(tokens.double().norm()) / size
    floor = ROUNDINGS * min(rounding, torch.finfo(torch.float32).eps)
    factors = OF_THREE_NODES if n_nodes == 3 else OF_MORE_NODES
    upper, usual = (factor * null**POWER_OF_NULL_RULES for factor in factors)
    return math.hypot(upper, floor), math.hypot(usual, floor)


# Default number of combinations of tokens with random signs.
N_SIGNS = 8


def sign_combinations(n_tokens: int, n_signs: int = N_SIGNS) -> Tensor:
    """Returns (1 + M, S) coefficients of the sum of all tokens, and of M combinations with fixed random signs.

    The expected sum of squares of the combinations is the sum of the tokens' squares. For M ≥ S they are the tokens.

    >>> sign_combinations(100, 4).shape, sign_combinations(3, 4).shape
    (torch.Size([5, 100]), torch.Size([4, 3]))
    """
    if n_tokens <= n_signs:
        each = torch.eye(n_tokens, dtype=torch.float64)
    else:
        coins = torch.randint(2, (n_signs, n_tokens), generator=torch.Generator().manual_seed(0))
        each = (2.0 * coins - 1).double() / n_signs**0.5
    return torch.cat([torch.ones(1, n_tokens, dtype=torch.float64), each])
