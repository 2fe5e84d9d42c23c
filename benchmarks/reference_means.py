"""Means over several references, and natural texts as references: correlation with second-order deletion effects.

    python benchmarks/reference_means.py sts-test.csv --json benchmarks/results/reference_means_minilm.json

A natural reference of a text is another text of the file with the same number of tokens, at random, as in expected
gradients (Erion et al., 2021). Its special tokens are kept as they are. Pairs with fewer than four such texts are left
out. The correlations are those of `xsbert.faithfulness`: between cells of two words and their effects, means over the
operators, with 95 % bootstrap intervals over pairs; ``difference`` is to the first row, on the same pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import MODEL_HELP, distinct_texts, environment, path_of, settings, table, write_json
from tqdm import tqdm

from xsbert import Attribution, XSTransformer
from xsbert.attribution.alignment import content_cells
from xsbert.evaluation.faithfulness.metrics import correlation, deletion_effects
from xsbert.evaluation.perturbation import Perturber
from xsbert.factors import TextFactors
from xsbert.integrated_jacobian import PathIntegrator, quadrature

TOKENS = ("unk", "mask", "pad", ("unk", "mask"), ("unk", "mask", "pad"))
NATURAL = (1, 2, 4)
OPERATORS = ("remove", "unk", "mask")


def natural(model: XSTransformer, known: TextFactors, others: Sequence[str], n_steps: int) -> TextFactors:
    """Factors of a text as means over other texts of its length as references."""
    explainer, rule = model.explainer(show_progress_bar=False), quadrature("gauss-legendre", n_steps)
    path = explainer.path(known.text)
    ends = [explainer.path(other) for other in others]
    integrator = PathIntegrator(path.f, [path.x] * len(ends), [end.x for end in ends], show_progress_bar=False)
    factors = [found.factors.double().numpy() for found in integrator.token_factors([rule] * len(ends))]
    terms = [end.f_x.double().numpy() for end in ends]
    return replace(known, factors=np.mean(factors, axis=0), reference_term=np.mean(terms, axis=0))


def interval(values: np.ndarray) -> list[float]:
    known = values[np.isfinite(values)]
    means = known[np.random.default_rng(0).integers(len(known), size=(2000, len(known)))].mean(1)
    return [round(float(each), 4) for each in (known.mean(), *np.quantile(means, [0.025, 0.975]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, help="tab-separated file of pairs of texts")
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--columns", type=int, nargs=2, default=(6, 7), help="columns of the two texts, from 1")
    parser.add_argument("--n-pairs", type=int, default=40)
    parser.add_argument("--max-characters", type=int, default=80, help="of each text")
    parser.add_argument("--n-steps", type=int, default=12, help="nodes from natural references")
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = XSTransformer(path_of(options.model), device="cpu")
    lines = [line.split("\t") for line in options.texts.read_text(encoding="utf-8").splitlines()]
    first, second = (column - 1 for column in options.columns)
    pairs = [(line[first].strip(), line[second].strip()) for line in lines]
    pool = distinct_texts(options.texts, options.columns, 1500)
    by_length: dict[int, list[str]] = {}
    for text in pool:
        by_length.setdefault(_length(model, text), []).append(text)
    fitting = [
        pair
        for pair in pairs
        if max(map(len, pair)) <= options.max_characters
        and pair[0] != pair[1]
        and all(len(set(by_length.get(_length(model, text), [])) - {*pair}) >= max(NATURAL) for text in pair)
    ]
    chosen = [fitting[place] for place in np.linspace(0, len(fitting) - 1, options.n_pairs).astype(int)]
    perturber, rng = Perturber(model, "words", "cosine", show_progress_bar=False), np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    record: dict[str, Any] = {"options": settings(options), "environment": environment("cpu")}
    for pair in tqdm(chosen, desc="pairs"):
        one, other = pair
        effects = [deletion_effects(perturber, one, other, operator).pairs for operator in OPERATORS]
        results: dict[str, Attribution] = {}
        for reference in TOKENS:
            a, b = model.text_factors(pair, reference=reference, tolerance=0.01, show_progress_bar=False)
            name = reference if isinstance(reference, str) else " + ".join(reference)
            results[name] = Attribution.of(a, b, "cosine").words()
        known = model.text_factors(pair, n_steps=1, show_progress_bar=False)
        others = [
            rng.permutation(sorted(set(by_length[len(side.tokens)]) - {*pair}))[: max(NATURAL)].tolist()
            for side in known
        ]
        for k in NATURAL:
            a, b = (natural(model, side, own[:k], options.n_steps) for side, own in zip(known, others, strict=True))
            results[f"{k} natural"] = Attribution.of(a, b, "cosine").words()
        for name, result in results.items():
            cells = content_cells(result)[0]
            found.setdefault(name, []).append(float(np.mean([correlation(cells, each) for each in effects])))
        write_json(options.json, record | {"n_pairs": len(found["unk"]), "rows": rows_of(found)})
    rows = rows_of(found)
    print(table([{"reference": name} | {key: str(each) for key, each in row.items()} for name, row in rows.items()]))


def rows_of(found: dict[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """Means with intervals, and their differences from the first row."""
    base = np.array(next(iter(found.values())))
    return {
        name: {"pearson": interval(np.array(values)), "difference": interval(np.array(values) - base)}
        for name, values in found.items()
    }


def _length(model: XSTransformer, text: str) -> int:
    return len(model.tokenizer(text)["input_ids"])


if __name__ == "__main__":
    main()
