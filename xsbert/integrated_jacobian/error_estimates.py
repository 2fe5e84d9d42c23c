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
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from .rules import gauss_legendre

__all__ = [
    "ERROR",
    "ErrorSettings",
    "checked_error",
    "error_functionals",
    "error_of_tokens",
    "factor_error",
    "sign_combinations",
    "signs_worth_their_cost",
]


@dataclass(frozen=True)
class ErrorSettings:
    """Settings of the error estimates. All are factors or counts without a unit."""

    # Null rules, in 95 % of cases above the true error and seldom three times as large (benchmarks/accuracy.py)
    safety: float = 1.75  # factor on the estimate
    safety_of_many: float = 2.1  # the same with many nodes: degrees N to 2N − 1 are not seen (MiniLM, layers 0 to 3)
    many_nodes: int = 8  # nodes on a subinterval from which they are many
    safety_of_one: float = 1.35  # the same for one node, relative to the change (docs/background/concepts.md)
    scatter: float = 0.25  # scatter of estimates along K directions, in 1/√K (benchmarks/projected_accuracy.py)
    # Most by which tokens / sum lies below that of independent tokens. With 0, estimates of short texts are up to 4.3
    # times the true error; in full along few directions, 1 of 13 is below it (benchmarks/projected_accuracy.py).
    alike: float = 0.35
    roundings: int = 8  # error of an exact integral, in roundings of the numbers

    # Random signs, above the true error in 97 % of draws or more of each of 90 cases (benchmarks/signs.py)
    most_signs: int = 8  # most combinations of the tokens
    products_per_sign: int = 8  # products per node for each combination
    fewest_signs: int = 2  # fewest combinations; they need the whole of `safety`
    scatter_of_signs: float = 1.5  # scatter of M combinations, in 1/√M; with more, estimates are often 3 times too high

    # Few directions, from null rules alone: error = factor · null^power, both relative to the factors. The upper factor
    # holds in 97 % of cases, the usual one in half of them (benchmarks/null_rules.py). The power lies between 1, for
    # integrands that null rules do not resolve, and 2, for those that are nearly polynomials of degree N.
    of_three_nodes: tuple[float, float] = (0.09, 0.03)  # upper and usual factor, of three nodes
    of_more_nodes: tuple[float, float] = (0.035, 0.012)  # the same of more
    power_of_null_rules: float = 1.5


ERROR = ErrorSettings()


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
    ratio = (of_tokens / of_sum).clamp(min=(1 - ERROR.alike * share) * share**0.5)
    ratio = torch.where(of_sum > 0, ratio, 0.0)
    floor = ERROR.roundings * min(rounding, torch.finfo(torch.float32).eps)
    if not size:
        return 0.0
    many = share == 1 and n_nodes >= ERROR.many_nodes * len(changes)
    estimate = (ERROR.safety_of_many if many else ERROR.safety) * float((ratio * local).norm()) / size
    if n_nodes == 1 and (change := float(changes.norm())):
        # Near a bend, the node's factors are several times as large as the exact ones, to which the error is relative.
        # The sum of the exact factors is known.
        estimate = max(estimate, ERROR.safety_of_one * float(local.norm()) / change)
    scatter = 1 + ERROR.scatter * (tokens.shape[-1] ** -0.5 - sums.shape[-1] ** -0.5)
    return math.hypot(scatter * estimate, floor)


def signs_worth_their_cost(n_products: int) -> int:
    """Returns the number of random-sign combinations to compare with a finer rule, for a number of products per node.

    They increase the time of an explanation by a fifth for 16 to 31 tokens, and by a seventh for 100 tokens. The number
    is 0 below 16 products, where null rules suffice.

    >>> signs_worth_their_cost(15), signs_worth_their_cost(20), signs_worth_their_cost(40), signs_worth_their_cost(400)
    (0, 2, 5, 8)
    """
    n_signs = min(ERROR.most_signs, n_products // ERROR.products_per_sign)
    return n_signs if n_signs >= ERROR.fewest_signs else 0


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
    seen = min(ERROR.safety, 1 + ERROR.scatter_of_signs / len(gaps) ** 0.5) * float(gaps.norm())
    floor = ERROR.roundings * min(rounding, torch.finfo(torch.float32).eps)
    return math.hypot(seen / size, float(missed.norm()) / size, floor)


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
    floor = ERROR.roundings * min(rounding, torch.finfo(torch.float32).eps)
    factors = ERROR.of_three_nodes if n_nodes == 3 else ERROR.of_more_nodes
    upper, usual = (factor * null**ERROR.power_of_null_rules for factor in factors)
    return math.hypot(upper, floor), math.hypot(usual, floor)


def sign_combinations(n_tokens: int, n_signs: int = ERROR.most_signs) -> Tensor:
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
