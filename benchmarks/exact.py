"""Exact against approximate attributions: do they agree, what do the approximate ones leave out, what do they cost?

    python benchmarks/exact.py --pairs sts-test.csv --base mpnet --reference unk \
        --tuned-exact runs/exact --tuned runs/plain --json exact.json --figure exact.png

An exact model is shifted by its reference, so that the interactions of tokens are the whole score; a model off the
shelf is not, and its interactions are its approximate attributions (Moeller et al., EACL 2024). Measured are

- for each layer, the correlation of the token matrices of an exact and an approximate model on the same pairs: two
  equally tuned models, and the base model against itself with the untrained shift. The latter is one by construction,
  since a shift subtracts a constant and only divides the matrix of a pair by another number, and is confirmed on every
  tenth pair. Special tokens are left out: their attributions are zero at layer 0 in both;
- how completely the exact models are explained at layer -2 with a tolerance of 1e-3: |score − sum of the matrix|;
- what interactions, main effects and baseline make of the score (the same at every layer, up to the error);
- for each layer and rule, the nodes that a residual of 1e-2 and of 1e-3 takes, from the derivative along the path at
  160 Gauss-Legendre nodes, interpolated; for adaptive nodes, those that `tolerance=` places.

PAIRS holds tab-separated lines with one text in each of the two --columns, by default as in the STS benchmark. The
pairs are spread evenly over those of the file that are not too long: the cost grows with the square of the length.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from common import environment, path_of, settings, table, write_json
from scipy.interpolate import BarycentricInterpolator
from scipy.stats import pearsonr, spearmanr
from tqdm import tqdm

from xsbert import Attribution, XSTransformer
from xsbert.integrated_jacobian import derivatives_along_path
from xsbert.placement import place_nodes
from xsbert.quadrature import RULES

Pairs = list[tuple[str, str]]

TOLERANCES = (1e-2, 1e-3)
MOST_NODES = 1 << 15
FINE = 160
ADAPTIVE = "adaptive"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="unshifted model: minilm, mpnet, or an id or path")
    parser.add_argument("--reference", default="pad", help="reference of the base model and of its shift")
    parser.add_argument("--tuned-exact", help="a tuned shifted model")
    parser.add_argument("--tuned", help="an equally tuned unshifted model")
    parser.add_argument("--pairs", type=Path, required=True, help="tab-separated file")
    parser.add_argument("--columns", type=int, nargs=2, default=(6, 7), help="columns of the two texts, from 1")
    parser.add_argument("--n-pairs", type=int, default=100)
    parser.add_argument("--max-characters", type=int, default=70, help="of each text of a pair")
    parser.add_argument("--n-texts", type=int, default=10, help="texts whose nodes are counted")
    parser.add_argument("--tolerance", type=float, default=1e-2, help="residual of the attributions compared")
    parser.add_argument("--json", help="write the full record here")
    parser.add_argument("--figure", type=Path, help="draw the figure here")
    options = parser.parse_args()
    if (options.tuned is None) != (options.tuned_exact is None):
        parser.error("--tuned and --tuned-exact belong together")

    pairs = read_pairs(options.pairs, options.columns, options.n_pairs, options.max_characters)
    base = XSTransformer(path_of(options.base), reference=options.reference)
    couples = {"untrained": (XSTransformer.wrap(base, shift=True, reference=options.reference), base)}
    if options.tuned:
        exact = XSTransformer(options.tuned_exact)
        reference = exact[0].reference.token
        couples["tuned"] = (exact, XSTransformer(options.tuned, reference=reference))
    layers = range(base.n_layers + 1)

    compared = {"untrained": pairs[::10], "tuned": pairs}
    agreement = {
        name: [
            agreement_at(layer, *couple, compared[name], options.tolerance)
            for layer in tqdm(layers, desc=f"agreement, {name}")
        ]
        for name, couple in couples.items()
    }
    completeness = {name: worst_error(exact, pairs) for name, (exact, _) in couples.items()}
    parts = {name: shares(approximate, pairs, options.tolerance) for name, (_, approximate) in couples.items()}
    texts = [text for pair in pairs for text in pair][:: max(1, 2 * len(pairs) // options.n_texts)][: options.n_texts]
    models = {
        f"{name}, {kind}": model
        for name, couple in couples.items()
        for kind, model in zip(("exact", "approximate"), couple, strict=True)
        if (name, kind) != ("untrained", "exact")  # the same paths as those of the base model
    }
    nodes = {name: [nodes_at(layer, model, texts) for layer in layers] for name, model in models.items()}

    print(f"Median Pearson (Spearman) correlation of token matrices, exact and approximate, {len(pairs)} pairs\n")
    print(table([agreement_row(name, rows) for name, rows in agreement.items()]))
    for name, found in completeness.items():
        print(f"\n{name}, exact: |score - sum| at most {found['error']:.1e}, residuals at most {found['residual']:.1e}")
    print("\nMedian share of the score, approximate models\n")
    print(
        table(
            [{"model": name, **{part: f"{row['median']:.2f}" for part, row in parts[name].items()}} for name in parts]
        )
    )
    for tolerance in TOLERANCES:
        print(f"\nMedian nodes for a residual of {tolerance:g}, {len(texts)} texts\n")
        print(table([nodes_row(name, rule, rows, tolerance) for name, rows in nodes.items() for rule in rows[0]]))

    where = environment(str(base.device))
    record = {
        "options": settings(options),
        "environment": where,
        "agreement": agreement,
        "completeness": completeness,
        "shares": parts,
        "nodes": nodes,
    }
    write_json(options.json, record)
    if options.figure:
        draw(record).savefig(options.figure, dpi=130)


def read_pairs(file: Path, columns: tuple[int, int], n_pairs: int, max_characters: int) -> Pairs:
    """Pairs of texts that are not too long, spread evenly over a file."""
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [(line[columns[0] - 1], line[columns[1] - 1]) for line in lines]
    short = [pair for pair in pairs if max(map(len, pair)) <= max_characters]
    return [short[place] for place in np.linspace(0, len(short) - 1, min(n_pairs, len(short))).astype(int)]


def agreement_at(
    layer: int, exact: XSTransformer, approximate: XSTransformer, pairs: Pairs, tolerance: float
) -> dict[str, Any]:
    """Correlations of the matrices of both models, over the pairs of text tokens, one for each pair of texts."""
    both = (
        model.explain_pairs(pairs, layer=layer, tolerance=tolerance, show_progress_bar=False)
        for model in (exact, approximate)
    )
    found = [
        (float(pearsonr(*values).statistic), float(spearmanr(*values).statistic))
        for values in ((text_tokens(one), text_tokens(other)) for one, other in zip(*both, strict=True))
    ]
    pearson, spearman = zip(*found, strict=True)
    return {"layer": layer, "n_pairs": len(pairs), "pearson": spread(pearson), "spearman": spread(spearman)}


def text_tokens(out: Attribution) -> np.ndarray:
    """The matrix without special tokens, flat."""
    rows, columns = ([role == "text" for role in side.roles] for side in (out.a, out.b))
    return out.matrix[np.ix_(rows, columns)].ravel()


def worst_error(model: XSTransformer, pairs: Pairs) -> dict[str, float]:
    """Largest difference between a score and the sum of its matrix, and largest residual of a text."""
    outs = list(model.explain_pairs(pairs, layer=-2, tolerance=1e-3, show_progress_bar=False))
    return {
        "error": max(abs(out.score - float(out.matrix.sum())) for out in outs),
        "residual": max(max(out.residual_a, out.residual_b) for out in outs),
    }


def shares(model: XSTransformer, pairs: Pairs, tolerance: float) -> dict[str, Any]:
    """What the parts make of the score, relative to it."""
    outs = list(model.explain_pairs(pairs, layer=model.n_layers, tolerance=tolerance, show_progress_bar=False))
    values = {
        "interactions": [out.parts["interactions"] / out.score for out in outs],
        "main effects": [(out.parts["main effects a"] + out.parts["main effects b"]) / out.score for out in outs],
        "baseline": [out.parts["baseline"] / out.score for out in outs],
    }
    return {part: spread(found) for part, found in values.items()}


def nodes_at(layer: int, model: XSTransformer, texts: list[str]) -> dict[str, Any]:
    """Nodes that each text takes, by rule and tolerance."""
    explainer = model.explainer(layer=layer)
    found: dict[str, dict[str, list[int]]] = {}
    for text in tqdm(texts, desc=f"nodes at layer {layer}", leave=False):
        path = explainer.path(text)
        change = (path.f_x - path.f_r).double().cpu().numpy()
        fine = RULES["gauss-legendre"](FINE)
        samples = derivatives_along_path(path.f, path.x, path.r, fine.nodes).double().cpu().numpy()
        curve = BarycentricInterpolator(fine.nodes, samples)
        for tolerance in TOLERANCES:
            for rule in RULES:
                n = fewest_nodes(residual_of(rule, curve, change), tolerance, steady=rule != "gauss-legendre")
                found.setdefault(rule, {}).setdefault(f"{tolerance:g}", []).append(n)
            placed = place_nodes(path.f, path.x, path.r, path.f_x - path.f_r, tolerance, MOST_NODES)
            found.setdefault(ADAPTIVE, {}).setdefault(f"{tolerance:g}", []).append(len(placed.rule.nodes))
    return found


def residual_of(rule: str, curve: Callable[[np.ndarray], np.ndarray], change: np.ndarray) -> Callable[[int], float]:
    def residual(n_steps: int) -> float:
        nodes, weights = RULES[rule](n_steps)
        return float(np.linalg.norm(weights @ curve(nodes) - change) / np.linalg.norm(change))

    return residual


def fewest_nodes(residual: Callable[[int], float], tolerance: float, steady: bool) -> int:
    """The fewest nodes within a tolerance; where the residual falls steadily, by bisection."""
    if not steady:
        return next(n for n in range(1, MOST_NODES) if residual(n) <= tolerance)
    short, enough = 0, 1
    while residual(enough) > tolerance:
        short, enough = enough, 2 * enough
        if enough > MOST_NODES:
            return MOST_NODES
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if residual(middle) <= tolerance else (middle, enough)
    return enough


def spread(values: Any) -> dict[str, float]:
    """Quartiles."""
    low, median, high = np.percentile(list(values), [25, 50, 75])
    return {"lower quartile": float(low), "median": float(median), "upper quartile": float(high)}


def agreement_row(name: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    return {
        "models": name,
        **{
            f"layer {row['layer']}": f"{row['pearson']['median']:.2f} ({row['spearman']['median']:.2f})" for row in rows
        },
    }


def shares_row(name: str, found: dict[str, Any]) -> dict[str, str]:
    return {"model": name, **{part: f"{row['median']:.2f}" for part, row in found.items()}}


def nodes_row(name: str, rule: str, rows: list[dict[str, Any]], tolerance: float) -> dict[str, str]:
    counts = {f"layer {layer}": f"{statistics.median(row[rule][f'{tolerance:g}']):g}" for layer, row in enumerate(rows)}
    return {"model": name, "rule": rule, **counts}


def draw(record: dict[str, Any]) -> plt.Figure:
    """Agreement by layer, shares of the score, nodes by rule."""
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", width_ratios=(4, 3, 5))
    colours = {"untrained": "#7a8aa0", "tuned": "#b2182b"}
    for name, rows in record["agreement"].items():
        layers = [row["layer"] for row in rows]
        for kind, line in (("pearson", "o-"), ("spearman", "o:")):
            low, median, high = (
                [row[kind][at] for row in rows] for at in ("lower quartile", "median", "upper quartile")
            )
            left.plot(layers, median, line, ms=4, color=colours[name], label=f"{name}, {kind.title()}")
            left.fill_between(layers, low, high, color=colours[name], alpha=0.15, lw=0)
    left.set(title="exact against approximate", xlabel="layer", ylabel="correlation of token matrices", ylim=(0, 1.04))
    left.legend(frameon=False, fontsize=8, loc="lower left")

    parts = {"interactions": "#b2182b", "main effects": "#7a8aa0", "baseline": "#c8b273"}
    names = list(record["shares"])
    for shift, (part, colour) in enumerate(parts.items()):
        spreads = [record["shares"][name][part] for name in names]
        median = np.array([row["median"] for row in spreads])
        ends = np.array([[row["lower quartile"] for row in spreads], [row["upper quartile"] for row in spreads]])
        places = np.arange(len(names)) + (shift - 1) * 0.27
        middle.bar(places, median, 0.25, color=colour, label=part, yerr=np.abs(ends - median), error_kw={"lw": 1})
    middle.axhline(0, color="black", lw=0.8)
    middle.axhline(1, color="black", lw=0.8, ls=":")
    middle.set_xticks(range(len(names)), [f"{name},\noff the shelf" for name in names])
    middle.set(title="what makes the score", ylabel="share of the score")
    middle.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3)

    styles = {"riemann-right": "#c8b273", "midpoint": "#7a8aa0", "gauss-legendre": "#2166ac", ADAPTIVE: "#b2182b"}
    shown = next((name for name in record["nodes"] if name.endswith("exact")), next(iter(record["nodes"])))
    for rule, colour in styles.items():
        for tolerance, line in zip(TOLERANCES, (":", "-"), strict=True):
            median = [statistics.median(row[rule][f"{tolerance:g}"]) for row in record["nodes"][shown]]
            label = f"{rule}, {tolerance:g}"
            right.plot(range(len(median)), median, line, marker="o", ms=4, color=colour, label=label)
    right.set(title=f"nodes for a residual ({shown})", xlabel="layer", ylabel="nodes", yscale="log")
    right.legend(frameon=False, fontsize=8, ncols=2)
    return fig


if __name__ == "__main__":
    main()
