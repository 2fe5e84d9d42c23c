"""Exact against approximate attributions: agreement, omitted parts and cost.

    python benchmarks/exact.py --pairs sts-test.csv --base mpnet --reference pad --tuned-exact runs/exact \
        --tuned runs/plain --n-pairs 30 --layers 11 10 9 8 7 6 3 0 --n-pairs-at 3=6 0=2 --json exact.json
    python benchmarks/exact.py --draw exact.json exact.png

An exact model is shifted by its reference, so the interactions of tokens are the whole score. An off-the-shelf model is
not shifted, and its interactions are its approximate attributions (Moeller et al., EACL 2024). The script measures

- for each layer, the correlation of the token matrices of an exact and an approximate model on the same pairs: two
  equally tuned models, and the base model with and without the untrained shift. The latter is one by construction,
  since a shift subtracts a constant and only changes the divisor of a pair's matrix; it is confirmed on every tenth
  pair. Special tokens are omitted: their attributions are zero at layer 0 in both;
- the error of exact models at layer -2 with a tolerance of 1e-3: |score − sum of the matrix|;
- the contributions of interactions, main effects and baseline to the score (equal at every layer, up to the error);
- for each layer and rule, the number of nodes for a residual of 1e-2 and of 1e-3, from the derivative along the path at
  fine nodes, interpolated, in float64 (see curves.py); for adaptive nodes, the number that `tolerance=` places.

PAIRS has tab-separated lines with one text in each of the two --columns, by default as in the STS benchmark. The pairs
are evenly spaced among those that are not too long: the cost grows with the square of the length.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from common import environment, path_of, settings, table, write_json
from curves import Curve, curve_of, plain, subinterval_edges
from scipy.stats import pearsonr, spearmanr
from tqdm import tqdm

from xsbert import Attribution, XSTransformer
from xsbert.engine.integration import placements
from xsbert.engine.options import Options
from xsbert.integrated_jacobian.rules import RULES

Pairs = list[tuple[str, str]]

TOLERANCES = (1e-2, 1e-3)
# That are tried: finding Gauss-Legendre nodes takes time, too.
MOST_NODES, MOST_GAUSS_NODES = 1 << 12, 1 << 10
ADAPTIVE = "adaptive"
PARTS = ("agreement", "shares", "nodes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="unshifted model: minilm, mpnet, or an id or path")
    parser.add_argument("--reference", default="pad", help="reference of the base model and of its shift")
    parser.add_argument("--tuned-exact", help="a tuned shifted model")
    parser.add_argument("--tuned", help="an equally tuned unshifted model")
    parser.add_argument("--pairs", type=Path, help="tab-separated file")
    parser.add_argument("--columns", type=int, nargs=2, default=(6, 7), help="columns of the two texts, from 1")
    parser.add_argument("--layers", type=int, nargs="+", help="default: all")
    parser.add_argument("--n-pairs", type=int, default=100)
    parser.add_argument("--n-pairs-at", nargs="*", default=[], metavar="LAYER=N", help="fewer pairs, at dear layers")
    parser.add_argument("--max-characters", type=int, default=70, help="of each text of a pair")
    parser.add_argument("--n-texts", type=int, default=10, help="texts whose nodes are counted")
    parser.add_argument("--tolerance", type=float, default=1e-2, help="residual of the attributions compared")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--json", help="keep the full record here, and go on from what it holds")
    parser.add_argument("--draw", nargs=2, metavar=("RECORD", "FIGURE"), help="only draw a record that was written")
    options = parser.parse_args()
    if options.draw:
        draw(json.loads(Path(options.draw[0]).read_text(encoding="utf-8"))).savefig(options.draw[1], dpi=130)
        return
    if options.base is None or options.pairs is None:
        parser.error("--base and --pairs are needed")
    if (options.tuned is None) != (options.tuned_exact is None):
        parser.error("--tuned and --tuned-exact belong together")

    pairs = read_pairs(options.pairs, options.columns, options.n_pairs, options.max_characters)
    fewer = {int(layer): int(n) for layer, n in (each.split("=") for each in options.n_pairs_at)}
    base = XSTransformer(path_of(options.base), reference=options.reference)
    couples = {"untrained": (XSTransformer.wrap(base, shift=True, reference=options.reference), base)}
    if options.tuned:
        exact = XSTransformer(options.tuned_exact)
        couples["tuned"] = (exact, XSTransformer(options.tuned, reference=exact[0].reference.token))
    layers = sorted(range(base.n_layers + 1) if options.layers is None else options.layers)
    record = Record(options)
    shown, model = ("tuned, exact", couples["tuned"][0]) if options.tuned else ("untrained, approximate", base)

    if "agreement" in options.parts:
        agreement = record.known.get("agreement", {name: [] for name in couples})
        done = {row["layer"] for row in agreement[[*couples][-1]]}
        for layer in tqdm([layer for layer in layers[::-1] if layer not in done], desc="agreement"):
            for name, couple in couples.items():
                chosen = pairs[::10] if name == "untrained" else pairs
                found = agreement_at(
                    layer, *couple, spread_over(chosen, fewer.get(layer, len(chosen))), options.tolerance
                )
                agreement[name] = sorted([*agreement[name], found], key=lambda row: row["layer"])
            record.keep(agreement=agreement)
    if "shares" in options.parts:
        completeness = {name: worst_error(exact, pairs) for name, (exact, _) in couples.items()}
        parts = {name: shares(approximate, pairs, options.tolerance) for name, (_, approximate) in couples.items()}
        record.keep(completeness=completeness, shares=parts)
    if "nodes" in options.parts:
        texts = spread_over([text for pair in pairs for text in pair], options.n_texts)
        rows: list[dict[str, Any]] = []
        for layer in tqdm(layers[::-1], desc="nodes"):
            rows.insert(0, nodes_at(layer, model, texts))
            record.keep(nodes={shown: rows})
    report(record.known, len(pairs))


class Record:
    """What was measured, kept in a file as it comes: an interrupted run goes on, and parts can be run one by one.

    Raises:
        ValueError: the file has a record of other models or pairs.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.path = options.json
        self.about = {"options": settings(options), "environment": environment("cpu")}
        self.known = self.read()
        for name in ("base", "reference", "tuned_exact", "tuned", "pairs", "n_pairs", "max_characters", "tolerance"):
            before, now = (each.get(name) for each in (self.known.get("options", settings(options)), settings(options)))
            if before != now:
                raise ValueError(f"--json {self.path} has a record of another {name}: {before!r}, not {now!r}")

    def read(self) -> dict[str, Any]:
        """What the file holds."""
        path = self.path and Path(self.path)
        return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}

    def keep(self, **found: Any) -> None:
        """Add it to what the file holds now."""
        self.known = {**self.known, **self.read(), **self.about, **found}
        write_json(self.path, self.known)


