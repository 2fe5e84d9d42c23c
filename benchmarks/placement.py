"""How many full nodes a residual takes, by the way of placing them.

    python benchmarks/placement.py --texts sts-test.csv --columns 6 7 --json benchmarks/results/placement.json

A full node costs S + 1 forward passes, the derivative along the path two, and from the latter alone the residual of any
set of nodes is known beforehand. So a way of placing nodes is worth what it saves in full nodes. Compared are, for each
layer of the packaged all-MiniLM-L6-v2, shifted with two references,

- plain: the fewest Gauss-Legendre nodes;
- sinh: the fewest Gauss-Legendre nodes drawn towards the bend of the path, where eight probes see it;
- library: the same as `place_nodes` finds them, which does not try every number, and its probes;
- bisected, 3 and 5: that many Gauss-Legendre nodes on each of the intervals left when the interval with the largest
  local error is halved until the residual is reached; local errors are those between an interval and its halves;
- Kronrod: the fewest nodes 2n + 1 that extend n Gauss-Legendre nodes;
- Clenshaw-Curtis: the fewest nodes 2ᵏ + 1, each set within the next;
- arc length: the fewest Gauss-Legendre nodes in the length of the embedding's path, ∫ ‖df/dα‖ dα, taken as known.

"Fewest" is told by trying all numbers, which favours these ways over the library's. Nested sets are counted like the
others: their reuse saves derivatives along the path, but no full node, since full nodes are computed once, at the end.

All ways see the derivative along the path at 256 Gauss-Legendre nodes, interpolated; the residual of these nodes
themselves is printed, and is far below what is asked for. TEXTS holds tab-separated lines; texts are spread evenly
over the file.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from common import distinct_texts, environment, load, settings, table, write_json
from scipy.interpolate import BarycentricInterpolator, CubicSpline
from tqdm import tqdm

from xsbert import XSTransformer
from xsbert.integrated_jacobian import derivatives_along_path
from xsbert.models.layers import Encoder
from xsbert.models.texts import tokenize
from xsbert.placement import N_PROBES, _bend, place_nodes
from xsbert.quadrature import Quadrature, concentrated, gauss_legendre

TOLERANCES = (1e-2, 1e-3)
FINE = 256
MOST_NODES = 255
LIBRARY = "library"

plain = functools.cache(gauss_legendre)


class Curve(NamedTuple):
    """The derivative along the path of one text."""

    at: Callable[[np.ndarray], np.ndarray]
    """Positions (N,) to derivatives (N, E)."""
    change: np.ndarray
    """(E,), what it integrates to."""
    n_tokens: int
    ends: tuple[torch.Tensor, torch.Tensor]
    """Text and reference, (S, H)."""

    def residual(self, rule: Quadrature) -> float:
        gap = rule.weights @ self.at(rule.nodes) - self.change
        return float(np.linalg.norm(gap) / np.linalg.norm(self.change))

    def speed(self, positions: np.ndarray) -> np.ndarray:
        return np.linalg.norm(self.at(positions), axis=1)


class Interval(NamedTuple):
    low: float
    middle: float
    high: float
    whole: np.ndarray
    """(E,), the integral by one set of nodes."""
    halves: tuple[np.ndarray, np.ndarray]
    """The integrals of both halves."""
    error: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="tab-separated file of texts")
    parser.add_argument("--columns", type=int, nargs="+", default=[6, 7], help="columns that hold texts, from 1")
    parser.add_argument("--n-texts", type=int, default=20)
    parser.add_argument("--model", default="minilm", help="minilm, or an id or path")
    parser.add_argument("--references", nargs="+", default=["pad", "unk"])
    parser.add_argument("--layers", type=int, nargs="+", help="default: all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    texts = distinct_texts(options.texts, options.columns, options.n_texts)
    results: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for reference in options.references:
        model = load(options.model, options.device, reference=reference)
        layers = range(model.n_layers + 1) if options.layers is None else options.layers
        results[reference] = {layer: nodes_at(layer, model, texts, reference) for layer in layers}

    for reference, tolerance in itertools.product(results, TOLERANCES):
        report(results[reference], f"reference {reference}, residual {tolerance:g}", f"{tolerance:g}")
    fine = max(text["fine"] for layers in results.values() for found in layers.values() for text in found)
    print(f"Largest residual of the {FINE} nodes: {fine:.1e}")
    where = environment(options.device)
    print(f"float32, {', '.join(f'{name} {value}' for name, value in where.items())}")
    write_json(options.json, {"options": settings(options), "environment": where, "results": results})


def nodes_at(layer: int, model: XSTransformer, texts: list[str], reference: str) -> list[dict[str, Any]]:
    """For each text its tokens, the residual of the fine nodes, and by tolerance and way the nodes and probes."""
    encoder = Encoder(model, layer)
    found = []
    for text in tqdm(texts, desc=f"{reference}, layer {layer}", leave=False):
        curve, fine = sampled(model, encoder, text)
        nodes = {f"{tolerance:g}": ways(curve, tolerance) for tolerance in TOLERANCES}
        found.append({"tokens": curve.n_tokens, "fine": fine, "nodes": nodes})
    return found


def sampled(model: XSTransformer, encoder: Encoder, text: str) -> tuple[Curve, float]:
    path = model._path(encoder, tokenize(model, text, None, "text"), model._reference)
    rule = plain(FINE)
    samples = derivatives_along_path(path.f, path.x, path.r, rule.nodes).double().cpu().numpy()
    change = (path.f_x - path.f_r).double().cpu().numpy()
    curve = Curve(BarycentricInterpolator(rule.nodes, samples), change, len(path.x), (path.x, path.r))
    return curve, curve.residual(rule)


def ways(curve: Curve, tolerance: float) -> dict[str, dict[str, int]]:
    """Full nodes by way, and the derivatives along the path that finding them took where it is not by trying all."""
    probes = plain(N_PROBES).nodes
    centre, width = _bend(probes, curve.speed(probes))
    numbers = range(1, MOST_NODES + 1)
    odd = range(1, (MOST_NODES - 1) // 2 + 1)
    fewest = {
        "plain": map(plain, numbers),
        "sinh": (concentrated(n, centre, width) for n in numbers),
        "Kronrod": map(kronrod, odd),
        "Clenshaw-Curtis": (clenshaw_curtis(2**k + 1) for k in range(1, 8)),
        "arc length": by_arc_length(curve, numbers),
    }
    found = {name: {"nodes": fewest_nodes(curve, rules, tolerance)} for name, rules in fewest.items()}
    found[LIBRARY] = placed(curve, tolerance)
    for order in (3, 5):
        found[f"bisected, {order}"] = bisected(curve, tolerance, order)
    return found


def fewest_nodes(curve: Curve, rules: Iterable[Quadrature], tolerance: float) -> int:
    """Nodes of the first rule within the tolerance, one more than is tried where there is none."""
    return next((len(rule.nodes) for rule in rules if curve.residual(rule) <= tolerance), MOST_NODES + 1)


def placed(curve: Curve, tolerance: float) -> dict[str, int]:
    """What the library places, with its derivatives along the path read from the curve and counted."""
    count = 0

    def read(f: Any, x: Any, r: Any, nodes: np.ndarray) -> torch.Tensor:
        nonlocal count
        count += len(nodes)
        return torch.from_numpy(curve.at(nodes))

    with patch("xsbert.placement.derivatives_along_path", read):
        found = place_nodes(None, *curve.ends, torch.from_numpy(curve.change), tolerance, MOST_NODES)
    return {"nodes": len(found.rule.nodes) if found.reached else MOST_NODES + 1, "probes": count}


def bisected(curve: Curve, tolerance: float, order: int) -> dict[str, int]:
    """Composite Gauss-Legendre on intervals halved where their local error is largest."""
    count = 0

    def integral(low: float, high: float) -> np.ndarray:
        nonlocal count
        count += order
        nodes, weights = plain(order)
        return (high - low) * weights @ curve.at(low + (high - low) * nodes)

    def interval(low: float, high: float, whole: np.ndarray) -> Interval:
        middle = (low + high) / 2
        halves = integral(low, middle), integral(middle, high)
        return Interval(low, middle, high, whole, halves, float(np.linalg.norm(sum(halves) - whole)))

    intervals = [interval(0.0, 1.0, integral(0.0, 1.0))]
    while True:
        gap = sum(each.whole for each in intervals) - curve.change
        if np.linalg.norm(gap) <= tolerance * np.linalg.norm(curve.change):
            return {"nodes": len(intervals) * order, "probes": count}
        if (len(intervals) + 1) * order > MOST_NODES:
            return {"nodes": MOST_NODES + 1, "probes": count}
        worst = intervals.pop(max(range(len(intervals)), key=lambda place: intervals[place].error))
        intervals.append(interval(worst.low, worst.middle, worst.halves[0]))
        intervals.append(interval(worst.middle, worst.high, worst.halves[1]))


@functools.cache
def kronrod(n: int) -> Quadrature:
    """The n Gauss-Legendre nodes with n + 1 between them, exact to degree 3n + 1 at least.

    The new nodes are the roots of the polynomial of degree n + 1 that, times the Legendre polynomial of degree n, is
    orthogonal to all of lower degree (Stieltjes).
    """
    nodes, weights = np.polynomial.legendre.leggauss(2 * n + 2)
    values = np.polynomial.legendre.legvander(nodes, n + 1)
    products = (values[:, : n + 1] * (weights * values[:, n])[:, None]).T @ values
    lower = np.linalg.lstsq(products[:, : n + 1], -products[:, n + 1], rcond=None)[0]
    new = np.polynomial.legendre.legroots([*lower, 1.0])
    old = np.polynomial.legendre.leggauss(n)[0]
    return interpolatory(np.sort(np.concatenate([old, new.real])))


@functools.cache
def clenshaw_curtis(n_steps: int) -> Quadrature:
    return interpolatory(-np.cos(np.arange(n_steps) * np.pi / (n_steps - 1)))


def interpolatory(nodes: np.ndarray) -> Quadrature:
    """The weights on [0, 1] that are exact to degree N − 1, for nodes on [−1, 1]."""
    moments = np.zeros(len(nodes))
    moments[0] = 1.0
    weights = np.linalg.solve(np.polynomial.legendre.legvander(nodes, len(nodes) - 1).T, moments)
    return Quadrature((nodes + 1) / 2, weights)


def by_arc_length(curve: Curve, numbers: Iterable[int]) -> Iterable[Quadrature]:
    """Gauss-Legendre rules in the length of the embedding's path."""
    fine = np.linspace(0, 1, 2001)
    speed = CubicSpline(fine, curve.speed(fine))
    length = speed.antiderivative()
    for n in numbers:
        rule = plain(n)
        wanted = rule.nodes * length(1.0)
        positions = np.interp(wanted, length(fine), fine)
        for _ in range(3):  # Newton's steps from a start that is good to four digits
            positions = np.clip(positions - (length(positions) - wanted) / speed(positions), 0, 1)
        yield Quadrature(positions, rule.weights * length(1.0) / speed(positions))


