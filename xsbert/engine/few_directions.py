"""Factors along one or two directions, as for highlights, with as few nodes as the tolerance needs.

In reverse mode along one direction, a node costs about as much as two evaluations of f. Evaluations that only place the
nodes, or measure the error in all dimensions of the embedding, would then cost as much as the factors. In the layers
before the last hidden state the path bends in the middle, whatever the text, so a number of `sinh_gauss_legendre` nodes
that depends on the tolerance alone suffices nearly always. The values of every token at the nodes show whether it does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..integrated_jacobian.adaptive import Placement
from ..integrated_jacobian.error_estimates import error_functionals, error_of_tokens
from ..integrated_jacobian.rules import sinh_gauss_legendre
from .integration import Integrated
from .modes import ReverseMode
from .options import Options
from .text_path import TextPath, integrator_of

__all__ = ["along_few_directions", "nodes_along"]

# Nodes for a tolerance of at least so much: that many leave a residual of the sum, in all dimensions, within it in 95 %
# of the cases of benchmarks/null_rules.py (MiniLM and MPNet, layers −2 and −1). The error of four nodes is stated less
# well.
NODES = ((0.1, 3), (0.03, 5), (0.01, 6), (0.005, 8))
# Distances from the last hidden state for which that was measured, and most directions.
DISTANCES, MOST_DIRECTIONS = (1, 2), 2


def nodes_along(options: Options, distance: int, n_directions: int) -> int:
    """Return the number of nodes to try without placing any, or 0 if nodes have to be placed.

    Args:
        options: give the tolerance.
        distance: of the layer from the last hidden state.
        n_directions: largest number of directions of a text.

    >>> nodes_along(Options(), 2, 1), nodes_along(Options(tolerance=0.1), 2, 1), nodes_along(Options(), 4, 1)
    (6, 3, 0)
    """
    if distance not in DISTANCES or n_directions > MOST_DIRECTIONS or options.derivatives is not None:
        return 0
    found = [n_nodes for least, n_nodes in NODES if (options.target or 0.0) >= least]
    return found[0] if found and found[0] <= options.max_steps else 0


def along_few_directions(
    paths: Sequence[TextPath], options: Options, modes: Sequence[ReverseMode], n_nodes: int, ratio: float = 1.0
) -> list[Integrated | None]:
    """Compute the factors of texts along their directions with a given number of nodes.

    Args:
        paths: n paths, of texts that are alike, with one f.
        options: accuracy and memory.
        modes: directions of each text.
        n_nodes: number of nodes of each path.
        ratio: factor on the tolerance, for the mean over several references (`way_of_mean`).

    Returns:
        n results; None where the residual along the directions or the usual error of the tokens exceeds the tolerance,
        or the estimated error ``factor_tolerance``.
    """
    rule = sinh_gauss_legendre(n_nodes)
    rows = error_functionals(options.rule_name, rule.weights, (n_nodes,))[1:, 0]
    directions = [mode.directions for mode in modes]
    integrator = integrator_of(paths, max(map(len, directions)), reverse=True)
    measured = integrator.projected_factors([rule] * len(paths), directions, [rows] * len(paths), every_token=True)
    results: list[Integrated | None] = []
    for path, own, each in zip(paths, directions, measured, strict=True):
        change = (path.f_x - path.f_r).double().cpu()
        missed = each.factors.double().cpu().sum(0) - own.double().cpu() @ change
        size = float(own.double().norm(dim=1).max() * change.norm()) or 1.0
        residual = float(missed.abs().max()) / size
        error, usual = error_of_tokens(
            each.traces[:, 1:], float(each.factors.double().norm()), n_nodes, torch.finfo(path.x.dtype).eps
        )
        wanted = options.factor_tolerance
        reached = max(residual, usual) <= ratio * (options.target or 0.0) and (wanted is None or error <= wanted)
        placement = Placement(
            rule, sinh_gauss_legendre, residual, reached, (n_nodes,), changes=change[None], widths=(1.0,)
        )
        found = Integrated(each.factors, placement, error, 0, None, n_nodes, 0)
        results.append(found if reached else None)
    return results
