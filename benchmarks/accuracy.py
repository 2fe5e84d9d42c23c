"""Accuracy of explanations: residual against tolerance, cost, and estimated against true error of the factors.

    python benchmarks/accuracy.py --texts sts-test.csv --models minilm mpnet --json benchmarks/results/accuracy.json

For each model, reference and layer, the script computes the factors of texts of 6 to 14 words for the default
tolerance. It reports the nodes, the nodes in float64, the evaluations for placing them, the residual, and the estimated
error of the factors. For some texts it also computes the true error ‖V − V*‖ / ‖V*‖, with V* from the model in float64
and a much smaller tolerance. Estimates should exceed the true errors in 95 % of cases, by at most a factor of three.
With --factor-tolerance, the estimated error must also be within that tolerance. --n-steps sets a fixed number of nodes.

TEXTS has tab-separated lines; texts are evenly spaced in the file.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import MODEL_HELP, distinct_texts, environment, load, settings, table, write_json
from tqdm import tqdm

from xsbert import XSTransformer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="tab-separated file of texts")
    parser.add_argument("--columns", type=int, nargs="+", default=[6], help="columns that hold texts, from 1")
    parser.add_argument("--words", type=int, nargs=2, default=[6, 14], help="fewest and most words of a text")
    parser.add_argument("--n-texts", type=int, default=30)
    parser.add_argument("--n-true", type=int, default=0, help="texts whose true error is taken")
    parser.add_argument("--true-tolerance", type=float, default=3e-4, help="tolerance of the reference, in float64")
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--factor-tolerance", type=float, help="for the stated error of the factors, too")
    parser.add_argument("--n-steps", type=int, help="Gauss-Legendre nodes, in place of a tolerance")
    parser.add_argument("--models", nargs="+", default=["minilm"], help=MODEL_HELP)
    parser.add_argument("--references", nargs="+", default=["pad", "unk"])
    parser.add_argument("--layers", type=int, nargs="+", help="default: all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    texts = distinct_texts(options.texts, options.columns, options.n_texts, tuple(options.words))
    with_truth = {texts[place] for place in np.linspace(0, len(texts) - 1, options.n_true).astype(int)}
    results: dict[str, dict[str, dict[int, list[dict[str, Any]]]]] = {}
    for name in options.models:
        for reference in options.references:
            model = load(name, options.device, shift=False, reference=reference)
            fine = load(name, options.device, shift=False, reference=reference).double() if with_truth else None
            layers = reversed(range(model.n_layers + 1)) if options.layers is None else options.layers
            found = {
                layer: [
                    measured(model, fine if text in with_truth else None, text, layer, options)
                    for text in tqdm(texts, desc=f"{name}, {reference}, layer {layer}", leave=False)
                ]
                for layer in layers
            }
            results.setdefault(Path(name).name, {})[reference] = found
            rows = [row(f"{Path(name).name}, {reference}", layer, cases) for layer, cases in found.items()]
            print(table(rows), flush=True)
            print()
    ratios = [
        case["stated"] / case["true"]
        for references in results.values()
        for layers in references.values()
        for cases in layers.values()
        for case in cases
        if case.get("true")
    ]
    if ratios:
        above, far = np.mean(np.array(ratios) >= 1), np.mean(np.array(ratios) > 3)
        print(f"Stated over true error in {len(ratios)} cases: above 1 in {above:.1%}, above 3 in {far:.1%};")
        print(f"least {min(ratios):.2f}, median {statistics.median(ratios):.2f}, most {max(ratios):.2f}")
    where = environment(options.device)
    print(f"float32, {', '.join(f'{name} {value}' for name, value in where.items())}")
    known = settings(options) | {"models": [Path(name).name for name in options.models]}
    write_json(options.json, {"options": known, "environment": where, "results": results})


def measured(
    model: XSTransformer, fine: XSTransformer | None, text: str, layer: int, options: argparse.Namespace
) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = {"tolerance": options.tolerance, "factor_tolerance": options.factor_tolerance}
        how = asked if options.n_steps is None else {"n_steps": options.n_steps}
        (out,) = model.text_factors([text], layer=layer, **how)
        truth = fine and fine.text_factors([text], layer=layer, tolerance=options.true_tolerance, max_steps=4096)[0]
    found = {
        "tokens": len(out.tokens),
        "nodes": out.settings.n_steps,
        "float64": out.settings.n_float64,
        "looks": out.settings.n_looks,
        "residual": out.residual,
        "stated": out.factor_error,
    }
    if truth is None:
        return found
    gap = float(np.linalg.norm(out.factors - truth.factors) / np.linalg.norm(truth.factors))
    return {
        **found,
        "true": gap,
        "nodes of the truth": truth.settings.n_steps,
        "stated of the truth": truth.factor_error,
    }


def row(title: str, layer: int, cases: list[dict[str, Any]]) -> dict[str, str]:
    def middle(key: str) -> str:
        values = [case[key] for case in cases]
        return f"{statistics.median(values):g} ({max(values)})"

    def reached(key: str) -> str:
        return f"{np.mean([case[key] <= 0.01 for case in cases]):.0%}"

    ratios = [case["stated"] / case["true"] for case in cases if case.get("true")]
    return {
        title: f"layer {layer}",
        "residual ≤ 0.01": reached("residual"),
        "factors' error ≤ 0.01": reached("stated"),
        "nodes": middle("nodes"),
        "in float64": middle("float64"),
        "looks": middle("looks"),
        "stated / true": f"{min(ratios):.2f} … {max(ratios):.2f}" if ratios else "",
    }


if __name__ == "__main__":
    main()