def report(record: dict[str, Any], n_pairs: int) -> None:
    if "agreement" in record:
        print(f"Median Pearson (Spearman) correlation of token matrices, exact and approximate, {n_pairs} pairs\n")
        print(table([agreement_row(name, rows) for name, rows in record["agreement"].items()]))
    for name, found in record.get("completeness", {}).items():
        print(f"\n{name}, exact: |score - sum| at most {found['error']:.1e}, residuals at most {found['residual']:.1e}")
    if "shares" in record:
        print("\nMedian share of the score, approximate models\n")
        print(table([shares_row(name, found) for name, found in record["shares"].items()]))
    for shown, rows in record.get("nodes", {}).items():
        for tolerance in TOLERANCES:
            print(f"\nMedian nodes for a residual of {tolerance:g}\n")
            print(table([nodes_row(shown, rule, rows, tolerance) for rule in rows[0]["nodes"]]))


def read_pairs(file: Path, columns: tuple[int, int], n_pairs: int, max_characters: int) -> Pairs:
    """Pairs of texts that are not too long, spread evenly over a file."""
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    pairs = [(line[columns[0] - 1], line[columns[1] - 1]) for line in lines]
    short = [pair for pair in pairs if max(map(len, pair)) <= max_characters]
    return spread_over(short, n_pairs)


def spread_over(items: list[Any], n_items: int) -> list[Any]:
    """So many of the items, or all of them where there are no more, spread evenly."""
    return [items[place] for place in np.linspace(0, len(items) - 1, min(n_items, len(items))).astype(int)]


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
    found: dict[str, dict[str, list[int]]] = {}
    explainer, fine = model.explainer(layer=layer), copy.deepcopy(model).double().explainer(layer=layer)
    for text in texts:
        path, in_float64 = explainer.path(text), fine.path(text)
        curve = curve_of(in_float64, subinterval_edges(in_float64))
        for tolerance in TOLERANCES:
            for rule in RULES:
                n = fewest_nodes(rule, curve, tolerance)
                found.setdefault(rule, {}).setdefault(f"{tolerance:g}", []).append(n)
            (placed,) = placements([path], Options(tolerance=tolerance, max_steps=MOST_NODES))
            found.setdefault(ADAPTIVE, {}).setdefault(f"{tolerance:g}", []).append(len(placed.rule.nodes))
    return {"layer": layer, "nodes": found}


def fewest_nodes(rule: str, curve: Curve, tolerance: float) -> int:
    """The fewest nodes within a tolerance, to five in a hundred; MOST_NODES where they are more."""
    build, n_steps = plain if rule == "gauss-legendre" else RULES[rule], 1
    most = MOST_GAUSS_NODES if rule == "gauss-legendre" else MOST_NODES
    while n_steps < most:
        if curve.residual(build(n_steps)) <= tolerance:
            return n_steps
        n_steps += max(1, n_steps // 20)
    return most


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
    counts = {f"layer {row['layer']}": f"{statistics.median(row['nodes'][rule][f'{tolerance:g}']):g}" for row in rows}
    return {"model": name, "rule": rule, **counts}


def draw(record: dict[str, Any]) -> plt.Figure:
    """Agreement by layer, shares of the score, nodes by rule."""
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained", width_ratios=(4, 3, 5))
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
    ((shown, rows),) = record["nodes"].items()
    for rule, colour in styles.items():
        for tolerance, line in zip(TOLERANCES, (":", "-"), strict=True):
            median = [statistics.median(row["nodes"][rule][f"{tolerance:g}"]) for row in rows]
            label = f"{rule}, {tolerance:g}"
            right.plot([row["layer"] for row in rows], median, line, marker="o", ms=4, color=colour, label=label)
    n_texts = len(next(iter(rows[0]["nodes"][ADAPTIVE].values())))
    right.set(title=f"nodes for a residual ({shown}, {n_texts} texts)", xlabel="layer", ylabel="nodes", yscale="log")
    right.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    return fig


if __name__ == "__main__":
    main()
