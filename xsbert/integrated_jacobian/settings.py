"""Numbers of the search for nodes. docs/background/placement.md has the measurements that are behind them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SEARCH", "SearchSettings"]


@dataclass(frozen=True)
class SearchSettings:
    """Settings of `place_nodes`, by the step that they belong to."""

    # Goal
    margin: float = 0.95  # share of the tolerance to aim at: the factors' residual differs from it by rounding
    linear: float = 0.1  # share of the goal for a single node: the sum may meet it by chance where tokens do not

    # Polynomial through values of f
    n_values: tuple[int, ...] = (17, 33, 65, 129)  # Chebyshev points tried; each set lies within the next
    resolved: float = (
        0.1  # last coefficients of a known path, in tolerances; 1 took two fifths more nodes (MiniLM, layer 0)
    )
    kept: float = 0.02  # smallest coefficients that are kept, in tolerances
    above_noise: float = 3.0  # the same in units of the noise, where noise ends their fall
    added_speeds: tuple[float, ...] = (0.1, 0.3, 1.0)  # added to the speed, in its means: little for one sharp bend
    n_positions: int = 1001  # positions at which the speed is tabulated
    slow_fall: float = 0.2  # least fall of coefficients behind a near-jump; smooth paths reach 0.1 (MiniLM, all layers)
    fall_from: int = 33  # number of values from which the fall is judged
    too_small: float = 0.01  # coefficients below this, in tolerances, say nothing about the fall
    rounding: float = 1e-6  # nor do those below this share of the largest

    # Nodes on the whole path
    stagnation: float = 0.8  # a residual that falls by less than this factor …
    patience: int = 3  # … so many times in a row has met the rounding of the model
    misjudged: float = (
        1.5  # factor of too few nodes at which the curve is given up; 3 took twice the nodes (MPNet, 9 and 10)
    )
    worth_subintervals: int = 9  # predicted nodes from which subintervals are considered for several sharp bends
    optimism: float = 1.3  # factor by which subintervals must promise fewer nodes: some are lost once measured

    # Subintervals
    midpoint_error: float = 0.45  # share of the goal above which a half's expected midpoint error asks for halving
    max_values: int = 512  # most values of f that halving asks for
    orders: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)  # Gauss-Legendre nodes on a subinterval
    longest_span: int = 40  # known intervals that a subinterval may span; more where few nodes are allowed
    n_dimensions: int = 12  # random dimensions of the curve, which keep lengths well enough to choose by
    first_aim: float = 0.9  # share of the goal that the first choice aims at
    lower: float = 0.94  # factor on the aim from one choice to the next
    pessimism: float = 2.0**0.5  # factor on predicted errors from the second choice on: small ones were chosen for it
    rounds: int = 10  # most choices
    settled: int = 2  # choice from which a subinterval that misses more than the goal must hide a jump
    late: int = 4  # choice from which errors of one direction are taken to go on adding up
    kept_share: float = 0.7  # share of the squared aim that good subintervals may use up and stay

    # Precision
    roundings: int = 8  # narrowest interval that is halved, in roundings
    coarsest: float = 1e-3  # resolution from which a dtype is too coarse to look for near-jumps
    narrow: int = 80  # widest subinterval computed in float64 where nodes were placed so, in roundings

    # Check of the tokens' error
    more_nodes: int = 2  # nodes added on each subinterval for the check: with one the finer rule errs too much itself
    more_of_many: float = 1 / 3  # the same as a share of the nodes: 2 of 11 missed too much (MiniLM, layer 0)


SEARCH = SearchSettings()
