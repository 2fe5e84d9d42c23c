"""Numbers of the search for nodes, each with its meaning and where it was measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SEARCH", "SearchSettings"]


@dataclass(frozen=True)
class SearchSettings:
    """Settings of `place_nodes`. docs/background/placement.md compares them with other ways to place nodes."""

    # The goal.
    margin: float = 0.95
    """Share of the tolerance to aim at: rounding separates the residual along the path from that of the factors."""
    linear: float = 0.1
    """Share of the goal that a single node must meet: the sum over tokens may meet it by chance where tokens do not."""

    # The polynomial through values of f (`chebyshev`).
    n_values: tuple[int, ...] = (17, 33, 65, 129)
    """Numbers of Chebyshev points that are tried; each set lies within the next."""
    resolved: float = 0.1
    """The path is known when its last coefficients are below this share of the tolerance. At layer 0 of MiniLM a share
    of 1 took two fifths more nodes, one of 0.3 a seventh more; 0.03 took fewer nodes, at as many passes in all."""
    kept: float = 0.02
    """Coefficients above this share of the tolerance are kept."""
    above_noise: float = 3.0
    """How far above the noise coefficients are kept, in units of it, where noise ends their fall."""
    added_speeds: tuple[float, ...] = (0.1, 0.3, 1.0)
    """What is added to the speed along the path, in shares of its mean; the one that takes fewest nodes is used. Little
    serves loose tolerances and one sharp bend best, much serves tight tolerances and several gentle ones."""
    n_positions: int = 1001
    """Positions at which the speed is tabulated."""
    slow_fall: float = 0.2
    """Coefficients of a smooth path fall geometrically: to a tenth at most from the half to the end of the first 33, for
    all layers of MiniLM. Behind a near-jump they fall to this share at least."""
    fall_from: int = 33
    """Number of values from which the fall is judged."""
    too_small: float = 0.01
    """Coefficients below this share of the tolerance say nothing about the fall."""
    rounding: float = 1e-6
    """Nor do coefficients below this share of the largest."""

    # Nodes on the whole path (`adaptive`).
    stagnation: float = 0.8
    """A residual that falls by less than this factor …"""
    patience: int = 3
    """… so many times in a row has met the rounding of the model."""
    misjudged: float = 1.5
    """A curve that predicted too few nodes by this factor has not seen all of the path. A factor of 3 took up to twice
    the nodes at layers 10 and 9 of MPNet, and the same for MiniLM."""
    worth_subintervals: int = 9
    """Predicted number of nodes from which subintervals are considered for several sharp bends."""
    optimism: float = 1.3
    """By which factor subintervals must promise fewer nodes, since some are lost between prediction and measurement."""

    # Subintervals (`graded`, `subintervals`).
    midpoint_error: float = 0.45
    """An interval is halved while a quarter of its parent's midpoint error, which is what to expect of a half, exceeds
    this share of the goal."""
    max_values: int = 512
    """Most values of f that halving asks for."""
    orders: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    """Numbers of Gauss-Legendre nodes on a subinterval."""
    longest_span: int = 40
    """Intervals between known places that a subinterval may span; more where few nodes are allowed."""
    n_dimensions: int = 12
    """Dimensions to which the curve is projected at random, which keeps lengths well enough to choose by."""
    first_aim: float = 0.9
    """Share of the goal that the first choice aims at."""
    lower: float = 0.94
    """Factor on the aim from one choice to the next."""
    pessimism: float = 2.0**0.5
    """Factor on predicted errors from the second choice on: what is chosen among many for its small error has a larger
    one."""
    rounds: int = 10
    """Most choices."""
    settled: int = 2
    """Choice from which a subinterval that misses more than the goal must hide a jump."""
    late: int = 4
    """Choice from which errors that add up are taken to go on doing so. Earlier, the next choice mostly ends it, for
    fewer nodes."""
    kept_share: float = 0.7
    """Share of the squared aim that subintervals may use up and stay, when others are chosen anew."""

    # Precision.
    roundings: int = 8
    """Intervals narrower than this many roundings are not halved."""
    coarsest: float = 1e-3
    """Resolution above which a dtype is too coarse to look for near-jumps."""
    narrow: int = 80
    """Subintervals narrower than this many roundings are computed in float64 where the nodes were placed so."""

    # Checks.
    more_nodes: int = 2
    """Nodes by which a rule that checks another exceeds it on each subinterval: with one more it errs too much itself."""


SEARCH = SearchSettings()