def report(layers: dict[int, list[dict[str, Any]]], title: str, tolerance: str) -> None:
    """Median and worst nodes, and what placing them costs the library, as a table."""
    names = list(next(iter(layers.values()))[0]["nodes"][tolerance])
    found = {layer: [text["nodes"][tolerance] for text in texts] for layer, texts in layers.items()}
    rows = [
        {title: name, **{f"layer {layer}": cell([text[name]["nodes"] for text in found[layer]]) for layer in found}}
        for name in names
    ]
    placing = {f"layer {layer}": cell([2 * text[LIBRARY]["probes"] for text in found[layer]]) for layer in found}
    share = {
        f"layer {layer}": f"{statistics.median(map(share_of_placing, layers[layer], itertools.repeat(tolerance))):.0%}"
        for layer in layers
    }
    rows += [{title: "passes that the library places with", **placing}, {title: "… of all its passes", **share}]
    n_texts = len(next(iter(layers.values())))
    print(f"Median (worst) full nodes of {n_texts} texts, {title}\n\n{table(rows)}\n")


def share_of_placing(text: dict[str, Any], tolerance: str) -> float:
    nodes, probes = (text["nodes"][tolerance][LIBRARY][name] for name in ("nodes", "probes"))
    return 2 * probes / (2 * probes + nodes * (text["tokens"] + 1))


def cell(values: list[int]) -> str:
    return f"{statistics.median(values):g} ({max(values)})"


if __name__ == "__main__":
    main()
