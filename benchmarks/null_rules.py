"""Null rules of the tokens and the true errors along one direction, by the number of sinh-Gauss-Legendre nodes.

    python benchmarks/null_rules.py --xquad xquad.en.json --model minilm --layer -2 --reference unk \
        --json benchmarks/results/null_rules_minilm_unk_2.json

Texts are paragraphs of XQuAD, their first halves and their first fifths, each with the direction of its question. The
true contributions are those of twenty nodes. The record has, for each number of nodes, the true relative error of the
tokens, the two null rules relative to the contributions, and the residuals along the direction and in all dimensions.
The factors of `xsbert.integrated_jacobian.error_estimates.error_of_tokens` are fitted to them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import MODEL_HELP, environment, load, settings, table, write_json
from tqdm import tqdm

from xsbert import XSTransformer
from xsbert.integrated_jacobian import PathIntegrator
from xsbert.integrated_jacobian.error_estimates import error_functionals, error_of_tokens
from xsbert.integrated_jacobian.rules import Quadrature, sinh_gauss_legendre

NODES, TRUE_NODES = range(3, 9), 20


def of_text(model: XSTransformer, layer: int, text: str, question: str) -> list[list[float]]:
    """For each number of nodes: nodes, true error, both null rules, residual along the direction and in all."""
    direction = torch.tensor(model.encode([question], show_progress_bar=False)[0])
    direction /= direction.norm()
    path = model.explainer(layer=layer, show_progress_bar=False).path(text)
    integrator = PathIntegrator(path.f, [path.x], [path.r], show_progress_bar=False)

    def values(nodes: np.ndarray) -> np.ndarray:
        """(N, S) contributions of the tokens at each node."""
        rules = [Quadrature(nodes[at : at + 1], np.ones(1)) for at in range(len(nodes))]
        found = [integrator.projected_factors([rule], [direction[None]])[0] for rule in rules]
        return np.array([each.factors[:, 0].double().numpy() for each in found])

    rule = sinh_gauss_legendre(TRUE_NODES)
    true = rule.weights @ values(rule.nodes)
    change = (path.f_x - path.f_r).double().numpy()
    rows = []
    for n_nodes in NODES:
        rule = sinh_gauss_legendre(n_nodes)
        at_nodes, slopes = values(rule.nodes), integrator.derivatives([rule.nodes])[0].double().numpy()
        rows.append(row_of(n_nodes, at_nodes, slopes, true, change, direction.double().numpy()))
    return rows


def row_of(
    n_nodes: int, at_nodes: np.ndarray, slopes: np.ndarray, true: np.ndarray, change: np.ndarray, direction: np.ndarray
) -> list[float]:
    rule = sinh_gauss_legendre(n_nodes)
    found = rule.weights @ at_nodes
    nulls = error_functionals("adaptive", rule.weights, (n_nodes,))[1:, 0] @ at_nodes
    size = np.linalg.norm(change)
    return [
        n_nodes,
        float(np.linalg.norm(found - true) / np.linalg.norm(true)),
        *(np.linalg.norm(nulls, axis=1) / np.linalg.norm(found)).tolist(),
        float(abs(found.sum() - change @ direction) / size),
        float(np.linalg.norm(rule.weights @ slopes - change) / size),
    ]


def summary(rows: np.ndarray) -> list[dict[str, str]]:
    """One row for each number of nodes."""
    found = []
    for n_nodes in NODES:
        _, true, first, second, along, whole = rows[rows[:, 0] == n_nodes].T
        nulls = torch.from_numpy(np.stack([first, second], 1))[:, :, None, None]
        stated = np.array([error_of_tokens(null, 1.0, n_nodes)[0] for null in nulls])
        found.append(
            {
                "nodes": str(n_nodes),
                "texts": str(len(true)),
                "true error, median, most": f"{np.median(true):.4f}, {true.max():.4f}",
                "residual in all dimensions, median, most": f"{np.median(whole):.4f}, {whole.max():.4f}",
                "residual along the direction, most": f"{along.max():.4f}",
                "stated above true": f"{np.mean(stated >= true):.0%}",
                "above three times": f"{np.mean(stated > 3 * true):.0%}",
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--xquad", type=Path, required=True, help="XQuAD in one language, as JSON")
    parser.add_argument("--model", default="minilm", help=MODEL_HELP)
    parser.add_argument("--layer", type=int, default=-2)
    parser.add_argument("--reference", default="unk")
    parser.add_argument("--n-texts", type=int, default=36)
    parser.add_argument("--json", help="write the full record here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(options.model, shift=False, reference=options.reference)
    articles = json.loads(options.xquad.read_text(encoding="utf-8"))["data"]
    paragraphs = [each for article in articles for each in article["paragraphs"]]
    record: dict[str, Any] = {"options": settings(options), "environment": environment("cpu"), "rows": []}
    for place in tqdm(np.random.default_rng(0).permutation(len(paragraphs))[: options.n_texts]):
        text = paragraphs[place]["context"]
        part = text[: len(text) // (1, 2, 5)[place % 3]]
        record["rows"] += of_text(model, options.layer, part, paragraphs[place]["qas"][0]["question"])
        write_json(options.json, record)
    print(table(summary(np.array(record["rows"]))))


if __name__ == "__main__":
    main()
