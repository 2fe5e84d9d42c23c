"""Frequency with which the estimated error of a long text is below the true error, over draws of random signs.

    python benchmarks/signs.py --texts abstracts.tsv --words 60 85 --json benchmarks/results/signs.json

The error of a long text's factors is estimated from a few combinations of tokens with random signs
(`xsbert.integrated_jacobian.error_estimates.checked_error`). The signs are fixed, so each text shows only one draw.
This script computes the error of each token's factor, E = V − V* with V* for a much smaller tolerance, and draws the
signs many times. It omits the error of the finer rule, which the estimate adds.

TEXTS has tab-separated lines; texts are evenly spaced in the file.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import MODEL_HELP, distinct_texts, environment, load, settings, table, write_json
from tqdm import tqdm

from xsbert import XSTransformer
from xsbert.integrated_jacobian.error_estimates import checked_error, signs_worth_their_cost

QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="tab-separated file of texts")
    parser.add_argument("--columns", type=int, nargs="+", default=[1], help="columns that hold texts, from 1")
    parser.add_argument("--words", type=int, nargs=2, default=[60, 85], help="fewest and most words of a text")
    parser.add_argument("--n-texts", type=int, default=6)
    parser.add_argument("--n-draws", type=int, default=4000)
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--true-tolerance", type=float, default=2e-4, help="tolerance of V*")
    parser.add_argument("--models", nargs="+", default=["minilm"], help=MODEL_HELP)
    parser.add_argument("--references", nargs="+", default=["unk", "pad"])
    parser.add_argument("--layers", type=int, nargs="+", default=[-1, -2, -3])
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()

    texts = distinct_texts(options.texts, options.columns, options.n_texts, tuple(options.words))
    results: list[dict[str, Any]] = []
    for name in options.models:
        for reference in options.references:
            model = load(name, shift=False, reference=reference)
            for layer in options.layers:
                what = {"model": Path(name).name, "reference": reference, "layer": layer}
                bar = tqdm(texts, desc=", ".join(map(str, what.values())), leave=False)
                results += [{**what, **drawn(model, text, layer, options)} for text in bar]
    print(table([row(results, *which) for which in dict.fromkeys((case["model"], case["layer"]) for case in results)]))
    known = settings(options) | {"models": [Path(name).name for name in options.models]}
    write_json(options.json, {"options": known, "environment": environment("cpu"), "results": results})


def drawn(model: XSTransformer, text: str, layer: int, options: argparse.Namespace) -> dict[str, Any]:
    """What is stated over what is true, of many draws of signs for one text.

    "kinds of error" is the participation ratio of the tokens' errors, (Σ λ)² / Σ λ² of E Eᵀ: 1 where all lie in one
    direction, in which signs scatter most unless a single token has it all.
    """
    how = {"layer": layer, "max_steps": 4096, "show_progress_bar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (out,) = model.text_factors([text], tolerance=options.tolerance, **how)
        (exact,) = model.text_factors([text], tolerance=options.true_tolerance, **how)
    missed = out.factors.astype(np.float64) - exact.factors
    n_tokens, n_signs = len(missed), signs_worth_their_cost(len(missed))
    if not n_signs:
        raise ValueError(f"texts have to be checked by random signs, got one of {n_tokens} tokens")
    coins = np.random.default_rng(0).choice([-1.0, 1.0], size=(options.n_draws, n_signs, n_tokens))
    gaps = torch.from_numpy(coins @ missed / n_signs**0.5)
    true = float(np.linalg.norm(missed))
    ratios = np.array([checked_error(gap, torch.zeros(1), 1.0) for gap in gaps]) / true
    own = np.linalg.eigvalsh(missed @ missed.T)
    return {
        "tokens": n_tokens,
        "nodes": out.settings.n_steps,
        "signs": n_signs,
        "true": true / float(np.linalg.norm(exact.factors)),
        "stated": out.factor_error,
        "kinds of error": float(own.sum() ** 2 / np.square(own).sum()),
        "above": float(np.mean(ratios >= 1)),
        "above three": float(np.mean(ratios > 3)),
        "quantiles": [float(value) for value in np.quantile(ratios, QUANTILES)],
    }


def row(results: list[dict[str, Any]], model: str, layer: int) -> dict[str, str]:
    cases = [case for case in results if (case["model"], case["layer"]) == (model, layer)]
    shares = [case["above"] for case in cases]
    return {
        "model, layer": f"{model}, {layer}",
        "texts × references": str(len(cases)),
        "tokens": f"{min(case['tokens'] for case in cases)} to {max(case['tokens'] for case in cases)}",
        "draws above the truth, mean and least": f"{np.mean(shares):.1%}, {min(shares):.1%}",
        "draws above three times": f"{np.mean([case['above three'] for case in cases]):.1%}",
        "1 % of draws are below": f"{min(case['quantiles'][0] for case in cases):.2f}",
        "median": f"{np.median([case['quantiles'][2] for case in cases]):.2f}",
    }


if __name__ == "__main__":
    main()
