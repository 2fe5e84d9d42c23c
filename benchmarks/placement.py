"""Number of full nodes for a residual, by method of placing them.

    python benchmarks/placement.py --texts sts-test.csv --columns 6 7 --json benchmarks/results/placement.json
    python benchmarks/placement.py --texts sts-test.csv --columns 6 --model mpnet --float64 --words 6 14 --n-texts 6 \
        --n-factor-texts 0 --layers 11 10 9 8 6 3 0 --references pad --json benchmarks/results/placement_mpnet.json

A full node costs S + 1 forward passes, the derivative along the path two. The latter alone determines the residual of
any set of nodes. So the value of a method is the number of full nodes that it saves. For each layer of a model, shifted
with one or several references, the script compares

- plain: the fewest Gauss-Legendre nodes;
- sinh: the fewest Gauss-Legendre nodes, dense near the bend of the path as located by five probes;
- bisected, 3 and 5: that many Gauss-Legendre nodes on each subinterval. The subinterval with the largest local error is
  halved until the residual is reached; the local error is the difference between a subinterval and its halves;
- Kronrod: the fewest nodes 2n + 1 that extend n Gauss-Legendre nodes;
- Clenshaw-Curtis: the fewest nodes 2ᵏ + 1, each set within the next;
- arc length: the fewest Gauss-Legendre nodes in the arc length of the embedding's path, ∫ ‖df/dα‖ dα, assumed known;
- library: the nodes of `place_nodes`, which must probe the path first; these passes are counted.

"Fewest" means the best of all numbers, which favours these methods over the library. Nested sets are counted like the
others: their reuse saves derivatives along the path, but no full node, since full nodes are computed once, at the end.

All methods use the derivative along the path, interpolated from fine nodes: 256 Gauss-Legendre nodes or, if the path
nearly jumps, 8 on each half of the subintervals that the library chooses for a residual of 0.001. The residual of the
fine nodes is printed; it is far below the requested one. Jumps that float32 does not resolve need --float64. A residual
is that of the sum over tokens. For a few texts the error of the token factors, ‖V − V*‖ / ‖V*‖, is also computed, with
V* from the fine nodes, so that no method is preferred for a small sum of large errors.

TEXTS has tab-separated lines; texts are evenly spaced in the file.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import MODEL_HELP, distinct_texts, environment, load, settings, table, write_json
from curves import Curve, Piecewise, curve_of, fine_rules, plain, subinterval_edges
from tqdm import tqdm

from xsbert.engine import Explainer
from xsbert.engine.text_path import TextPath
from xsbert.integrated_jacobian import token_factors
from xsbert.integrated_jacobian.adaptive import search
from xsbert.integrated_jacobian.rules import Quadrature, equidistributed

TOLERANCES = (1e-2, 1e-3)
FINE_FACTORS = 128
MOST_NODES = 255
N_PROBES = 5
# Passes for one evaluation: a value of f, and a derivative along the path.
PASSES = {"values": 1, "derivatives": 2, "both": 2}


class Placed(NamedTuple):
    """A rule that a method placed, and what it cost."""

    rule: Quadrature | None
    """None where the tolerance takes more nodes than are tried."""
    passes: int = 0
    """What was spent to find it, where it was not found by trying all numbers."""


class Interval(NamedTuple):
    """An interval of a bisection and what its rule gives there."""

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
    parser.add_argument("--words", type=int, nargs=2, default=[1, 10_000], help="fewest and most words of a text")
    parser.add_argument("--n-texts", type=int, default=20)
    parser.add_argument("--n-factor-texts", type=int, default=3, help="texts whose token factors are looked at")
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--references", nargs="+", default=["pad", "unk"])
    parser.add_argument("--layers", type=int, nargs="+", help="default: all")
    parser.add_argument("--float64", action="store_true", help="look at the path in float64")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    texts = distinct_texts(options.texts, options.columns, options.n_texts, tuple(options.words))
    with_factors = {texts[place] for place in np.linspace(0, len(texts) - 1, options.n_factor_texts).astype(int)}
    where = environment(options.device)
    results: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for reference in options.references:
        model = load(options.model, options.device, reference=reference)
        model = model.double() if options.float64 else model
        layers = range(model.n_layers + 1) if options.layers is None else options.layers
        for layer in layers:
            results.setdefault(reference, {})[layer] = [
                nodes_of(text, model.explainer(layer=layer), text in with_factors)
                for text in tqdm(texts, desc=f"{reference}, layer {layer}", leave=False)
            ]
            # Shallow layers of a large model take long: what is known is kept.
            write_json(options.json, {"options": settings(options), "environment": where, "results": results})

    for reference, tolerance in itertools.product(results, TOLERANCES):
        report(results[reference], f"reference {reference}, residual {tolerance:g}", f"{tolerance:g}")
    fine = max(text["fine"] for layers in results.values() for found in layers.values() for text in found)
    print(f"Largest residual of the fine nodes: {fine:.1e}")
    print(f"{str(model.dtype).removeprefix('torch.')}, {', '.join(f'{name} {value}' for name, value in where.items())}")


def nodes_of(text: str, explainer: Explainer, with_factors: bool) -> dict[str, Any]:
    """Tokens of a text, the residual of the fine nodes, and by tolerance and way the nodes, passes and errors."""
    path = explainer.path(text)
    edges = subinterval_edges(path)
    fine = fine_rules(edges)
    curve = curve_of(path, edges)
    of_factors = fine if len(edges) > 2 else fine_rules(edges, FINE_FACTORS)
    error = factor_error(path, edges, of_factors) if with_factors else None
    return {
        "tokens": len(path.x),
        "fine": curve.residual(Quadrature(*map(np.concatenate, zip(*fine, strict=True)))),
        "fine nodes": sum(len(rule.nodes) for rule in fine),
        "nodes": {
            f"{tolerance:g}": {
                way: {
                    "nodes": len(found.rule.nodes) if found.rule else MOST_NODES + 1,
                    **({"passes": found.passes} if found.passes else {}),
                    **({"factor error": error(found.rule)} if error and found.rule else {}),
                }
                for way, found in ways(curve, tolerance).items()
            }
            for tolerance in TOLERANCES
        },
    }


def factor_error(path: TextPath, edges: np.ndarray, fine: list[Quadrature]) -> Callable[[Quadrature], float]:
    """The relative error of the token factors of a rule, from the integrands of all tokens, interpolated."""

    def samples(nodes: np.ndarray) -> np.ndarray:
        each = [Quadrature(node[None], np.ones(1)) for node in nodes]
        found = [token_factors(path.f, path.x, path.r, one, show_progress_bar=False) for one in each]
        return np.stack([one.cpu().numpy().ravel() for one in found])

    seen = [samples(rule.nodes) for rule in fine]
    integrand = Piecewise.through(edges, seen)
    exact = sum(rule.weights @ part for rule, part in zip(fine, seen, strict=True))

    def error(rule: Quadrature) -> float:
        return float(np.linalg.norm(rule.weights @ integrand(rule.nodes) - exact) / np.linalg.norm(exact))

    return error


def ways(curve: Curve, tolerance: float) -> dict[str, Placed]:
    centre, width = bend(curve)
    numbers = range(1, MOST_NODES + 1)
    by_length = equidistributed(curve.speed(np.linspace(0, 1, 2001)))
    fewest = {
        "plain": map(plain, numbers),
        "Kronrod": (kronrod(n) for n in range(1, (MOST_NODES + 1) // 2)),
        "Clenshaw-Curtis": (clenshaw_curtis(2**k + 1) for k in range(1, 8)),
        "sinh": (concentrated(n, centre, width) for n in numbers),
        "arc length": map(by_length, numbers),
    }
    return {
        **{way: Placed(first_within(curve, rules, tolerance)) for way, rules in fewest.items()},
        "bisected, 3": Placed(bisected(curve, tolerance, 3)),
        "bisected, 5": Placed(bisected(curve, tolerance, 5)),
        "library": by_library(curve, tolerance),
    }


def first_within(curve: Curve, rules: Iterable[Quadrature], tolerance: float) -> Quadrature | None:
    return next((rule for rule in rules if curve.residual(rule) <= tolerance), None)


def by_library(curve: Curve, tolerance: float) -> Placed:
    """What the library places, its requests answered from the curve and counted."""
    requested = {
        "values": curve.values,
        "derivatives": curve.at,
        "both": lambda nodes: np.stack([curve.values(nodes), curve.at(nodes)], axis=1),
    }
    searching, answer, passes = search(torch.from_numpy(curve.change), tolerance, MOST_NODES), None, 0
    while True:
        try:
            kind, nodes = searching.send(answer)
        except StopIteration as end:
            return Placed(end.value.rule if end.value.reached else None, passes)
        passes += PASSES[kind] * len(nodes)
        answer = torch.from_numpy(requested[kind](nodes))


def bend(curve: Curve) -> tuple[float, float]:
    """Where along the path f changes fastest as probes see it, and half the width of that stretch."""
    probes, fine = plain(N_PROBES).nodes, np.linspace(0, 1, 201)
    speed = np.interp(fine, probes, curve.speed(probes))
    fast = fine[speed > speed.max() / 2]
    if fast.min() == 0 and fast.max() == 1:
        return 0.5, 1e4
    return float(fine[speed.argmax()]), max(float(fast.max() - fast.min()) / 2, 0.02)


def concentrated(n_steps: int, centre: float, width: float) -> Quadrature:
    """Gauss-Legendre nodes drawn towards a centre by α = centre + width · sinh(u), u linear in the standard nodes.

    The map moves a pole near centre ± i·width away (Johnston & Elliott, International Journal for Numerical Methods in
    Engineering 62, 2005). A large width gives the plain rule.
    """
    nodes, weights = plain(n_steps)
    low, high = np.arcsinh(-centre / width), np.arcsinh((1 - centre) / width)
    u = low + (high - low) * nodes
    return Quadrature(centre + width * np.sinh(u), weights * (high - low) * width * np.cosh(u))


def bisected(curve: Curve, tolerance: float, order: int) -> Quadrature | None:
    """Composite Gauss-Legendre on intervals halved where their local error is largest."""

    def on(low: float, high: float) -> Quadrature:
        nodes, weights = plain(order)
        return Quadrature(low + (high - low) * nodes, (high - low) * weights)

    def integral(low: float, high: float) -> np.ndarray:
        nodes, weights = on(low, high)
        return weights @ curve.at(nodes)

    def interval(low: float, high: float, whole: np.ndarray) -> Interval:
        middle = (low + high) / 2
        halves = integral(low, middle), integral(middle, high)
        return Interval(low, middle, high, whole, halves, float(np.linalg.norm(sum(halves) - whole)))

    intervals = [interval(0.0, 1.0, integral(0.0, 1.0))]
    while len(intervals) * order <= MOST_NODES:
        gap = sum(each.whole for each in intervals) - curve.change
        if np.linalg.norm(gap) <= tolerance * np.linalg.norm(curve.change):
            return Quadrature(*map(np.concatenate, zip(*(on(each.low, each.high) for each in intervals), strict=True)))
        worst = intervals.pop(max(range(len(intervals)), key=lambda place: intervals[place].error))
        intervals.append(interval(worst.low, worst.middle, worst.halves[0]))
        intervals.append(interval(worst.middle, worst.high, worst.halves[1]))
    return None


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


def report(layers: dict[int, list[dict[str, Any]]], title: str, tolerance: str) -> None:
    """Nodes, passes and errors as tables."""
    found = {
        f"layer {layer}": [{**text, **text["nodes"][tolerance]} for text in texts] for layer, texts in layers.items()
    }
    texts = next(iter(found.values()))
    names = list(layers[next(iter(layers))][0]["nodes"][tolerance])

    def rows(names: Iterable[str], cell: Callable[[str, list[dict[str, Any]]], str]) -> str:
        return table([{title: name, **{layer: cell(name, found[layer]) for layer in found}} for name in names])

    print(f"Median (worst) full nodes of {len(texts)} texts\n\n{rows(names, nodes_cell)}\n")
    print(f"Median passes of the library, placing included, and its share\n\n{rows(['library'], passes_cell)}\n")
    if any("factor error" in text["plain"] for text in texts):
        print(f"Median error of the token factors\n\n{rows(names, error_cell)}\n")


def nodes_cell(way: str, texts: list[dict[str, Any]]) -> str:
    values = [text[way]["nodes"] for text in texts]
    shown = [
        f"{value:g}" if value <= MOST_NODES else f"> {MOST_NODES}" for value in (statistics.median(values), max(values))
    ]
    return f"{shown[0]} ({shown[1]})"


def passes_cell(way: str, texts: list[dict[str, Any]]) -> str:
    placing = [text[way]["passes"] for text in texts]
    full = [text[way]["nodes"] * (text["tokens"] + 1) for text in texts]
    total = [one + other for one, other in zip(placing, full, strict=True)]
    return f"{statistics.median(total):.0f}, {sum(placing) / sum(total):.0%}"


def error_cell(way: str, texts: list[dict[str, Any]]) -> str:
    errors = [text[way]["factor error"] for text in texts if "factor error" in text[way]]
    return f"{statistics.median(errors):.1e}" if errors else ""


if __name__ == "__main__":
    main()
